"""Figures of the decision page: what each method says on one axis, and the lift over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape as esc

from headwater.reports import wording
from headwater.reports.plot_parts import Json, across, axis, error, finite, layout, legend, note
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import AxisEstimate, ExperimentResult, MetricLift


def _percent(estimate: Estimate) -> Estimate:
    return Estimate(100 * estimate.value, 100 * estimate.low, 100 * estimate.high)


def one_axis(result: ExperimentResult) -> Json:
    """The gain of each arm by each method with its interval, and the break-even line."""
    shown = [estimate for estimate in result.axis if math.isfinite(estimate.lift.value)]
    heights = list(range(len(shown), 0, -1))
    values = [_percent(estimate.lift) for estimate in shown]
    dots: Json = {
        "type": "scatter",
        "mode": "markers",
        "x": [finite(value.value) for value in values],
        "y": heights,
        "error_x": error(values),
        "marker": {
            "size": [13 if estimate.decides else 9 for estimate in shown],
            "color": "var(--series-2)",
            "symbol": ["diamond" if estimate.decides else "circle" for estimate in shown],
        },
        "text": [
            f"<b>{esc(estimate.method)}</b>, {esc(estimate.arm)}, {esc(estimate.metric)}"
            for estimate in shown
        ],
        "hovertemplate": "%{text}<br>%{x:+.2f} %<extra></extra>",
    }
    made = layout(height=90 + 58 * max(len(shown), 1), top=24)
    made["xaxis"] = axis("gain over the control, %", zeroline=True, rangemode="tozero")
    made["yaxis"] = axis(
        "",
        range=[0.4, len(shown) + 0.7],
        tickvals=heights,
        ticktext=[
            f"<b>{esc(estimate.method)}</b><br>{esc(_row_name(result, estimate))}"
            for estimate in shown
        ],
        showgrid=False,
        ticks="outside",
        ticklen=8,
        tickcolor="rgba(0,0,0,0)",
    )
    shapes, notes = _gap(shown, heights)
    if result.break_even:
        even = 100 * result.break_even
        shapes.append(
            {
                **across("x", even, even),
                "type": "line",
                "line": {"color": "var(--series-0)", "width": 1.5, "dash": "dash"},
            }
        )
        notes.append(
            note(f"break-even {even:+.1f} %", x=even, y=1, yref="paper", yshift=16, xanchor="left")
        )
    made["shapes"], made["annotations"] = shapes, notes
    narrow = notes[-1:] if result.break_even else []
    return {"data": [dots], "layout": made, "narrow": {"annotations": narrow}}


def _gap(shown: Sequence[AxisEstimate], heights: Sequence[int]) -> tuple[list[Json], list[Json]]:
    """The gap between the backtest and the experiment, of the arm that has both."""
    shapes: list[Json] = []
    notes: list[Json] = []
    for number, estimate in enumerate(shown):
        last = next(
            (row for row, other in enumerate(shown) if other.arm == estimate.arm and other.decides),
            None,
        )
        if estimate.method != "backtest" or last is None or notes:
            continue
        low, high = sorted([100 * estimate.lift.value, 100 * shown[last].lift.value])
        fill = {"fillcolor": "var(--void)", "line": {"width": 0}, "layer": "below"}
        shapes.append(
            {
                "type": "rect",
                "x0": low,
                "x1": high,
                "y0": heights[last],
                "y1": heights[number],
                **fill,
            }
        )
        middle = (heights[last] + heights[number]) / 2
        notes.append(
            note(
                "what the backtest<br>could not see", x=high, y=middle, xanchor="left", align="left"
            )
        )
    return shapes, notes


def _row_name(result: ExperimentResult, estimate: AxisEstimate) -> str:
    names = [estimate.arm] if len(result.arms) > 2 else []
    if not estimate.decides and estimate.method == "backtest":
        names.append(f"in {wording.metric_label(estimate.metric)}")
    return ", ".join(names) or estimate.metric


def over_time(metrics: Sequence[MetricLift]) -> Json:
    """The lift by the outcomes that were final each day, with bands that hold on all days
    together.
    """
    data: list[Json] = []
    for number, metric in enumerate(metrics):
        colour = f"var(--series-{1 + number})"
        days = [point.at for point in metric.over_time]
        values = [_percent(point.lift) for point in metric.over_time]
        band: Json = {
            "x": [*days, *reversed(days)],
            "y": [
                *(finite(value.high) for value in values),
                *(finite(value.low) for value in reversed(values)),
            ],
            "fill": "toself",
            "mode": "none",
            "opacity": 0.2,
        }
        if len(days) > 1:
            data.append(
                {
                    "type": "scatter",
                    **band,
                    "fillcolor": colour,
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
            )
        line: Json = {
            "x": days,
            "y": [finite(value.value) for value in values],
            "mode": "lines+markers",
            "name": esc(metric.arm),
        }
        error_bar = {"error_y": error(values)} if len(days) == 1 else {}
        units = [f"{point.units:,} units" for point in metric.over_time]
        hover = {
            "text": units,
            "hovertemplate": "%{x|%Y-%m-%d}: %{y:+.2f} %, %{text}<extra>%{fullData.name}</extra>",
        }
        data.append(
            {
                "type": "scatter",
                **line,
                **error_bar,
                **hover,
                "line": {"color": colour, "width": 2.5},
                "marker": {"color": colour, "size": 8},
            }
        )
    made = layout(height=320, top=34 if len(metrics) > 1 else 12)
    made["showlegend"], made["legend"] = len(metrics) > 1, legend()
    made["xaxis"] = axis("outcomes final by", type="date", showgrid=False)
    made["yaxis"] = axis(f"change of {metrics[0].metric}, %", zeroline=True)
    return {"data": data, "layout": made}
