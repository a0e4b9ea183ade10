"""Metrics, and the rows that they are computed on.

Every metric is computed for the plain rows and for all bootstrap resamples
together: a resample draws whole blocks (days), so it is a vector of block counts,
and most metrics are ratios of per-block sums times those counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from headwater.definitions.definition import Readable
from headwater.definitions.model import TASKS, TaskType
from headwater.errors import DataError, UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Column = NDArray[np.generic]
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Blocks:
    """The block (day) of each row, and how often each resample draws each block.

    `index` is int64 of shape (rows,): the row's position among the blocks.
    `weights` is float64 of shape (blocks, 1 + resamples): integers;
    column 0 is all ones, so that column 0 of every metric is its plain value.
    `successive`: the blocks are periods of time in order, and one may depend on the one before.
    `dependent`: days were shown to.

    >>> Blocks.whole(3).weights
    array([[1.]])
    """

    index: Ints
    weights: Floats
    successive: bool = False
    dependent: bool = False

    @classmethod
    def whole(cls, rows: int) -> Blocks:
        """All rows in one block and no resamples: for plain values, without intervals."""
        return cls(np.zeros(rows, dtype=np.int64), np.ones((1, 1)))

    def select(self, rows: Bools | Ints) -> Blocks:
        """The same resamples on a part of the rows, given as a mask or as positions (a slice of a
        report).

        >>> Blocks(np.array([0, 1, 1]), np.ones((2, 1))).select(np.array([True, False, True])).index
        array([0, 1])
        """
        return Blocks(self.index[rows], self.weights, self.successive, self.dependent)

    @cached_property
    def present(self) -> int:
        """The number of blocks that hold at least one row."""
        return int(np.unique(self.index).size)


@dataclass(frozen=True, eq=False)
class RowContext:
    """What all levels know of the rows: int64 (rows) group of each for a ranking, and columns of
    the labels by name, (rows,) each.
    """

    groups: Ints | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)

    def select(self, rows: Bools | Ints) -> RowContext:
        """The same of a part of the rows."""
        return RowContext(
            None if self.groups is None else self.groups[rows],
            {name: c[rows] for name, c in self.columns.items()},
        )


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """The rows of one level: outcome, score, block.

    `y` is float64 of shape (rows,): 0 or 1 (binary), the position of the class
    (multiclass), the value (regression), how relevant the item is (ranking).
    `score` is float64 (rows,), of a multiclass task (rows, classes); of a
    ranking it is the place in the list, 1 the first, infinity for an item that is not in it.
    `threshold` is the operating threshold and `cheapest` the one of least
    cost, one number or one a row, None if unknown. What several metrics need
    (the sort) is computed once and kept.

    >>> rows = ScoredRows("daily", np.array([1.0, 0.0]), np.array([0.9, 0.2]), Blocks.whole(2))
    >>> rows.total(rows.y)
    array([1.])
    """

    level: str
    y: Floats
    score: Floats
    blocks: Blocks
    threshold: float | Floats | None = None
    cheapest: float | Floats | None = None
    context: RowContext = field(default_factory=RowContext)
    _cache: dict[object, object] = field(default_factory=dict, repr=False)

    def total(self, values: Floats | Bools) -> Floats:
        """The sum of `values` (rows,) in each resample: float64 (1 + resamples,), the plain sum
        first.
        """
        sums = np.bincount(self.blocks.index, weights=values, minlength=len(self.blocks.weights))
        totals: Floats = sums @ self.blocks.weights
        return totals

    def once(self, make: Callable[[ScoredRows], Made]) -> Made:
        """What `make` makes of these rows, made once and kept."""
        if make not in self._cache:
            self._cache[make] = make(self)
        return cast("Made", self._cache[make])

    @cached_property
    def probability(self) -> Floats:
        """The scores, once it is known that they are probabilities.

        Raises DataError if one lies outside 0 to 1.
        """
        if self.score.size and (self.score.min() < 0 or self.score.max() > 1):
            raise DataError(
                f"scores of level {self.level!r} run from {self.score.min():g} to "
                f"{self.score.max():g}, but log_loss, brier and calibration need probabilities "
                "from 0 to 1; score with predict_proba, or ask for metrics of order only, such "
                "as auc"
            )
        return self.score

    @cached_property
    def flagged(self) -> Bools:
        """Whether each row's score reaches the operating threshold, bool (rows,).

        Raises UsageError if no threshold was given.
        """
        if self.threshold is None:
            raise UsageError(
                f"precision and recall need an operating threshold, and level {self.level!r} has "
                "none; pass thresholds={level: operating_threshold(y_train, score_train)} or "
                "ask for precision@10% instead"
            )
        flagged: Bools = self.score >= self.threshold
        return flagged


@dataclass(frozen=True)
class Metric(Readable):
    """One metric of a task.

    `compute` maps the rows of a level to float64 (1 + resamples,): the plain
    value first, then one value a resample, NaN where the metric is undefined.
    `min_lift` is the smallest change worth having: absolute, or a share of the
    first level's value if `relative`. `task` None fits every task. `columns` are
    those of the labels that it reads; `cut` says which threshold it needs, and
    `span` what values it can have.

    >>> from headwater.metrics import resolve
    >>> resolve(["brier"], "binary")[0].higher_is_better
    False
    """

    name: str
    task: str | None
    compute: Callable[[ScoredRows], Floats] = field(repr=False)
    higher_is_better: bool = True
    min_lift: float = 0.005
    relative: bool = False
    columns: tuple[str, ...] = ()
    cut: Literal["", "operating", "cheapest"] = ""
    span: tuple[float, float] = (0.0, 1.0)
    by_day: bool = False  # it reads the days from the blocks

    def fits(self, task: str) -> bool:
        """Whether it can be asked of a task, by name.

        >>> from headwater.metrics import resolve
        >>> [resolve(["mae"], "regression")[0].fits(task) for task in ("regression", "binary")]
        [True, False]
        """
        return self.task is None or self.task == task

    @property
    def task_type(self) -> TaskType | None:
        """The task that it is of; None where it fits every one."""
        return None if self.task is None else TASKS[self.task]

    def worth(self, first_value: float) -> float:
        """The smallest change worth having, in the metric's unit, given the first level's value.

        >>> Metric("mae", "regression", lambda rows: rows.y, False, 0.005, relative=True).worth(
        ...     20.0
        ... )
        0.1
        """
        return self.min_lift * abs(first_value) if self.relative else self.min_lift


@dataclass(frozen=True)
class Family:
    """The metrics of one file: the default ones in display order, more that are known by name, and
    how to read a name with a parameter.

    >>> Family(()).parse("auc") is None
    True
    """

    metrics: tuple[Metric, ...]
    parse: Callable[[str], Metric | None] = lambda _: None
    pattern: str = ""  # how a parameterised name is written, for messages
    more: tuple[Metric, ...] = ()


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide elementwise; NaN, and no warning, where the denominator is not above 0.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    array([0.5, nan])
    """
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
