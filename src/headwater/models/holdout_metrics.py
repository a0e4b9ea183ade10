"""Metrics of a fitted model on held-out rows with a known outcome: those of a backtest, without
intervals.
"""

from __future__ import annotations

from collections.abc import Mapping

from headwater.definitions.model import TaskType
from headwater.kernel.arrays import F64
from headwater.metrics import Blocks, RowContext, ScoredRows, resolve
from headwater.metrics.places import places
from headwater.models.fit import Fitted
from headwater.models.outcomes import LabelValues

# besides the task's headline metric
_MEASURED = {"auc", "average_precision", "accuracy", "log_loss", "mae", "rmse"}
_OF_PROBABILITIES = frozenset({"log_loss"})


def measure(fitted: Fitted, labelled: LabelValues, score: F64) -> Mapping[str, float]:
    """The task's main metrics, by name, as a backtest computes them; NaN where the rows do not
    tell.

    Binary: auc, average_precision, and log_loss of probabilities. Multiclass: accuracy, and
    log_loss of probabilities. Regression: mae, rmse. Ranking: ndcg@10. A task of a plugin has its
    headline metric.

    Args:
        fitted: what gave the scores.
        known: the outcomes.
        score: float64, (rows) or (rows, classes), as `Fitted.score` gives it.
    """
    probable = fitted.in_units_of_label and (
        not score.size or (score.min() >= 0 and score.max() <= 1)
    )
    if labelled.groups is not None:
        return measure_places(fitted.task, labelled, places(labelled.groups, score))
    return _measured(
        fitted.task, labelled, score, left_out=frozenset() if probable else _OF_PROBABILITIES
    )


def measure_places(task: TaskType, labelled: LabelValues, position: F64) -> Mapping[str, float]:
    """The same of a ranking, from the place of each row in its list: float64 (rows), 1 the first,
    infinity where it is not in it.
    """
    return _measured(task, labelled, position, left_out=_OF_PROBABILITIES)


def _measured(
    task: TaskType, labelled: LabelValues, score: F64, left_out: frozenset[str]
) -> dict[str, float]:
    rows = ScoredRows(
        "the held-out rows",
        labelled.y,
        score,
        Blocks.whole(len(labelled.y)),
        context=RowContext(labelled.groups),
    )
    chosen = [m for m in resolve(None, task.name) if m.name in _MEASURED or m.name == task.headline]
    return {m.name: float(m.compute(rows)[0]) for m in chosen if m.name not in left_out}
