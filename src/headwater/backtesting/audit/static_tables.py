"""Check: a dimension that is said to be known forever, though its values were computed over the whole period."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import alone, as_numbers, strength, strength_error
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import STAMP, OwnEvents, own_events
from headwater.definitions.tasks import TASKS
from headwater.kernel.arrays import I64
from headwater.results.audit_result import AuditFinding

NAME = "static tables"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """SUSPECT: values predict better before their creation than after it, or are the mean outcome of their key over all rows."""
    static = [own for own in own_events(inputs) if own.keys and _static(inputs, own)]
    if not static:
        return NotRun("no source has one row for each key, known before the first requests")
    return [finding for own in static for column in _columns(own) if (finding := _finding(inputs, own, column)) is not None]


def _static(inputs: AuditInputs, own: OwnEvents) -> bool:
    """Whether nearly every key has one event, known before nearly all requests."""
    keys, counts = np.unique(own.code, return_counts=True)
    early = np.quantile(inputs.requests.t, 0.02)
    return len(keys) > 0 and bool((counts == 1).mean() >= thresholds.STATIC and (own.known <= early).mean() >= thresholds.STATIC)


def _columns(own: OwnEvents) -> list[str]:
    keys = {mine for mine, _ in own.keys}
    return [name for name in own.table.columns if not name.startswith("__") and name not in keys]


def _event(own: OwnEvents) -> I64:
    """The position of the one event of each row's key; -1 without."""
    last = np.searchsorted(own.code, own.row_code, side="right") - 1
    return np.where(own.row_code >= 0, last, -1)


def _finding(inputs: AuditInputs, own: OwnEvents, column: str) -> AuditFinding | None:
    remedy = f"Compute {column!r} as of each request, by a source of dated rows, or give the table the time at which it was computed"
    event, task = _event(own), inputs.model.task_type
    if (after := _by_creation(inputs, own, column, event)) is not None:
        before, later, created = after
        evidence = (
            f"{column!r} of source {own.subject!r} is said to be known before all requests; it says the outcome with strength {before:.2f} for requests "
            f"before {created} of its rows, and {later:.2f} after"
        )
        return AuditFinding(NAME, "SUSPECT", own.subject, evidence, remedy, columns=[column])
    value = as_numbers(own.values(column, event), inputs.y[own.position][event >= 0])
    if value is None or task.classes:
        return None
    by_key = pl.DataFrame({"key": own.row_code[event >= 0], "value": value, "y": inputs.y[own.position][event >= 0]}).drop_nans()
    means = by_key.group_by("key").agg(pl.col("y").mean(), pl.col("value").first(), pl.len()).filter(pl.col("len") >= 2)
    if (
        means.height < thresholds.FEWEST
        or alone(means["value"].to_numpy(), means["y"].to_numpy(), TASKS["regression"]) < thresholds.WHOLE_PERIOD
    ):
        return None
    evidence = (
        f"{column!r} of source {own.subject!r}, said to be known before all requests, is the mean outcome of its key over the whole period"
    )
    return AuditFinding(NAME, "SUSPECT", own.subject, evidence, remedy, columns=[column])


def _by_creation(inputs: AuditInputs, own: OwnEvents, column: str, event: I64) -> tuple[float, float, str] | None:
    """The strength of a column before and after another timestamp of its rows, and that timestamp, if it falls clearly."""
    task, y = inputs.model.task_type, inputs.y[own.position]
    for stamp in (name for name in own.table.columns if name.startswith(STAMP)):
        stamps = own.table[stamp].fill_null(np.iinfo(np.int64).max).to_numpy()
        created = np.where(event >= 0, stamps[event], np.iinfo(np.int64).max)
        before, after = (event >= 0) & (own.asked < created), (event >= 0) & (own.asked >= created)
        if min(before.sum(), after.sum()) < thresholds.FEWEST:
            continue
        strengths = [strength(own.values(column, np.where(rows, event, -1)), y[rows], task) for rows in (before, after)]
        error = np.hypot(strength_error(y[before], task), strength_error(y[after], task))
        if strengths[0] - strengths[1] >= max(thresholds.EXCESS, thresholds.ERRORS * error):
            return strengths[0], strengths[1], stamp.removeprefix(STAMP)
    return None
