"""The metrics of a backtest: one file a family, one line in FAMILIES, in display order."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from headwater.definitions.evaluations import NamedMetric
from headwater.definitions.model import TASKS
from headwater.errors import UsageError, nearest
from headwater.metrics.curves import curves
from headwater.metrics.metric import Blocks, Family, Metric, RowContext, ScoredRows
from headwater.metrics.threshold import operating_threshold
from headwater.rows import Rows

FAMILIES: Rows[Family] = Rows(
    "metrics",
    {
        name: importlib.import_module(f"headwater.metrics.{name}").FAMILY
        for name in (
            "threshold",
            "top_share",
            "roc",
            "probability",
            "calibration",
            "multiclass",
            "regression",
            "ranked_lists",
        )
    },
)

__all__ = [
    "FAMILIES",
    "Blocks",
    "Family",
    "Metric",
    "RowContext",
    "ScoredRows",
    "check_known",
    "curves",
    "operating_threshold",
    "resolve",
]


def resolve(names: Sequence[str | NamedMetric] | None, task: str) -> list[Metric]:
    """The metrics that `names` ask for, in that order; None: all of the task's default ones.

    "precision@P%" and "recall@P%" are read for any P above 0 and up to 100,
    "pinball@Q" for any Q between 0 and 1, "ndcg@K" and its like for any K. A
    Metric is taken as it is, so a project can bring its own (`hw.evaluation.metric`).

    Raises UsageError for an unknown or repeated name, for a metric of
    another task, and for an unknown task.

    >>> [metric.name for metric in resolve(None, "regression")]
    ['mae', 'rmse', 'wape']
    >>> [metric.name for metric in resolve(["auc", "recall@0.5%"], "binary")]
    ['auc', 'recall@0.5%']
    >>> resolve(["acu"], "binary")
    Traceback (most recent call last):
    headwater.errors.UsageError: unknown metric 'acu'; did you mean 'auc'?
    """
    if task not in TASKS:
        raise UsageError(f"unknown task {task!r}; {nearest(task, TASKS)}")
    if isinstance(names, str):
        raise UsageError(f"metrics are a list of names; write [{names!r}]")
    defaults = [
        metric
        for family in FAMILIES.values()
        for metric in family.metrics
        if metric.task is not None and metric.fits(task)
    ]
    chosen = defaults if names is None else [_named(name, task) for name in names]
    chosen_names = [metric.name for metric in chosen]
    if twice := {name for name in chosen_names if chosen_names.count(name) > 1}:
        raise UsageError(f"metric {min(twice)!r} is given more than once; name each metric once")
    if not chosen:
        raise UsageError(
            f"no metric is given; name at least one, or pass None for the defaults of a {task} task"
        )
    return chosen


def check_known(names: Sequence[str]) -> None:
    """Refuse names that are of no task's metric.

    Raises:
        UsageError: an unknown name, with the nearest known one.

    >>> check_known(["auc", "ndcg@10", "mae"])
    >>> check_known(["auk"])
    Traceback (most recent call last):
    headwater.errors.UsageError: unknown metric 'auk'; did you mean 'auc'?
    """
    for name in names:
        if not _matching(_SPOKEN.get(name.lower(), name)):
            known = sorted(
                m.name for family in FAMILIES.values() for m in (*family.metrics, *family.more)
            )
            patterns = [family.pattern for family in FAMILIES.values() if family.pattern]
            also = f"; also {', '.join(patterns)}" if patterns and "@" in name else ""
            raise UsageError(f"unknown metric {name!r}; {nearest(name, known)}{also}")


def _matching(name: str) -> list[Metric]:
    """The metrics of a name, of any task."""
    read = [parsed for family in FAMILIES.values() if (parsed := family.parse(name))]
    return [
        m for family in FAMILIES.values() for m in (*family.metrics, *family.more) if m.name == name
    ] or read


_SPOKEN = {
    "average precision": "average_precision",
    "ap": "average_precision",
    "pr auc": "average_precision",
    "roc auc": "auc",
}
"""How people say some names."""


def _named(name: str | NamedMetric, task: str) -> Metric:
    if isinstance(name, Metric):
        matching: list[Metric] = [name]
    elif isinstance(name, str):
        name = _SPOKEN.get(name.strip().lower(), name)
        matching = _matching(name)
    else:
        raise UsageError(
            f"metrics holds {name!r}; give names, such as 'auc', or hw.evaluation.metric(name, "
            "function)"
        )
    fitting = [m for m in matching if m.fits(task)]
    if fitting:
        return fitting[0]
    names = sorted(
        m.name
        for family in FAMILIES.values()
        for m in (*family.metrics, *family.more)
        if m.fits(task)
    )
    if matching:
        tasks = " or ".join(str(m.task) for m in matching)
        raise UsageError(
            f"metric {matching[0].name!r} is for a {tasks} task, and this one is {task}; known: "
            f"{', '.join(names)}"
        )
    assert isinstance(name, str)
    patterns = [
        family.pattern
        for family in FAMILIES.values()
        if family.pattern and family.metrics[0].fits(task)
    ]
    also = f"; also {', '.join(patterns)}" if patterns and "@" in name else ""
    raise UsageError(f"unknown metric {name!r}; {nearest(name, names)}{also}")
