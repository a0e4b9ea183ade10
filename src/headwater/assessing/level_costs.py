"""What each level of a backtest costs a day: how often its job runs, or the stream that feeds
it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.assessing.cost_inputs import plain
from headwater.assessing.formulas import job, rows_per_run, seconds_per_run
from headwater.results.backtest_result import LevelResult
from headwater.results.cost_result import Cost, LevelCost
from headwater.results.measurement import Missing, Number, Reading

_JOB = ("E", "U", "v", "b", "p_cpu", "w")


def level_costs(
    levels: Sequence[LevelResult], cost: Cost | Missing, fresh_views: Sequence[str]
) -> list[LevelCost]:
    """The cost a day of each level: nothing without history, its runs where it is a job, else the
    stream of `fresh_views` and serving on request, beyond the cheaper way to serve batch features.
    """
    return [
        LevelCost(level.name, _runs(level), *_of_level(level, cost, fresh_views))
        for level in levels
    ]


def _runs(level: LevelResult) -> float | None:
    return level.runs_a_day if level.mode in ("batch", "hourly") else None


def _of_level(
    level: LevelResult, cost: Cost | Missing, fresh_views: Sequence[str]
) -> tuple[Reading, str]:
    if level.mode == "no history":
        return Number(
            0.0, "USD/day", "computed", "no feature is computed from history"
        ), "no history is read"
    if isinstance(cost, Missing):
        return cost, ""
    if level.mode in ("batch", "hourly"):
        return _of_job(level, cost)
    return _of_stream(
        cost, fresh_views
    ), "on request + streaming - the cheaper of precomputing and serving on request"


def _of_job(level: LevelResult, cost: Cost) -> tuple[Reading, str]:
    x = plain(cost.inputs)
    lacks = [symbol for symbol in _JOB if symbol not in x]
    if "s_run" not in x and "c_e" not in x:
        lacks.append("s_run (or c_e)")
    if lacks or not level.runs_a_day:
        return Missing(f"it needs {', '.join(lacks) or 'how often the job runs'}"), ""
    runs = level.runs_a_day
    arithmetic = (
        f"{runs:,.4g} runs a day x ({seconds_per_run(x, runs):,.4g} s x {x['p_cpu']:.3g}"
        f" + {rows_per_run(x, runs):,.4g} rows x {math.ceil(x['b'] / 1024)} KB x {x['w']:.3g})"
    )
    return Number(
        job(x, runs), f"{cost.currency}/day", "computed", "runs x (CPU seconds + rows written)"
    ), arithmetic


def _of_stream(cost: Cost, views: Sequence[str]) -> Reading:
    scored, on_request, streamed = (
        cost.way(name).total for name in ("precompute for all", "on request", "streaming")
    )
    view_totals = [view.total for view in cost.views if view.view in views]
    amounts = [reading.value for reading in view_totals if isinstance(reading, Number)]
    if isinstance(streamed, Number) and len(amounts) == len(views):
        streamed = Number(
            min(streamed.value, sum(amounts)),
            streamed.unit,
            "computed",
            "streaming only the views that earn",
        )
    if (
        isinstance(scored, Number)
        and isinstance(on_request, Number)
        and isinstance(streamed, Number)
    ):
        value = on_request.value + streamed.value - min(scored.value, on_request.value)
        return Number(
            value,
            f"{cost.currency}/day",
            "computed",
            "on request + streaming - the cheaper of precomputing and on request",
        )
    totals = {"precomputing": scored, "serving on request": on_request, "streaming": streamed}
    return Missing(
        "; ".join(
            f"{name}: {reading.reason}"
            for name, reading in totals.items()
            if isinstance(reading, Missing)
        )
    )


def known_costs(costs: Sequence[LevelCost], given: Mapping[str, float]) -> dict[str, float]:
    """The costs that are known, by level; given ones take precedence over computed ones."""
    return {
        cost.level: cost.a_day.value for cost in costs if isinstance(cost.a_day, Number)
    } | dict(given)
