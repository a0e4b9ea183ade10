"""The place of each row in its list, which the metrics of lists read."""

from __future__ import annotations

import numpy as np

from headwater.metrics.metric import Floats, Ints


def places(groups: Ints, score: Floats, order: Ints | None = None) -> Floats:
    """The place of each row in the list of its group, 1 for the highest score: float64 (rows).

    `order`: int64 (rows), the order of rows of equal score; None: an order that is independent of
    the rows' order.

    >>> places(np.array([0, 0, 1]), np.array([0.2, 0.9, 0.5])).tolist()
    [2.0, 1.0, 1.0]
    """
    ties = np.random.default_rng(0).permutation(len(score)) if order is None else order
    by = np.lexsort((ties, -score, groups))
    first = np.flatnonzero(np.diff(groups[by], prepend=-1) != 0)
    ranks = np.empty(len(score))
    ranks[by] = np.arange(len(score)) - np.repeat(first, np.diff(np.append(first, len(score)))) + 1
    return ranks
