"""The lift curve's points, and the scale of feature age."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.pages import wording
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.results.estimate import Estimate

_MARKS = (
    1e-3,
    1e-2,
    0.1,
    1.0,
    10.0,
    60.0,
    600.0,
    3_600.0,
    21_600.0,
    86_400.0,
    604_800.0,
    2_592_000.0,
    31_536_000.0,
)


@dataclass(frozen=True)
class Point:
    """One level on the curve; `at` is its age moved onto the logarithmic axis, so that zero can be
    drawn too.
    """

    level: LevelResult
    at: float
    estimate: Estimate


def points(result: BacktestResult) -> list[Point]:
    """The levels that read history and have the headline metric, the oldest features first."""
    read = [
        (level.age_seconds, level, level.metrics[result.headline])
        for level in result.levels
        if level.age_seconds is not None and result.headline in level.metrics
    ]
    nearest = floor([age for age, _, _ in read])
    points_by_age = [
        Point(level, max(age, nearest), value)
        for age, level, value in read
        if math.isfinite(value.value)
    ]
    return sorted(points_by_age, key=lambda point: -point.at)


def is_curve(points: Sequence[Point]) -> bool:
    """Whether a line may join the levels: levels of equal age differ in something else, and a line
    would suggest that age is the cause.
    """
    return len({round(point.at, 6) for point in points}) == len(points)


def floor(ages: Sequence[float]) -> float:
    """Where an age of zero is drawn: at a second, or at a tenth of the youngest age if that is
    below ten seconds.
    """
    youngest = min((age for age in ages if age > 0), default=10.0)
    return min(1.0, youngest / 10)


def reference(result: BacktestResult) -> LevelResult | None:
    """The level that reads no history, the baseline of the curve."""
    return next(
        (
            level
            for level in result.levels
            if level.age_seconds is None and result.headline in level.metrics
        ),
        None,
    )


def marks(ages: Sequence[float], limit: int) -> list[tuple[float, str]]:
    """At most `limit` round ages within the range, and their labels; the caller marks the position
    of zero.

    >>> marks([1.0, 90.0, 57600.0], 4)
    [(10.0, '10 s'), (600.0, '10 min'), (21600.0, '6 h')]
    """
    low, high = min(ages), max(ages)
    inside = [mark for mark in _MARKS if low * 1.5 < mark <= high * 1.6]
    every = max(1, math.ceil(len(inside) / limit))
    return [(mark, wording.duration(mark)) for mark in inside[::every]]


def title(result: BacktestResult) -> str:
    """The metric's name, with a remark if lower is better."""
    label = wording.metric_label(result.headline)
    return (
        label
        if result.higher_is_better.get(result.headline, True)
        else f"{label} (lower is better)"
    )


def summary(result: BacktestResult) -> str:
    """The curve in words, for screen readers."""
    label, decimals = wording.metric_label(result.headline), wording.places(result, result.headline)
    named = [
        (
            f"{point.level.name} ({wording.duration(point.level.age_seconds)}) "
            f"{wording.estimate(point.estimate, decimals)}"
        )
        for point in points(result)
    ]
    base = reference(result)
    without = (
        (
            f" Without history, {base.name}: "
            f"{wording.estimate(base.metrics[result.headline], decimals)}."
        )
        if base
        else ""
    )
    return f"{label} by mean age of the features: {', '.join(named)}.{without}"
