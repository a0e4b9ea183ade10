"""Labels as rows: when each was asked for, its outcome, and when that was known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl

from headwater.definitions.definition import counted
from headwater.definitions.labels import Labels, Outcome
from headwater.engine.query import AsOf
from headwater.errors import DataError
from headwater.events.read_events import collect, column, selected, timestamp_micros
from headwater.training.outcome_values import OutcomeRequests, OutcomeTables, outcome_values
from headwater.training.requests import ASKED_AT, Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources

LABEL = "__label"


KNOWN_AT = "__known_at"


_TEXTS = (pl.String, pl.Categorical, pl.Enum)


_OR_TEXT = ", or of a multiclass task a text"


def read_labels(
    labels: Labels, resources: Resources = DEFAULT_RESOURCES, *, strings: bool = False
) -> Requests:
    """The labelled requests; rows without a time, an outcome or a time at which it was known are
    left out and counted.

    `resources` are for the history that an `outcome(...)` reads. `strings`: the outcome may be a
    string, as the classes of a multiclass task.

    Raises:
        DataError: a column is missing, a timestamp is not one, the table is empty, or the outcome
            is not a number.
    """
    requests, context = label_rows(labels, strings=strings), _context(labels)
    if not len(requests.t) and not requests.left_out:
        raise DataError(
            f"{context}: no row is left of the table; check its filter and that the table has rows"
        )
    if requests.label is None and len(requests.t):
        label = observed(labels, requests, resources, strings=strings)
        requests = without_null_labels(replace(requests, label=label.rename(labels.label_name)))
    if not len(requests.t):
        raise DataError(
            f"{context}: no row has a time, an outcome and a time at which it was known; left "
            f"out: {counted(requests.left_out)}"
        )
    return requests


def without_null_labels(requests: Requests) -> Requests:
    """The requests whose outcome is not null, such as the mean of no events; the others are
    counted.
    """
    label = requests.label
    assert label is not None
    if not label.null_count():
        return requests
    left_out = requests.left_out + Counter({f"labels: no {label.name}": label.null_count()})
    return replace(requests.take(np.flatnonzero(label.is_not_null())), left_out=left_out)


def label_rows(labels: Labels, *, strings: bool = False) -> Requests:
    """The requests of labels, possibly none; without the label where it is an `outcome(...)`.
    Raises as `read_labels`.
    """
    context = _context(labels)
    label_columns = [
        labels.timestamp_field,
        *([labels.known_at_field] if labels.known_at_field else []),
    ]
    label_columns += [labels.label] if isinstance(labels.label, str) else list(labels.label.keys)
    label_columns += [labels.weight] if labels.weight else []
    chosen = selected(labels.data, labels.select, labels.filter, label_columns, context)
    if labels.weight:
        weight_column(labels.weight, chosen.schema, context)
    request_time = timestamp_micros(
        labels.timestamp_field, chosen.schema, labels.timezone, context
    ).alias(ASKED_AT)
    columns = [request_time]
    if isinstance(labels.label, str):
        columns.append(
            outcome_column(labels.label, chosen.schema, context, strings=strings).alias(LABEL)
        )
        known = (
            (pl.col(ASKED_AT) + labels.maturity)
            if labels.maturity is not None
            else timestamp_micros(
                str(labels.known_at_field), chosen.schema, labels.timezone, context, days=True
            )
        )
    else:
        known = pl.col(ASKED_AT) + labels.maturity
    frame = collect(chosen.frame.with_columns(columns).with_columns(known.alias(KNOWN_AT)), context)
    left_out: Counter[str] = Counter()
    reasons = {
        f"labels: no {labels.timestamp_field}": ASKED_AT,
        f"labels: no {labels.label_name}": LABEL,
        f"labels: no {labels.known_at_field}, so never known": KNOWN_AT,
    }
    for reason, name in reasons.items():
        if name in frame.columns and frame[name].null_count():
            left_out[reason] += frame[name].null_count()
            frame = frame.filter(pl.col(name).is_not_null())
    if labels.weight:
        frame = _weighted(frame, labels.weight, left_out, context)
    label = frame[LABEL].rename(labels.label_name) if LABEL in frame.columns else None
    own_columns = frame.drop([c for c in (ASKED_AT, KNOWN_AT, LABEL) if c in frame.columns])
    return Requests(
        own_columns, frame[ASKED_AT].to_numpy(), label, frame[KNOWN_AT].to_numpy(), left_out
    )


def _context(labels: Labels) -> str:
    return f"labels {labels.name!r}" + (f" ({labels.site})" if labels.site else "")


def outcome_column(name: str, schema: pl.Schema, context: str, *, strings: bool) -> pl.Expr:
    """The column of the outcome: float64, null where it is not finite; of a multiclass task
    (`strings`) possibly strings.

    Raises:
        DataError: it is missing, or of another dtype.
    """
    dtype = column(name, schema, context)
    if strings and dtype in _TEXTS:
        return pl.col(name).cast(pl.String)
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataError(
            f"{context}: the label {name!r} is {dtype}; it must be a number or a "
            f"boolean{_OR_TEXT if strings else ''}. Make one in select, such as (pl.col({name!r}) "
            f"== 'yes').alias({name!r})"
        )
    value = pl.col(name).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


def weight_column(name: str, schema: pl.Schema, context: str) -> None:
    """Refuse a weight that is missing or no number."""
    dtype = column(name, schema, context)
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise DataError(
            f"{context}: the weight {name!r} is {dtype}; it must be a number of 0 or more, which "
            "says how much a row counts"
        )


def _weighted(frame: pl.DataFrame, name: str, left_out: Counter[str], context: str) -> pl.DataFrame:
    """The rows that have a weight; the others are counted."""
    if frame[name].null_count():
        left_out[f"labels: no {name}"] += frame[name].null_count()
        frame = frame.filter(pl.col(name).is_not_null())
    values = frame[name].cast(pl.Float64)
    wrong = values.filter(~(values.is_finite() & (values >= 0)))
    if len(wrong):
        raise DataError(
            f"{context}: {len(wrong)} weights of {name!r} are negative or no numbers, such as "
            f"{wrong[0]}; a weight is 0 or more"
        )
    return frame


def observed(
    labels: Labels,
    requests: Requests,
    resources: Resources,
    *,
    strings: bool,
    tables_of: OutcomeTables | None = None,
) -> pl.Series:
    """An `outcome(...)`: the same kernel, with the window that begins at the request and ends at
    the horizon.

    tables_of: as `OutcomeRequests`.
    """
    outcome = labels.label
    assert isinstance(outcome, Outcome)
    end = requests.t + outcome.horizon
    outcome_requests = OutcomeRequests(
        outcome,
        requests,
        AsOf(end, end + outcome.source.delay),
        f"labels {labels.name!r}",
        tables_of,
    )
    series = outcome_values(outcome_requests, labels.label_name, resources)
    check_outcome(labels, series.dtype, strings=strings)
    return series.cast(pl.String if series.dtype in _TEXTS else pl.Float64)


def check_outcome(labels: Labels, dtype: pl.DataType, *, strings: bool) -> None:
    """Refuse an `outcome(...)` of values that no model learns; `strings`: as of `read_labels`."""
    outcome = labels.label
    assert isinstance(outcome, Outcome)
    if dtype.is_numeric() or dtype == pl.Boolean or (strings and dtype in _TEXTS):
        return
    aggregation = outcome.aggregation
    columns = ", ".join(map(repr, aggregation.columns))
    raise DataError(
        f"{_context(labels)}: the outcome {aggregation.function}({columns}) "
        f"is {dtype}; it must be a number or a boolean{_OR_TEXT if strings else ''}. Make one in "
        f"the select of source {outcome.source.name!r}"
    )
