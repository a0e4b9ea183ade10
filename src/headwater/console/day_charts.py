"""Small charts by day as SVG: lines, a band between two of them, and the limit that a value should
stay below. Drawn on the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 16, 12, 28
_TICKS: Final = 4


@dataclass(frozen=True)
class DayLine:
    """A line of a chart. css: its class. values: one a day; None leaves a gap."""

    label: str
    css: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class DayChart:
    """A chart as a template draws it; points in pixels. says: the alternative text."""

    says: str
    paths: Sequence[tuple[str, str]]
    dots: Sequence[tuple[str, float, float, str]]
    band: Sequence[str]
    limit: tuple[float, str] | None
    days: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str]]
    legend: Sequence[tuple[str, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def day_chart(
    says: str,
    days: Sequence[date],
    lines: Sequence[DayLine],
    written: Callable[[float], str],
    *,
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    limit: tuple[float, str] | None = None,
    from_zero: bool = True,
) -> DayChart | None:
    """A chart; None where no day has a value.

    Args:
        says: what it shows, for readers who do not see it.
        days: ascending.
        lines: with a value for each day.
        written: writes a value.
        band: the lower and upper ends of an area, a value for each day.
        limit: a value that is drawn across, and its label.
        from_zero: whether the scale begins at 0.

    >>> chart = day_chart(
    ...     "ages",
    ...     [date(2026, 3, 1), date(2026, 3, 3)],
    ...     [DayLine("median", "a", [1.0, 3.0])],
    ...     "{:g}".format,
    ... )
    >>> [label for _, label in chart.ticks], chart.paths
    (['0', '1', '2', '3'], [('a', '72,118.7 624,12')])
    """
    present = [value for line in lines for value in line.values if value is not None]
    present += [value for side in band or () for value in side if value is not None]
    if not present:
        return None
    low = min(0.0, *present) if from_zero or len(present) < 2 else min(present)
    high = max(
        *present,
        low + 1e-9,
        *([limit[0]] if limit is not None and limit[0] <= 4 * max(present) else []),
    )
    step = _step((high - low) / (_TICKS - 1))
    begin = step * (low // step)
    count = max(1, math.ceil((high - begin) / step - 1e-9))
    end = begin + step * count
    span = max((days[-1] - days[0]).days, 1)

    def x(day: date) -> float:
        return round(
            _LEFT
            + (WIDTH - _LEFT - _RIGHT) * ((day - days[0]).days / span if len(days) > 1 else 0.5),
            1,
        )

    def y(value: float) -> float:
        return round(
            HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - begin) / (end - begin), 1
        )

    paths, dots = [], []
    for line in lines:
        for whole, points_in_row in groupby(
            zip(days, line.values, strict=True), key=lambda pair: pair[1] is not None
        ):
            points = (
                [(x(day), y(value)) for day, value in points_in_row if value is not None]
                if whole
                else []
            )
            if len(points) > 1:
                paths.append((line.css, " ".join(f"{a:g},{b:g}" for a, b in points)))
        dots += [
            (line.css, x(day), y(value), f"{day}: {line.label} {written(value)}")
            for day, value in zip(days, line.values, strict=True)
            if value is not None
        ]
    every = max(1, -(-len(days) // 6))
    return DayChart(
        says,
        paths,
        dots,
        _band(days, band, x, y),
        None if limit is None or limit[0] > end else (y(limit[0]), limit[1]),
        [(x(day), f"{day:%d %b}") for day in days[::every]],
        [(y(begin + step * n), written(begin + step * n)) for n in range(count + 1)],
        [(line.css, line.label) for line in lines],
    )


def _band(
    days: Sequence[date],
    band: tuple[Sequence[float | None], Sequence[float | None]] | None,
    x: Callable[[date], float],
    y: Callable[[float], float],
) -> list[str]:
    """The corners of each area without a gap."""
    if band is None:
        return []
    areas = []
    for whole, rows_in_run in groupby(
        zip(days, *band, strict=True), key=lambda row: row[1] is not None and row[2] is not None
    ):
        rows = (
            [
                (x(day), y(low), y(high))
                for day, low, high in rows_in_run
                if low is not None and high is not None
            ]
            if whole
            else []
        )
        if len(rows) > 1:
            corners = [(at, high) for at, _, high in rows] + [
                (at, low) for at, low, _ in reversed(rows)
            ]
            areas.append(" ".join(f"{a:g},{b:g}" for a, b in corners))
    return areas


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
