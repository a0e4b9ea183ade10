"""Compiled loops over rows sorted by falling score; only sorted_scores.py imports them.

They release the GIL, so that levels run side by side in threads.
"""

from __future__ import annotations

import numpy as np

from headwater.kernel.compile_cache import njit
from headwater.metrics.metric import Bools, Floats, Ints

_TILE = 128  # resamples at a time: the sums of a tile stay in the first-level cache


# Python's check for division by zero would keep the loops from using vector instructions
_compiled = njit(error_model="numpy")


@_compiled
def walk(
    block: Ints, positive: Bools, last: Bools, weights: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Weighted sums that AUC and average precision are made of, for every resample.

    Goes down the rows once a tile of resamples, all resamples of the tile in
    step. `block`, `positive`, `last` have shape (rows,), by falling score;
    `weights` (blocks, resamples) holds integers. Returns, each float64
    (resamples,): positives; negatives; pairs of a positive above a negative,
    ties half; the sum over ties of its positives times the precision after it.

    >>> yes = np.array([True, True])
    >>> walk(np.array([0, 0]), np.array([True, False]), yes, np.ones((1, 1)))
    (array([1.]), array([1.]), array([1.]), array([1.]))
    """
    rows, resamples = len(block), weights.shape[1]
    positives, negatives = np.zeros(resamples), np.zeros(resamples)
    pairs, steps = np.zeros(resamples), np.zeros(resamples)
    for start in range(0, resamples, _TILE):
        stop = min(start + _TILE, resamples)
        size = stop - start
        tile = weights[:, start:stop].copy()
        tp, fp, area, ap = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
        tied_tp, tied_fp = np.zeros(size), np.zeros(size)
        alone = True  # the row before ended its tie
        for i in range(rows):
            w = tile[block[i]]
            if alone and last[i]:  # a score of its own: the usual case
                if positive[i]:
                    for r in range(size):
                        tp[r] += w[r]
                        ap[r] += w[r] * tp[r] / max(tp[r] + fp[r], 1.0)
                else:
                    for r in range(size):
                        fp[r] += w[r]
                        area[r] += w[r] * tp[r]
                continue
            if positive[i]:
                for r in range(size):
                    tied_tp[r] += w[r]
            else:
                for r in range(size):
                    tied_fp[r] += w[r]
            alone = last[i]
            if alone:
                for r in range(size):
                    area[r] += tied_fp[r] * (tp[r] + 0.5 * tied_tp[r])
                    tp[r] += tied_tp[r]
                    fp[r] += tied_fp[r]
                    ap[r] += tied_tp[r] * tp[r] / max(tp[r] + fp[r], 1.0)
                    tied_tp[r] = 0.0
                    tied_fp[r] = 0.0
        positives[start:stop], negatives[start:stop] = tp, fp
        pairs[start:stop], steps[start:stop] = area, ap
    return positives, negatives, pairs, steps


@_compiled
def cut(
    block: Ints,
    positive: Bools,
    score: Floats,
    last: Bools,
    weights: Floats,
    starts: Ints,
    sums: Floats,
    shares: Floats,
) -> tuple[Floats, Floats]:
    """Positives and summed score above each share of the mass, ties split in proportion.

    `starts` (segments,) are rows that open a tie, the first being 0; `sums`
    (3, segments + 1, resamples) holds rows, positives and score before each
    segment and in all. A cut is found in `sums` by bisection, then by walking
    one segment. Returns two float64 arrays (shares, resamples).

    >>> row = np.array([0, 0])
    >>> sums = np.array([[[0.0], [2.0]], [[0.0], [1.0]], [[0.0], [1.2]]])
    >>> yes, score = np.array([True, True]), np.array([0.9, 0.3])
    >>> cut(
    ...     row,
    ...     np.array([True, False]),
    ...     score,
    ...     yes,
    ...     np.ones((1, 1)),
    ...     np.array([0]),
    ...     sums,
    ...     np.array([0.5]),
    ... )
    (array([[1.]]), array([[0.9]]))
    """
    segments, resamples = len(starts), weights.shape[1]
    positives, scores = np.empty((len(shares), resamples)), np.empty((len(shares), resamples))
    for k in range(len(shares)):
        for r in range(resamples):
            target = shares[k] * sums[0, segments, r]
            low, high = 0, segments - 1  # the last segment that starts at or before the target
            while low < high:
                middle = (low + high + 1) // 2
                if sums[0, middle, r] <= target:
                    low = middle
                else:
                    high = middle - 1
            mass, above, total = sums[0, low, r], sums[1, low, r], sums[2, low, r]
            end = starts[low + 1] if low + 1 < segments else len(block)
            tied_mass, tied_positive = 0.0, 0.0
            for i in range(starts[low], end):
                w = weights[block[i], r]
                tied_mass += w
                if positive[i]:
                    tied_positive += w
                if not last[i]:
                    continue
                fraction = min((target - mass) / tied_mass, 1.0) if tied_mass > 0 else 0.0
                above += fraction * tied_positive
                total += fraction * tied_mass * score[i]
                mass += tied_mass
                if mass >= target:
                    break
                tied_mass, tied_positive = 0.0, 0.0
            positives[k, r], scores[k, r] = above, total
    return positives, scores
