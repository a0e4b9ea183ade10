"""Intervals by sign flips, where a few blocks have most of the rows of the test.

A bootstrap of blocks, and an error that is read off waves over them, take each block for one of
many. Where a few blocks have most of the rows, a third of the resamples leaves out the largest one,
and their spread is that of the others, which have next to no weight in the value. By the shares s
of the rows, blocks weigh like 1 / sum(s^2) equal ones (Kish's effective number). With fewer than
six of these, a claim at 5 % is wrong in 10 to 15 % of cases.

Sign flips need neither equal blocks nor many. The value less the truth is a sum with one part of
each block: its influence, and its share of the value less the truth. If parts are independent, and
as likely above 0 as below it, then the sum is as likely as that with any of their signs turned. A
truth lies in the interval unless its sum is among the largest 5 % of all of these. Eight of eight
blocks that show a gain have p = 1/128, however uneven they are.

    influence   (1 + s) x (the value with the block counted twice - the value)

Source: Canay, Romano and Shaikh, "Randomization tests under an approximate symmetry assumption",
2017; Kish, "Survey sampling", 1965 (effective number); MacKinnon and Webb, "Wild bootstrap
inference for wildly different cluster sizes", 2017 (what a few large clusters do to other methods).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headwater.backtesting.serial_dependence import FEWEST_WAVES, student_quantile
from headwater.kernel.arrays import F64, I64
from headwater.metrics.metric import Blocks

_EVERY = 13  # up to so many blocks, every combination of signs is tried: 4,096
_SOME = 4_096  # combinations, where blocks are more
# of more blocks than both, the largest stay alone, and the others are dealt into so many groups
_ALONE, _TOGETHER = 48, 16


def effective(index: I64) -> float:
    """As many equal blocks as the rows' blocks weigh like; NaN without rows.

    Args:
        index: the block of each row, int64 (rows), 0 or more.

    >>> [round(effective(np.array(index)), 2) for index in ([0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 1])]
    [3.0, 1.38]
    """
    rows = np.bincount(index)
    return float(rows.sum() ** 2 / (rows**2).sum()) if len(index) else math.nan


def are_few(effective_blocks: float) -> bool:
    """Whether the error cannot be read off blocks that weigh like so many equal ones."""
    return effective_blocks < FEWEST_WAVES


def doubled(blocks: Blocks) -> tuple[Blocks, F64]:
    """The rows with each block in turn counted twice, one a column after the first, and the share
    of rows of each: float64 (blocks,).

    Of very many blocks the small ones are dealt into groups.
    """
    _, index = np.unique(blocks.index, return_inverse=True)
    rows = np.bincount(index)
    if len(rows) > _ALONE + _TOGETHER:
        rank = np.empty(len(rows), np.int64)
        rank[np.argsort(-rows, kind="stable")] = np.arange(len(rows))
        index = np.where(rank < _ALONE, rank, _ALONE + rank % _TOGETHER)[index]
        rows = np.bincount(index)
    weights = np.hstack([np.ones((len(rows), 1)), 1 + np.eye(len(rows))])
    return Blocks(index.astype(np.int64), weights), rows / rows.sum()


@dataclass(frozen=True, eq=False)
class SignFlips:
    """A value, the influence of each block on it and the block's share of the rows: float64
    (blocks,) each.

    >>> gains = np.array([0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.4, 0.2])
    >>> flips = SignFlips(float(gains.mean()), (gains - gains.mean()) / 8, np.full(8, 1 / 8))
    >>> [round(end, 3) for end in flips.interval(0.05)], round(flips.p * 128)
    ([0.133, 0.3], 1)
    """

    value: float
    influence: F64
    share: F64

    @classmethod
    def from_doubled(cls, value: float, twice: F64, share: F64) -> SignFlips | None:
        """From the value with each block counted twice, float64 (blocks,); None where one is not
        defined.
        """
        influence = (1 + share) * (twice - value)
        if not np.isfinite(influence).all() or not math.isfinite(value):
            return None
        return cls(value, influence - share * influence.sum(), share)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The interval that leaves out a truth in so many of 1 cases."""
        below, above = self._reached
        combinations = int(alpha * len(above) + 1e-9)
        wider = 1.0
        # so small a share has no combination; beyond the last one the interval grows as Student's
        if combinations < 1:
            freedom = len(self.share) - 1
            wider = student_quantile(1 - alpha / 2, freedom) / student_quantile(
                1 - 1 / len(above) / 2, freedom
            )
        at = min(max(combinations, 1), len(above) - 1)
        return self.value - wider * float(below[at]), self.value + wider * float(above[at])

    @property
    def p(self) -> float:
        """The share of combinations of signs with a sum at least as far from 0 as the value."""
        parts = self.influence + self.share * self.value
        sums = np.abs(_signs(len(parts)) @ parts)
        return float((sums >= abs(self.value) * (1 - 1e-12)).mean())

    @property
    def _reached(self) -> tuple[F64, F64]:
        """By combination of signs, how far below and above the value a truth lies that it still
        reaches, the furthest first: float64 each.

        With signs g a truth at a distance x is reached where |sum(g x influence) - x sum(g x
        share)| >= |x|.
        """
        signs = _signs(len(self.share))
        along, with_share = signs @ self.influence, signs @ self.share
        same = np.abs(with_share) > 1 - 1e-12  # no sign is turned: any truth is reached
        plus, minus = np.where(same, 1.0, 1 + with_share), np.where(same, 1.0, 1 - with_share)
        above = np.where(same, np.inf, np.maximum(along / plus, -along / minus))
        below = np.where(same, np.inf, np.maximum(along / minus, -along / plus))
        return -np.sort(-below), -np.sort(-above)


@lru_cache(maxsize=64)
def _signs(blocks: int) -> F64:
    """Combinations of signs, the first without any turned: float64 (combinations, blocks). The
    first block keeps its sign, since all signs turned are the same combination.
    """
    if blocks <= _EVERY:
        bits = np.arange(2 ** (blocks - 1))[:, None] >> np.arange(blocks - 1) & 1
        return np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])
    signs = np.random.default_rng(0).choice(np.array([1.0, -1.0]), (_SOME, blocks))
    signs[:, 0] = 1.0
    signs[0] = 1.0
    return signs
