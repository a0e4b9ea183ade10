"""Pictures of results as SVG without script: curves and rows with intervals, in the colours of the
reader's theme.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Literal

from markupsafe import Markup

from headwater.results.estimate import Estimate

_WIDE, _NARROW, _HEIGHT = 640.0, 354.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 12.0, 20.0, 262.0  # of the plot; right: of the right edge
_CHARACTER = 7.4  # the width of one
_ROW = 46.0
_NEAR = 92.0  # names of marks that are nearer than this are drawn above and below by turns
_SAME = 30.0  # those of marks that are nearer than this are drawn beside them
_LEGEND = 20.0
# of readers without the page's style sheet, such as notebooks; 3:1 on white and on near-black
_COLOURS = ("#7d878e", "#b86a00", "#3d85c6", "#00805f", "#a3487c", "#7468c0")
# a line that passes behind a name does not strike it out
_HALO = {"stroke": "var(--paper, Canvas)", "stroke-width": "3", "paint-order": "stroke"}
_DASHES = ("2 4", "7 5", "", "12 4 2 4", "", "7 3 2 3")


@dataclass(frozen=True)
class Mark:
    """A value at a place, with its interval where it has one. name: drawn beside it. says: what a
    pointer shows. shape: "hollow" and "chosen" differ from the others.
    """

    at: float
    value: Estimate
    says: str
    name: str = ""
    shape: Literal["dot", "hollow", "chosen", "cross"] = "dot"


@dataclass(frozen=True)
class Series:
    """Marks of one colour, 0 to 5. joined: by a line. band: intervals as an area, not as bars."""

    name: str
    marks: Sequence[Mark]
    colour: int = 2
    joined: bool = True
    band: bool = False


@dataclass(frozen=True)
class Limit:
    """A value across the picture as a dashed line; a shaded band from low to high where it has
    one.
    """

    value: Estimate
    name: str = ""


@dataclass(frozen=True)
class Curve:
    """Series over an axis whose places are marked by `ticks`; the values' own ticks are round.

    title: of the values, and across: of the places. room: places beyond the outermost marks, as a
    share. square: both axes from 0 to the same end, with its diagonal. zero: the values from 0.
    """

    title: str
    across: str
    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]]
    limits: Sequence[Limit] = ()
    room: float = 0.04
    square: bool = False
    zero: bool = False


@dataclass(frozen=True)
class Row:
    """A name, with a remark below it, and a value with its interval. says, shape: as of `Mark`."""

    name: str
    below: str
    value: Estimate
    says: str
    shape: Literal["dot", "hollow", "chosen", "cross"] = "dot"


@dataclass(frozen=True)
class Rows:
    """Values below each other along one axis, from 0.

    between: a shaded gap between two rows: their numbers, its ends and what it is.
    """

    title: str
    rows: Sequence[Row]
    limits: Sequence[Limit] = ()
    between: tuple[tuple[int, int], tuple[float, float], str] | None = None


Picture = Curve | Rows


def days(times: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Times (ISO 8601) as places, and as ticks.

    >>> days(["2024-03-01", "2024-03-02"])
    ([1709251200.0, 1709337600.0], [(1709251200.0, '2024-03-01'), (1709337600.0, '2024-03-02')])
    """
    read = [datetime.fromisoformat(time) for time in times]
    places = [(t if t.tzinfo else t.replace(tzinfo=UTC)).timestamp() for t in read]
    return places, [(place, time[:10]) for place, time in zip(places, times, strict=True)]


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Three to six round values within a range, as numbers of equally many digits.

    >>> ticks(0.612, 0.828)
    [(0.65, '0.65'), (0.7, '0.70'), (0.75, '0.75'), (0.8, '0.80')]
    """
    size = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next((f * size for f in (5.0, 2.0, 1.0) if (high - low) / (f * size) >= 3), size)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(round(step * n, 12), f"{step * n + 0.0:,.{digits}f}") for n in range(first, last + 1)]


def svg(picture: Picture, says: str, *, narrow: bool = False) -> Markup:
    """The picture; says: what a screen reader reads. narrow: for a telephone."""
    width = _NARROW if narrow else _WIDE
    if isinstance(picture, Curve):
        parts, height = _curve(picture, width)
    else:
        parts, height = _rows(picture, width)
    head = Markup(
        '<svg viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" role="img" aria-label="{}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
    )
    body = Markup("").join(parts)
    return head.format(width, height, width, says) + body + Markup("</svg>")


def bar(value: Estimate | None, axis: tuple[float, float], least: float, *, chosen: bool) -> Markup:
    """A row's value with its interval on an axis from low to high, with 0 and the least that is
    worth having.
    """
    x = _scale(axis[0], axis[1], 6.0, 194.0)
    parts = [_stroke([(x(0.0), 3), (x(0.0), 27)], "currentColor", width=1.0)]
    if least:
        parts.append(_stroke([(x(least), 3), (x(least), 27)], "var(--bad)", dash="3 3"))
    if value is not None and math.isfinite(value.value):
        colour = "var(--accent)" if chosen else _colour(0)
        low = value.low if math.isfinite(value.low) else value.value
        high = value.high if math.isfinite(value.high) else value.value
        line = [(x(max(low, axis[0])), 15.0), (x(min(high, axis[1])), 15.0)]
        parts.append(_stroke(line, colour, width=3.0 if chosen else 2.0))
        parts.append(_dot(x(value.value), 15, "dot", "", colour))
    head = Markup('<svg viewBox="0 0 200 30" width="200" height="30" aria-hidden="true">')
    return head + Markup("").join(parts) + Markup("</svg>")


def ends(values: Sequence[Estimate]) -> tuple[float, float]:
    """The lowest and the highest finite value or end of an interval."""
    every = [v for e in values for v in (e.value, e.low, e.high) if math.isfinite(v)]
    return min(every, default=0.0), max(every, default=1.0)


def _curve(picture: Curve, width: float) -> tuple[list[Markup], float]:
    marks = [mark for series in picture.series for mark in series.marks]
    legend, down = (
        _legend(picture.series, width)
        if sum(bool(series.name) for series in picture.series) > 1
        else ([], 0.0)
    )
    right = width - _RIGHT
    top, bottom = _TOP + down, _BOTTOM + down
    low, high = ends([mark.value for mark in marks] + [limit.value for limit in picture.limits])
    low = min(low, 0.0) if picture.zero else low
    first, last = ends([Estimate(mark.at, mark.at, mark.at) for mark in marks])
    if picture.square:
        low = first = 0.0
        high = last = min(1.02, 1.06 * max(high, last))
    else:
        room = (high - low) or abs(high) or 1.0
        above = 0.2 if any(mark.name for mark in marks) else 0.06
        below = 0.2 if _crowded(marks, right) else 0.08
        low, high = low - below * room, high + above * room
        low = 0.0 if picture.zero and low < 0 <= low + below * room else low
        beyond = picture.room * ((last - first) or 2.0)
        first, last = first - beyond, last + beyond
    x, y = _scale(first, last, _LEFT, right), _scale(low, high, bottom, top)
    parts = []
    for value, text in ticks(low, high):
        parts += [_grid(_LEFT, right, y(value), y(value)), _text(_LEFT - 8, y(value) + 4, text, 2)]
    drawn = -math.inf
    for at, text in sorted(picture.ticks) or ticks(first, last):
        if first <= at <= last and x(at) - drawn > 4.2 * len(text):
            inside = min(x(at), width - 3.8 * len(text))
            parts.append(_text(inside, bottom + 20, text, 1))
            drawn = x(at) + 4.2 * len(text)
    parts += [
        _text(_LEFT, bottom + 44, picture.across, 0),
        _text(_LEFT - 52, top - 8, picture.title, 0),
    ]
    if picture.square:
        parts.append(_stroke([(x(0.0), y(0.0)), (x(last), y(high))], _colour(0), dash="2 4"))
    for limit in picture.limits:
        if math.isfinite(limit.value.low) and math.isfinite(limit.value.high):
            parts.append(_box((_LEFT, right), (y(limit.value.high), y(limit.value.low))))
        if math.isfinite(limit.value.value):
            at = y(limit.value.value)
            parts.append(_stroke([(_LEFT, at), (right, at)], _colour(0), dash="6 4"))
            parts.append(_text(right, at + 16, limit.name, 2))
    for series in picture.series:
        parts += _series(series, x, y)
    named = [mark for mark in marks if mark.name and math.isfinite(mark.value.value)]
    return [*parts, *_names(named, x, y, width), *legend], _HEIGHT + down


def _series(
    series: Series, x: Callable[[float], float], y: Callable[[float], float]
) -> list[Markup]:
    parts, colour = [], _colour(series.colour)
    marks = [mark for mark in series.marks if math.isfinite(mark.value.value)]
    whole = [mark for mark in marks if _known(mark.value)]
    banded = series.band and len(whole) > 1
    # a line and a band end where a value is missing
    for joined, run in groupby(series.marks, key=lambda mark: math.isfinite(mark.value.value)):
        drawn = list(run) if joined else []
        known = [mark for mark in drawn if _known(mark.value)]
        if banded and len(known) > 1:
            over = [(x(mark.at), y(mark.value.high)) for mark in known]
            under = [(x(mark.at), y(mark.value.low)) for mark in reversed(known)]
            parts.append(_area([*over, *under], series.colour))
        if series.joined and len(drawn) > 1:
            line = [(x(mark.at), y(mark.value.value)) for mark in drawn]
            parts.append(_stroke(line, colour, dash=_DASHES[series.colour % 6], width=2.5))
    for mark in marks:
        here, top, foot = x(mark.at), y(mark.value.value) - 4, y(mark.value.value) + 4
        if _known(mark.value) and not banded:
            top, foot = y(mark.value.high), y(mark.value.low)
            parts.append(_stroke([(here, top), (here, foot)], colour))
        parts.append(_dot(here, y(mark.value.value), mark.shape, mark.says, colour))
    return parts


def _names(
    marks: Sequence[Mark],
    x: Callable[[float], float],
    y: Callable[[float], float],
    width: float,
) -> list[Markup]:
    """Names above their marks, below every second one that is near, and beside marks that stand at
    one place.
    """
    parts, beside = [], [-math.inf, -math.inf]
    lowered, before = False, -math.inf
    places = [x(mark.at) for mark in marks]
    crowd = [mark for mark in marks if sum(abs(x(mark.at) - at) < _SAME for at in places) > 1]
    for mark in sorted(crowd, key=lambda mark: -mark.value.value):
        here, left = x(mark.at), x(mark.at) > width / 2
        beside[left] = max(y(mark.value.value) + 4, beside[left] + 16)
        at = here - 10 if left else here + 10
        parts.append(_text(at, beside[left], mark.name, 2 * left, soft=False))
    for mark in sorted((m for m in marks if m not in crowd), key=lambda mark: mark.at):
        here, level = x(mark.at), y(mark.value.value)
        lowered, before = here - before < _NEAR and not lowered, here
        top, foot = (
            (y(mark.value.high), y(mark.value.low)) if _known(mark.value) else (level, level)
        )
        half = _CHARACTER * len(mark.name) / 2
        inside = min(max(here, half), width - half)
        parts.append(_text(inside, foot + 18 if lowered else top - 8, mark.name, 1, soft=False))
    return parts


def _known(value: Estimate) -> bool:
    return math.isfinite(value.low) and math.isfinite(value.high)


def _crowded(marks: Sequence[Mark], right: float) -> bool:
    """Whether names are drawn below marks too."""
    places = sorted(mark.at for mark in marks if mark.name)
    span = (places[-1] - places[0]) if places else 0.0
    gaps = [b - a for a, b in pairwise(places)]
    return bool(span) and min(gaps) / span < _NEAR / (right - _LEFT)


def _rows(picture: Rows, width: float) -> tuple[list[Markup], float]:
    values = [row.value for row in picture.rows]
    low, high = ends([*values, *(limit.value for limit in picture.limits)])
    low, high = min(low, 0.0), max(high, 0.0)
    room = (high - low) or 1.0
    low, high = low - 0.06 * room, high + 0.06 * room
    top, bottom = _TOP + 8, _TOP + 8 + _ROW * len(values)
    left, right = 0.3 * width, width - _RIGHT
    x = _scale(low, high, left, right)
    parts = []
    for at, text in ticks(low, high):
        parts += [_grid(x(at), x(at), top, bottom), _text(x(at), bottom + 18, text, 1)]
    parts.append(_text(left, bottom + 40, picture.title, 0))
    parts.append(_stroke([(x(0.0), top), (x(0.0), bottom)], "currentColor", width=1.0))
    for limit in picture.limits:
        if math.isfinite(limit.value.low) and math.isfinite(limit.value.high):
            parts.append(_box((x(limit.value.low), x(limit.value.high)), (top, bottom)))
        elif math.isfinite(limit.value.value):
            at = x(limit.value.value)
            parts.append(_stroke([(at, top), (at, bottom)], _colour(0), dash="6 4"))
            parts.append(_text(at, top - 8, limit.name, 2 if at > width - 120 else 0))
    if picture.between is not None:
        (one, other), gap, text = picture.between
        level = [top + _ROW * (row + 0.5) for row in (one, other)]
        begins, ends_at = x(gap[0]), x(gap[1])
        parts.append(_box((begins, ends_at), (level[0], level[1])))
        after = right - ends_at > begins - left
        beside = (ends_at + 6, 0) if after else (begins - 6, 2)
        for line, words in enumerate(textwrap.wrap(text, 17)):
            parts.append(_text(beside[0], sum(level) / 2 - 3 + 16 * line, words, beside[1]))
    for number, row in enumerate(picture.rows):
        at, value = top + _ROW * (number + 0.5), row.value
        most = int((left - 12) / _CHARACTER)
        parts.append(_text(left - 12, at - 2, _short(row.name, most), 2, soft=False))
        parts.append(_text(left - 12, at + 14, _short(row.below, most), 2))
        if not math.isfinite(value.value):
            continue
        if math.isfinite(value.low) and math.isfinite(value.high):
            parts.append(_stroke([(x(value.low), at), (x(value.high), at)], _colour(2)))
        parts.append(_dot(x(value.value), at, row.shape, row.says, _colour(2)))
    return parts, bottom + 52


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    return lambda value: first + (value - low) / (high - low) * (last - first)


def _colour(number: int) -> str:
    return f"var(--series-{number % 6}, {_COLOURS[number % 6]})"


def _legend(series: Sequence[Series], width: float) -> tuple[list[Markup], float]:
    """The names of series beside their lines, and how far they push the plot down."""
    parts, x, y = [], _LEFT, _TOP - 8
    for one in series:
        wide = 48 + _CHARACTER * len(one.name)
        if x > _LEFT and x + wide > width:
            x, y = _LEFT, y + _LEGEND
        line = [(x, y - 4), (x + 24, y - 4)]
        parts += [
            _stroke(line, _colour(one.colour), dash=_DASHES[one.colour % 6], width=2.5),
            _text(x + 30, y, one.name, 0, soft=False),
        ]
        x += wide
    return parts, y + _LEGEND - (_TOP - 8)


def _grid(x1: float, x2: float, y1: float, y2: float) -> Markup:
    return _tag("line", x1=x1, x2=x2, y1=y1, y2=y2, stroke="currentColor", opacity=0.15)


def _stroke(
    points: Sequence[tuple[float, float]], colour: str, *, dash: str = "none", width: float = 1.5
) -> Markup:
    return _tag(
        "polyline",
        points=_places(points),
        fill="none",
        stroke=colour,
        stroke_width=width,
        stroke_dasharray=dash or "none",
        stroke_linejoin="round",
    )


def _area(points: Sequence[tuple[float, float]], colour: int) -> Markup:
    return _tag("polygon", points=_places(points), fill=_colour(colour), opacity=0.18)


def _box(x: tuple[float, float], y: tuple[float, float]) -> Markup:
    return _area([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], 0)


def _text(x: float, y: float, text: str, anchor: int, *, soft: bool = True) -> Markup:
    """A text at a point: its start (0), middle (1) or end (2)."""
    ending = ("start", "middle", "end")[anchor]
    look = {"opacity": "0.75"} if soft else _HALO
    return _tag("text", text, x=x, y=y, text_anchor=ending, **look) if text else Markup("")


def _dot(x: float, y: float, shape: str, says: str, colour: str) -> Markup:
    title = _tag("title", says) if says else ""
    if shape == "chosen":
        return _tag("path", title, d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z", fill=colour)
    if shape == "cross":
        d = f"M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0 -9l-9 9"
        return _tag("path", title, d=d, stroke=colour, stroke_width=2.5)
    inside = "var(--paper, Canvas)" if shape == "hollow" else colour
    return _tag("circle", title, cx=x, cy=y, r=5, fill=inside, stroke=colour, stroke_width=2)


def _places(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _tag(name: str, inside: str = "", **attributes: str | float) -> Markup:
    given = [
        Markup(' {}="{}"').format(
            key.replace("_", "-"), value if isinstance(value, str) else f"{value:.4g}"
        )
        for key, value in attributes.items()
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(given), inside)
