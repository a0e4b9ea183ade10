"""Sentences on what the timestamps of the data cannot show."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.pages.wording import listed
from headwater.results.backtest_result import BacktestResult
from headwater.results.resolution_result import LevelMeasurable, SourceResolution

_NAMES = {"finer": "finer than a second"}


def lines(result: BacktestResult) -> list[str]:
    """Levels that cannot be measured, levels that can in part, and open questions; empty where
    timestamps are fine enough.
    """
    return [*map(" ".join, unmeasured(result.measurable)), *questions(result)]


def unmeasured(measurable: Sequence[LevelMeasurable]) -> list[tuple[str, str]]:
    """Of each level that the data cannot tell from the staler one, or only by some views: that, and
    why.
    """
    sentences = []
    for level in measurable:
        why = f"{level.reason[:1].upper()}{level.reason[1:]}."
        if level.state == "not measurable":
            sentences.append((f"{level.level} cannot be told from {level.staler}.", why))
        elif level.state == "partly measurable":
            blind = listed([view.view for view in level.other_views])
            text = f"{level.level} is told from {level.staler} by all views but {blind}."
            sentences.append((text, why))
    return sentences


def questions(result: BacktestResult) -> list[str]:
    """The open questions on timestamps. A question on a source is left to the audit, which knows
    whether it matters, where that asked it.
    """
    requests = [result.request_times] if result.request_times is not None else []
    sources = [] if "coarse timestamps" in result.audit.checks_run else list(result.resolutions)
    return [
        f"question: {measured.question}" for measured in [*sources, *requests] if measured.question
    ]


def periods(source: SourceResolution) -> str:
    """The resolutions of a source by period.

    >>> from headwater.results.resolution_result import ResolutionPeriod
    >>> day = ResolutionPeriod("day", "2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00", 1.0)
    >>> periods(SourceResolution("sales", "on", [day], 0.0))
    'day (2024-01-01 to 2024-02-01)'
    >>> periods(
    ...     SourceResolution(
    ...         "scans", "at", [ResolutionPeriod("finer", "2024-01-01", "2024-02-01", 1.0)], 0.0
    ...     )
    ... )
    'finer than a second (2024-01-01 to 2024-02-01)'
    """
    return (
        "; ".join(
            f"{_NAMES.get(p.resolution, p.resolution)} ({p.start[:10]} to {p.end[:10]})"
            for p in source.periods
        )
        or "too few timestamps to tell"
    )
