"""Lift of a switchback: every region changes its arm from bucket to bucket of time, so that both
arms share supply but not times.

The effect is estimated with region and bucket effects removed; standard errors are clustered by
region (CRV1, which counts the effects that were removed) with t(regions - 1). Hours after a change,
in which the arm before still acts, are the washout and are left out. Sources: Bojinov, Simchi-Levi,
Zhao (2023); Liang, Zeger (1986).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headwater.errors import DataError
from headwater.experiments.cluster_lift import randomisation_p
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64, Bool

_PROJECTIONS = 500
_CLOSE = 1e-10  # of the largest value


@dataclass(frozen=True)
class SwitchbackBuckets:
    """Sums by region and bucket, the washout left out.

    Regions that change at times of their own have no buckets in common; give each hour as a bucket
    then, with `kept`.

    Args:
        value: float64 of regions x buckets, the metric's numerator.
        base: the same of its denominator.
        treated: bool of regions x buckets.
        kept: bool of regions x buckets, False in the washout; None keeps all.
    """

    value: F64
    base: F64
    treated: Bool
    kept: Bool | None = None

    def __post_init__(self) -> None:
        regions, buckets = self.value.shape
        if regions < 2 or buckets < 2:
            raise DataError(
                f"a switchback of {regions} regions and {buckets} buckets cannot be analysed; at "
                "least 2 of each are needed"
            )
        seen = self.treated if self.kept is None else self.treated[self.kept]
        if not seen.any() or seen.all():
            raise DataError("a switchback needs buckets of both arms")

    def control_rate(self) -> float:
        """The metric in the control buckets.

        Raises:
            DataError: it is not positive.
        """
        control = ~self.treated if self.kept is None else ~self.treated & self.kept
        rate = float(self.value[control].sum() / max(self.base[control].sum(), 1e-300))
        if not rate > 0:
            raise DataError(
                f"the control buckets' rate is {rate:g}; a relative lift needs a positive one"
            )
        return rate

    def outcome(self) -> F64:
        """Each bucket's deviation from the control rate, linearised, without region and bucket
        means.
        """
        base = self.base if self.kept is None else self.base[self.kept]
        return self.within((self.value - self.control_rate() * self.base) / base.mean())

    def within(self, table: F64) -> F64:
        """The table without region and bucket means; 0 in the washout. With a washout, by
        alternating projections.
        """
        if self.kept is None:
            centred: F64 = table - table.mean(axis=1, keepdims=True)
            without: F64 = centred - centred.mean(axis=0, keepdims=True)
            return without
        residual = np.where(self.kept, table, 0.0)
        by_region, by_bucket = (
            np.maximum(self.kept.sum(axis=axis, keepdims=True), 1) for axis in (1, 0)
        )
        for _ in range(_PROJECTIONS):
            region_means = np.where(self.kept, residual.sum(axis=1, keepdims=True) / by_region, 0.0)
            residual = residual - region_means
            bucket_means = np.where(self.kept, residual.sum(axis=0, keepdims=True) / by_bucket, 0.0)
            residual = residual - bucket_means
            if max(np.abs(region_means).max(), np.abs(bucket_means).max()) < _CLOSE * max(
                float(np.abs(table).max()), 1e-300
            ):
                break
        return residual

    def clustered_se(self, arms: F64, residuals: F64, coefficients: int = 1) -> float:
        """The standard error of the coefficient of `arms`, clustered by region (CRV1).

        Args:
            arms: float64 of regions x buckets, without region and bucket means.
            residuals: the same of what the model leaves.
            coefficients: how many were estimated besides the effects of regions and buckets.
        """
        counted = np.ones(arms.shape, bool) if self.kept is None else self.kept
        rows, regions = int(counted.sum()), len(arms)
        degrees = (
            rows
            - int(counted.any(axis=1).sum())
            - int(counted.any(axis=0).sum())
            + 1
            - coefficients
        )
        if degrees < 1:
            raise DataError(
                f"{rows} buckets are too few for {regions} regions and the effects of time; run "
                "the switchback longer"
            )
        factor = regions / (regions - 1) * (rows - 1) / degrees
        by_region = (arms * residuals).sum(axis=1)
        return math.sqrt(factor * float((by_region**2).sum())) / float((arms**2).sum())


def switchback_lift(rows: SwitchbackBuckets) -> RelativeLift:
    """The relative lift by two-way effects.

    Raises:
        DataError: the control buckets' rate is not positive, or every region has one arm
            throughout.

    >>> draws = np.random.default_rng(3)
    >>> treated = draws.random((20, 48)) < 0.5
    >>> bases = draws.poisson(1000, (20, 48)).astype(float)
    >>> found = switchback_lift(
    ...     SwitchbackBuckets(
    ...         bases * draws.normal(0.1, 0.01, (20, 48)) * (1 + 0.1 * treated), bases, treated
    ...     )
    ... )
    >>> round(found.lift, 1)
    0.1
    """
    outcome, control = rows.outcome(), rows.control_rate()
    arms = rows.within(rows.treated.astype(float))
    spread = float((arms**2).sum())
    if spread < 1e-9:
        raise DataError(
            "every region has one arm throughout, or all regions change together; the arms cannot "
            "be told from time"
        )
    effect = float((arms * outcome).sum()) / spread
    residuals = outcome - effect * arms
    se = rows.clustered_se(arms, residuals)
    lift = effect / control
    if lift <= -1:
        raise DataError(
            f"the treated buckets' rate is estimated as {control + effect:g}, which is not "
            "positive; compare by difference"
        )
    return RelativeLift(
        control, control + effect, math.log1p(lift), se / control / (1 + lift), len(outcome) - 1
    )


def switchback_randomisation_p(rows: SwitchbackBuckets, schedules: list[Bool]) -> float:
    """The p-value of no effect at all among schedules drawn by the same rule as the real one.

    Args:
        rows: what was observed.
        schedules: bool of regions x buckets, at least 199 of them for a p of .005.
    """
    outcome = rows.outcome()

    def effect(treated: Bool) -> float:
        arms = rows.within(treated.astype(float))
        spread = float((arms**2).sum())
        return float((arms * outcome).sum()) / spread if spread > 1e-9 else 0.0

    return randomisation_p(
        effect(rows.treated), np.array([effect(schedule) for schedule in schedules])
    )


def carry_over(rows: SwitchbackBuckets, before: Bool) -> RelativeLift:
    """What the arm of the bucket before still does: the same estimate with that arm in place of the
    bucket's own, among equal arms.

    An interval that excludes 0 says that the washout is too short.

    Args:
        rows: what was observed.
        before: bool of regions x buckets, whether the bucket before was treated.
    """
    outcome, control = rows.outcome(), rows.control_rate()
    current = rows.within(rows.treated.astype(float))
    lagged = rows.within(before.astype(float))
    lagged = lagged - current * float((current * lagged).sum() / max((current**2).sum(), 1e-9))
    spread = float((lagged**2).sum())
    if spread < 1e-9:
        raise DataError(
            "the arm of the bucket before cannot be told from the bucket's own; carry-over cannot "
            "be tested"
        )
    outcome = outcome - current * float((current * outcome).sum() / max((current**2).sum(), 1e-9))
    effect = float((lagged * outcome).sum()) / spread
    se = rows.clustered_se(lagged, outcome - effect * lagged, 2)
    ratio = max(effect / control, -0.999)
    return RelativeLift(
        control,
        control * (1 + ratio),
        math.log1p(ratio),
        se / control / (1 + ratio),
        len(outcome) - 1,
    )
