"""Metrics of several levels with block-bootstrap intervals, on the same resamples for every level.

Rows of one day share weather, campaigns and frauds, so a bootstrap of single
rows would promise too much. Whole blocks (days) are drawn with replacement,
and a level's metric is computed on each draw.

Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989
(blocks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headwater import settings
from headwater.backtesting.row_blocks import MIN_BLOCKS
from headwater.backtesting.serial_dependence import BlockSeries
from headwater.backtesting.sign_flips import SignFlips, are_few, doubled, effective
from headwater.backtesting.spread import Spread
from headwater.errors import DataError, UsageError, nearest
from headwater.metrics.metric import Blocks, Floats, Metric, RowContext, ScoredRows
from headwater.results.estimate import Estimate


def resample_weights(
    blocks: ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
    *,
    successive: bool = False,
    dependent: bool = False,
) -> Blocks:
    """Draw the resamples: as many blocks as there are, with replacement, `n_resamples` times.

    `blocks` holds each row's block, an integer (a day number, for example) of shape (rows,). The
    draw depends on the set of blocks and the seed, not on the order of rows. `successive`: they
    number periods of time, and one may depend on the one before; `dependent`: a test showed that
    days do.

    Raises UsageError if `blocks` are not integers or `n_resamples` is below 0.

    >>> drawn = resample_weights([20, 20, 21], n_resamples=4, seed=0)
    >>> drawn.index
    array([0, 0, 1])
    >>> drawn.weights.shape, drawn.weights.sum(axis=0).tolist()
    ((2, 5), [2.0, 2.0, 2.0, 2.0, 2.0])
    """
    labels = np.asarray(blocks)
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise UsageError(
            f"blocks are {labels.dtype} of shape {labels.shape}; pass one integer a row, such as "
            "the day number"
        )
    if n_resamples < 0:
        raise UsageError(
            f"n_resamples is {n_resamples}; pass 0 (no intervals) or more, 1000 as a rule"
        )
    distinct, index = np.unique(labels, return_inverse=True)
    weights = np.ones((len(distinct), 1 + n_resamples))
    if len(distinct):
        even = np.full(len(distinct), 1 / len(distinct))
        weights[:, 1:] = np.random.default_rng(seed).multinomial(len(distinct), even, n_resamples).T
    return Blocks(index.astype(np.int64), weights, successive, dependent)


@dataclass(frozen=True, eq=False)
class Variation:
    """How a metric varies when models are trained again.

    `values` is float64 (levels, metrics, refits), with 0 refits if each level was trained once, and
    `replicates` float64 (levels, metrics, resamples, refits) the same on each resample; `share` is
    how much of the variance between refits the estimate has.
    """

    values: Floats
    replicates: Floats
    share: float

    @classmethod
    def none(cls, levels: int, metrics: int) -> Variation:
        """Every level was trained once."""
        return cls(np.empty((levels, metrics, 0)), np.empty((levels, metrics, 0, 0)), 0.0)

    def estimates(self, at: int, m: int, than: int | None) -> tuple[Floats, Floats]:
        """The values (refits,) and replicates (resamples, refits) of a level in a metric, or of its
        difference to another level.
        """
        if not self.values.size:
            return np.empty(0), np.empty((0, 0))
        if than is None:
            return self.values[at, m], self.replicates[at, m]
        return self.values[at, m] - self.values[than, m], self.replicates[at, m] - self.replicates[
            than, m
        ]


@dataclass(frozen=True, eq=False)
class ResampledMetrics:
    """Every metric of every level, plain and on each resample.

    `values` is float64 (levels, metrics), `replicates` float64 (levels,
    metrics, resamples), both NaN where a metric is undefined, both means over
    refits where there are any; `blocks` is the number of blocks with rows.

    >>> from headwater.metrics import resolve
    >>> blocks = resample_weights([1, 2, 3], 10)
    >>> found = evaluate(resolve(["mae"], "regression"), [1, 2, 3], {"daily": [1, 2, 5]}, blocks)
    >>> found.estimates("daily")
    {'mae': Estimate(0.666667, low=nan, high=nan)}
    >>> found.caution
    'only 3 days have rows, and an interval needs 8'
    """

    levels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    values: Floats
    replicates: Floats
    blocks: int
    refits: Variation = field(default_factory=lambda: Variation.none(0, 0))
    on: str = ""  # where alone intervals hold, such as "on these 2 days"; no verdict is then a LIFT
    unit: str = "days"
    needs: str = ""  # what intervals that hold there alone lack
    series: BlockSeries | None = None  # of blocks of time with rows
    # (levels, metrics, blocks): with each block counted twice, where blocks are too uneven for
    # resamples
    twice: Floats | None = None
    shares: Floats | None = None  # (blocks,): of the rows, of these blocks

    def position(self, level: str) -> int:
        """The place of a level in the arrays; UsageError if there is none of that name."""
        if level not in self.levels:
            raise UsageError(f"unknown level {level!r}; {nearest(level, self.levels)}")
        return self.levels.index(level)

    def estimates(self, level: str) -> dict[str, Estimate]:
        """Each metric of one level with its 95 % interval, in the order of the metrics."""
        at = self.position(level)
        return {
            metric.name: Estimate(
                float(self.values[at, m]),
                *np.clip(self.spread(at, m).interval(), *metric.span).tolist(),
            )
            for m, metric in enumerate(self.metrics)
        }

    def spread(self, at: int, m: int, than: int | None = None) -> Spread:
        """How sure metric `m` of the level at `at` is, or its difference to the level at `than`."""
        value, draws = self.values[at, m], self.replicates[at, m]
        if than is not None:
            value, draws = value - self.values[than, m], draws - self.replicates[than, m]
        of_refits = (*self.refits.estimates(at, m, than), self.refits.share)
        return Spread(
            float(value),
            draws,
            self.blocks,
            *of_refits,
            self.series,
            self._flips(float(value), at, m, than),
        )

    def _flips(self, value: float, at: int, m: int, than: int | None) -> SignFlips | None:
        if self.twice is None or self.shares is None:
            return None
        twice = self.twice[at, m] if than is None else self.twice[at, m] - self.twice[than, m]
        return SignFlips.from_doubled(value, twice, self.shares)

    def sure(self, value: float, draws: Floats) -> Spread:
        """How sure a number is that is made of metrics, such as a share of a lift: its value, and
        it on each resample (resamples,).
        """
        return Spread(value, draws, self.blocks, np.empty(0), np.empty((0, 0)), 0.0, self.series)

    @property
    def caution(self) -> str:
        """Why there are no intervals, in words; empty if there are enough days."""
        return too_few(self.blocks, self.unit)


def too_few(blocks: int, unit: str = "days") -> str:
    """Say that so few blocks allow no interval; empty if there are enough.

    >>> too_few(1), too_few(8), too_few(5, "values of 'user'")
    ('only 1 day has rows, and an interval needs 8', '', "only 5 values of 'user' have rows, and an interval needs 8")
    """  # noqa: E501 (output as it is printed)
    if blocks >= MIN_BLOCKS:
        return ""
    singular = {"days": "day", "hours": "hour"}.get(unit, unit)
    return (
        f"only {blocks} {f'{singular} has' if blocks == 1 else f'{unit} have'} rows, and an "
        "interval "
        f"needs {MIN_BLOCKS}"
    )


def evaluate(
    metrics: Sequence[Metric],
    y: ArrayLike,
    scores: Mapping[str, ArrayLike],
    blocks: Blocks,
    thresholds: Mapping[str, float | Floats] | None = None,
    *,
    cheapest: Mapping[str, float | Floats] | None = None,
    context: RowContext | None = None,
) -> ResampledMetrics:
    """Compute every metric of every level, plain and on each resample.

    `y` has shape (rows,), and `scores` maps each level, in order from stale to
    fresh, to its scores (rows,) or (rows, classes) for the same rows; see
    `ScoredRows`. `thresholds` maps it to its operating threshold (`precision` and
    `recall` need it), `cheapest` to the one of least cost, each one number or
    one a row. `context` holds further inputs of metrics. For a part of the rows
    pass the parts and `blocks.select(rows)`; for values alone pass
    `Blocks.whole(rows)`.

    All levels see the same resamples, so differences between them are paired.
    Levels run in threads. The result does not depend on the order of rows
    (but for rounding), and is the same every time.

    Raises DataError if lengths differ, a value is missing, or `y` of a binary
    metric is not 0 or 1; UsageError for a missing threshold.

    >>> from headwater.metrics import resolve
    >>> blocks = resample_weights([1, 1, 2, 2], 100)
    >>> evaluate(
    ...     resolve(["auc"], "binary"), [0, 1, 0, 1], {"daily": [0.1, 0.9, 0.3, 0.2]}, blocks
    ... ).values
    array([[0.75]])
    """
    outcome = _checked("y", y, blocks)
    tasks = [metric.task_type for metric in metrics if metric.task_type is not None]
    if any(task.positives for task in tasks) and not np.isin(outcome, (0, 1)).all():
        raise DataError(
            "y of a binary task holds values other than 0 and 1; map the outcome to 0 and 1 first"
        )
    cuts, least, places = thresholds or {}, cheapest or {}, any(task.lists for task in tasks)
    context = context or RowContext()
    rows = [
        ScoredRows(
            level,
            outcome,
            _checked(f"scores of level {level!r}", score, blocks, places),
            blocks,
            cuts.get(level),
            least.get(level),
            context,
        )
        for level, score in scores.items()
    ]
    with ThreadPoolExecutor(settings.threads()) as pool:
        results = list(pool.map(lambda level: [metric.compute(level) for metric in metrics], rows))
    both = np.array(results, dtype=np.float64).reshape(
        len(rows), len(metrics), blocks.weights.shape[1]
    )
    series = _series(blocks) if blocks.successive else None
    twice, shares = _counted_twice(metrics, rows)
    return ResampledMetrics(
        tuple(scores),
        tuple(metrics),
        both[..., 0],
        both[..., 1:],
        blocks.present,
        series=series,
        twice=twice,
        shares=shares,
    )


def _counted_twice(
    metrics: Sequence[Metric], levels: Sequence[ScoredRows]
) -> tuple[Floats | None, Floats | None]:
    """Every metric of every level with each block counted twice, (levels, metrics, blocks), and the
    shares of the blocks; None where resamples do. A metric that is a mean over days weighs days
    alike, and has none.
    """
    blocks = levels[0].blocks if levels else Blocks.whole(0)
    if (
        blocks.present < MIN_BLOCKS
        or blocks.weights.shape[1] <= 1
        or not are_few(effective(blocks.index))
    ):
        return None, None
    again, shares = doubled(blocks)
    undefined = np.full(len(shares), np.nan)
    twice = [
        [
            undefined
            if metric.by_day
            else metric.compute(replace(rows, blocks=again, _cache={}))[1:]
            for metric in metrics
        ]
        for rows in levels
    ]
    return np.array(twice, np.float64), shares


def _series(blocks: Blocks) -> BlockSeries | None:
    """The blocks of time with rows, where there are enough for an interval."""
    with_rows = np.unique(blocks.index)
    if len(with_rows) < MIN_BLOCKS or blocks.weights.shape[1] <= 1:
        return None
    return BlockSeries(blocks.weights[with_rows, 1:], blocks.dependent)


def pooled(
    seeds: Sequence[ResampledMetrics], days: Sequence[ResampledMetrics] = ()
) -> ResampledMetrics:
    """The mean of evaluations of the same rows, one a refit with another seed.

    `days` are those of refits on resampled training days: they tell how much the metric varies, and
    leave the mean as it is.
    """
    first = seeds[0]
    if len(seeds) == 1 and len(days) < 2:
        return first
    values, replicates = (
        np.mean([getattr(evaluation, name) for evaluation in seeds], axis=0)
        for name in ("values", "replicates")
    )
    again, share = (days, 1.0) if days else (seeds, 1 / len(seeds))
    refits = Variation(
        np.stack([evaluation.values for evaluation in again], axis=-1),
        np.stack([evaluation.replicates for evaluation in again], axis=-1),
        share,
    )
    twice = [evaluation.twice for evaluation in seeds if evaluation.twice is not None]
    mean = np.mean(twice, axis=0) if twice else None
    return replace(first, values=values, replicates=replicates, refits=refits, twice=mean)


def _checked(
    name: str,
    values: ArrayLike,
    blocks: Blocks,
    places: bool = False,  # noqa: FBT001, FBT002
) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape[:1] != blocks.index.shape:
        rows = len(blocks.index)
        raise DataError(
            f"{name}: shape {array.shape}, but {rows} rows have a block; pass one value a row"
        )
    bad = np.isnan(array) | (array < 1) if places else ~np.isfinite(array)
    if missing := np.count_nonzero(bad):
        raise DataError(
            f"{name}: {missing} values are missing or infinite; leave those rows out of all levels"
        )
    return array
