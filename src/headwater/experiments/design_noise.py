"""How the standard error of a lift falls with the length of an experiment, by kind, from what
history varies by.

| kind | squared standard error of the log lift after d days |
|---|---|
| A/B test | variance of a unit x 2 / units exposed by then |
| cluster test | what clusters differ by in the long run + noise of days / (d - burn-in) |
| switchback | noise of one bucket in each region / buckets by then |

Longer is not always surer: the part of a cluster test that is the clusters' own stays however long
it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from headwater.errors import DataError
from headwater.experiments.switchback_lift import SwitchbackBuckets, switchback_lift
from headwater.kernel.arrays import F64

_DRAWS = 40
"""Schedules over history's buckets whose squared standard errors are averaged."""


@dataclass(frozen=True)
class DesignNoise:
    """The standard error of the log lift by days, and the degrees of freedom of its test.

    Args:
        lasting: the squared error that no number of days takes away.
        of_a_day: the squared error of one day, which falls with their number.
        degrees: of freedom of the t distribution; infinite for the normal one.
        unread_days: at the start, that are not analysed.
    """

    lasting: float
    of_a_day: float
    degrees: float = math.inf
    unread_days: float = 0.0

    def se(self, days: float) -> float:
        """The standard error of an experiment of so many days; infinite before any of them is
        analysed.

        >>> noise = DesignNoise(lasting=0.0001, of_a_day=0.0012, unread_days=2)
        >>> round(noise.se(14), 4), noise.se(2)
        (0.0141, inf)
        """
        read = days - self.unread_days
        return math.sqrt(self.lasting + self.of_a_day / read) if read > 0 else math.inf


def cluster_noise(
    windows: Sequence[tuple[float, F64, F64]], arms: tuple[int, int], burn_in_days: float
) -> DesignNoise:
    """The noise of a cluster test.

    Args:
        windows: parts of history of several lengths: days, and of each cluster the metric's
            numerator and denominator, float64 (clusters).
        arms: how many clusters the control and the smallest other arm have.
        burn_in_days: that are not analysed.

    Raises:
        DataError: fewer than two clusters in an arm, or a ratio that is not positive.
    """
    if min(arms) < 2:
        raise DataError(
            f"an arm has {min(arms)} clusters; a lift over clusters needs at least 2 in each arm"
        )
    days, variances = [], []
    for length, value, base in windows:
        ratio = float(value.sum() / max(base.sum(), 1e-300))
        if not ratio > 0:
            raise DataError(
                f"the clusters' ratio is {ratio:g} in history; a relative lift needs a positive one"
            )
        linear = (value - ratio * base) / base.mean() / ratio
        days.append(length)
        variances.append(float((linear**2).sum()) / (len(linear) - 1))
    lasting, of_a_day = _fitted(np.array(days), np.array(variances))
    shares = [1 / count for count in arms]
    degrees = sum(shares) ** 2 / sum(
        share**2 / (count - 1) for share, count in zip(shares, arms, strict=True)
    )
    return DesignNoise(lasting * sum(shares), of_a_day * sum(shares), degrees, burn_in_days)


def _fitted(days: F64, variances: F64) -> tuple[float, float]:
    """The parts of variance = lasting + of_a_day / days, neither below 0, each window weighed by
    its days.
    """
    weights = np.sqrt(days) / np.maximum(variances, 1e-300)
    design = np.stack([weights, weights / days], axis=1)
    (lasting, of_a_day), _ = optimize.nnls(design, weights * variances)
    return float(lasting), float(of_a_day)


def switchback_noise(value: F64, base: F64, share: float, bucket_days: float) -> DesignNoise:
    """The noise of a switchback, from schedules drawn over history's own buckets.

    Args:
        value, base: sums of each region and bucket outside of its washout, float64 (regions,
            buckets).
        share: of buckets that are treated, of the control's and the arm's.
        bucket_days: the length of a bucket.

    Raises:
        DataError: too few regions or buckets, or rates that are not positive.
    """
    random = np.random.default_rng(2)
    squares = [
        switchback_lift(SwitchbackBuckets(value, base, random.random(value.shape) < share)).se ** 2
        for _ in range(_DRAWS)
    ]
    regions, buckets = value.shape
    return DesignNoise(0.0, float(np.mean(squares)) * buckets * bucket_days, regions - 1)
