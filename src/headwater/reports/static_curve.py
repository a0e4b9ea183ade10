"""The lift curve as a static drawing: for notebooks, and for the page if scripts are disabled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from headwater.reports import axis, wording
from headwater.results.backtest_result import BacktestResult

_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 606.0, 14.0, 232.0


@dataclass(frozen=True)
class Stroke:
    """A straight line. kind: "grid", "dashed" (a reference) or "bar" (an interval)."""

    x1: float
    x2: float
    y1: float
    y2: float
    kind: str


@dataclass(frozen=True)
class Label:
    """A text at a point; anchor: its end at the point."""

    x: float
    y: float
    text: str
    anchor: str
    opacity: float = 1.0


@dataclass
class Drawing:
    """Lines, dots and labels, in the units of a box. says: the alternative text. path: the points
    that one line joins.
    """

    says: str
    width: int = 640
    height: int = 280
    # has a contrast of 3:1 on white and on near-black; all else has the colour of the page's text
    colour: str = "#3d85c6"
    lines: list[Stroke] = field(default_factory=list)
    dots: list[tuple[float, float]] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    path: str = ""


def lift_curve(result: BacktestResult) -> Drawing | None:
    """The headline metric over feature age, fresher to the right; None if no level reads
    history.
    """
    points = axis.points(result)
    if not points:
        return None
    scale = _Scale([point.at for point in points], *axis.bounds(result))
    places, drawing = wording.places(result, result.headline), Drawing(axis.summary(result))
    _frame(drawing, scale, result, places)
    if axis.is_curve(points):
        drawing.path = " ".join(
            f"{scale.x(point.at)},{scale.y(point.estimate.value)}" for point in points
        )
    for index, point in enumerate(points):
        _point(drawing, scale, point, places, low=index % 2 == 1 and len(points) > 5)
    return drawing


@dataclass(frozen=True)
class _Scale:
    """From ages, on a logarithmic axis, and values to the drawing."""

    ages: Sequence[float]
    low: float
    high: float

    def x(self, age: float) -> float:
        low, high = math.log(min(self.ages)), math.log(max(self.ages))
        middle = (_LEFT + _RIGHT) / 2
        return round(
            middle
            if high == low
            else _LEFT + 40 + (high - math.log(age)) / (high - low) * (_RIGHT - _LEFT - 80),
            1,
        )

    def y(self, value: float) -> float:
        return round(_BOTTOM - (value - self.low) / (self.high - self.low) * (_BOTTOM - _TOP), 1)


def _frame(drawing: Drawing, scale: _Scale, result: BacktestResult, places: int) -> None:
    """The grid, both axes, and the level without history."""
    for value in axis.ticks(scale.low, scale.high):
        y = scale.y(value)
        drawing.lines.append(Stroke(_LEFT, _RIGHT, y, y, "grid"))
        drawing.labels.append(Label(_LEFT - 8, y + 4, wording.number(value, places), "end", 0.7))
    marks = axis.marks(scale.ages, 7)
    if any(point.level.age_seconds == 0 for point in axis.points(result)):
        marks = [*marks, (min(scale.ages), "0 s")]
    drawing.labels += [
        Label(scale.x(age), _BOTTOM + 20, label, "middle", 0.7) for age, label in marks
    ]
    caption = (
        f"{axis.title(result)} by mean age of the features at request time, fresher to the right"
    )
    drawing.labels.append(Label((_LEFT + _RIGHT) / 2, _BOTTOM + 42, caption, "middle", 0.7))
    base = axis.reference(result)
    if base is not None and math.isfinite(value := base.metrics[result.headline].value):
        y = scale.y(value)
        drawing.lines.append(Stroke(_LEFT, _RIGHT, y, y, "dashed"))
        drawing.labels.append(
            Label(_RIGHT, y + 15, f"{base.name} {wording.number(value, places)}", "end", 0.8)
        )


def _point(drawing: Drawing, scale: _Scale, point: axis.Point, places: int, *, low: bool) -> None:
    """A level with its interval; its name is above, or below if `low`."""
    value = point.estimate
    x, y = scale.x(point.at), scale.y(value.value)
    top = y + 22 if low else y - 4
    if math.isfinite(value.low) and math.isfinite(value.high):
        upper, lower = scale.y(value.high), scale.y(value.low)
        drawing.lines.append(Stroke(x, x, upper, lower, "bar"))
        top = lower + 22 if low else upper
    drawing.dots.append((x, y))
    drawing.labels.append(
        Label(
            x,
            round(top - 8, 1),
            f"{point.level.name} {wording.number(value.value, places)}",
            "middle",
        )
    )
