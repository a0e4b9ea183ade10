"""Check: a dimension that is said to be known forever, though its values were computed over the
whole period.

Two halves of a period are independent, or alike, where what was known before them is given. Where
their own sum is given, a key that had more in the first half has less in the second: conditioning
on a common effect makes its causes dependent (Berkson, Biometrics Bulletin, 1946).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import alone, as_numbers, strength, strength_error
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import STAMP, OwnEvents, as_key, own_events
from headwater.definitions.model import TASKS
from headwater.kernel.arrays import F64, I64
from headwater.results.audit_result import AuditFinding

NAME = "static tables"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """SUSPECT: values predict better before their creation than after it, or contain outcomes of
    both halves of the period.
    """
    static = [events for events in own_events(inputs) if events.keys and is_static(inputs, events)]
    if not static:
        return NotRun("no source has one row for each key, known before the first requests")
    return [
        finding
        for events in static
        for column in events.columns
        if (finding := _finding(inputs, events, column)) is not None
    ]


def is_static(inputs: AuditInputs, events: OwnEvents) -> bool:
    """Whether nearly every key has one event, known before nearly all requests."""
    keys, counts = np.unique(events.code, return_counts=True)
    early = np.quantile(inputs.requests.t, 0.02)
    return len(keys) > 0 and bool(
        (counts == 1).mean() >= thresholds.STATIC
        and (events.known <= early).mean() >= thresholds.STATIC
    )


def _event(events: OwnEvents) -> I64:
    """The position of the one event of each row's key; -1 without."""
    last = np.searchsorted(events.code, events.row_code, side="right") - 1
    return np.where(events.row_code >= 0, last, -1)


def _finding(inputs: AuditInputs, events: OwnEvents, column: str) -> AuditFinding | None:
    evidence = _evidence(inputs, events, column, _event(events))
    if not evidence:
        return None
    remedy = (
        f"Compute {column!r} as of each request, by a source of dated rows, or give the table the "
        "time at which it was computed"
    )
    holds = f"{column!r} of source {events.subject!r} was known before the requests"
    return AuditFinding(
        NAME, "SUSPECT", events.subject, evidence, remedy, columns=[column], brief=holds
    )


def _evidence(inputs: AuditInputs, events: OwnEvents, column: str, event: I64) -> str:
    """What says that values were computed over the whole period; empty where nothing does."""
    said = f"{column!r} of source {events.subject!r}, said to be known before all requests,"
    if (after := _by_creation(inputs, events, column, event)) is not None:
        before, later, created = after
        return (
            f"{said} says the outcome with strength {before:.2f} for requests before {created!r} "
            f"of its rows, and {later:.2f} after"
        )
    if _is_mean(inputs, events, column, event):
        return f"{said} is the mean outcome of its key over the whole period"
    if (errors := _by_halves(inputs, events, column)) is not None:
        return (
            f"{said} contains outcomes of the period: of keys with equal {column!r}, those with "
            f"more in the first half of it have less in the second ({errors:.1f} standard errors)"
        )
    return ""


def _is_mean(inputs: AuditInputs, events: OwnEvents, column: str, event: I64) -> bool:
    """Whether a column orders keys as their mean outcome does."""
    value = as_numbers(events.values(column, event), inputs.y[events.position][event >= 0])
    if value is None or inputs.model.task_type.classes:
        return False
    by_key = pl.DataFrame(
        {
            "key": events.row_code[event >= 0],
            "value": value,
            "y": inputs.y[events.position][event >= 0],
        }
    ).drop_nans()
    means = (
        by_key.group_by("key")
        .agg(pl.col("y").mean(), pl.col("value").first(), pl.len())
        .filter(pl.col("len") >= 2)
    )
    if means.height < thresholds.FEWEST:
        return False
    return (
        alone(means["value"].to_numpy(), means["y"].to_numpy(), TASKS["regression"])
        >= thresholds.WHOLE_PERIOD
    )


def _by_creation(
    inputs: AuditInputs, events: OwnEvents, column: str, event: I64
) -> tuple[float, float, str] | None:
    """The strength of a column before and after another timestamp of its rows, and that timestamp,
    if it falls clearly.
    """
    task, y = inputs.model.task_type, inputs.y[events.position]
    for stamp in (name for name in events.table.columns if name.startswith(STAMP)):
        stamps = events.table[stamp].fill_null(np.iinfo(np.int64).max).to_numpy()
        created = np.where(event >= 0, stamps[event], np.iinfo(np.int64).max)
        before, after = (
            (event >= 0) & (events.request_times < created),
            (event >= 0) & (events.request_times >= created),
        )
        if min(before.sum(), after.sum()) < thresholds.FEWEST:
            continue
        strengths = [
            strength(events.values(column, np.where(rows, event, -1)), y[rows], task)
            for rows in (before, after)
        ]
        error = np.hypot(strength_error(y[before], task), strength_error(y[after], task))
        if strengths[0] - strengths[1] >= max(thresholds.EXCESS, thresholds.ERRORS * error):
            return strengths[0], strengths[1], stamp.removeprefix(STAMP)
    return None


def _by_halves(inputs: AuditInputs, events: OwnEvents, column: str) -> float | None:
    """By how many standard errors the outcomes of a key's halves are opposed where the value is
    given; None where they are not clearly.
    """
    if inputs.model.task_type.classes or not (
        events.table.schema[column].is_numeric() or events.table.schema[column] == pl.Boolean
    ):
        return None
    pairs = dict(events.keys)
    rows = inputs.label_rows.select(
        *(
            as_key(inputs.label_rows.schema[theirs], theirs).alias(event_key)
            for event_key, theirs in pairs.items()
        ),
        pl.Series("__y", inputs.y),
        pl.Series("__late", inputs.requests.t > np.median(inputs.requests.t)),
    )
    if rows.height > thresholds.KEYED_ROWS:
        rows = rows.filter(
            pl.struct(*pairs).hash(seed=1) % (rows.height // thresholds.KEYED_ROWS + 1) == 0
        )
    values = events.table.select(
        *(as_key(events.table.schema[event_key], event_key) for event_key in pairs),
        pl.col(column).cast(pl.Float64).alias("__value"),
    )
    halves = pl.when("__late").then("__y"), pl.when(~pl.col("__late")).then("__y")
    totals = [
        total.alias(name)
        for half, suffix in zip(halves, ("b", "a"), strict=True)
        for name, total in ((suffix, half.sum()), (f"n{suffix}", half.count()))
    ]
    by_key = rows.group_by(list(pairs)).agg(*totals).filter((pl.col("na") > 0) & (pl.col("nb") > 0))
    by_key = (
        by_key.join(values.unique(list(pairs), keep="last"), on=list(pairs), how="inner")
        .drop_nulls("__value")
        .drop_nans("__value")
    )
    if by_key.height < thresholds.FEWEST or by_key["__value"].n_unique() < 3:
        return None
    value, rows_of = (
        by_key["__value"].to_numpy(),
        [by_key[name].to_numpy() for name in ("na", "nb")],
    )
    totals_of = [by_key[name].to_numpy() for name in ("a", "b")]
    first, second = (
        total - rows * (total.sum() / rows.sum())
        for total, rows in zip(totals_of, rows_of, strict=True)
    )
    alike = _standard_errors(first * second)
    opposed = _standard_errors(
        _above_mean(first, rows_of[0], value) * _above_mean(second, rows_of[1], value)
    )
    follows = float(first @ (value - value.mean())) * float(second @ (value - value.mean())) > 0
    return (
        -opposed
        if opposed <= -thresholds.ERRORS and alike >= -thresholds.ERRORS / 2 and follows
        else None
    )


def _above_mean(total: F64, rows: I64, value: F64) -> F64:
    """What keys with about the same value have more than the mean of these keys: float64 (keys)."""
    groups = max(1, min(thresholds.SCREENED_BINS, len(value) // 20))
    order: F64 = pl.Series(value).rank("average").to_numpy()
    group = np.minimum((order / len(value) * groups).astype(np.int64), groups - 1)
    means = np.bincount(group, total, groups) / np.maximum(np.bincount(group, rows, groups), 1)
    rest: F64 = total - means[group] * rows
    return rest


def _standard_errors(products: F64) -> float:
    """The mean over its standard error; 0 where there is none."""
    error = float(products.std()) / np.sqrt(len(products))
    return float(products.mean()) / error if error > 0 else 0.0
