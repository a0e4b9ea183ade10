"""Check: timestamps that were rounded down, so that an event counts before it was known."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import OwnEvents, own_events
from headwater.backtesting.audit.request_columns import later_timestamps
from headwater.definitions.durations import DAY, HOUR, text
from headwater.definitions.enriched import bottom_of
from headwater.kernel.arrays import I64, Bool
from headwater.results.audit_result import AuditFinding
from headwater.training.timestamp_resolution import measured

NAME = "coarse timestamps"
_STEPS = (DAY, 12 * HOUR, 8 * HOUR, 6 * HOUR, 4 * HOUR, 3 * HOUR, 2 * HOUR, HOUR, HOUR // 2, HOUR // 4, HOUR // 6, HOUR // 12, HOUR // 60)


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: requests count their own outcome at a timestamp that was rounded down.

    A question: timestamps are coarse, and the source does not say when its events are known.
    """
    read = inputs.level.reads_history(inputs.model)
    views = [view for view in inputs.model.features.views_in_history if view.source.history is not None] if read else []
    sources = {bottom_of(view.source).name: measured(bottom_of(view.source)) for view in views}
    if not sources:
        return NotRun("the freshest level reads no history")
    rounded = {own.subject: finding for own in own_events(inputs) if (finding := _own(inputs, own)) is not None}
    asked = [
        AuditFinding(NAME, "question", name, *_split(question), columns=[source.column])
        for name, source in sources.items()
        if name not in rounded and (question := source.result().question) and not source.same_grid(inputs.requests.t)
    ]
    return [*rounded.values(), *asked]


def _split(question: str) -> tuple[str, str]:
    evidence, _, remedy = question.partition(". ")
    return evidence[:1].upper() + evidence[1:], remedy


def _own(inputs: AuditInputs, own: OwnEvents) -> AuditFinding | None:
    """Label rows whose own event is dated at the rounded time of one of their later timestamps, and counts before that time."""
    step = _step(own.time)
    if step is None:
        return None
    places = np.searchsorted(inputs.sample, own.position)
    for column, all_stamps in later_timestamps(inputs).items():
        stamps = all_stamps[places]
        there = stamps > 0
        finer = there & (stamps % step != 0)
        if finer.mean() < thresholds.AFTER:
            continue
        down = stamps - stamps % step
        matched, chance = (
            _has_event(own, down) & finer,
            max(float((_has_event(own, down + shift) & finer).sum()) for shift in (-step, step)),
        )
        share, chance = float(matched.sum() / finer.sum()), chance / float(finer.sum())
        if chance > thresholds.ROUNDED_CHANCE or (own_share := (share - chance) / (1 - chance)) < thresholds.ROUNDED:
            continue
        at = own.at(np.where(finer, down, -1))
        early = (at >= 0) & (stamps > own.asked)
        counted = float(early.mean()) * own_share
        if counted < thresholds.OWN_SHARE:
            continue
        size = text(step)
        evidence = (
            f"The timestamps of source {own.subject!r} are multiples of {size}, and {own_share:.0%} of the label rows are in it at {column} rounded down to "
            f"{size} (beyond chance): {counted:.1%} of requests count their own row, while {column} is known only after the request"
        )
        remedy = f'Give source {own.subject!r} known_after="{size}", or the time before it was rounded'
        return AuditFinding(NAME, "LEAK", own.subject, evidence, remedy, counted)
    return None


def _has_event(own: OwnEvents, at: I64) -> Bool:
    """Whether the keys of each row have an event at this time, counted or not."""
    rows = pl.DataFrame({"code": own.row_code, "time": at})
    events = pl.DataFrame({"code": own.code, "time": own.time}).unique().with_columns(there=pl.lit(value=True))
    return rows.join(events, on=["code", "time"], how="left", maintain_order="left")["there"].fill_null(value=False).to_numpy()


def _step(times: I64) -> int | None:
    """The largest step of which nearly all timestamps are multiples; None where they are finer than a minute."""
    if len(times) < thresholds.FEWEST:
        return None
    return next((step for step in _STEPS if (times % step == 0).mean() >= thresholds.ON_STEP), None)
