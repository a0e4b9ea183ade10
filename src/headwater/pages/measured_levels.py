"""The levels that the timestamps of the data can tell apart: a recommendation speaks of these
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.pages.wording import listed
from headwater.results.backtest_result import BacktestResult


def measured(result: BacktestResult) -> Sequence[str]:
    """The levels, from stale to fresh, that the timestamps can tell from the one before among
    them.
    """
    lost = unmeasured(result)
    return [level.name for level in result.levels if level.name not in lost]


def unmeasured(result: BacktestResult) -> Mapping[str, tuple[str, str]]:
    """The other levels: by name, the staler one that each cannot be told from, and why."""
    steps = {
        (step.from_, step.to): step for step in result.comparisons if step.metric == result.headline
    }
    lost: dict[str, tuple[str, str]] = {}
    staler = result.levels[0].name if result.levels else ""
    for level in result.levels[1:]:
        step = steps.get((staler, level.name))
        if step is not None and step.verdict == "not measurable":
            lost[level.name] = (staler, step.sentence.partition(": ")[2])
        else:
            staler = level.name
    return lost


def sentence(result: BacktestResult) -> str:
    """Which levels cannot be measured, and why; empty if all can."""
    lost = unmeasured(result)
    if not lost:
        return ""
    return (
        f"Whether {listed([*lost], 'or')} features would help cannot be measured: {_reasons(lost)}."
    )


def no_other(result: BacktestResult) -> str:
    """That no level can be told from the stalest one, and why."""
    lost = unmeasured(result)
    return f"{listed([*lost])} cannot be told from {result.levels[0].name}, since {_reasons(lost)}"


def of_baseline(result: BacktestResult, baseline: str) -> str:
    """That the level that serves today cannot be measured, and why; empty if it can."""
    if baseline not in (lost := unmeasured(result)):
        return ""
    staler, reason = lost[baseline]
    return f"{baseline} serves today, and cannot be told from {staler}, since {reason}"


def _reasons(lost: Mapping[str, tuple[str, str]]) -> str:
    return "; ".join(dict.fromkeys(reason for _, reason in lost.values()))
