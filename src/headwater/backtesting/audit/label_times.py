"""Check: when the labels say that their outcomes are known."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import strength
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_label_rows import carried
from headwater.results.audit_result import AuditFinding

NAME = "label times"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """SUSPECT: what follows known_at says the outcome, or an outcome changed after it. A delay that differs by class is a question."""
    if inputs.requests.known_at is None or len(inputs.sample) < thresholds.FEWEST:
        return NotRun(f"{len(inputs.sample)} labels are too few; it takes {thresholds.FEWEST}")
    return [*_later(inputs), *_changed(inputs), *_by_class(inputs)]


def _subject(inputs: AuditInputs) -> str:
    return f"labels {inputs.model.labels.name}"


def _later(inputs: AuditInputs) -> list[AuditFinding]:
    """Timestamps of a row that come after its outcome was known."""
    assert inputs.requests.known_at is not None
    known, labels, found = pl.Series(inputs.requests.known_at[inputs.sample]), inputs.model.labels, []
    y = inputs.y[inputs.sample]
    for series in inputs.label_rows[inputs.sample].get_columns():
        if not isinstance(series.dtype, pl.Datetime) or series.name in carried(inputs.model) | {labels.known_at_field}:
            continue
        after = series.dt.epoch("us") - known
        share = float((after > 0).fill_null(value=False).to_numpy().mean())
        if share < thresholds.LATER:
            continue
        there = after.is_not_null().cast(pl.Float64)
        says = max(strength(after, y, inputs.model.task_type), strength(there, y, inputs.model.task_type)) >= thresholds.PREDICTS
        evidence = f"{series.name} is later than the outcome is said to be known, in {share:.1%} of rows" + (
            ", and says the outcome" if says else ""
        )
        remedy = f"If the outcome is decided at {series.name}, make it the known_at_field"
        found.append(AuditFinding(NAME, "SUSPECT" if says else "question", _subject(inputs), evidence, remedy, share, [series.name]))
    return found


def _changed(inputs: AuditInputs) -> list[AuditFinding]:
    """Requests that the labels have several times, equal in all but the outcome and when it was known."""
    labels, rows = inputs.model.labels, inputs.requests
    assert rows.known_at is not None
    same = [name for name in rows.frame.columns if name not in (labels.label_name, labels.known_at_field, labels.weight)]
    hashed = rows.frame.select(same).hash_rows(seed=1) if same else pl.Series([0] * len(rows.t))
    by_request = pl.DataFrame({"row": hashed, "t": rows.t, "y": inputs.y, "known": rows.known_at}).group_by("row", "t")
    changed = by_request.agg(((pl.col("y").n_unique() > 1) & (pl.col("known").n_unique() > 1)).alias("changed"))["changed"]
    share = float(changed.to_numpy().mean())
    if share < thresholds.CHANGED:
        return []
    evidence = f"{share:.1%} of requests are in the labels several times, with another outcome that was known at another time"
    remedy = "Keep one row for each request, with the outcome that counts and the time at which it was final"
    return [AuditFinding(NAME, "SUSPECT", _subject(inputs), evidence, remedy, share)]


def _by_class(inputs: AuditInputs) -> list[AuditFinding]:
    """Whether outcomes of one class are known later than those of another."""
    task = inputs.model.task_type
    assert inputs.requests.known_at is not None
    delay = (inputs.requests.known_at - inputs.requests.t)[inputs.sample]
    if not (task.positives or task.classes) or np.ptp(delay) == 0:
        return []
    says = strength(pl.Series(delay), inputs.y[inputs.sample], task)
    if says < thresholds.CLASS_DELAY:
        return []
    evidence = f"How long a label takes to be known says the outcome (AUC {(1 + says) / 2:.2f}): rows before the split lack the slow class"
    return [AuditFinding(NAME, "question", _subject(inputs), evidence, "Do adversaries or slow outcomes decide which rows can train?")]
