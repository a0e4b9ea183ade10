"""The tasks of models, as properties that models, metrics, splits, serving and reports use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwater.plugins import Rows

TaskName = Literal["binary", "multiclass", "regression"]
"""The tasks that are written as a string: `Model(task="binary")`."""


@dataclass(frozen=True)
class TaskType:
    """One task, as properties. Other code tests the properties, never the name.

    Args:
        name: in one word.
        headline: the metric that a backtest is judged by unless it says otherwise.
        estimator: which of LightGBM's estimators learns it by default.
        objective: LightGBM's; None where it chooses by the number of classes.
        positives: the outcome is 0 or 1. Both must be there; thresholds, curves, costs and the
            positive rate are of the rows of 1.
        classes: the label is one of several classes, a string or an integer; a score is one number
            for each.
        values: scores are in the unit of the label.
        lists: rows are the candidates of lists, and a score only orders within one; the definition
            is a `Ranking`.
    """

    name: str
    headline: str
    estimator: Literal["classifier", "regressor", "ranker"]
    objective: str | None = None
    positives: bool = False
    classes: bool = False
    values: bool = False
    lists: bool = False

    @property
    def separates(self) -> bool:
        """Whether it tells classes apart, so that scores may be probabilities."""
        return self.positives or self.classes


_ROWS = (
    TaskType("binary", "auc", "classifier", "binary", positives=True),
    TaskType("multiclass", "log_loss", "classifier", classes=True),
    TaskType("regression", "mae", "regressor", "regression_l1", values=True),
    TaskType("ranking", "ndcg@10", "ranker", "lambdarank", lists=True),
)

TASKS = Rows({row.name: row for row in _ROWS})


def written() -> tuple[str, ...]:
    """The tasks that are written as a string; of the others the definition says more.

    >>> written()
    ('binary', 'multiclass', 'regression')
    """
    return tuple(name for name, row in TASKS.items() if not row.lists)
