"""Cluster experiment: one value a cluster, after the burn-in, by Welch's test."""

from __future__ import annotations

import polars as pl

from headwater.errors import DataError
from headwater.experiments.cluster_lift import FEW_CLUSTERS, check_clusters, cluster_lift
from headwater.experiments.health import HealthCheck
from headwater.experiments.look_rows import BASE, VALUE, LookRows
from headwater.experiments.metric_rows import OWN_UNIT
from headwater.experiments.relative_lift import RelativeLift
from headwater.journal.exposure_rows import ARM, AT, CLUSTER
from headwater.models.experiment_store import FrozenPlan


def exposures(frame: pl.DataFrame, plan: FrozenPlan) -> pl.DataFrame:
    """Exposures after the burn-in; a unit of two clusters is one in each."""
    begins = plan.start + int(plan.settings.get("burn_in", 0))
    after = frame.filter(pl.col(AT).dt.epoch("us") >= begins).with_columns(
        pl.col("unit").alias(OWN_UNIT)
    )
    return after.with_columns(
        pl.concat_str(pl.col(CLUSTER).fill_null(""), OWN_UNIT, separator="\x1f").alias("unit")
    )


def lift(rows: LookRows, control: str, treated: str, _plan: FrozenPlan) -> RelativeLift:
    """The lift over clusters.

    Raises:
        DataError: fewer than two clusters in an arm, or ratios that are not positive.
    """
    sums = clusters(rows, control, treated)
    return cluster_lift(
        sums[VALUE].to_numpy(), sums[BASE].to_numpy(), (sums[ARM] == treated).to_numpy()
    )


def clusters(rows: LookRows, *arms: str) -> pl.DataFrame:
    """The sums of each cluster: cluster, arm, value, base."""
    return (
        rows.of_arms(*arms)
        .group_by(CLUSTER, maintain_order=True)
        .agg(pl.col(ARM).first(), pl.col(VALUE).sum(), pl.col(BASE).sum())
    )


def checks(rows: LookRows, plan: FrozenPlan, _level: float) -> list[HealthCheck]:
    """Whether there are enough clusters, and each keeps its arm."""
    results = []
    control = plan.arms[0].name
    mixed = rows.frame.group_by(CLUSTER).agg(pl.col(ARM).n_unique()).filter(pl.col(ARM) > 1).height
    if mixed:
        results.append(
            HealthCheck(
                "cluster arms", "broken", f"{mixed} clusters were served by more than one arm"
            )
        )
    for arm in plan.arms[1:]:
        sums = clusters(rows, control, arm.name)
        treated = int((sums[ARM] == arm.name).sum())
        evidence = f"{sums.height - treated} clusters of {control!r}, {treated} of {arm.name!r}"
        if not treated or treated == sums.height:
            results.append(HealthCheck("cluster count", "not checked", evidence))
            continue
        try:
            check_clusters(sums.height, treated, plan.alpha)
        except DataError as error:
            results.append(HealthCheck("cluster count", "broken", str(error)))
            continue
        few = sums.height < FEW_CLUSTERS
        results.append(
            HealthCheck(
                "cluster count",
                "warning" if few else "ok",
                evidence + ("; so few hold for these alone" if few else ""),
            )
        )
    return results


def assigned(frame: pl.DataFrame) -> pl.DataFrame:
    """The randomised units: the clusters."""
    return _together(frame, [CLUSTER])


def _together(frame: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    sums = [pl.col(name).sum() for name in ("exposures", "fallbacks", "stale")]
    return frame.group_by(by, maintain_order=True).agg(
        pl.col("unit").first(), pl.col(ARM).first(), pl.col(AT).min(), *sums
    )
