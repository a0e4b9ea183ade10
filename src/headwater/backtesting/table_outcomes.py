"""Outcomes of served requests from the labels' table, found by the request's keys and time.

A batch project has its outcomes in a table, and no one posts them. A row of the table belongs to a
served request with the same columns, in this order; each row and each request is used once:

| pass | same |
|---|---|
| 1 | the request's id, where the table has a column `headwater_request`, and the keys |
| 2 | keys, request fields that both have, and time |
| 3 | keys and request fields, at most a minute apart, the nearest (a service notes arrival) |
| 4 | keys alone, at most a minute apart, without another row of these keys within two minutes |

The outcome counts from the row's `known_at` on. Of several rows of one request the one that was
known last counts. A request that was served twice has one row, which goes to the nearer one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.model import Model
from headwater.journal.serving_log_rows import AT, REQUEST
from headwater.kernel.arrays import I64, Bool
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from headwater.training.resources import Resources

APART = 60_000_000
"""How far the time of a served request may be from that of its row, in microseconds."""
SAME, NEAR = "at the same time", "less than a minute apart"
NO_ROW, NOT_YET = "without a row", "with an outcome that was not known yet"
REPEATED, REPLACED = (
    "served again within a minute",
    "rows of the table with a later row of the same request",
)
_T, _ROW, _LABEL, _KNOWN_AT, _SERVED, _KEY = (
    "__t",
    "__row",
    "__label",
    "__known",
    "__served",
    "__key",
)


@dataclass(frozen=True)
class TableOutcomes:
    """What the labels' table has of served requests; arrays are in their order.

    Attributes:
        label: the outcome, null where the table has none.
        known_at: when it was known, int64 microseconds; only where `has_row`.
        has_row: whether the table has a row of the request, bool.
        again: whether the same request was served within a minute, and has the row: bool.
        counts: requests by how they were found, or why they were not.
    """

    label: pl.Series
    known_at: I64
    has_row: Bool
    again: Bool
    counts: Counter[str]


def table_outcomes(
    model: Model, served: pl.DataFrame, until: int, resources: Resources
) -> TableOutcomes:
    """Match served rows with rows of the labels' table; see the module.

    Args:
        model: its labels have a column with the outcome.
        served: rows of the serving log, at least one.
        until: outcomes that became known later are not used, int64 microseconds.

    Raises:
        DataError: the table cannot be read.
    """
    labelled = read_labels(model.labels, resources, strings=model.task_type.classes)
    shared = [
        name
        for name in model.features.needed_by()
        if name in labelled.frame.columns and name in served.columns
    ]
    shared = [
        name
        for name in shared
        if not (served.schema[name].is_nested() or labelled.frame.schema[name].is_nested())
    ]
    of_views = {view.request_key(key) for view in model.features.views for key in view.keys}
    keys = [name for name in shared if name in of_views] or shared
    counts: Counter[str] = Counter()
    rows = _rows(labelled, served, shared, until, counts)
    requests = served.select(*shared, REQUEST, pl.col(AT).dt.epoch("us").alias(_T)).with_row_index(
        _SERVED
    )
    requests = requests.with_columns(
        pl.col(name).fill_nan(None) for name in shared if requests.schema[name].is_float()
    )
    matched = pl.DataFrame(schema={_SERVED: requests.schema[_SERVED], _ROW: rows.schema[_ROW]})
    if REQUEST in rows.columns:
        matched = _equal(requests, rows, matched, [REQUEST, *keys])
    if shared:
        matched = pl.concat([matched, _equal(requests, rows, matched, [*shared, _T])])
        matched = pl.concat([matched, _nearest(requests, rows, matched, shared)])
        matched = pl.concat(
            [matched, _nearest(_lone(requests, keys), _lone(rows, keys), matched, keys)]
        )
    return _result(requests, rows, matched, shared, until, counts)


def _rows(
    labelled: Requests,
    served: pl.DataFrame,
    shared: Sequence[str],
    until: int,
    counts: Counter[str],
) -> pl.DataFrame:
    """The rows of the table in the dtypes of the served columns; of one request the one that was
    known last by `until`.
    """
    assert labelled.label is not None
    names = [*shared, *([REQUEST] if REQUEST in labelled.frame.columns else [])]
    rows = labelled.frame.select(
        pl.col(name).cast(served.schema[name], strict=False) for name in names
    ).with_columns(
        pl.Series(_T, labelled.t, pl.Int64),
        pl.Series(_KNOWN_AT, labelled.known_at, pl.Int64),
        labelled.label.alias(_LABEL),
    )
    rows = rows.with_columns(
        pl.col(name).fill_nan(None) for name in shared if rows.schema[name].is_float()
    )
    if REQUEST not in names:
        t = served[AT].dt.epoch("us").to_numpy()
        rows = rows.filter(
            pl.col(_T).is_between(int(t.min()) - 2 * APART, int(t.max()) + 2 * APART)
        )
    by_then = pl.col(_KNOWN_AT) <= until
    latest = rows.sort(by_then, _KNOWN_AT, maintain_order=True).unique(
        [*names, _T], keep="last", maintain_order=True
    )
    counts[REPLACED] = rows.height - latest.height
    return latest.sort(_T, maintain_order=True).with_row_index(_ROW)


def _rest(
    requests: pl.DataFrame, rows: pl.DataFrame, matched: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows and requests that are not matched yet."""
    return requests.join(matched, on=_SERVED, how="anti"), rows.join(matched, on=_ROW, how="anti")


def _equal(
    requests: pl.DataFrame, rows: pl.DataFrame, matched: pl.DataFrame, on: Sequence[str]
) -> pl.DataFrame:
    """Pairs that are equal in these columns and not matched yet; of several requests the first."""
    left, right = _rest(requests, rows, matched)
    first = left.unique(on, keep="first", maintain_order=True)
    latest = right.unique(on, keep="last", maintain_order=True)
    return first.join(
        latest, on=list(on), how="inner", nulls_equal=True, maintain_order="left"
    ).select(_SERVED, _ROW)


def _nearest(
    requests: pl.DataFrame, rows: pl.DataFrame, matched: pl.DataFrame, on: Sequence[str]
) -> pl.DataFrame:
    """Pairs that are equal in these columns and at most a minute apart: a row of the table goes to
    the request that is nearest.
    """
    left, right = _rest(requests, rows, matched)
    both = (
        pl.concat([left.select(on), right.select(on)])
        .select(pl.struct(pl.all()).rank("dense"))[:, 0]
        .alias(_KEY)
    )
    left = left.select(_SERVED, _T).with_columns(both.head(left.height)).sort(_T)
    right = (
        right.select(_ROW, _T, pl.col(_T).alias("__at"))
        .with_columns(both.tail(right.height))
        .sort(_T)
    )
    pairs = left.join_asof(
        right, on=_T, by=_KEY, strategy="nearest", tolerance=APART, check_sortedness=False
    ).drop_nulls(_ROW)
    pairs = pairs.sort((pl.col(_T) - pl.col("__at")).abs(), _SERVED).unique(
        _ROW, keep="first", maintain_order=True
    )
    return pairs.select(_SERVED, _ROW)


def _lone(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows without another one of their keys within two minutes."""
    gap = pl.col(_T).diff().fill_null(3 * APART).over(list(keys), order_by=_T)
    spaced = frame.sort(_T, maintain_order=True).with_columns(gap.alias("__gap"))
    next_gap = pl.col("__gap").shift(-1).fill_null(3 * APART).over(list(keys), order_by=_T)
    lone = spaced.filter((pl.col("__gap") > 2 * APART) & (next_gap > 2 * APART))
    return lone.drop("__gap")


def _result(
    requests: pl.DataFrame,
    rows: pl.DataFrame,
    matched: pl.DataFrame,
    shared: Sequence[str],
    until: int,
    counts: Counter[str],
) -> TableOutcomes:
    height = requests.height
    joined = requests.select(_SERVED, _T).join(
        matched, on=_SERVED, how="left", maintain_order="left"
    )
    joined = joined.join(
        rows.select(_ROW, _KNOWN_AT, _LABEL, pl.col(_T).alias("__at")),
        on=_ROW,
        how="left",
        maintain_order="left",
    )
    has_row = joined[_ROW].is_not_null().to_numpy()
    known_at = joined[_KNOWN_AT].fill_null(0).to_numpy()
    again = np.zeros(height, np.bool_)
    if shared and not has_row.all():
        with_row = requests.filter(pl.Series(has_row)).select(*shared, pl.col(_T).alias("__other"))
        near = requests.filter(pl.Series(~has_row)).join(
            with_row, on=list(shared), how="inner", nulls_equal=True
        )
        again[
            near.filter((pl.col(_T) - pl.col("__other")).abs() <= APART)[_SERVED]
            .cast(pl.Int64)
            .to_numpy()
        ] = True
    same = (joined[_T] == joined["__at"]).fill_null(value=False).to_numpy()
    counts[SAME], counts[NEAR] = int((has_row & same).sum()), int((has_row & ~same).sum())
    counts[NOT_YET] = int((has_row & (known_at > until)).sum())
    counts[REPEATED], counts[NO_ROW] = int(again.sum()), int((~has_row & ~again).sum())
    return TableOutcomes(joined[_LABEL], known_at, has_row, again, +counts)
