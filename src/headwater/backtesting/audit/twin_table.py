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
        own
        for own in own_events(inputs)
        if any(name.startswith((STAMP, ID)) for name in own.table.columns)
    ]
    if not looked:
        return NotRun("no source with keys of the labels has a timestamp or an id in its table")
    return [finding for own in looked if (finding := _finding(inputs, own)) is not None]


def _finding(inputs: AuditInputs, own: OwnEvents) -> AuditFinding | None:
    spike = own.spike
    if spike is not None and spike.excess >= thresholds.OWN_SHARE:
        return None  # found by its offset already
    suspected = None
    for match in _matches(own):
        counts = match.event >= 0
        early = own.share(counts)
        if early < thresholds.LEAK_SHARE:
            continue
        evidence = (
            f"{own.share(match.there):.1%} of the label rows are in the table of source "
            f"{own.subject!r} ({match.how}), and {early:.1%} of requests count their own row"
        )
        remedy = (
            f"Give source {own.subject!r} the time at which these columns are really known, by "
            "known_at_field= or known_after=, or leave them out"
        )
        if same := outcome_among(inputs, own, match.event):
            gravity = inputs.gravity(counts, own.position)
            evidence += f"; {quoted(same)} of it is the outcome"
            holds = (
                f"{quoted(same)} of a request's own row in source {own.subject!r} is known at the "
                "request"
            )
            return AuditFinding(
                NAME, gravity, own.subject, evidence, remedy, early, same, brief=holds
            )
        if (
            suspected is None
            and early >= thresholds.OWN_SHARE
            and (says := predicting(inputs, own, match.event))
        ):
            evidence += f"; {listed(says)} of it says the outcome"
            holds = f"a request's own row in source {own.subject!r} is known at the request"
            suspected = AuditFinding(
                NAME, "SUSPECT", own.subject, evidence, remedy, early, says, brief=holds
            )
    return suspected


@dataclass(frozen=True)
class _Match:
    """Label rows and their events: how they were matched, bool (rows) which have one, and int64
    (rows) those that count, -1 without.
    """

    how: str
    there: Bool
    event: I64


def _matches(own: OwnEvents) -> Iterator[_Match]:
    """By an id, then by the pair of timestamps at which most label rows have an event of their
    keys.
    """
    for name in (name.removeprefix(ID) for name in own.table.columns if name.startswith(ID)):
        if (
            name in own.view.keys
            and own.table[f"{ID}{name}"].n_unique() < thresholds.EQUAL * own.table.height
        ):
            continue  # whose events they are, and not which
        event = own.same_id(name)
        yield _Match(f"same {name!r}", event >= 0, event)
    stamp, column, found = _contained(own)
    if own.share(found >= 0) >= thresholds.TWIN:
        counted = found >= 0
        counted[counted] = own.counted(found[counted], np.flatnonzero(counted))
        yield _Match(
            f"same keys, {stamp!r} equal to {named(column)}",
            found >= 0,
            np.where(counted, found, -1),
        )


def _contained(own: OwnEvents) -> tuple[str, str, I64]:
    """The pair of timestamps at which most label rows have an event of their keys, and these
    events; data on a grid have none.
    """
    best, event = ("", ""), np.full(len(own.asked), -1)
    for stamp in (name for name in own.table.columns if name.startswith(STAMP)):
        for column, wanted in own.timestamps.items():
            found = own.same_time(stamp, wanted)
            share = own.share(found >= 0)
            if share <= own.share(event >= 0) or share < thresholds.TWIN:
                continue
            shifted = max(
                own.share(own.same_time(stamp, wanted + shift) >= 0)
                for shift in (-HOUR, HOUR, -24 * HOUR, 24 * HOUR)
            )
            if shifted < thresholds.SHIFTED * share:
                best, event = (stamp.removeprefix(STAMP), column), found
    return *best, event
