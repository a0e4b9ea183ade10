"""The lift of a backtest as input of an assessment: from the backtest itself, or from its JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from headwater.backtesting.backtest import Backtest
from headwater.errors import UsageError
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.lift_result import Earned, Lift, Mode, Stand, Step

GivenBacktest = Backtest | BacktestResult | Mapping[str, object] | str | Path
"""A Backtest, its result, its JSON as a dictionary, or a file of it."""


_HOURLY = 7_200.0  # seconds: a batch cut every hour, delay included, is younger on average
_INSTANT = 0.001
_NEEDED = ("model", "headline", "levels", "paired", "leak_audit")
_WRITE = "write one with: headwater backtest --json > backtest.json"


def lift_of(backtest: GivenBacktest) -> Lift:
    """Read the lift of a backtest.

    Raises:
        UsageError: the file does not exist, or is not the JSON of a backtest.
    """
    if isinstance(backtest, BacktestResult):
        backtest = Backtest(backtest)
    if isinstance(backtest, Backtest):
        return _read(backtest.to_dict(), "the backtest")
    if isinstance(backtest, str | Path):
        return _read(_parsed(Path(backtest)), str(backtest))
    if isinstance(backtest, Mapping):
        return _read(backtest, "the backtest")
    raise UsageError(f"backtest is {type(backtest).__name__}; give what hw.backtest() returns, its to_dict(), or a file of it; {_WRITE}")


def earned_of(attribution: AttributionResult | Mapping[str, object]) -> Earned:
    """Read the attribution of the views."""
    data = attribution.to_dict() if isinstance(attribution, AttributionResult) else attribution
    units = cast("Sequence[Mapping[str, object]]", data["units"])
    views = {str(unit["name"]): [str(name) for name in cast("Sequence[str]", unit["views"])] for unit in units}

    def named(units: object) -> list[str]:
        return [view for unit in cast("Sequence[str]", units) for view in views.get(unit, [unit])]

    path = cast("Sequence[Mapping[str, object]]", data["path"])
    return Earned(
        stale=str(data["stale"]),
        fresh=str(data["fresh"]),
        plan=str(data["plan"]),
        chosen=named(data["chosen"]),
        stay=named(data["stay"]),
        gains={
            view: gain for item in path for gain in [_step(cast("Mapping[str, object]", item["gain"]))] for view in named([item["name"]])
        },
        alone={view: _step(cast("Mapping[str, object]", item["added"])) for item in units for view in named([item["name"]])},
    )


def _parsed(path: Path) -> Mapping[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no backtest at {path}; {_WRITE}") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} is not the JSON of a backtest: {error}; {_WRITE}") from error
    if not isinstance(data, Mapping):
        raise UsageError(f"{path} holds {type(data).__name__}, but the JSON of a backtest is an object; {_WRITE}")
    return data


def _read(data: Mapping[str, object], where: str) -> Lift:
    absent = [name for name in _NEEDED if name not in data]
    if absent:
        raise UsageError(f"{where} is not the JSON of a backtest: it lacks {', '.join(absent)}; {_WRITE}")
    try:
        return _lift(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{where} is not the JSON of a backtest: {type(error).__name__}: {error}; {_WRITE}") from error


def _lift(data: Mapping[str, object]) -> Lift:
    headline = str(data["headline"])
    levels = [_stand(level, headline) for level in cast("Sequence[Mapping[str, object]]", data["levels"])]
    steps = [_step(step) for step in cast("Sequence[Mapping[str, object]]", data["paired"])]
    names = [level.name for level in levels]
    next_to = {(a, b) for a, b in itertools.pairwise(names)}
    mine = [step for step in steps if step.metric == headline]
    leaks = [
        f"{finding['subject']}: {finding['message']}"
        for finding in cast("Sequence[Mapping[str, object]]", data["leak_audit"])
        if finding["severity"] == "leak"
    ]
    attributed = cast("Mapping[str, object] | None", data.get("attribution"))
    return Lift(
        model=str(data["model"]),
        headline=headline,
        levels=levels,
        steps=[step for step in mine if (step.from_, step.to) in next_to],
        whole=next((step for step in mine if (step.from_, step.to) not in next_to), None),
        money=[step for step in steps if step.metric == "cost" and (step.from_, step.to) in next_to and headline != "cost"],
        leaks=leaks,
        earned=None if attributed is None else earned_of(attributed),
        source_json=data,
    )


def _stand(level: Mapping[str, object], headline: str) -> Stand:
    metrics = cast("Mapping[str, Mapping[str, float | None]]", level["metrics"])
    kind, age = str(level["kind"]), cast("float | None", level["age_seconds"])
    return Stand(str(level["name"]), str(level["describes"]), kind, mode_of(kind, age), _number(metrics[headline]["value"]))


def mode_of(kind: str, age: float | None) -> Mode:
    """How features of a level are computed, by their age.

    Args:
        kind: "batch" or "real-time", by the one-hour rule.
        age: their mean age at request time in seconds; None where no history is read.

    >>> mode_of("batch", 57_600.0), mode_of("batch", 2_700.0), mode_of("real-time", 60.0), mode_of("real-time", 0.0), mode_of("batch", None)
    ('batch', 'hourly', 'streaming', 'at request time', 'no history')
    """
    if age is None:
        return "no history"
    if kind == "batch":
        return "hourly" if age <= _HOURLY else "batch"
    return "at request time" if age < _INSTANT else "streaming"


def _step(step: Mapping[str, object]) -> Step:
    delta, low, high, detectable = (_number(cast("float | None", step[name])) for name in ("delta", "low", "high", "detectable"))
    from_, to, metric = (str(step[name]) for name in ("from", "to", "metric"))
    return Step(from_, to, metric, delta, low, high, detectable, str(step["verdict"]), str(step["sentence"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
