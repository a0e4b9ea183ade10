"""Parts that figures share: layouts, axes, error bars and bands, as plotly takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape as esc

from headwater.results.estimate import Estimate

Json = dict[str, object]


def error(values: Sequence[Estimate]) -> Json:
    """Error bars of estimates."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [finite(metric.high - metric.value) for metric in values],
        "arrayminus": [finite(metric.value - metric.low) for metric in values],
        "color": "var(--series-2)",
        "thickness": 1.5,
        "width": 0,
    }


def layout(*, height: int, top: int) -> Json:
    """The layout of a figure: its colours and fonts."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": top, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
            "size": 13,
            "color": "var(--ink)",
        },
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
            "align": "left",
        },
        "showlegend": False,
        "dragmode": False,
    }


def axis(title: str, **more: object) -> Json:
    """An axis with its title."""
    return {
        "title": {"text": esc(title), "font": {"size": 12, "color": "var(--soft)"}, "standoff": 10},
        "gridcolor": "var(--line)",
        "linecolor": "var(--line)",
        "zeroline": False,
        "zerolinecolor": "var(--soft)",
        "tickfont": {"color": "var(--soft)", "size": 12},
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def legend() -> Json:
    """A legend above the plot."""
    return {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"size": 12, "color": "var(--ink)"},
    }


def band(along: str, low: float, high: float) -> Json:
    """A shaded band between two values along an axis."""
    return {
        **across(along, low, high),
        "type": "rect",
        "fillcolor": "var(--void)",
        "line": {"width": 0},
        "layer": "below",
    }


def across(along: str, low: float, high: float) -> Json:
    """A shape across the whole plot."""
    cross_axis = "y" if along == "x" else "x"
    return {
        f"{along}0": low,
        f"{along}1": high,
        f"{cross_axis}0": 0,
        f"{cross_axis}1": 1,
        f"{cross_axis}ref": "paper",
    }


def note(text: str, *, color: str = "var(--soft)", **position: object) -> Json:
    """A remark in the plot."""
    return {"text": text, "showarrow": False, "font": {"size": 12, "color": color}, **position}


def finite(value: float) -> float | None:
    """The value; None, which draws nothing, where it is not finite."""
    return value if math.isfinite(value) else None
