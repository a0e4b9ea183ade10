"""The figure of promise against delivery: delivered values by week over the promised interval."""

from __future__ import annotations

from headwater.reports.plot_parts import Json, across, axis, error, finite, layout, legend
from headwater.results.promise_result import DeliveryResult


def delivered(result: DeliveryResult, label: str) -> Json:
    """The judged weeks with intervals, single weeks, and the promised interval as a band."""
    judged, single = (
        result.judged,
        [week for week in result.weeks if finite(week.value) is not None],
    )
    promise = result.promise.promised
    dots: Json = {
        "type": "scatter",
        "mode": "markers",
        "name": "delivered, judged weeks",
        "x": [week.week for week in judged],
        "y": [finite(week.delivered.value) for week in judged],
        "error_y": error([week.delivered for week in judged]),
        "marker": {
            "size": 10,
            "color": "var(--series-2)",
            "symbol": ["x" if week.state == "missed" else "circle" for week in judged],
        },
        "text": [f"week of {week.week}: {week.state}" for week in judged],
        "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
    }
    crosses: Json = {
        "type": "scatter",
        "mode": "markers",
        "name": "the week alone",
        "x": [week.week for week in single],
        "y": [week.value for week in single],
        "marker": {"size": 8, "color": "var(--series-1)", "symbol": "cross-thin-open"},
        "hovertemplate": "week of %{x|%Y-%m-%d} alone: %{y:.4f}<extra></extra>",
    }
    shown = layout(height=340, top=52)
    shown.update(showlegend=True, legend=legend())
    shown["xaxis"] = axis(
        "week of",
        type="date",
        tickvals=[week.week for week in single],
        tickformat="%Y-%m-%d",
        showgrid=False,
    )
    shown["yaxis"] = axis(label)
    band = {
        **across("y", promise.low, promise.high),
        "type": "rect",
        "fillcolor": "var(--series-0)",
        "opacity": 0.2,
        "line": {"width": 0},
    }
    line = {
        **across("y", promise.value, promise.value),
        "type": "line",
        "line": {"color": "var(--series-0)", "dash": "dash"},
    }
    shown["shapes"] = (
        [{**band, "layer": "below"}, line] if finite(promise.low) is not None else [line]
    )
    return {"data": [crosses, dots], "layout": shown}
