"""An explanation as a line of events: counted events above it, the others below, and T, the end of
the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

WIDTH: Final = 880
HEIGHT: Final = 146
_LEFT, _RIGHT, _LINE = 16, 16, 64
_STACK: Final = 4  # levels that near events are stacked in
_APART: Final = 9  # pixels


@dataclass(frozen=True)
class TimelineEvent:
    """An event in pixels. title: what a pointer over it shows."""

    x: float
    y: float
    counts: bool
    title: str


@dataclass(frozen=True)
class Timeline:
    """The picture. ends: the first and the last time as text. cut: T in pixels."""

    events: Sequence[TimelineEvent]
    ends: tuple[str, str]
    cut: float
    says: str
    width: int = WIDTH
    height: int = HEIGHT
    line: int = _LINE
    left: int = _LEFT
    right: int = WIDTH - _RIGHT


def timeline(events: pl.DataFrame, T: datetime) -> Timeline | None:
    """The line of some events; None where none has a time.

    Args:
        events: `timestamp`, `why` and `counts`, as of `monitoring.explain.Explanation`.
        T: the end of the window.
    """
    rows = events.drop_nulls("timestamp").sort("timestamp")
    if not rows.height:
        return None
    times = [*rows["timestamp"].dt.epoch("us").to_list(), int(T.timestamp() * 1e6)]
    first, last = min(times), max(times)

    def x(moment: int) -> float:
        share = (moment - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    placed: list[TimelineEvent] = []
    ends = {True: [-1e9] * _STACK, False: [-1e9] * _STACK}
    for moment, timestamp, why, counts in zip(
        times, rows["timestamp"], rows["why"], rows["counts"], strict=False
    ):
        at, levels = x(moment), ends[counts]
        level = next((n for n, end in enumerate(levels) if at - end >= _APART), _STACK - 1)
        levels[level] = at
        y = _LINE - 10 - 11 * level if counts else _LINE + 12 + 11 * level
        placed.append(TimelineEvent(at, y, counts, f"{timestamp:%Y-%m-%d %H:%M:%S}: {why}"))
    counted = sum(event.counts for event in placed)
    says = (
        f"{counted} events that count, {len(placed) - counted} that do not, from {_day(first)} to "
        f"{_day(last)}"
    )
    return Timeline(placed, (_day(first), _day(last)), x(times[-1]), says)


def _day(moment: int) -> str:
    return f"{pl.Series([moment]).cast(pl.Datetime('us'))[0]:%Y-%m-%d %H:%M}"
