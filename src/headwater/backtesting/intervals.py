"""Metrics of several levels with block-bootstrap intervals, on the same resamples for every level.

Rows of one day share weather, campaigns and frauds, so a bootstrap of single
rows would promise too much. Whole blocks (days) are drawn with replacement,
and a level's metric is computed on each draw.

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993
(percentile interval); Künsch, "The jackknife and the bootstrap for general
stationary observations", 1989 (blocks).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headwater.backtesting.metrics.base import Blocks, Floats, Metric, Scored
from headwater.backtesting.result import Estimate
from headwater.errors import DataError, UsageError, nearest

MIN_BLOCKS = 8  # with fewer blocks a percentile interval covers far less than it says
MIN_DEFINED = 0.95  # share of resamples on which a metric must be defined for an interval


def resample_weights(blocks: ArrayLike, n_resamples: int = 1000, seed: int = 0) -> Blocks:
    """Draw the resamples: as many blocks as there are, with replacement, `n_resamples` times.

    `blocks` holds each row's block, an integer (a day number, for example) of
    shape (rows,). The draw depends on the set of blocks and the seed, not on
    the order of rows.

    Raises UsageError if `blocks` are not integers or `n_resamples` is below 0.

    >>> drawn = resample_weights([20, 20, 21], n_resamples=4, seed=0)
    >>> drawn.index
    array([0, 0, 1])
    >>> drawn.weights.shape, drawn.weights.sum(axis=0).tolist()
    ((2, 5), [2.0, 2.0, 2.0, 2.0, 2.0])
    """
    given = np.asarray(blocks)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise UsageError(f"blocks are {given.dtype} of shape {given.shape}; pass one integer a row, such as the day number")
    if n_resamples < 0:
        raise UsageError(f"n_resamples is {n_resamples}; pass 0 (no intervals) or more, 1000 as a rule")
    distinct, index = np.unique(given, return_inverse=True)
    weights = np.ones((len(distinct), 1 + n_resamples))
    if len(distinct):
        even = np.full(len(distinct), 1 / len(distinct))
        weights[:, 1:] = np.random.default_rng(seed).multinomial(len(distinct), even, n_resamples).T
    return Blocks(index.astype(np.int64), weights)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Every metric of every level, plain and on each resample.

    `values` is float64 (levels, metrics), `replicates` float64 (levels,
    metrics, resamples), both NaN where a metric is undefined; `blocks` is the
    number of blocks with rows.

    >>> from headwater.backtesting.metrics import resolve
    >>> blocks = resample_weights([1, 2, 3], 10)
    >>> found = evaluate(resolve(["mae"], "regression"), [1, 2, 3], {"daily": [1, 2, 5]}, blocks)
    >>> found.estimates("daily")
    {'mae': Estimate(value=0.6666666666666666, low=nan, high=nan)}
    >>> found.caution
    'only 3 days have rows, and an interval needs 8'
    """

    levels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Floats
    replicates: Floats
    blocks: int

    def position(self, level: str) -> int:
        """The place of a level in the arrays; UsageError if there is none of that name."""
        if level not in self.levels:
            raise UsageError(f"there is no level {level!r}; {nearest(level, self.levels)}")
        return self.levels.index(level)

    def estimates(self, level: str) -> dict[str, Estimate]:
        """Each metric of one level with its 95 % interval, in the order of the metrics."""
        at = self.position(level)
        return {
            metric.name: Estimate(float(self.values[at, m]), *interval(self.replicates[at, m], self.blocks))
            for m, metric in enumerate(self.metrics)
        }

    @property
    def caution(self) -> str:
        """Why there are no intervals, in words; empty if there are enough days."""
        return too_few(self.blocks)


def too_few(blocks: int) -> str:
    """Say that so few days allow no interval; empty if there are enough.

    >>> too_few(1), too_few(8)
    ('only 1 day has rows, and an interval needs 8', '')
    """
    if blocks >= MIN_BLOCKS:
        return ""
    return f"only {blocks} {'day has' if blocks == 1 else 'days have'} rows, and an interval needs {MIN_BLOCKS}"


def interval(replicates: Floats, blocks: int, looks: int = 1) -> tuple[float, float]:
    """The 2.5 % and 97.5 % points of `replicates` (resamples,), leaving undefined ones out.

    Where `looks` such intervals are read together, each is widened so that all of them hold at once with 95 % (Bonferroni).
    Both are NaN with fewer than 8 blocks, and where more than 5 % of the
    replicates are undefined: what is left would not be a fair sample.

    >>> interval(np.arange(101.0), blocks=30)
    (2.5, 97.5)
    >>> interval(np.arange(101.0), blocks=30, looks=5)
    (0.5, 99.5)
    >>> interval(np.arange(101.0), blocks=7)
    (nan, nan)
    """
    defined = replicates[~np.isnan(replicates)]
    if blocks < MIN_BLOCKS or not defined.size or defined.size < MIN_DEFINED * replicates.size:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5 / looks, 100 - 2.5 / looks))
    return float(low), float(high)


def evaluate(
    metrics: Sequence[Metric],
    y: ArrayLike,
    scores: Mapping[str, ArrayLike],
    blocks: Blocks,
    thresholds: Mapping[str, float] | None = None,
) -> Evaluation:
    """Compute every metric of every level, plain and on each resample.

    `y` has shape (rows,): 0 or 1, or the number that a regression predicts.
    `scores` maps each level, in order from stale to fresh, to its scores
    (rows,) for the same rows; `thresholds` maps it to its operating threshold
    (`precision` and `recall` need it). For a part of the rows pass the parts
    and `blocks.select(rows)`; for values alone pass `Blocks.whole(rows)`.

    All levels see the same resamples, so differences between them are paired.
    Levels run in threads. The result does not depend on the order of rows
    (but for rounding), and is the same every time.

    Raises DataError if lengths differ, a value is missing, or `y` of a binary
    metric is not 0 or 1; UsageError for a missing threshold.

    >>> from headwater.backtesting.metrics import resolve
    >>> blocks = resample_weights([1, 1, 2, 2], 100)
    >>> evaluate(resolve(["auc"], "binary"), [0, 1, 0, 1], {"daily": [0.1, 0.9, 0.3, 0.2]}, blocks).values
    array([[0.75]])
    """
    outcome = _checked("y", y, blocks)
    if any(metric.task == "binary" for metric in metrics) and not np.isin(outcome, (0, 1)).all():
        raise DataError("y of a binary task holds values other than 0 and 1; map the outcome to 0 and 1 first")
    cuts = thresholds or {}
    rows = [
        Scored(level, outcome, _checked(f"scores of level {level!r}", score, blocks), blocks, cuts.get(level))
        for level, score in scores.items()
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(lambda level: [metric.compute(level) for metric in metrics], rows))
    both = np.array(found, dtype=np.float64).reshape(len(rows), len(metrics), blocks.weights.shape[1])
    return Evaluation(tuple(scores), tuple(metrics), both[..., 0], both[..., 1:], blocks.present)


def _checked(name: str, values: ArrayLike, blocks: Blocks) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != blocks.index.shape:
        rows = len(blocks.index)
        raise DataError(f"{name}: shape {array.shape}, but {rows} rows have a block; pass one value a row")
    if missing := np.count_nonzero(~np.isfinite(array)):
        raise DataError(f"{name}: {missing} values are missing or infinite; leave those rows out of all levels")
    return array
