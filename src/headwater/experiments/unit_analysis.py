"""A/B test by unit: log-ratio lift with CUPED, in strata of cold starts."""

from __future__ import annotations

import polars as pl

from headwater.experiments.arm_moments import ArmMoments, arm_moments, post_stratified
from headwater.experiments.health import HealthCheck
from headwater.experiments.look_rows import BASE, BEFORE, COLD, VALUE, LookRows
from headwater.experiments.metric_rows import OWN_UNIT
from headwater.experiments.quantile_lift import quantile_lift
from headwater.experiments.relative_lift import RelativeLift
from headwater.journal.exposure_rows import ARM
from headwater.models.experiment_store import FrozenPlan

LEAST_IN_STRATUM = 30
"""Units of each arm that a stratum needs."""


def exposures(frame: pl.DataFrame, _plan: FrozenPlan) -> pl.DataFrame:
    """Every exposure counts, and the analysis' units are the experiment's."""
    return frame.with_columns(pl.col("unit").alias(OWN_UNIT))


def lift(rows: LookRows, control: str, treated: str, _plan: FrozenPlan) -> RelativeLift:
    """The lift over units.

    Raises:
        DataError: fewer than two units in an arm, or means that are not positive.
    """
    if rows.quantile is not None:
        control_values, treated_values = (
            rows.of_arms(arm)[VALUE].to_numpy() for arm in (control, treated)
        )
        return quantile_lift(control_values, treated_values, rows.quantile)
    return post_stratified(
        [
            (_moments(part, control), _moments(part, treated))
            for part in _strata(rows, control, treated)
        ]
    )


def naive(rows: LookRows, control: str, treated: str) -> RelativeLift:
    """The lift over units without covariate and strata, as if no unit acted on another.

    Raises:
        DataError: as `lift`.
    """
    plain = LookRows(rows.frame, rows.ratio, covariate=False)
    return post_stratified([(_moments(plain, control), _moments(plain, treated))])


def checks(_rows: LookRows, _plan: FrozenPlan, _level: float) -> list[HealthCheck]:
    """Nothing more than every experiment has."""
    return []


def assigned(frame: pl.DataFrame) -> pl.DataFrame:
    """The randomised units: the units themselves."""
    return frame


def _strata(rows: LookRows, control: str, treated: str) -> list[LookRows]:
    """Cold starts and others, where both are enough; a ratio is never stratified, since strata
    would weigh units and not denominators.
    """
    if rows.ratio:
        return [rows]
    sizes = rows.of_arms(control, treated).group_by(ARM, COLD).len()
    if sizes.height < 4 or min(sizes["len"].to_list()) < LEAST_IN_STRATUM:
        return [rows]
    return [rows.where(pl.col(COLD)), rows.where(~pl.col(COLD))]


def _moments(rows: LookRows, arm: str) -> ArmMoments:
    frame = rows.of_arms(arm)
    return arm_moments(
        frame[VALUE].to_numpy(),
        frame[BASE].to_numpy() if rows.ratio else None,
        frame[BEFORE].to_numpy() if rows.covariate else None,
    )
