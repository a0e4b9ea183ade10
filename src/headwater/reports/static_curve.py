"""The lift curve as a static SVG: for notebooks, and for the page if scripts are disabled."""

from __future__ import annotations

import math

from headwater.reports import axis, wording
from headwater.reports.markup import EMPTY, Html, esc, join
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate

_WIDTH, _HEIGHT = 640.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 606.0, 14.0, 232.0
# One blue that has 3:1 contrast on white and on near-black; all else is the notebook's own ink.
_BLUE = "#3d85c6"


def lift_curve(result: BacktestResult) -> Html:
    """The curve in the reader's own text colour, so that it is legible on a light and on a dark page."""
    points = axis.points(result)
    if not points:
        return EMPTY
    ages = [point.at for point in points]
    places = wording.places(result, result.headline)
    path = " ".join(f"{_x(point.at, ages):.1f},{_y(point.estimate.value, result):.1f}" for point in points)
    parts = [
        *_frame(result, ages, places),
        _reference(result, places),
        Html(f'<polyline points="{path}" fill="none" stroke="{_BLUE}" stroke-width="2.5" stroke-linejoin="round"/>')
        if axis.is_curve(points)
        else EMPTY,
        *(_point(result, point, ages, places, low=index % 2 == 1 and len(points) > 5) for index, point in enumerate(points)),
    ]
    return Html(
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{esc(axis.summary(result))}" '
        'style="width:100%;max-width:640px;height:auto;font:12px system-ui,sans-serif" fill="currentColor">'
        f"{join(parts, '')}</svg>"
    )


def _x(age: float, ages: list[float]) -> float:
    low, high = math.log(min(ages)), math.log(max(ages))
    middle = (_LEFT + _RIGHT) / 2
    return middle if high == low else _LEFT + 40 + (high - math.log(age)) / (high - low) * (_RIGHT - _LEFT - 80)


def _y(value: float, result: BacktestResult) -> float:
    low, high = axis.bounds(result)
    return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)


def _frame(result: BacktestResult, ages: list[float], places: int) -> list[Html]:
    low, high = axis.bounds(result)
    parts = []
    for value in axis.ticks(low, high):
        y = _y(value, result)
        parts.append(Html(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".15"/>'))
        parts.append(_text(_LEFT - 8, y + 4, wording.number(value, places), "end", 0.7))
    marks = axis.marks(ages, 7)
    if any(point.level.age_seconds == 0 for point in axis.points(result)):
        marks = [*marks, (min(ages), "0 s")]
    parts += [_text(_x(age, ages), _BOTTOM + 20, label, "middle", 0.7) for age, label in marks]
    caption = f"{axis.title(result)} by mean age of the features at request time, fresher to the right"
    return [*parts, _text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, caption, "middle", 0.7)]


def _reference(result: BacktestResult, places: int) -> Html:
    base = axis.reference(result)
    if base is None or not math.isfinite(base.metrics[result.headline].value):
        return EMPTY
    value = base.metrics[result.headline].value
    y = _y(value, result)
    line = f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-dasharray="5 4" opacity=".6"/>'
    return Html(line + _text(_RIGHT, y + 15, f"{base.name} {wording.number(value, places)}", "end", 0.8))


def _point(result: BacktestResult, point: axis.Point, ages: list[float], places: int, *, low: bool) -> Html:
    x, y = _x(point.at, ages), _y(point.estimate.value, result)
    top, bar = y, ""
    if _has_interval(point.estimate):
        top, bottom = _y(point.estimate.high, result), _y(point.estimate.low, result)
        bar = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" stroke="{_BLUE}" stroke-width="1.5"/>'
        top = bottom + 22 if low else top
    else:
        top = y + 22 if low else y - 4
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{_BLUE}"/>'
    return Html(bar + dot + _text(x, top - 8, f"{point.level.name} {wording.number(point.estimate.value, places)}", "middle", 1.0))


def _has_interval(value: Estimate) -> bool:
    return math.isfinite(value.low) and math.isfinite(value.high)


def _text(x: float, y: float, text: str, anchor: str, opacity: float) -> Html:
    return Html(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" opacity="{opacity}">{esc(text)}</text>')
