"""The page's figures, as plain plotly dictionaries.

Each has `data` and `layout`, and optionally `narrow`: layout changes for a narrow screen. A colour
is written `var(--name)` and filled in by the page's script from the reader's theme. Text of the
user's is escaped, because plotly reads a few tags in it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape as esc

from headwater.reports import axis, recommendation_words, wording
from headwater.reports.plot_parts import Json
from headwater.reports.plot_parts import across as _across
from headwater.reports.plot_parts import axis as _axis
from headwater.reports.plot_parts import band as _band
from headwater.reports.plot_parts import error as _error
from headwater.reports.plot_parts import finite as _finite
from headwater.reports.plot_parts import layout as _layout
from headwater.reports.plot_parts import legend as _legend
from headwater.reports.plot_parts import note as _note
from headwater.results.age_curve_result import AgeCurve
from headwater.results.backtest_result import BacktestResult, Curves, LevelResult
from headwater.results.estimate import Comparison, Estimate

_SERIES = 6
_ROOM_ON_A_PHONE = 4  # names side by side
_DASHES = ("dot", "dash", "solid", "longdashdot", "solid", "dashdot")
_SYMBOLS = ("circle-open", "square", "circle", "diamond", "triangle-up", "x")
_PARTS = (
    ("train", "var(--series-2)"),
    ("test", "var(--series-1)"),
    ("left out", "var(--series-0)"),
)


def lift_curve(result: BacktestResult) -> Json | None:
    """The headline metric over feature age, fresher to the right; None if no level reads
    history.
    """
    points = axis.points(result)
    if not points:
        return None
    places, ages = wording.places(result, result.headline), [point.at for point in points]
    line: Json = {
        "type": "scatter",
        "mode": "lines+markers" if axis.is_curve(points) else "markers",
        "x": ages,
        "y": [point.estimate.value for point in points],
        "error_y": _error([point.estimate for point in points]),
        "line": {"color": "var(--series-2)", "width": 2.5},
        "marker": {
            "size": 10,
            "color": [
                "var(--series-2)" if point.level.kind == "real-time" else "var(--paper)"
                for point in points
            ],
            "line": {"color": "var(--series-2)", "width": 2.5},
        },
        "text": [
            f"<b>{esc(point.level.name)}</b> ({point.level.kind})<br>{esc(point.level.describes)}"
            f"<br>{wording.estimate(point.estimate, places)}"
            for point in points
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    shapes, notes = _reference(result, places)
    layout = _layout(height=420, top=16)
    layout["xaxis"] = _age_axis(points, ages)
    layout["yaxis"] = _axis(axis.title(result), range=list(axis.bounds(result)))
    layout["shapes"] = shapes
    layout["annotations"] = [*notes, *_names(points, places)]
    if len(points) <= _ROOM_ON_A_PHONE:
        return {"data": [line], "layout": layout}
    low, high = axis.bounds(result)
    upright = _axis(axis.title(result), range=[low, high + 0.6 * (high - low)])
    return {
        "data": [line],
        "layout": layout,
        "narrow": {"yaxis": upright, "annotations": [*notes, *_upright_names(points, places)]},
    }


def lift_by_age(curves: Sequence[AgeCurve], label: str) -> Json:
    """The lift of each view over its age, with a band; older to the right."""
    data: list[Json] = []
    for n, curve in enumerate(curves):
        colour, x = (
            f"var(--series-{1 + n % (_SERIES - 1)})",
            [1 + point.age_seconds for point in curve.points],
        )
        lows, highs = (
            [getattr(point.lift, end) for point in curve.points] for end in ("low", "high")
        )
        if all(map(math.isfinite, [*lows, *highs])):
            band: Json = {
                "x": [*x, *reversed(x)],
                "y": [*highs, *reversed(lows)],
                "fill": "toself",
                "mode": "none",
                "opacity": 0.2,
            }
            data.append(
                {
                    "type": "scatter",
                    **band,
                    "fillcolor": colour,
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
            )
        hover = [wording.duration(point.age_seconds) for point in curve.points]
        line: Json = {
            "x": x,
            "y": [point.lift.value for point in curve.points],
            "mode": "lines+markers",
            "name": curve.view,
            "text": hover,
        }
        template = "%{text}: %{y:+.4f}<extra>%{fullData.name}</extra>"
        data.append(
            {
                "type": "scatter",
                **line,
                "line": {"color": colour, "width": 2.5},
                "hovertemplate": template,
            }
        )
    ticks, layout = [point.age_seconds for point in curves[0].points], _layout(height=420, top=16)
    names = [wording.duration(age) for age in ticks]
    layout["xaxis"] = _axis(
        "age of the view's features",
        type="log",
        tickvals=[1 + age for age in ticks],
        ticktext=names,
    )
    layout["yaxis"] = _axis(f"lift in {label}")
    layout["showlegend"], layout["legend"] = len(curves) > 1, _legend()
    return {"data": data, "layout": layout}


def slice_gains(result: BacktestResult, step: Comparison) -> Json:
    """One step's gain on all rows and on every slice; gains below the smallest worth having are
    shaded.
    """
    rows: list[tuple[str, Comparison]] = [("all rows", step)]
    for slice_result in result.slices:
        rows += [(slice_result.name, gain) for gain in wording.like(slice_result.comparisons, step)]
    heights = list(range(len(rows), 0, -1))
    least = recommendation_words.least_gain(result, step)
    dots: Json = {
        "type": "scatter",
        "mode": "markers",
        "x": [_finite(gain.delta) for _, gain in rows],
        "y": heights,
        "error_x": _error([Estimate(gain.delta, gain.low, gain.high) for _, gain in rows]),
        "marker": {
            "size": 10,
            "color": "var(--series-2)",
            "symbol": ["diamond", *["circle"] * (len(rows) - 1)],
        },
        "text": [
            f"<b>{esc(name)}</b><br>{esc(wording.judged_gain(result, gain))}" for name, gain in rows
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    layout = _layout(height=70 + 56 * len(rows), top=6)
    layout["xaxis"] = _axis(
        f"gain in {wording.metric_label(step.metric)}, {step.from_} {wording.ARROW} {step.to}",
        zeroline=True,
    )
    layout["yaxis"] = _axis(
        "",
        range=[0.4, len(rows) + 0.6],
        tickvals=heights,
        ticktext=[
            f"<b>{_folded(name)}</b><br>{esc(wording.verdict_word(result, gain))}"
            for name, gain in rows
        ],
        showgrid=False,
        ticks="outside",
        ticklen=8,
        tickcolor="rgba(0,0,0,0)",
    )
    layout["shapes"] = [_band("x", -least, least)] if least else []
    return {"data": [dots], "layout": layout}


def rows_per_day(result: BacktestResult) -> Json | None:
    """Rows of each day in training, in the test and in neither; None if they were not recorded."""
    days = result.split.rows_per_day
    if not days:
        return None
    bars: list[Json] = [
        {
            "type": "bar",
            "name": use,
            "x": [day for day, _, kind in days if kind == use],
            "y": [rows for _, rows, kind in days if kind == use],
            "opacity": 0.8,
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": "%{x}: %{y} rows<extra>" + use + "</extra>",
        }
        for use, colour in _PARTS
        if any(kind == use for _, _, kind in days)
    ]
    layout = _layout(height=230, top=34)
    layout.update(
        barmode="stack", bargap=0.0, showlegend=True, legend={**_legend(), "traceorder": "normal"}
    )
    layout["xaxis"] = _axis("", type="date", showgrid=False)
    layout["yaxis"] = _axis("rows a day", rangemode="tozero")
    return {"data": bars, "layout": layout}


def folds(result: BacktestResult) -> Json:
    """The headline metric of each level at each fold of a rolling origin."""
    lines: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": esc(level.name),
            "x": [fold.split for fold in result.folds],
            "y": [
                _finite(fold.values[level.name].get(result.headline, math.nan))
                for fold in result.folds
            ],
            "line": {
                "color": f"var(--series-{index % _SERIES})",
                "width": 2,
                "dash": _DASHES[index % _SERIES],
            },
            "marker": {
                "color": f"var(--series-{index % _SERIES})",
                "size": 8,
                "symbol": _SYMBOLS[index % _SERIES],
            },
            "hovertemplate": "%{x|%Y-%m-%d}: %{y}<extra>%{fullData.name}</extra>",
        }
        for index, level in enumerate(result.levels)
    ]
    layout = _layout(height=300, top=52)
    layout.update(showlegend=True, legend=_legend())
    layout["xaxis"] = _axis(
        "",
        type="date",
        showgrid=False,
        tickvals=[fold.split for fold in result.folds],
        tickformat="%Y-%m-%d",
    )
    layout["yaxis"] = _axis(axis.title(result))
    return {"data": lines, "layout": layout}


def precision_recall(result: BacktestResult) -> Json | None:
    """Precision over recall for each level, against the positive rate; None where no level kept its
    curve.
    """
    lines = [
        _curve(
            index,
            level,
            curves.recall,
            curves.precision,
            "lines",
            "recall %{x:.2f}, precision %{y:.2f}",
        )
        for index, level, curves in _drawn(result)
    ]
    layout = _layout(height=380, top=52)
    layout.update(showlegend=True, legend=_legend())
    layout["xaxis"] = _axis("recall: share of positives found", range=[0, 1.02])
    layout["yaxis"] = _axis("precision: share of alarms that are right", range=[0, 1.02])
    rate = result.positive_rate
    if rate is not None and math.isfinite(rate):
        layout["shapes"] = [_line("y", rate)]
        layout["annotations"] = [
            _note(f"guessing {wording.share(rate)}", x=0.01, y=rate, yshift=9, xanchor="left")
        ]
    return {"data": lines, "layout": layout} if lines else None


def calibration(result: BacktestResult) -> Json | None:
    """Observed rate over predicted score for each level, against the diagonal; None where no level
    kept its curve.
    """
    lines = [
        _curve(
            index,
            level,
            curves.predicted,
            curves.observed,
            "lines+markers",
            "scored %{x:.2f}, observed %{y:.2f}",
        )
        for index, level, curves in _drawn(result)
    ]
    tops = [
        value
        for _, _, curves in _drawn(result)
        for value in (*curves.predicted, *curves.observed)
        if math.isfinite(value)
    ]
    top = min(1.02, 1.06 * max(tops, default=1.0))
    layout = _layout(height=380, top=52)
    layout.update(showlegend=True, legend=_legend())
    layout["xaxis"] = _axis("predicted score", range=[0, top])
    layout["yaxis"] = _axis("observed rate", range=[0, top])
    diagonal = {"color": "var(--soft)", "width": 1, "dash": "dot"}
    layout["shapes"] = [{"type": "line", "x0": 0, "y0": 0, "x1": top, "y1": top, "line": diagonal}]
    return {"data": lines, "layout": layout} if lines else None


def _drawn(result: BacktestResult) -> list[tuple[int, LevelResult, Curves]]:
    return [
        (index, level, level.curves)
        for index, level in enumerate(result.levels)
        if level.curves is not None
    ]


def _curve(
    index: int, level: LevelResult, x: Sequence[float], y: Sequence[float], mode: str, hover: str
) -> Json:
    colour = f"var(--series-{index % _SERIES})"
    return {
        "type": "scatter",
        "mode": mode,
        "name": esc(level.name),
        "x": [_finite(value) for value in x],
        "y": [_finite(value) for value in y],
        "line": {"color": colour, "width": 2, "dash": _DASHES[index % _SERIES]},
        "marker": {"color": colour, "size": 7, "symbol": _SYMBOLS[index % _SERIES]},
        "hovertemplate": f"{hover}<extra>%{{fullData.name}}</extra>",
    }


def _reference(result: BacktestResult, places: int) -> tuple[list[Json], list[Json]]:
    base = axis.reference(result)
    if base is None or not math.isfinite(base.metrics[result.headline].value):
        return [], []
    value = base.metrics[result.headline]
    shapes = [_line("y", value.value)]
    if math.isfinite(value.low) and math.isfinite(value.high):
        shapes.insert(0, _band("y", value.low, value.high))
    text = f"{esc(base.name)} {wording.number(value.value, places)}"
    return shapes, [_note(text, x=1, xref="paper", y=value.value, yshift=10, xanchor="right")]


def _names(points: Sequence[axis.Point], places: int) -> list[Json]:
    """Each level's name and value above its interval; a neighbour close by is lifted, so that names
    never meet.
    """
    span = math.log(points[0].at / points[-1].at) or 1.0
    notes, lifted, before = [], False, math.inf
    for point in points:
        gap = (before - math.log(point.at)) / span
        lifted, before = gap < 0.16 and not lifted, math.log(point.at)
        text = (
            f"<b>{_folded(point.level.name)}</b><br>{wording.number(point.estimate.value, places)}"
        )
        notes.append(_note(text, **_above(point, 36 if lifted else 4), color="var(--ink)"))
    return notes


def _upright_names(points: Sequence[axis.Point], places: int) -> list[Json]:
    """The levels with the axes swapped: many names fit a phone only this way."""
    return [
        _note(
            f"<b>{esc(textwrap.shorten(point.level.name, 20, placeholder='…'))}</b> "
            f"{wording.number(point.estimate.value, places)}",
            **_above(point, 4),
            textangle=-90,
            color="var(--ink)",
        )
        for point in points
    ]


def _above(point: axis.Point, pixels: int) -> Json:
    top = point.estimate.high if math.isfinite(point.estimate.high) else point.estimate.value
    return {"x": math.log10(point.at), "y": top, "yanchor": "bottom", "yshift": pixels}


def _age_axis(points: Sequence[axis.Point], ages: Sequence[float]) -> Json:
    marks = axis.marks(ages, 6)
    if any(point.level.age_seconds == 0 for point in points):
        marks = [*marks, (min(ages), "0 s")]
    low, high = math.log10(min(ages)), math.log10(max(ages))
    room = 0.11 * ((high - low) or 2.0)
    return _axis(
        f"mean age of features, log scale, fresher {wording.ARROW}",
        type="log",
        range=[high + room, low - room],
        tickvals=[age for age, _ in marks],
        ticktext=[label for _, label in marks],
        showgrid=False,
    )


def _folded(name: str) -> str:
    """A name in lines that leave a phone room for the plot."""
    return "<br>".join(esc(line) for line in textwrap.wrap(name, 18)[:3])


def _line(along: str, value: float) -> Json:
    return {
        **_across(along, value, value),
        "type": "line",
        "line": {"color": "var(--series-0)", "width": 1.5, "dash": "dash"},
    }
