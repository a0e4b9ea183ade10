"""Rows by falling score: what the metrics of order and of equal-mass bins are read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headwater.metrics.kernels import cut, walk
from headwater.metrics.metric import Bools, Floats, Ints, ScoredRows, ratio

# at most so many checkpoints along the sort; a cut then walks rows / 512, at least 256
_SEGMENTS = 512


@dataclass(frozen=True, eq=False)
class RankedScores:
    """The rows of one level by falling score; rows of equal score form one tie.

    Arrays of shape (rows,): `block` int64, `positive` bool, `score` float64,
    `last` bool (the row ends its tie).

    >>> from headwater.metrics.metric import Blocks
    >>> rows = ScoredRows(
    ...     "a", np.array([1.0, 0, 1, 0]), np.array([0.8, 0.8, 0.3, 0.1]), Blocks.whole(4)
    ... )
    >>> RankedScores.from_rows(rows).areas
    (array([0.625]), array([0.58333333]))
    """

    block: Ints
    positive: Bools
    score: Floats
    last: Bools
    weights: Floats  # (blocks, 1 + resamples)

    @classmethod
    def from_rows(cls, rows: ScoredRows) -> RankedScores:
        """Sort the rows of a level."""
        order = np.argsort(-rows.score, kind="stable")
        score = rows.score[order]
        last = (
            np.append(score[1:] != score[:-1], True) if score.size else np.zeros(0, dtype=np.bool_)
        )
        return cls(rows.blocks.index[order], rows.y[order] > 0, score, last, rows.blocks.weights)

    @cached_property
    def areas(self) -> tuple[Floats, Floats]:
        """AUC and average precision of every resample, each float64 (1 + resamples,).

        AUC is the Mann-Whitney statistic, a tied pair counting one half; NaN
        with one class. Average precision is the sum over distinct scores of
        the rise in recall times the precision there (scikit-learn's); NaN
        without positives.
        """
        positives, negatives, pairs, steps = walk(
            self.block, self.positive, self.last, self.weights
        )
        return ratio(pairs, positives * negatives), ratio(steps, positives)

    def at(self, shares: Sequence[float]) -> tuple[Floats, Floats]:
        """Positives and summed score among the top `shares` (0 to 1) of rows, in every resample.

        Returns two float64 arrays (shares, 1 + resamples). The top share is
        not rounded to whole rows, and a tie that it cuts is split in
        proportion: the expectation over random orders of the tied rows, so
        the order of the rows changes nothing.
        """
        if not self.score.size:
            nothing = np.zeros((len(shares), self.weights.shape[1]))
            return nothing, nothing
        starts, sums = self._checkpoints
        tops: tuple[Floats, Floats] = cut(
            self.block,
            self.positive,
            self.score,
            self.last,
            self.weights,
            starts,
            sums,
            np.asarray(shares),
        )
        return tops

    @cached_property
    def _checkpoints(self) -> tuple[Ints, Floats]:
        """First rows of the segments, and the sums before them.

        `starts` is int64 (segments,); `sums` is float64
        (3, segments + 1, 1 + resamples): rows, positives and score.
        """
        rows, (blocks, _) = len(self.score), self.weights.shape
        opens = np.flatnonzero(np.append(True, self.last[:-1]))  # a segment may not cut a tie
        wanted = np.arange(0, rows, max(256, -(-rows // _SEGMENTS)))
        starts = np.unique(opens[np.searchsorted(opens, wanted, side="right") - 1])
        segment = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, rows)))
        cell = segment * blocks + self.block
        sums = np.zeros((3, len(starts) + 1, self.weights.shape[1]))
        for row, values in enumerate((np.ones(rows), self.positive, self.score)):
            per_cell = np.bincount(cell, weights=values, minlength=len(starts) * blocks)
            sums[row, 1:] = np.cumsum(per_cell.reshape(-1, blocks), axis=0) @ self.weights
        return starts, sums
