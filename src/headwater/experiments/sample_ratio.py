"""Sample ratio mismatch: whether the arms have the units that their weights promise. A mismatch
means that the comparison is broken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from headwater.errors import UsageError

PRIOR_UNITS = 100.0


def sequential_sample_ratio_p(
    looks: Sequence[Sequence[int]], weights: Sequence[float], prior_units: float = PRIOR_UNITS
) -> float:
    """A p-value that may be looked at as often as one likes: reject when it is below the level at
    any look.

    Args:
        looks: the counts of the arms so far, at each look.
        weights: the planned shares.
        prior_units: the weight of the plan in the prior.

    Source: Lindon, Malek (2022): the smallest inverse Bayes factor so far, of Dirichlet-multinomial
    counts against the planned shares.

    >>> sequential_sample_ratio_p([[500, 500], [1000, 1003]], [0.5, 0.5])
    1.0
    >>> sequential_sample_ratio_p([[500, 500], [1000, 1400]], [0.5, 0.5]) < 0.001
    True
    """
    _check(looks[-1] if looks else [0] * len(weights), weights)
    if not looks:
        return 1.0
    shares = np.asarray(weights, float)
    prior = prior_units * shares
    counts = np.asarray(looks, float)
    units = counts.sum(axis=1)
    factor = special.gammaln(prior_units) - special.gammaln(prior_units + units)
    factor = (
        factor
        + (special.gammaln(prior + counts) - special.gammaln(prior)).sum(axis=1)
        - (counts * np.log(shares)).sum(axis=1)
    )
    return float(np.exp(-np.maximum(factor, 0.0)).min())


def _check(counts: Sequence[int], weights: Sequence[float]) -> None:
    if len(counts) != len(weights):
        raise UsageError(f"{len(counts)} counts are given for {len(weights)} arms")
    if min(weights) <= 0 or abs(sum(weights) - 1) > 1e-9:
        raise UsageError(
            f"the arms' weights are {list(weights)}; give positive shares that sum to 1"
        )
