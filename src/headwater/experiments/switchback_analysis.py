"""Switchback: sums by region and bucket of time after the washout, two-way effects, errors
clustered by region.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.checks import HOUR
from headwater.errors import DataError
from headwater.experiments.health import HealthCheck
from headwater.experiments.look_rows import BASE, VALUE, LookRows
from headwater.experiments.metric_rows import OWN_UNIT
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.switchback_lift import (
    SwitchbackBuckets,
    carry_over,
    switchback_lift,
    switchback_randomisation_p,
)
from headwater.journal.exposure_rows import ARM, AT, BUCKET, CLUSTER
from headwater.kernel.arrays import Bool
from headwater.models.experiment_store import FrozenPlan

DRAWS = 199
CELL = "cell"


def exposures(frame: pl.DataFrame, plan: FrozenPlan) -> pl.DataFrame:
    """Exposures after each bucket's washout; a unit is one in each region and bucket."""
    washout = int(plan.settings.get("washout", 0))
    at = pl.col(AT).dt.epoch("us")
    counted = frame.filter(at - starts(plan) >= washout) if washout else frame
    counted = counted.with_columns(pl.col("unit").alias(OWN_UNIT))
    return counted.with_columns(
        pl.concat_str(
            pl.col(CLUSTER).fill_null(""), pl.col(BUCKET), OWN_UNIT, separator="\x1f"
        ).alias("unit")
    )


def starts(plan: FrozenPlan) -> pl.Expr:
    """When the bucket of each exposure began, microseconds: by the schedule; of random bounds at
    the region's first exposure in it.
    """
    at = pl.col(AT).dt.epoch("us")
    if plan.settings.get("random_bounds"):
        return at.min().over(CLUSTER, BUCKET)
    return plan.start + pl.col(BUCKET) * int(plan.settings["length"])


@dataclass(frozen=True)
class SwitchbackCells:
    """The buckets of regions: sums, arms, and the names of rows and columns."""

    rows: SwitchbackBuckets
    regions: list[str]
    buckets: list[int]

    @property
    def before(self) -> Bool:
        """Whether the bucket before was treated; the first has its own arm."""
        return np.concatenate([self.rows.treated[:, :1], self.rows.treated[:, :-1]], axis=1)


def _cells(rows: LookRows, control: str, treated: str, plan: FrozenPlan) -> SwitchbackCells:
    """Sums by region and bucket; where regions change at times of their own, by region and hour,
    without hours of two arms.
    """
    frame = rows.of_arms(control, treated)
    time = (
        pl.col(AT).dt.epoch("us") // HOUR if plan.settings.get("random_bounds") else pl.col(BUCKET)
    )
    sums = (
        frame.with_columns(time.alias(CELL))
        .group_by(CLUSTER, CELL)
        .agg(
            pl.col(VALUE).sum(),
            pl.col(BASE).sum(),
            (pl.col(ARM) == treated).first().alias("treated"),
            pl.col(ARM).n_unique().alias("arms"),
        )
        .filter(pl.col("arms") == 1)
    )
    regions, buckets = (
        sorted(sums[CLUSTER].unique().to_list()),
        sorted(sums[CELL].unique().to_list()),
    )
    if len(regions) < 2 or len(buckets) < 2:
        raise DataError(
            f"a switchback of {len(regions)} regions and {len(buckets)} buckets cannot be "
            "analysed; at least 2 of each are needed"
        )
    shape = (len(regions), len(buckets))
    value, base, counted, arm = (
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape, np.bool_),
        np.zeros(shape, np.bool_),
    )
    row = (
        sums[CLUSTER]
        .replace_strict(regions, list(range(len(regions))), return_dtype=pl.Int64)
        .to_numpy()
    )
    column = (
        sums[CELL]
        .replace_strict(buckets, list(range(len(buckets))), return_dtype=pl.Int64)
        .to_numpy()
    )
    value[row, column], base[row, column] = sums[VALUE].to_numpy(), sums[BASE].to_numpy()
    counted[row, column], arm[row, column] = sums[BASE].to_numpy() > 0, sums["treated"].to_numpy()
    return SwitchbackCells(
        SwitchbackBuckets(value, base, arm, None if counted.all() else counted), regions, buckets
    )


def lift(rows: LookRows, control: str, treated: str, plan: FrozenPlan) -> RelativeLift:
    """The lift over regions and buckets.

    Raises:
        DataError: fewer than two regions or buckets, or rates that are not positive.
    """
    return switchback_lift(_cells(rows, control, treated, plan).rows)


def randomisation_p(rows: LookRows, control: str, treated: str, plan: FrozenPlan) -> float:
    """The p-value of no effect among schedules drawn by the same rule.

    Raises:
        DataError: as `lift`.
    """
    cells = _cells(rows, control, treated, plan).rows
    weights = {arm.name: arm.weight for arm in plan.arms}
    share = weights[treated] / (weights[treated] + weights[control])
    random = np.random.default_rng(plan.seed)
    return switchback_randomisation_p(
        cells, [random.random(cells.treated.shape) < share for _ in range(DRAWS)]
    )


def checks(rows: LookRows, plan: FrozenPlan, level: float) -> list[HealthCheck]:
    """Whether the arm of the bucket before still acts."""
    control, results = plan.arms[0].name, []
    for arm in plan.arms[1:]:
        try:
            cells = _cells(rows, control, arm.name, plan)
            effect_left = carry_over(cells.rows, cells.before)
        except DataError as error:
            results.append(HealthCheck("carry-over", "not checked", str(error)))
            continue
        evidence = (
            f"the bucket before changes the outcome by {effect_left.lift:+.2%}, p "
            f"{effect_left.p_value:.2g}; "
            f"{len(cells.regions)} regions"
        )
        results.append(
            HealthCheck("carry-over", "broken" if effect_left.p_value < level else "ok", evidence)
        )
    return results


def assigned(frame: pl.DataFrame) -> pl.DataFrame:
    """The randomised units: regions' buckets."""
    sums = [pl.col(name).sum() for name in ("exposures", "fallbacks", "stale")]
    return frame.group_by(CLUSTER, BUCKET, maintain_order=True).agg(
        pl.col("unit").first(), pl.col(ARM).first(), pl.col(AT).min(), *sums
    )
