"""The population stability index between two samples, and how large it gets by chance.

PSI = sum over bins of (p - q) ln(p / q), with the shares q of the reference and p of what was
served: the divergence of Jeffreys, as scorecards use it (Lewis, An Introduction to Credit Scoring,
1992; Siddiqi, Credit Risk Scorecards, 2006). Where nothing has changed it is (1/n + 1/m) times a
chi-squared variable with B - 1 degrees of freedom, for samples of n and m rows over B bins
(Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk
Model Validation 14(4), 2020). So small samples have a large index by chance: `by_chance` is its
mean, and `limit` the value that it exceeds with a given probability.

Rows that depend on one another, as several requests for one entity do, say less than as many
independent ones. `dispersion` measures by how much, from how far each day is from the day before;
the noise is multiplied by it (as Rao and Scott, The analysis of categorical data from complex
sample surveys, Journal of the American Statistical Association 76, 1981, correct a chi-squared
statistic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from headwater.definitions.definition import Readable
from headwater.kernel.arrays import F64

LARGE_ENOUGH: Final = 0.1
"""The index beyond chance from which a shift counts: below it, scorecards speak of no change
(Siddiqi, 2006).
"""
_PAIRS: Final = 4  # of days, from which on their dispersion is measured


@dataclass(frozen=True)
class Stability(Readable):
    """psi: the index. by_chance: its mean if nothing changed. limit: what it then exceeds with the
    given probability.
    """

    psi: float
    by_chance: float
    limit: float

    @property
    def shifted(self) -> bool:
        """Whether the index is beyond chance, and by enough to matter."""
        return self.psi > self.limit and self.psi - self.by_chance >= LARGE_ENOUGH


def stability(
    served: F64, n: float, reference: F64, m: float, *, level: float, dispersion: float = 1.0
) -> Stability:
    """Compare two samples.

    Each share is drawn towards that of both samples together, with the weight of half a row a bin,
    so that a bin which is empty in one sample does not make the index infinite; bins that are empty
    in both count in neither the index nor B.

    Args:
        served, reference: the shares of the bins, float64 (bins).
        n, m: how many independent rows they were counted in, above 0.
        level: the probability that the limit is exceeded where nothing changed.
        dispersion: how many times as large the noise is as that of independent rows.

    >>> stability(np.array([0.5, 0.5]), 100, np.array([0.5, 0.5]), 1000, level=0.01).shifted
    False
    >>> stability(np.array([0.9, 0.1]), 100, np.array([0.5, 0.5]), 1000, level=0.01).shifted
    True
    """
    from scipy.stats import chi2

    both = (n * served + m * reference) / (n + m)
    counted = both > 0
    served, reference, both = served[counted], reference[counted], both[counted]
    bins = len(both)
    if bins < 2:
        return Stability(0.0, 0.0, 0.0)
    drawn = bins / 2
    p, q = (n * served + drawn * both) / (n + drawn), (m * reference + drawn * both) / (m + drawn)
    psi = float(((p - q) * np.log(p / q)).sum())
    noise = (1 / n + 1 / m) * dispersion
    return Stability(psi, (bins - 1) * noise, float(chi2.isf(level, bins - 1)) * noise)


def dispersion(days: Sequence[tuple[F64, float]]) -> float:
    """How many times as far days are from the day before as independent rows would be, at least 1;
    1 of fewer than five days.

    It is the median over pairs of days, so that a change on one of them does not hide itself.

    Args:
        days: in order; the shares of the bins, float64 (bins), and how many rows they were counted
            in.
    """
    ratios = []
    for (before, m), (now, n) in pairwise(days):
        pair = stability(now, n, before, m, level=0.5)
        if pair.by_chance:
            ratios.append(pair.psi / pair.limit)  # the limit is the median of what chance gives
    return max(1.0, float(np.median(ratios))) if len(ratios) >= _PAIRS else 1.0
