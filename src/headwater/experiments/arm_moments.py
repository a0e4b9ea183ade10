"""What an analysis keeps of an arm: the number of its units, and the means and products of their
values.

The sums add up, so that a look costs only the data since the last one, and strata and days are
sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from headwater.errors import DataError
from headwater.experiments.relative_lift import RelativeLift, log_ratio
from headwater.kernel.arrays import F64

_VALUE, _BASE, _BEFORE, _BEFORE_BASE = range(4)


@dataclass(frozen=True)
class ArmMoments:
    """Units of one arm.

    Args:
        units: how many.
        mean: float64 of 4: the metric's numerator and denominator of a unit, and those of the
            covariate.
        products: float64 of 4 x 4: sums of products of deviations from the means.
    """

    units: int
    mean: F64
    products: F64

    def __add__(self, other: ArmMoments) -> ArmMoments:
        units = self.units + other.units
        if not units:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.units / units)
        products = (
            self.products
            + other.products
            + np.outer(apart, apart) * (self.units * other.units / units)
        )
        return ArmMoments(units, mean, products)

    @property
    def covariances(self) -> F64:
        """Of one unit, by n - 1."""
        return self.products / (self.units - 1)


def arm_moments(
    value: F64, base: F64 | None = None, before: F64 | None = None, before_base: F64 | None = None
) -> ArmMoments:
    """The sums of products of an arm's units.

    Args:
        value: float64, one for each unit: a 0 or 1 (proportion), an amount (mean), or the numerator
            of a ratio.
        base: the denominator of a ratio, such as impressions; None for a proportion or a mean.
        before: a covariate that the experiment cannot have changed, such as the same metric before
            the first exposure.
        before_base: the covariate's denominator.

    Raises:
        DataError: columns of two lengths; a value that is not finite.

    >>> arm_moments(np.array([0.0, 1.0, 1.0, 0.0])).mean[0].item()
    0.5
    """
    ones = np.ones(len(value))
    columns = [
        value,
        ones if base is None else base,
        np.zeros(len(value)) if before is None else before,
    ]
    columns.append(ones if before_base is None else before_base)
    if len({len(column) for column in columns}) > 1:
        raise DataError(
            f"an arm's columns have {sorted({len(column) for column in columns})} units; give one "
            "value for each unit in each"
        )
    table = np.stack([np.asarray(column, np.float64) for column in columns])
    if not np.isfinite(table).all():
        raise DataError(
            "an arm has a value that is null, NaN or infinite; fill or leave out such units by "
            "one rule for both arms"
        )
    if not table.shape[1]:
        return ArmMoments(0, np.zeros(4), np.zeros((4, 4)))
    mean = table.mean(axis=1)
    deviations = table - mean[:, None]
    return ArmMoments(table.shape[1], mean, deviations @ deviations.T)


def unit_lift(control: ArmMoments, treated: ArmMoments) -> RelativeLift:
    """The lift of a proportion, a mean or a ratio over units, with CUPED where there is a
    covariate.

    Ratios and the covariate are linearised (delta method); the covariate's coefficient is pooled
    over both arms. Degrees of freedom are Welch's. Source: Deng, Xu, Kohavi, Walker (2013); Deng,
    Knoblich, Lu (2018).

    Raises:
        DataError: fewer than two units in an arm, or means that are not positive.

    >>> rows = np.random.default_rng(1)
    >>> found = unit_lift(
    ...     arm_moments(rows.exponential(10, 4000)), arm_moments(rows.exponential(11, 4000))
    ... )
    >>> round(found.lift, 2)
    0.14
    """
    return post_stratified([(control, treated)])


def post_stratified(strata: list[tuple[ArmMoments, ArmMoments]]) -> RelativeLift:
    """The lift over strata that exist before the experiment, such as cold starts: control and
    treated sums of each.

    Each stratum has the share of all its units, the same in both arms. Source: Miratrix, Sekhon, Yu
    (2013).

    Raises:
        DataError: a stratum with fewer than two units in an arm, or means that are not positive.
    """
    for control, treated in strata:
        if control.units < 2 or treated.units < 2:
            raise DataError(
                f"an arm has {min(control.units, treated.units)} units in a stratum; at least 2 "
                "are needed"
            )
    whole = reduce(add, [control + treated for control, treated in strata])
    _check_denominators(whole)
    coefficient = _covariate_coefficient(whole)
    centre = whole.mean[_BEFORE] / whole.mean[_BEFORE_BASE]
    arms = []
    for index in (0, 1):
        mean = variance = shares = 0.0
        for pair in strata:
            share = (pair[0].units + pair[1].units) / whole.units
            stratum_mean, unit_variance = _adjusted(pair[index], coefficient, centre)
            mean += share * stratum_mean
            variance += share**2 * unit_variance / pair[index].units
            shares += (share**2 * unit_variance / pair[index].units) ** 2 / (pair[index].units - 1)
        arms.append((mean, variance, shares))
    (
        (control_mean, control_variance, control_shares),
        (treated_mean, treated_variance, treated_shares),
    ) = arms
    scaled = (
        [control_variance / control_mean**2, treated_variance / treated_mean**2]
        if control_mean and treated_mean
        else [0.0, 0.0]
    )
    below = (
        (control_shares / control_mean**4 + treated_shares / treated_mean**4)
        if control_mean and treated_mean
        else 0.0
    )
    degrees = sum(scaled) ** 2 / below if below else math.inf
    return log_ratio(control_mean, treated_mean, control_variance, treated_variance, degrees)


def _gradient(mean: F64, coefficient: float) -> F64:
    """The derivative of value / base - coefficient * (before / before_base) in the four means."""
    base, before_base = mean[_BASE], mean[_BEFORE_BASE]
    return np.array(
        [
            1 / base,
            -mean[_VALUE] / base**2,
            -coefficient / before_base,
            coefficient * mean[_BEFORE] / before_base**2,
        ]
    )


def _covariate_coefficient(whole: ArmMoments) -> float:
    of_before = -_gradient(whole.mean, 1.0) * np.array([0.0, 0.0, 1.0, 1.0])
    of_value = _gradient(whole.mean, 0.0)
    spread = float(of_before @ whole.products @ of_before)
    return float(of_value @ whole.products @ of_before) / spread if spread > 0 else 0.0


def _adjusted(arm: ArmMoments, coefficient: float, centre: float) -> tuple[float, float]:
    """The arm's adjusted mean, and the variance of one unit around it."""
    _check_denominators(arm)
    gradient = _gradient(arm.mean, coefficient)
    mean = arm.mean[_VALUE] / arm.mean[_BASE] - coefficient * (
        arm.mean[_BEFORE] / arm.mean[_BEFORE_BASE] - centre
    )
    return float(mean), max(float(gradient @ arm.covariances @ gradient), 0.0)


def _check_denominators(moments: ArmMoments) -> None:
    if not moments.mean[_BASE] > 0 or not moments.mean[_BEFORE_BASE] > 0:
        raise DataError(
            "the denominators of a ratio sum to zero or less in an arm; a ratio has no meaning "
            "there"
        )
