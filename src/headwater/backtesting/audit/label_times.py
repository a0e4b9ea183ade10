"""Check: when the labels say that their outcomes are known."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import strength, strength_error
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import STAMP, OwnEvents, own_events
from headwater.backtesting.audit.own_label_rows import quoted
from headwater.results.audit_result import AuditFinding
from headwater.results.measurement import duration

NAME = "label times"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """SUSPECT: requests count outcomes before their time, what follows known_at says the outcome,
    or an outcome changed after it.

    A delay that differs by class is a question, unless it was answered
    (`Evaluation(delay_by_outcome=)`); see `_by_class`.
    """
    if inputs.requests.known_at is None or len(inputs.sample) < thresholds.FEWEST:
        return NotRun(f"{len(inputs.sample)} labels are too few; it takes {thresholds.FEWEST}")
    return [*_early(inputs), *_later(inputs), *_changed(inputs), *_by_class(inputs)]


def _subject(inputs: AuditInputs) -> str:
    return f"labels {inputs.model.labels.name}"


def _early(inputs: AuditInputs) -> list[AuditFinding]:
    """A known_at that is the request time plus a constant, while the rows have a later time, and
    outcomes count in between.
    """
    assert inputs.requests.known_at is not None
    delay = inputs.requests.known_at - inputs.requests.t
    if not len(delay) or (delay == np.median(delay)).mean() < thresholds.DERIVED:
        return []
    promised = inputs.carried | {inputs.model.labels.known_at_field}
    at_known = pl.Series(inputs.requests.known_at[inputs.sample])
    for series in inputs.label_rows[inputs.sample].get_columns():
        if not isinstance(series.dtype, pl.Datetime) or series.name in promised:
            continue
        after = series.dt.epoch("us") - at_known
        share = float((after > 0).fill_null(value=False).to_numpy().mean())
        gaps = after.drop_nulls().to_numpy()
        if share < thresholds.AFTER or (gaps == np.median(gaps)).mean() >= thresholds.DERIVED:
            continue
        read = [
            (events, used)
            for events in own_events(inputs)
            if (used := _counted_between(inputs, events, series.name))
        ]
        for events, (early, columns) in read:
            evidence = (
                f"Outcomes are said to be known {duration(float(np.median(delay)) / 1e6)} after "
                f"every request, though {series.name!r} is later in {share:.1%} of rows; "
                f"{early:.1%} of requests count outcomes ({quoted(columns)} of source "
                f"{events.subject!r}) from before their {series.name!r}"
            )
            remedy = (
                f"Else make {series.name!r} the known_at_field of the labels and of source "
                f"{events.subject!r}"
            )
            holds = f"no outcome is decided at {series.name!r}"
            return [
                AuditFinding(
                    NAME,
                    "SUSPECT",
                    _subject(inputs),
                    evidence,
                    remedy,
                    early,
                    [series.name, *columns],
                    brief=holds,
                )
            ]
    return []


def _counted_between(
    inputs: AuditInputs, events: OwnEvents, column: str
) -> tuple[float, list[str]] | None:
    """The share of requests that count outcomes of other rows before the time in `column`, and the
    columns that are the outcome.
    """
    stamp = f"{STAMP}{column}"
    if stamp not in events.table.columns or not events.keys:
        return None
    matches = {
        name: events.same_time(stamp, stamps)
        for name, stamps in events.timestamps.items()
        if name == column
    }
    event = matches.get(column)
    if event is None or (event >= 0).mean() < thresholds.TWIN:
        return None
    y = inputs.y[events.position][event >= 0]
    columns = [
        name
        for name in events.columns
        if strength(events.values(name, event), y, inputs.model.task_type)
        >= thresholds.OUTCOME_ITSELF
    ]
    row, counted = events.pairs
    late = (
        events.table[stamp].gather(counted).fill_null(np.iinfo(np.int64).max).to_numpy()
        > events.request_times[row]
    )
    share = len(np.unique(row[late])) / max(
        1, min(thresholds.PAIRED, int((events.row_code >= 0).sum()))
    )
    return (share, columns) if columns and share >= thresholds.OWN_SHARE else None


def _later(inputs: AuditInputs) -> list[AuditFinding]:
    """Timestamps of a row that come after its outcome was known."""
    assert inputs.requests.known_at is not None
    known, labels, findings = (
        pl.Series(inputs.requests.known_at[inputs.sample]),
        inputs.model.labels,
        [],
    )
    y = inputs.y[inputs.sample]
    for series in inputs.label_rows[inputs.sample].get_columns():
        if not isinstance(series.dtype, pl.Datetime) or series.name in inputs.carried | {
            labels.known_at_field
        }:
            continue
        after = series.dt.epoch("us") - known
        share = inputs.share((after > 0).fill_null(value=False).to_numpy(), inputs.sample)
        if share < thresholds.LATER:
            continue
        there = after.is_not_null().cast(pl.Float64)
        says = (
            max(
                strength(after, y, inputs.model.task_type),
                strength(there, y, inputs.model.task_type),
            )
            >= thresholds.PREDICTS
        )
        evidence = (
            f"{series.name!r} is later than the outcome is said to be known, in {share:.1%} of rows"
            + (", and says the outcome" if says else "")
        )
        remedy = f"If the outcome is decided at {series.name!r}, make it the known_at_field"
        holds, severity = (
            f"no outcome is decided at {series.name!r}",
            "SUSPECT" if says else "question",
        )
        findings.append(
            AuditFinding(
                NAME,
                severity,  # type: ignore[arg-type]
                _subject(inputs),
                evidence,
                remedy,
                share,
                [series.name],
                brief=holds,
            )
        )
    return findings


def _changed(inputs: AuditInputs) -> list[AuditFinding]:
    """Requests that the labels have several times, equal in all but the outcome and when it was
    known.
    """
    labels, rows = inputs.model.labels, inputs.requests
    assert rows.known_at is not None
    same = [
        name
        for name in rows.frame.columns
        if name not in (labels.label_name, labels.known_at_field, labels.weight)
    ]
    hashed = rows.frame.select(same).hash_rows(seed=1) if same else pl.Series([0] * len(rows.t))
    by_request = pl.DataFrame(
        {"row": hashed, "t": rows.t, "y": inputs.y, "known": rows.known_at}
    ).group_by("row", "t")
    changed = by_request.agg(
        ((pl.col("y").n_unique() > 1) & (pl.col("known").n_unique() > 1)).alias("changed")
    )["changed"]
    share = float(changed.to_numpy().mean())
    if share < thresholds.CHANGED:
        return []
    evidence = (
        f"{share:.1%} of requests are in the labels several times, with another outcome that was "
        "known at another time"
    )
    remedy = (
        "Keep one row for each request, with the outcome that counts and the time at which it was "
        "final"
    )
    return [
        AuditFinding(
            NAME,
            "SUSPECT",
            _subject(inputs),
            evidence,
            remedy,
            share,
            brief="each request has one outcome, known when it is said",
        )
    ]


def _by_class(inputs: AuditInputs) -> list[AuditFinding]:
    """Whether outcomes of one class are known later than those of another, next to what was
    answered before the backtest.

    | answered | known_at differs by class | it does not |
    |---|---|---|
    | nothing | a question | nothing |
    | no | a question that names the contradiction | nothing |
    | yes | nothing: it was answered | a question: what does known_at hold? |
    """
    task, labels, answer = inputs.model.task_type, inputs.model.labels, inputs.delay_by_outcome
    assert inputs.requests.known_at is not None
    delay = (inputs.requests.known_at - inputs.requests.t)[inputs.sample]
    if not (task.positives or task.classes):
        return []
    says = 0.0 if np.ptp(delay) == 0 else strength(pl.Series(delay), inputs.y[inputs.sample], task)
    shown, column = f"AUC {(1 + says) / 2:.2f}", labels.known_at_field
    if says >= thresholds.CLASS_DELAY:
        evidence = (
            f"How long a label takes to be known says the outcome ({shown}): rows before the "
            "split lack the slow class"
        )
        if answer is None:
            return [
                _question(
                    inputs, evidence, "Do adversaries or slow outcomes decide which rows can train?"
                )
            ]
        contradicts = (
            f"{evidence}, although the delay was answered to be the same for every outcome"
        )
        return (
            []
            if answer
            else [
                _question(
                    inputs,
                    contradicts,
                    f"Is the answer wrong, or is {column!r} not when the outcome was known?",
                )
            ]
        )
    noise = 3 * strength_error(inputs.y[inputs.sample], task)
    # with known_after, the sentence on the answer says that one delay is too few
    if answer and column is not None and says < noise:
        lacks = (
            f"One outcome was answered to become known later than the other, and {column!r} does "
            f"not show it ({shown})"
        )
        return [
            _question(
                inputs, lacks, f"Is {column!r} when each outcome was known, also of the slow one?"
            )
        ]
    return []


def _question(inputs: AuditInputs, evidence: str, remedy: str) -> AuditFinding:
    return AuditFinding(NAME, "question", _subject(inputs), evidence, remedy)
