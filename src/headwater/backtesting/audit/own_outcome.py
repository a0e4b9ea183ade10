"""Check: a request counts its own outcome, as an event at a constant offset from one of the label row's timestamps."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import strength, strength_error
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import OwnEvents, Spike, own_events
from headwater.backtesting.audit.own_label_rows import carried
from headwater.kernel.arrays import I64, Bool
from headwater.results.audit_result import AuditFinding
from headwater.results.measurement import duration

NAME = "own outcome"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: the timestamp is known only after the request. SUSPECT: it derives from the request's, and the values say the outcome."""
    looked = own_events(inputs)
    if not looked:
        return NotRun("no source that the freshest level reads has keys of the labels")
    return [finding for own in looked if (finding := _finding(inputs, own)) is not None]


def _finding(inputs: AuditInputs, own: OwnEvents) -> AuditFinding | None:
    spike = own.spike
    if spike is None or spike.share < thresholds.OWN_SHARE:
        return None
    if spike.share - spike.grid < thresholds.OWN_SHARE:
        return _on_grid(inputs, own, spike)
    shifted = " or ".join(_offset(offset) for offset in spike.offsets)
    evidence = f"{spike.share:.1%} of requests count an event of their own keys exactly {shifted} {spike.column}"
    remedy = (
        f"These are the outcomes of the requests themselves: check the time zone and the timestamp_field of source {own.subject!r}, and give it "
        "the time at which an event is really known"
    )
    if known_after(inputs, own, spike.column, spike.event):
        evidence += ", which is known only after the request"
        return AuditFinding(NAME, "LEAK", own.subject, evidence, remedy, spike.share)
    says = predicting(inputs, own, spike.event)
    if not says:
        return None
    evidence += f", and {', '.join(says)} of that event says the outcome better than the key's other events do"
    return AuditFinding(NAME, "SUSPECT", own.subject, evidence, remedy, spike.share, says)


def known_after(inputs: AuditInputs, own: OwnEvents, column: str, event: I64) -> bool:
    """Whether a timestamp of the label row is known only after the request, and does not derive from it."""
    matched = event >= 0
    if column in carried(inputs.model) or not matched.any():
        return False
    offset = (own.timestamps[column] - own.asked)[matched]
    fixed = float((offset == np.median(offset)).mean())
    return bool((offset > 0).mean() >= thresholds.AFTER and fixed < thresholds.DERIVED)


def predicting(inputs: AuditInputs, own: OwnEvents, event: I64) -> list[str]:
    """The columns by which a row's own event says the outcome, and the key's other events do not; "being there" for the event itself."""
    task, y, matched = inputs.model.task_type, inputs.y[own.position], event >= 0
    known, read = carried(inputs.model), [name for name in own.table.columns if not name.startswith("__")]
    least = max(thresholds.EXCESS, thresholds.ERRORS * strength_error(y[matched], task))
    names = []
    other = own.other(event)
    keys = {mine for mine, _ in own.keys}
    for column in read:
        if column in keys or column in known:
            continue
        mine = strength(own.values(column, event), y[matched], task)
        if mine < thresholds.PREDICTS:
            continue
        theirs = strength(own.values(column, other), y[other >= 0], task)
        if mine - theirs >= least:
            names.append(column)
    present = strength(_there(matched), y, task) if thresholds.OWN_SHARE < matched.mean() < 1 - thresholds.OWN_SHARE else 0.0
    return [*names, *(["being there"] if present >= max(thresholds.PREDICTS, least) else [])]


def _there(matched: Bool) -> pl.Series:
    return pl.Series("there", matched.astype(np.float64))


def _on_grid(inputs: AuditInputs, own: OwnEvents, spike: Spike) -> AuditFinding | None:
    """Where every offset has an event, the values tell: at one offset they are the outcome, at all others they are not."""
    stamps, task = own.timestamps[spike.column], inputs.model.task_type
    y = inputs.y[own.position]
    for column in own.table.columns:
        if column.startswith("__") or column in carried(inputs.model):
            continue
        by_offset = {}
        for offset in own.offsets(stamps):
            event = own.at(stamps + offset)
            by_offset[offset] = strength(own.values(column, event), y[event >= 0], task)
        best = max(by_offset, key=lambda offset: by_offset[offset], default=None)
        if best is None:
            continue
        rest = max((value for offset, value in by_offset.items() if offset != best), default=0.0)
        if by_offset[best] >= thresholds.ON_GRID and by_offset[best] - rest >= thresholds.GRID_GAP:
            evidence = (
                f"Events of source {own.subject!r} are on a fixed grid; {column!r} of the one {_offset(best)} {spike.column} is the outcome itself "
                f"(strength {by_offset[best]:.2f}, at other offsets at most {rest:.2f})"
            )
            remedy = f"Check the time zone and the timestamp_field of source {own.subject!r}; a summary of a period is known at its end"
            return AuditFinding(NAME, "LEAK", own.subject, evidence, remedy, float((own.at(stamps + best) >= 0).mean()), [column])
    return None


def _offset(micros: int) -> str:
    """An offset in words: "4h before", "at"."""
    if micros == 0:
        return "at"
    return f"{duration(abs(micros) / 1e6)} {'before' if micros < 0 else 'after'}"
