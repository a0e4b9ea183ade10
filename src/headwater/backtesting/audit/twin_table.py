"""Check: another table contains the label rows, found by an id or by keys and timestamps, and a
request counts its own row of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import HOUR, ID, STAMP, OwnEvents, own_events
from headwater.backtesting.audit.own_label_rows import quoted
from headwater.backtesting.audit.own_outcome import listed, named, outcome_among, predicting
from headwater.kernel.arrays import I64, Bool
from headwater.results.audit_result import AuditFinding

NAME = "label rows in another table"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: the values of a request's own row are its outcome. SUSPECT: they say more of it than
    the key's other rows.
    """
    looked = [
        events
        for events in own_events(inputs)
        if any(name.startswith((STAMP, ID)) for name in events.table.columns)
    ]
    if not looked:
        return NotRun("no source with keys of the labels has a timestamp or an id in its table")
    return [finding for events in looked if (finding := _finding(inputs, events)) is not None]


def _finding(inputs: AuditInputs, events: OwnEvents) -> AuditFinding | None:
    spike = events.spike
    if spike is not None and spike.excess >= thresholds.OWN_SHARE:
        return None  # found by its offset already
    suspected = None
    for match in _matches(events):
        counts = match.event >= 0
        early = events.share(counts)
        if early < thresholds.LEAK_SHARE:
            continue
        evidence = (
            f"{events.share(match.there):.1%} of the label rows are in the table of source "
            f"{events.subject!r} ({match.matched_by}), and {early:.1%} of requests count their own "
            "row"
        )
        remedy = (
            f"Give source {events.subject!r} the time at which these columns are really known, by "
            "known_at_field= or known_after=, or leave them out"
        )
        if same := outcome_among(inputs, events, match.event):
            gravity = inputs.gravity(counts, events.position)
            evidence += f"; {quoted(same)} of it is the outcome"
            holds = (
                f"{quoted(same)} of a request's own row in source {events.subject!r} is known at "
                "the "
                "request"
            )
            return AuditFinding(
                NAME, gravity, events.subject, evidence, remedy, early, same, brief=holds
            )
        if (
            suspected is None
            and early >= thresholds.OWN_SHARE
            and (says := predicting(inputs, events, match.event))
        ):
            evidence += f"; {listed(says)} of it says the outcome"
            holds = f"a request's own row in source {events.subject!r} is known at the request"
            suspected = AuditFinding(
                NAME, "SUSPECT", events.subject, evidence, remedy, early, says, brief=holds
            )
    return suspected


@dataclass(frozen=True)
class _Match:
    """Label rows and their events: how they were matched, bool (rows) which have one, and int64
    (rows) those that count, -1 without.
    """

    matched_by: str
    there: Bool
    event: I64


def _matches(events: OwnEvents) -> Iterator[_Match]:
    """By an id, then by the pair of timestamps at which most label rows have an event of their
    keys.
    """
    for name in (name.removeprefix(ID) for name in events.table.columns if name.startswith(ID)):
        if (
            name in events.view.keys
            and events.table[f"{ID}{name}"].n_unique() < thresholds.EQUAL * events.table.height
        ):
            continue  # whose events they are, and not which
        event = events.same_id(name)
        yield _Match(f"same {name!r}", event >= 0, event)
    stamp, column, contained = _contained(events)
    if events.share(contained >= 0) >= thresholds.TWIN:
        counted = contained >= 0
        counted[counted] = events.counted(contained[counted], np.flatnonzero(counted))
        yield _Match(
            f"same keys, {stamp!r} equal to {named(column)}",
            contained >= 0,
            np.where(counted, contained, -1),
        )


def _contained(events: OwnEvents) -> tuple[str, str, I64]:
    """The pair of timestamps at which most label rows have an event of their keys, and these
    events; data on a grid have none.
    """
    best, event = ("", ""), np.full(len(events.request_times), -1)
    for stamp in (name for name in events.table.columns if name.startswith(STAMP)):
        for column, wanted in events.timestamps.items():
            matched = events.same_time(stamp, wanted)
            share = events.share(matched >= 0)
            if share <= events.share(event >= 0) or share < thresholds.TWIN:
                continue
            shifted = max(
                events.share(events.same_time(stamp, wanted + shift) >= 0)
                for shift in (-HOUR, HOUR, -24 * HOUR, 24 * HOUR)
            )
            if shifted < thresholds.SHIFTED * share:
                best, event = (stamp.removeprefix(STAMP), column), matched
    return *best, event
