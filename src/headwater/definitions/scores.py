"""Predictions that were made elsewhere, as `backtest(scores=)` judges them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headwater.definitions.checks import check, check_list, check_text
from headwater.definitions.definition import Definition
from headwater.definitions.model import Task
from headwater.errors import UsageError

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike


@dataclass(frozen=True, eq=False)
class Scores(Definition):
    """A table with a row for each request: its identity, its time, its label, and the score that
    each level gave it.

    Args:
        table: a frame, or the path of a parquet or csv file. All rows are judged: give test rows
            only, which no level was trained on.
        id: the column, or columns, that identify a request; each occurs once.
        time: the column with the request time, a timestamp with a time zone.
        label: the column with the outcome: numbers or booleans; of several classes, strings or
            integers.
        levels: the columns of scores, from stale to fresh; every other column of floats, or of
            lists of them, in the table's order, where None. Of several classes a score is a list or
            an array with the probability of each class.
        task: "binary", "multiclass", "regression" or `Ranking(group, item)`; None: multiclass where
            scores are lists, binary where labels are 0 and 1, else a regression.
        classes: the order of the probabilities in each list; None: the classes among the labels, in
            rising order.

    Further columns can be sliced by, and named by `Evaluation(blocks=)`.

    >>> import polars as pl
    >>> Scores(
    ...     pl.DataFrame({"id": [1], "time": [0], "label": [1], "daily": [0.4], "hourly": [0.8]})
    ... ).time
    'time'
    """

    table: TableLike | str | Path
    id: str | Sequence[str] = "id"
    time: str = "time"
    label: str = "label"
    levels: Sequence[str] | None = None
    task: Task | None = None
    classes: Sequence[str | int] | None = None

    def __post_init__(self) -> None:
        for name in ("time", "label"):
            check_text(getattr(self, name), f"Scores: {name}", "the name of a column", UsageError)
        if self.levels is not None:
            give = "a list of at least one column of scores, from stale to fresh"
            check_list(self.levels, str, "Scores: levels", give, least=1, error=UsageError)
        if self.classes is not None:
            give = "a list of at least two different classes, in the order of the probabilities"
            listed = isinstance(self.classes, Collection) and not isinstance(self.classes, str)
            different = listed and len(set(self.classes)) == len(self.classes) >= 2
            check(different, self.classes, "Scores: classes", give, UsageError)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that identify a request."""
        return (self.id,) if isinstance(self.id, str) else tuple(self.id)
