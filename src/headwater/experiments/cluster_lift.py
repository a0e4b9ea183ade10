"""Lift where whole clusters, such as markets, get an arm: one value for each cluster, since its
units are not independent.
"""

from __future__ import annotations

import math

import numpy as np

from headwater.errors import DataError
from headwater.experiments.relative_lift import RelativeLift, log_ratio
from headwater.kernel.arrays import F64, Bool

FEW_CLUSTERS = 10
"""With fewer clusters a result is only as good as the few that were drawn: reports warn."""


def cluster_lift(value: F64, base: F64, treated: Bool) -> RelativeLift:
    """The lift over clusters: the ratio of sums of each arm, linearised, by a t test of the
    clusters' values.

    Args:
        value: float64, the metric's numerator summed over each cluster.
        base: float64, its denominator.
        treated: which clusters are treated.

    Raises:
        DataError: fewer than two clusters in an arm, or ratios that are not positive.

    >>> rows = np.random.default_rng(2)
    >>> bases = rows.poisson(1000, 40).astype(float)
    >>> treated = np.arange(40) % 2 == 0
    >>> round(
    ...     cluster_lift(
    ...         rows.normal(0.1, 0.005, 40) * bases * (1 + 0.1 * treated), bases, treated
    ...     ).lift,
    ...     1,
    ... )
    0.1
    """
    ratios, variances, counts = [], [], []
    for chosen in (~treated, treated):
        count = int(chosen.sum())
        if count < 2:
            raise DataError(
                f"an arm has {count} clusters; a lift over clusters needs at least 2 in each arm"
            )
        ratio = value[chosen].sum() / base[chosen].sum()
        linear = (value[chosen] - ratio * base[chosen]) / base[chosen].mean()
        ratios.append(float(ratio))
        variances.append(float((linear**2).sum() / (count * (count - 1))))
        counts.append(count)
    return log_ratio(
        ratios[0], ratios[1], variances[0], variances[1], _welch(ratios, variances, counts)
    )


def least_p(clusters: int, treated: int) -> float:
    """The smallest p-value that a randomisation test of so many clusters can have.

    >>> least_p(6, 3)
    0.1
    """
    return (
        2 / math.comb(clusters, treated)
        if treated * 2 == clusters
        else 1 / math.comb(clusters, treated)
    )


def check_clusters(clusters: int, treated: int, alpha: float = 0.05) -> None:
    """Refuse a design that could never reject.

    Raises:
        DataError: its smallest possible p-value is above alpha.
    """
    least = least_p(clusters, treated)
    if least > alpha:
        raise DataError(
            f"{clusters} clusters, {treated} of them treated, can give no p-value below "
            f"{least:.2g}; the experiment could never decide. Use more or smaller clusters, or a "
            "switchback"
        )


def _welch(ratios: list[float], variances: list[float], counts: list[int]) -> float:
    shares = [
        variance / ratio**2 if ratio else 0.0
        for ratio, variance in zip(ratios, variances, strict=True)
    ]
    below = sum(share**2 / (count - 1) for share, count in zip(shares, counts, strict=True))
    return sum(shares) ** 2 / below if below else math.inf


def randomisation_p(observed: float, drawn: F64) -> float:
    """The share of drawn assignments whose statistic is at least as far from zero, the observed one
    counted among them.
    """
    return float((1 + (np.abs(drawn) >= abs(observed) - 1e-12).sum()) / (1 + len(drawn)))
