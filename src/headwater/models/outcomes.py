"""Labels as the numbers that estimators and metrics take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.errors import DataError, nearest
from headwater.kernel.arrays import F64, I64
from headwater.models.estimators import is_fitted

ClassName = str | int
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class LabelValues:
    """What became of each request.

    y: float64 (rows). Of a multiclass task the position in `classes`, NaN for a class that is not
        among them; else the label itself: 0 or 1, a value, or how relevant a candidate was.
    classes: in rising order; () unless the task is multiclass.
    groups: of a ranking, int64 (rows): rows of one number are candidates of one list. Numbered by
    first appearance.
    weight: float64 (rows), how much a row counts in training; None where all count alike.
    log_q: float64 (rows), where negatives of a ranking are sampled the log of a row's expected
        draws over its draws; None where nothing is sampled.
    """

    y: F64
    classes: tuple[ClassName, ...] = ()
    groups: I64 | None = None
    weight: F64 | None = None
    log_q: F64 | None = None

    def take(self, rows: I64) -> LabelValues:
        """Those of these rows."""
        groups = None if self.groups is None else self.groups[rows]
        weight, log_q = (
            None if values is None else values[rows] for values in (self.weight, self.log_q)
        )
        return LabelValues(self.y[rows], self.classes, groups, weight, log_q)


def outcomes(
    model: Model,
    label: pl.Series,
    requests: pl.DataFrame,
    classes: Sequence[ClassName] | None = None,
) -> LabelValues:
    """The labels of a model's requests as numbers.

    Args:
        model: says the task. A multiclass estimator that was given fitted says the classes too.
        label: one value a request; numbers or booleans, of a multiclass task also strings.
        requests: the columns of the requests, among them the group of a ranking.
        classes: of a multiclass task; None takes those among the labels.

    Raises:
        DataError: NaN or infinite labels, a class that is neither a string nor an integer, a
            ranking without its columns.
    """
    context = f"labels {model.labels.name!r}"
    weighted = model.labels.weight in requests.columns
    weight = requests[str(model.labels.weight)].cast(pl.Float64).to_numpy() if weighted else None
    if model.task_type.classes:
        named = _named(label, context)
        chosen = tuple(
            classes
            if classes is not None
            else _taught(model) or sorted(set(named.drop_nulls().to_list()))
        )
        return LabelValues(_positions(named, chosen), chosen, weight=weight)
    y = label.cast(pl.Float64).to_numpy()
    bad = int((~np.isfinite(y)).sum())
    if bad:
        raise DataError(f"{context}: {bad} labels are NaN or infinite; filter those rows out")
    return LabelValues(
        y,
        groups=None if model.ranking is None else _groups(model.ranking, requests, context),
        weight=weight,
    )


def _named(label: pl.Series, context: str) -> pl.Series:
    """The class of each row, a string or an integer."""
    if label.dtype in _TEXTS:
        return label.cast(pl.String)
    whole = label.cast(pl.Int64, strict=False)
    strange = label.filter((whole.cast(pl.Float64) != label.cast(pl.Float64)).fill_null(value=True))
    if len(strange):
        raise DataError(
            f"{context}: a class is a string or an integer, and {strange[0]} is among them; make "
            "one in the labels' select, or set task='regression'"
        )
    return whole


def _taught(model: Model) -> tuple[ClassName, ...]:
    """The classes that a fitted estimator knows; () where it is not fitted, or does not say."""
    if model.estimator is None or not is_fitted(model.estimator):
        return ()
    classes = [
        c.item() if isinstance(c, np.generic) else c
        for c in getattr(model.estimator, "classes_", ())
    ]
    return tuple(c if isinstance(c, str) else int(c) for c in classes)


def _positions(named: pl.Series, classes: Sequence[ClassName]) -> F64:
    if not classes:
        return np.full(len(named), np.nan)
    names = pl.Series(list(classes))
    if (names.dtype == pl.String) != (named.dtype == pl.String):
        return np.full(len(named), np.nan)
    at = pl.Series(np.arange(len(names), dtype=np.float64))
    return (
        named.replace_strict(names, at, default=None, return_dtype=pl.Float64)
        .fill_null(np.nan)
        .to_numpy()
    )


def _groups(ranking: Ranking, requests: pl.DataFrame, context: str) -> I64:
    for role, name in (("group", ranking.group), ("item", ranking.item)):
        if name not in requests.columns:
            raise DataError(
                f"{context}: column {name!r} is missing, the {role} of the ranking; "
                f"{nearest(name, requests.columns)}"
            )
    group = requests[ranking.group]
    if group.null_count():
        raise DataError(
            f"{context}: {group.null_count()} rows have no {ranking.group!r}, the group of the "
            "ranking; filter them out"
        )
    first = (
        pl.DataFrame({"group": group})
        .with_row_index("row")
        .select(pl.col("row").min().over("group"))["row"]
    )
    return (first.rank("dense").cast(pl.Int64) - 1).to_numpy()
