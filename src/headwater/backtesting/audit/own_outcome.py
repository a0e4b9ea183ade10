"""Check: a request counts its own outcome, as an event at a constant offset from one of the label
row's timestamps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import are_equal, is_outcome, strength, strength_error
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import REQUEST_TIME, OwnEvents, Spike, own_events
from headwater.backtesting.audit.own_label_rows import quoted
from headwater.definitions.source import bottom_of
from headwater.kernel.arrays import I64
from headwater.results.audit_result import AuditFinding
from headwater.results.measurement import duration

NAME = "own outcome"
BEING_THERE = "being there"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: the timestamp is an outcome's, or the value of the event is the outcome. SUSPECT: the
    values say the outcome.
    """
    looked = own_events(inputs)
    if not looked:
        return NotRun("no source that the freshest level reads has keys of the labels")
    return [finding for events in looked if (finding := _finding(inputs, events)) is not None]


def _finding(inputs: AuditInputs, events: OwnEvents) -> AuditFinding | None:
    spike = events.spike
    if spike is None or spike.share < thresholds.LEAK_SHARE:
        return None
    excess, of_own = spike.excess, spike.event >= 0
    if not excess:
        return _on_grid(inputs, events, spike)
    shifted, at = " or ".join(_offset(offset) for offset in spike.offsets), named(spike.column)
    evidence = (
        f"{spike.share:.1%} of requests count an event of their own keys exactly {shifted} {at}"
    )
    says = predicting(inputs, events, spike.event)
    same = outcome_among(inputs, events, spike.event)
    of_outcome = spike.column in outcome_times(inputs, events)
    by_value = _strongest(inputs, events, spike.event) >= thresholds.OUTCOME_ITSELF or set(says) - {
        BEING_THERE
    }
    proven = same or (
        of_outcome
        and (by_value or (excess >= thresholds.OWN_SHARE and inputs.says_outcome(spike.column)))
    )
    if of_outcome:
        evidence += ", which is known only after the request"
    if same:
        evidence += f", and {quoted(same)} of that event is the outcome"
    having = np.logical_or.reduce(
        [
            events.exact_event(events.timestamps[spike.column] + offset) >= 0
            for offset in spike.offsets
        ]
    )
    if proven and (gravity := inputs.gravity(of_own, events.position, having)) == "LEAK":
        remedy = (
            "These are the outcomes of the requests themselves: check the time zone and the "
            f"timestamp_field of source {events.subject!r}, and give it the time at which an event "
            "is really known, by known_at_field= or known_after="
        )
        return AuditFinding(NAME, gravity, events.subject, evidence, remedy, spike.share, same)
    if excess < thresholds.OWN_SHARE or not (says or same or of_outcome):
        return None
    if says:
        evidence += (
            f", and {listed(says)} of that event says the outcome better than the key's other "
            "events do"
        )
    remedy = (
        "If they come of the outcome, check the time zone and the timestamp_field of source "
        f"{events.subject!r}, and give it known_at_field= or known_after= with the time at which "
        "they are really known"
    )
    holds = f"these events of source {events.subject!r} are known at the request"
    return AuditFinding(
        NAME, "SUSPECT", events.subject, evidence, remedy, spike.share, says, brief=holds
    )


def _strongest(inputs: AuditInputs, events: OwnEvents, event: I64) -> float:
    """How well the column that says most of the outcome says it, of the events of rows."""
    y, columns = (
        inputs.y[events.position][event >= 0],
        [column for column in events.columns if column not in inputs.carried],
    )
    few = 2 * thresholds.LEAK_ROWS
    return max(
        (
            strength(events.values(column, event), y, inputs.model.task_type, few)
            for column in columns
        ),
        default=0.0,
    )


def outcome_times(inputs: AuditInputs, events: OwnEvents) -> frozenset[str]:
    """The later timestamps of a label row that are outcomes, or by name the time at which the
    source itself says that its events happen.
    """
    source = bottom_of(events.view.source)
    return inputs.outcome_timestamps | (
        {source.timestamp_field, source.known_at_field or ""} & {*inputs.later}
    )


def outcome_among(inputs: AuditInputs, events: OwnEvents, event: I64) -> list[str]:
    """The columns of rows' own events that are the outcome, or the column of the label row that it
    is made of.
    """
    task, matched = inputs.model.task_type, event >= 0
    y, rows = inputs.y[events.position][matched], events.rows.filter(pl.Series(matched))
    made_of = [
        rows[name]
        for name in inputs.outcome_columns & {*rows.columns} - {inputs.model.labels.label_name}
    ]
    names = []
    for column in events.columns:
        if column in inputs.carried:
            continue
        values = events.values(column, event)
        if is_outcome(values, y, task) or any(
            are_equal(values, of_label, y, task) for of_label in made_of
        ):
            names.append(column)
    return names


def predicting(inputs: AuditInputs, events: OwnEvents, event: I64) -> list[str]:
    """The columns in which a row's own event shows the outcome, and the key's other events do not;
    `BEING_THERE` for the event itself.
    """
    task, outcomes, matched = inputs.model.task_type, inputs.y[events.position], event >= 0
    y = outcomes[matched]
    least = max(thresholds.EXCESS, thresholds.ERRORS * strength_error(y, task))
    names = []
    newest_other = events.newest_other(event)
    for column in events.columns:
        if column in inputs.carried:
            continue
        own_strength = strength(events.values(column, event), y, task)
        if own_strength < thresholds.PREDICTS:
            continue
        theirs = strength(events.values(column, newest_other), outcomes[newest_other >= 0], task)
        if own_strength - theirs >= least:
            names.append(column)
    # of all rows, so with the error of all rows
    if thresholds.OWN_SHARE < matched.mean() < 1 - thresholds.OWN_SHARE:
        present = strength(pl.Series("there", matched.astype(np.float64)), outcomes, task)
        if present >= max(thresholds.PREDICTS, thresholds.ERRORS * strength_error(outcomes, task)):
            names.append(BEING_THERE)
    return names


def _on_grid(inputs: AuditInputs, source_events: OwnEvents, spike: Spike) -> AuditFinding | None:
    """Where every offset has an event, the values tell: at one offset they are the outcome, at all
    others they are not.
    """
    stamps, task = source_events.timestamps[spike.column], inputs.model.task_type
    y = inputs.y[source_events.position]
    for column in source_events.columns:
        if column in inputs.carried:
            continue
        events = {
            offset: source_events.at(stamps + offset) for offset in source_events.offsets(stamps)
        }
        by_offset = {
            offset: strength(source_events.values(column, event), y[event >= 0], task)
            for offset, event in events.items()
        }
        best = max(by_offset, key=lambda offset: by_offset[offset], default=None)
        if best is None:
            continue
        rest = max((value for offset, value in by_offset.items() if offset != best), default=0.0)
        if by_offset[best] < thresholds.ON_GRID or by_offset[best] - rest < thresholds.GRID_GAP:
            continue
        same, of_own = (
            is_outcome(source_events.values(column, events[best]), y[events[best] >= 0], task),
            events[best] >= 0,
        )
        evidence = (
            f"Events of source {source_events.subject!r} are on a fixed grid; {column!r} of the "
            "one "
            f"{_offset(best)} {named(spike.column)} "
            f"{'is the outcome itself' if same else 'says the outcome'} (strength "
            f"{by_offset[best]:.2f}, at other offsets at most {rest:.2f})"
        )
        remedy = (
            f"Check the time zone and the timestamp_field of source {source_events.subject!r}; a "
            "summary of "
            "a period is known at its end: give it known_at_field= or known_after="
        )
        gravity = inputs.gravity(of_own, source_events.position) if same else "SUSPECT"
        holds = (
            f"{column!r} of these events of source {source_events.subject!r} is known at the "
            "request, as a "
            "forecast is"
        )
        return AuditFinding(
            NAME,
            gravity,
            source_events.subject,
            evidence,
            remedy,
            source_events.share(of_own),
            [column],
            brief=holds,
        )
    return None


def named(column: str) -> str:
    """A timestamp of the label row in a sentence: a column in quotes."""
    return column if column == REQUEST_TIME else repr(column)


def listed(names: Sequence[str]) -> str:
    """What says the outcome: columns in quotes, and the presence of the event."""
    return ", ".join(name if name == BEING_THERE else repr(name) for name in names)


def _offset(micros: int) -> str:
    """An offset in words: "4h before", "at"."""
    if micros == 0:
        return "at"
    return f"{duration(abs(micros) / 1e6)} {'before' if micros < 0 else 'after'}"
