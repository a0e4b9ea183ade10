"""Check: another table contains the label rows, found by keys and timestamps, and a request counts its own row of it."""

from __future__ import annotations

import numpy as np

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import strength
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import HOUR, STAMP, OwnEvents, own_events
from headwater.backtesting.audit.own_outcome import predicting
from headwater.kernel.arrays import I64
from headwater.results.audit_result import AuditFinding, Severity

NAME = "label rows in another table"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: the values of a request's own row are its outcome. SUSPECT: they say more of it than the key's other rows."""
    looked = [own for own in own_events(inputs) if any(name.startswith(STAMP) for name in own.table.columns)]
    if not looked:
        return NotRun("no source with keys of the labels has a timestamp in its table")
    return [finding for own in looked if (finding := _finding(inputs, own)) is not None]


def _finding(inputs: AuditInputs, own: OwnEvents) -> AuditFinding | None:
    spike = own.spike
    if spike is not None and spike.share - spike.grid >= thresholds.OWN_SHARE:
        return None  # found by its offset already
    mine, theirs, event = _contained(own)
    matched = event >= 0
    if matched.mean() < thresholds.TWIN:
        return None
    early = matched.copy()
    early[matched] = own.counted(event[matched], np.flatnonzero(matched))
    if early.mean() < thresholds.OWN_SHARE:
        return None
    counted = np.where(early, event, -1)
    says = predicting(inputs, own, counted)
    if not says:
        return None
    y = inputs.y[own.position][early]
    most = max((strength(own.values(name, counted), y, inputs.model.task_type) for name in says if name in own.table.columns), default=0.0)
    evidence = (
        f"{matched.mean():.1%} of the label rows are in the table of source {own.subject!r} (same keys, {mine} equal to {theirs}), and {early.mean():.1%} of "
        f"requests count their own row; {', '.join(says)} of it says the outcome"
    )
    remedy = f"Give source {own.subject!r} the time at which these columns are really known, or leave them out"
    severity: Severity = "LEAK" if most >= thresholds.OUTCOME_ITSELF else "SUSPECT"
    return AuditFinding(NAME, severity, own.subject, evidence, remedy, float(early.mean()), says)


def _contained(own: OwnEvents) -> tuple[str, str, I64]:
    """The pair of timestamps at which most label rows have an event of their keys, and these events; data on a grid have none."""
    best, event = ("", ""), np.full(len(own.asked), -1)
    for stamp in (name for name in own.table.columns if name.startswith(STAMP)):
        for column, wanted in own.timestamps.items():
            found = own.same_time(stamp, wanted)
            share = (found >= 0).mean()
            if share <= (event >= 0).mean() or share < thresholds.TWIN:
                continue
            shifted = max((own.same_time(stamp, wanted + shift) >= 0).mean() for shift in (-HOUR, HOUR, -24 * HOUR, 24 * HOUR))
            if shifted < thresholds.SHIFTED * share:
                best, event = (stamp.removeprefix(STAMP), column), found
    return *best, event
