"""The section on events that are placed later. Its words never convict."""

from __future__ import annotations

from headwater.reports import wording
from headwater.reports.document import Block, Cell, Figure, Section, Table, Text
from headwater.reports.plot_parts import Json, across, axis, error, finite, layout
from headwater.results.backtest_result import BacktestResult
from headwater.results.offset_curve_result import OffsetCurve

_HOW_TO_READ = (
    "This picture proves nothing. A signal that is fresh and honest fades as its events are "
    "placed later, and so does a leak; a leak whose values last may not fade at all. Read it next "
    "to the finding: a metric that falls almost to the line without the source at one offset, and "
    "is flat beyond it, is a reason to check the timestamps of this source with those who write "
    "them."
)


def to_section(result: BacktestResult) -> Section | None:
    """A figure and a table for each source; None if no curve was asked for."""
    if not result.offset_curves:
        return None
    places = wording.places(result, result.headline)
    blocks: list[Block] = []
    for n, curve in enumerate(result.offset_curves):
        blocks += [Text(_says(curve)), _figure(curve, n, places), _table(curve, places)]
    return Section("offsets", "Events placed later", [*blocks, Text(_HOW_TO_READ, "quiet")])


def _says(curve: OffsetCurve) -> str:
    reason = "was named" if curve.why == "named" else f"was flagged by the check {curve.why!r}"
    return (
        f"Source {curve.source} {reason}. {curve.fits} models were trained once each, with its "
        f"events as they are, later, and not at all; views {wording.listed(list(curve.views))} "
        f"read them at the request, all others as at {curve.level}."
    )


def _table(curve: OffsetCurve, places: int) -> Table:
    label = wording.metric_label(curve.metric)
    rows: list[list[str | Cell]] = [
        [
            point.what,
            Cell(
                wording.number(point.value.value, places),
                wording.interval(point.value.low, point.value.high, places),
            ),
            Cell(
                wording.number(point.change.value, places, signed=True),
                wording.interval(point.change.low, point.change.high, places),
            )
            if point.offset_seconds
            else "",
        ]
        for point in curve.points
    ]
    without = Cell(
        wording.number(curve.without.value, places),
        wording.interval(curve.without.low, curve.without.high, places),
    )
    return Table(
        f"Events of {curve.source}.",
        ["events", label, "change"],
        [*rows, ["without the source", without, ""]],
    )


def _figure(curve: OffsetCurve, number: int, places: int) -> Figure:
    label = wording.metric_label(curve.metric)
    points = curve.points
    x = list(range(len(points)))
    line: Json = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": [finite(point.value.value) for point in points],
        "error_y": error([point.value for point in points]),
        "line": {"color": "var(--series-2)", "width": 2.5},
        "marker": {"size": 10, "color": "var(--series-2)"},
        "text": [point.what for point in points],
        "hovertemplate": "%{text}: %{y:.4f}<extra></extra>",
    }
    shown = layout(height=320, top=16)
    shown["xaxis"] = axis(
        "events placed later by",
        tickvals=x,
        ticktext=[_short(point.offset_seconds) for point in points],
        showgrid=False,
    )
    shown["yaxis"] = axis(label)
    base = finite(curve.without.value)
    if base is not None:
        shown["shapes"] = [
            {
                **across("y", base, base),
                "type": "line",
                "line": {"color": "var(--soft)", "dash": "dash", "width": 1.5},
            }
        ]
    says = "; ".join(
        f"{point.what}: {wording.number(point.value.value, places)}" for point in points
    )
    caption = "Bars are 95 % intervals. The dashed line is the model without this source."
    return Figure(
        f"offsets-{number}",
        {"data": [line], "layout": shown},
        f"{label} of source {curve.source}. {says}",
        caption,
    )


def _short(seconds: float) -> str:
    return "nothing" if not seconds else wording.duration(seconds)
