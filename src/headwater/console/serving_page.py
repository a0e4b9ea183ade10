"""Serving: requests, latency, where time goes, and fallbacks, by day and hour, from the daily
statistics of the serving log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headwater.console.console_context import ConsoleContext
from headwater.console.log_statistics import statistics_state
from headwater.console.page_types import ConsoleRequest
from headwater.monitoring.served_statistics import DAYS, feature_statuses, served_days
from headwater.pages import figures
from headwater.pages.wording import duration
from headwater.results.served_result import Served, Timing

_SHOWN: Final = 20  # features with fallbacks
_WIDTH, _BAR = 480, 18


def requests_page(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """What was served of each model and feature service."""
    served = context.cached(
        "served", 10.0, lambda: served_days(context.data_dir, now=context.now())
    )
    statuses = context.cached(
        "statuses", 10.0, lambda: feature_statuses(context.data_dir, now=context.now())
    )
    rows = []
    for feature, counts in statuses.items():
        total = sum(counts.values())
        failed = counts.get("fallback", 0) + counts.get("overflow", 0)
        if failed:
            rows.append(
                {"feature": feature, "share": failed / total, "counts": counts, "total": total}
            )
    return {
        "served": [_shown(day) for day in served],
        "fallbacks": sorted(rows, key=lambda row: -float(str(row["share"])))[:_SHOWN],
        "log": statistics_state(context),
        "last_days": DAYS,
    }


def _shown(served: Served) -> Mapping[str, object]:
    """A model or feature service as the page shows it."""
    days = served.days
    last = days[-1]
    timing = {
        day.day: next((timing for timing in day.timings if not timing.stage), None) for day in days
    }
    lines = {
        "median": [_milliseconds(timing[day.day], "median") for day in days],
        "99 %": [_milliseconds(timing[day.day], "p99") for day in days],
    }
    rows = {"rows": [float(day.rows) for day in days]}
    dates = [day.day for day in days]
    whole = timing[last.day]
    stages = [stage for stage in last.timings if stage.stage]
    rest = (
        0.0
        if whole is None or whole.median is None
        else whole.median - sum(stage.median or 0.0 for stage in stages)
    )
    return {
        "kind": served.kind,
        "name": served.name,
        "last": last,
        "busiest": max(last.hours) / 3600,
        "whole": whole is not None and whole.median is not None,
        "median": _written(None if whole is None else whole.median),
        "p95": _written(None if whole is None else whole.p95),
        "p99": _written(None if whole is None else whole.p99),
        "stages": _bars(stages, max(0.0, rest)),
        "requests": figures.by_day("rows", dates, rows),
        "latency": figures.by_day("milliseconds", dates, lines),
        "defaults": sum(day.how.get("default", 0) for day in days),
        "predictions": sum(sum(day.how.values()) for day in days),
        "versions": last.versions,
    }


def _written(seconds: float | None) -> str:
    """A time of a request: in milliseconds, or longer units."""
    return duration(seconds) if seconds is None or seconds >= 1 else f"{1000 * seconds:.2g} ms"


def _milliseconds(timing: Timing | None, name: str) -> float | None:
    seconds = None if timing is None else getattr(timing, name)
    return None if seconds is None else round(1000 * seconds, 4)


def _bars(stages: list[Timing], rest: float) -> list[Mapping[str, object]]:
    """The median of each stage as a bar; what no stage measures is the rest."""
    named = [*((stage.stage, stage.median or 0.0) for stage in stages), ("the rest", rest)]
    total = sum(seconds for _, seconds in named)
    return [
        {
            "name": name,
            "text": _written(seconds),
            "share": seconds / total,
            "width": round(_WIDTH * seconds / total),
            "y": n * _BAR,
        }
        for n, (name, seconds) in enumerate(named)
        if total
    ]
