"""Readiness and cost as sections of the HTML page."""

from __future__ import annotations

from headwater.reports.markup import EMPTY, Html, bullets, esc, figure, grid, join, paragraph, section
from headwater.results.cost_result import Cost, Swing
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import Readiness

Json = dict[str, object]

_MOST = 6  # inputs in a picture
_COLORS = ("var(--series-2)", "var(--series-1)")


def readiness_section(result: Readiness) -> Html:
    """The level of each view with its next blocker, the two ladders, and every check."""
    views = [
        [
            esc(view.view),
            esc(view.reachable),
            esc(view.possible),
            esc("nothing" if view.blocker is None else f"{view.blocker.check}, for {view.blocker.level}: {view.blocker.what}"),
            esc("" if view.blocker is None else view.blocker.remedy),
        ]
        for view in result.views
    ]
    ladders = [
        f"{ladder.name}: {ladder.rungs[ladder.reached]}; at best {ladder.rungs[ladder.possible]}"
        for ladder in (result.online, result.learning)
    ]
    checks = [
        [esc(f.check), esc(f.state), esc(f.title), esc(f.about), esc(f.said), esc(_origin(f.reading)), esc(f.green), esc(f.red)]
        for f in result.findings
    ]
    counts = ", ".join(f"{count} {state}" for state, count in result.counts().items())
    return section(
        "readiness",
        "Readiness",
        grid("How fresh each view can be", _heads("view", "reachable now", "at best", "next blocker", "remedy"), views),
        bullets([*ladders, f"checks: {counts}"]),
        grid("The scorecard", _heads("check", "state", "what", "about", "found", "origin", "green", "red"), checks),
    )


def cost_section(result: Cost) -> Html:
    """The cost a day of each way to serve, its parts, its sensitivity to each input, and the origin of each number."""
    parts = [
        [esc(way.name), esc(component.name), esc(f"{component.amount.value:,.4g}"), esc(component.arithmetic)]
        for way in result.ways
        for component in way.parts
    ]
    totals = [[esc(way.name), esc(_shown(way.total))] for way in result.ways]
    points = [
        [esc(f"{p.from_} to {p.to}"), esc(f"{p.lift:+.4f} {p.metric}"), esc(_shown(p.extra)), esc(_shown(p.per_point))]
        for p in result.points
    ]
    inputs = [
        [esc(name), esc(_shown(r)), esc(_origin(r)), esc(r.source if isinstance(r, Number) else r.reason)]
        for name, r in result.inputs.items()
    ]
    return section(
        "cost",
        "Cost",
        paragraph(result.sentence),
        grid(f"{result.currency} a day", _heads("way", "total"), totals),
        grid("Parts of the totals", _heads("way to serve", "part", result.currency, "formula"), parts) if parts else EMPTY,
        join(_picture(way.name, [s for s in result.swings if s.way == way.name]) for way in result.ways),
        grid("Cost of a point of lift", _heads("step", "lift", "extra a day", "a day for 0.01"), points) if points else EMPTY,
        grid("Every input", _heads("symbol", "value", "origin", "source"), inputs),
    )


def sensitivity(swings: list[Swing]) -> Json:
    """Sensitivity: for each input a bar from the cost at half its value to the cost at twice its value; the widest on top."""
    shown = [s for s in swings if s.cost_low != s.cost_high][:_MOST][::-1]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [s.input for s in shown],
            "base": [min(s.cost_low, s.cost_high) for s in shown],
            "x": [abs(s.cost_high - s.cost_low) for s in shown],
            "marker": {"color": [_COLORS[s.cost_high < s.cost_low] for s in shown]},
            "text": [f"{esc(s.input)} {s.low:,.4g}: {s.cost_low:,.4g}<br>{esc(s.input)} {s.high:,.4g}: {s.cost_high:,.4g}" for s in shown],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name in ("half to twice",)
    ]
    axis: Json = {"gridcolor": "var(--line)", "tickfont": {"color": "var(--soft)", "size": 12}, "automargin": True, "fixedrange": True}
    layout: Json = {
        "height": 90 + 34 * len(shown),
        "margin": {"l": 8, "r": 8, "t": 16, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 13, "color": "var(--ink)"},
        "showlegend": False,
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": "a day", "font": {"size": 12, "color": "var(--soft)"}}},
        "yaxis": axis,
    }
    return {"data": bars, "layout": layout}


def _picture(name: str, swings: list[Swing]) -> Html:
    moving = [s for s in swings if s.cost_low != s.cost_high]
    if not moving:
        return EMPTY
    most = moving[0]
    says = f"{name}: {most.input} matters most: the cost goes from {most.cost_low:,.4g} at {most.low:,.4g} to {most.cost_high:,.4g} at {most.high:,.4g}"
    caption = f"{name}: cost a day if one input is halved or doubled and the others stay; orange: the cost falls as the input rises"
    return figure(f"cost-{name.replace(' ', '-')}", sensitivity(swings), says, caption)


def _heads(*names: str) -> list[Html]:
    return [esc(name) for name in names]


def _shown(reading: Reading) -> str:
    return str(reading) if isinstance(reading, Missing) else f"{reading.value:,.6g} {reading.unit}".strip()


def _origin(reading: Reading) -> str:
    return "not measured" if isinstance(reading, Missing) else reading.origin
