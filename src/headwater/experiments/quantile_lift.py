"""The relative change of a quantile over units, such as the 99th percentile of latency, for
guardrails.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from headwater.errors import DataError
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64

_Z = 1.96
LEAST_BEYOND = 5
"""Units that must lie beyond the quantile in each arm."""


def quantile_lift(control: F64, treated: F64, quantile: float) -> RelativeLift:
    """The relative change of a quantile.

    Args:
        control: float64, a value of each of the control's units.
        treated: the same of the treated units.
        quantile: such as 0.99.

    Raises:
        DataError: fewer than five units of an arm lie beyond the quantile, or it is not positive.

    The standard error is that of the order statistics around the quantile, on the log scale.
    Source: Woodruff (1952).

    >>> rows = np.random.default_rng(4)
    >>> round(
    ...     quantile_lift(rows.exponential(1.0, 20_000), rows.exponential(1.2, 20_000), 0.9).lift, 1
    ... )
    0.2
    """
    logs, variances, points = [], [], []
    for values in (control, treated):
        point, log, variance = _arm(np.sort(values), quantile)
        points.append(point)
        logs.append(log)
        variances.append(variance)
    return RelativeLift(points[0], points[1], logs[1] - logs[0], math.sqrt(sum(variances)))


def _arm(values: F64, quantile: float) -> tuple[float, float, float]:
    """The quantile, its logarithm, and the variance of that."""
    units = len(values)
    if units * min(quantile, 1 - quantile) < LEAST_BEYOND:
        raise DataError(
            f"an arm has {units:,} units, too few for a quantile of {quantile:g}; at least "
            f"{LEAST_BEYOND} must lie beyond it"
        )
    low, high = stats.binom.ppf([stats.norm.cdf(-_Z), stats.norm.cdf(_Z)], units, quantile).astype(
        int
    )
    point, lowest, highest = (
        float(np.quantile(values, quantile)),
        float(values[max(low, 0)]),
        float(values[min(high, units - 1)]),
    )
    if not lowest > 0:
        raise DataError(
            f"the quantile {quantile:g} of an arm may be {lowest:g}; a relative change needs a "
            "positive one"
        )
    return point, math.log(point), (math.log(highest / lowest) / (2 * _Z)) ** 2
