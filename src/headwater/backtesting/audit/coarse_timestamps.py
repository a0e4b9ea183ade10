"""Check: timestamps that were rounded down, so that an event counts before it was known."""

from __future__ import annotations

import numpy as np

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.own_events import OwnEvents, own_events
from headwater.backtesting.audit.own_outcome import outcome_times
from headwater.definitions.checks import DAY, HOUR, text
from headwater.definitions.source import bottom_of
from headwater.kernel.arrays import I64
from headwater.results.audit_result import AuditFinding
from headwater.training.timestamp_resolution import measured

NAME = "coarse timestamps"
_STEPS = (
    DAY,
    12 * HOUR,
    8 * HOUR,
    6 * HOUR,
    4 * HOUR,
    3 * HOUR,
    2 * HOUR,
    HOUR,
    HOUR // 2,
    HOUR // 4,
    HOUR // 6,
    HOUR // 12,
    HOUR // 60,
)


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """LEAK: requests count their own outcome at a timestamp that was rounded down. SUSPECT: or an
    event that was planned.

    A question: timestamps are coarse, and the source does not say when its events are known.
    """
    read = inputs.level.reads_history(inputs.model)
    views = (
        [view for view in inputs.model.features.views_in_history if view.source.history is not None]
        if read
        else []
    )
    sources = {bottom_of(view.source).name: measured(bottom_of(view.source)) for view in views}
    if not sources:
        return NotRun("the freshest level reads no history")
    rounded = {
        events.subject: finding
        for events in own_events(inputs)
        if (finding := _rounded_finding(inputs, events)) is not None
    }
    questions = [
        AuditFinding(NAME, "question", name, *_split(question), columns=[source.column])
        for name, source in sources.items()
        if name not in rounded
        and (question := source.result().question)
        and not source.same_grid(inputs.requests.t)
    ]
    return [*rounded.values(), *questions]


def _split(question: str) -> tuple[str, str]:
    evidence, _, remedy = question.partition(". ")
    return evidence[:1].upper() + evidence[1:], remedy


def _rounded_finding(inputs: AuditInputs, events: OwnEvents) -> AuditFinding | None:
    """Label rows whose own event is dated at the rounded time of one of their later timestamps, and
    counts before that time.
    """
    step = _step(events.time)
    if step is None:
        return None
    places, outcomes = (
        np.searchsorted(inputs.sample, events.position),
        outcome_times(inputs, events),
    )
    for column, all_stamps in inputs.later.items():
        stamps = all_stamps[places]
        there = stamps > 0
        finer = there & (stamps % step != 0)
        if finer.mean() < thresholds.AFTER:
            continue
        down = stamps - stamps % step
        matched, chance = (
            (events.exact_event(down) >= 0) & finer,
            max(
                float(((events.exact_event(down + shift) >= 0) & finer).sum())
                for shift in (-step, step)
            ),
        )
        share, chance = float(matched.sum() / finer.sum()), chance / float(finer.sum())
        if (
            chance > thresholds.ROUNDED_CHANCE
            or (own_share := (share - chance) / (1 - chance)) < thresholds.ROUNDED
        ):
            continue
        at = events.at(np.where(finer, down, -1))
        early = (at >= 0) & (stamps > events.request_times)
        counted = events.share(early) * own_share
        gravity = (
            inputs.gravity(early, events.position, matched)
            if column in outcomes and counted >= thresholds.LEAK_SHARE
            else "SUSPECT"
        )
        if gravity != "LEAK" and counted < thresholds.OWN_SHARE:
            continue
        size = text(step)
        evidence = (
            f"The timestamps of source {events.subject!r} are multiples of {size}, and "
            f"{own_share:.0%} of the label rows are in it at {column!r} rounded down to {size} "
            f"(beyond chance): {counted:.1%} of requests count their own row, while {column!r} "
            "comes after the request"
        )
        remedy = (
            f'Give source {events.subject!r} known_after="{size}", or the time before it was '
            "rounded"
        )
        holds = (
            f"{column!r} is planned, and its row in source {events.subject!r} is known at the "
            "request"
        )
        return AuditFinding(NAME, gravity, events.subject, evidence, remedy, counted, brief=holds)
    return None


def _step(times: I64) -> int | None:
    """The largest step that divides nearly all timestamps; None where they are finer than a
    minute.
    """
    if len(times) < thresholds.FEWEST:
        return None
    return next((step for step in _STEPS if (times % step == 0).mean() >= thresholds.ON_STEP), None)
