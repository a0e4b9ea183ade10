"""Overview: four numbers, what needs attention, and a card for each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.console.attention import items
from headwater.console.console_context import ConsoleContext
from headwater.console.kept_decisions import decision_of, records, result_of
from headwater.console.page_types import ConsoleRequest
from headwater.console.view_summary import view_summary
from headwater.errors import HeadwaterError
from headwater.monitoring.served_statistics import served_days
from headwater.pages import wording
from headwater.results.assessment_result import AssessmentResult
from headwater.results.measurement import amount
from headwater.results.served_result import Served

_SERVED_EVERY: float = 60.0  # seconds


@dataclass(frozen=True)
class Tile:
    """One of the four numbers.

    number: empty where it is not known. about: what it is of, or how to get it. good: None where it
    is neither.
    """

    name: str
    number: str
    about: str
    good: bool | None = None


def overview(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the page."""
    return {
        "tiles": [_fresh(context), _correct(context), _fast(context), _worth(context)],
        "items": items(context),
        "decisions": [decision_of(context, model.name) for model in context.project.models],
        "file": context.file,
    }


def _fresh(context: ConsoleContext) -> Tile:
    summary = view_summary(context)
    views = [view for view in summary.value or () if view.state != "not stored"]
    if not views:
        return Tile(
            "fresh",
            "",
            summary.error
            or ("being read" if summary.at is None else "no view is in the online store yet"),
        )
    fresh = sum(view.fresh for view in views)
    return Tile(
        "fresh", f"{fresh} of {len(views)}", "views keep their promise now", fresh == len(views)
    )


def _correct(context: ConsoleContext) -> Tile:
    record = next(iter(records(context, context.project.name, "parity")), None)
    values = 0 if record is None else int(record.figures.get("values", 0))
    if record is None or not values:
        return Tile(
            "correct", "", "served values were never compared with training: headwater parity"
        )
    wrong = int(record.figures.get("mismatches", 0))
    return Tile(
        "correct",
        wording.share(1 - wrong / values),
        f"of {values:,} served values equal training's, {record.at[:10]}",
        not wrong,
    )


def _fast(context: ConsoleContext) -> Tile:
    summary = context.summaries.latest(
        "served",
        list[Served],
        lambda: served_days(context.data_dir, days=7, now=context.now()),
        seconds=_SERVED_EVERY,
    )
    latest = [(served.name, served.days[-1]) for served in summary.value or () if served.days]
    timed = [
        (t.p99, name, day)
        for name, day in latest
        for t in day.timings
        if not t.stage and t.p99 is not None
    ]
    if not timed:
        return Tile(
            "fast", "", summary.error or "nothing was served yet, or its log is not summarised yet"
        )
    p99, name, day = max(timed, key=lambda timing: timing[0])
    return Tile(
        "fast", wording.duration(p99), f"99 % of requests of {name} took at most this on {day.day}"
    )


def _worth(context: ConsoleContext) -> Tile:
    earned: dict[str, float] = {}
    for model in context.project.models:
        record = next(iter(records(context, model.name, "assessment")), None)
        try:
            result = None if record is None else result_of(context, record)
        except HeadwaterError:  # the model's card says so
            continue
        if isinstance(result, AssessmentResult) and result.decision.earns.value is not None:
            unit = result.decision.earns.unit.partition("/")[0]
            extra = result.decision.extra.value or 0.0
            earned[unit] = earned.get(unit, 0.0) + result.decision.earns.value - extra
    if not earned:
        return Tile("worth it", "", "no assessment with money is kept: headwater assess")
    total = ", ".join(f"{amount(money)} {unit}" for unit, money in earned.items())
    return Tile(
        "worth it",
        total,
        "a day, what fresher features earn less what they cost",
        all(money > 0 for money in earned.values()),
    )
