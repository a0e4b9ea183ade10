"""Readiness and cost as sections of the HTML page."""

from __future__ import annotations

from html import escape as esc

from headwater.reports.document import (
    Block,
    Bullets,
    CsvDownloads,
    Figure,
    Section,
    Table,
    Text,
    csv_text,
)
from headwater.results.cost_result import Cost, Swing
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import Finding, Readiness

Json = dict[str, object]

_ORDER = ("red", "amber", "unknown", "green")
_MOST = 6  # inputs in a picture
_COLORS = ("var(--series-2)", "var(--series-1)")


def readiness_section(result: Readiness) -> Section:
    """The level of each view with its next blocker, the two ladders, and every check."""
    views = [
        [
            view.view,
            view.reachable,
            view.possible,
            "nothing"
            if view.blocker is None
            else f"{view.blocker.check}, for {view.blocker.level}: {view.blocker.what}",
            "" if view.blocker is None else view.blocker.remedy,
        ]
        for view in result.views
    ]
    ladders = [
        f"{ladder.name}: {ladder.rungs[ladder.reached]}; at best {ladder.rungs[ladder.possible]}"
        for ladder in (result.online, result.learning)
    ]
    counts = ", ".join(f"{count} {state}" for state, count in result.counts().items())
    blocks: list[Block] = [
        Table(
            "How fresh each view can be",
            ("view", "reachable now", "at best", "next blocker", "remedy"),
            views,
        ),
        Bullets([*ladders, f"checks: {counts}"]),
        Table(
            "Checks that are not green; the file has all, with their thresholds",
            ("check", "state", "what", "about", "found"),
            _open_checks(result),
        ),
        CsvDownloads("readiness", [("checks", _all_checks(result))]),
    ]
    return Section("readiness", "Readiness", blocks)


def _open_checks(result: Readiness) -> list[list[str]]:
    """A row for each check that is not green and what was found; the views and sources that share
    it stand in one row.
    """
    about: dict[tuple[str, str, str, str], list[str]] = {}
    for finding in sorted(result.findings, key=lambda finding: _ORDER.index(finding.state)):
        if finding.state != "green":
            about.setdefault(
                (finding.check, finding.state, finding.title, _said(finding)), []
            ).append(finding.about)
    return [
        [check, state, title, _shortened(names), said]
        for (check, state, title, said), names in about.items()
    ]


def _said(finding: Finding) -> str:
    return (
        "" if isinstance(finding.reading, Missing) and finding.state == "unknown" else finding.said
    )


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _all_checks(result: Readiness) -> str:
    rows = [
        [f.check, f.state, f.title, f.about, f.said, _origin(f.reading), f.green, f.red, f.remedy]
        for f in result.findings
    ]
    return csv_text(
        ("check", "state", "what", "about", "found", "origin", "green", "red", "remedy"), rows
    )


def cost_section(result: Cost) -> Section:
    """The cost a day of each way to serve, its parts, its sensitivity to each input, and the origin
    of each number.
    """
    parts = [
        [way.name, component.name, f"{component.amount.value:,.4g}", component.arithmetic]
        for way in result.ways
        for component in way.parts
    ]
    levels = [
        [
            level_cost.level,
            _runs(level_cost.runs_a_day),
            _shown(level_cost.a_day),
            level_cost.arithmetic,
        ]
        for level_cost in result.levels
    ]
    inputs = [
        [name, _shown(r), _origin(r), r.source if isinstance(r, Number) else r.reason]
        for name, r in result.inputs.items()
    ]
    pictures = [
        picture
        for way in result.ways
        if (picture := _picture(way.name, [s for s in result.swings if s.way == way.name]))
    ]
    blocks: list[Block] = [
        Text(result.sentence),
        Table(
            f"{result.currency} a day",
            ("way", "total"),
            [[way.name, _shown(way.total)] for way in result.ways],
        ),
        *(
            [
                Table(
                    "Parts of the totals",
                    ("way to serve", "part", result.currency),
                    [row[:3] for row in parts],
                )
            ]
            if parts
            else []
        ),
        *pictures,
        *(
            [
                Table(
                    "What each level costs a day",
                    ("level", "runs a day", "cost"),
                    [row[:3] for row in levels],
                )
            ]
            if levels
            else []
        ),
        Table(
            "Every input; the files have its source, and each formula",
            ("symbol", "value", "origin"),
            [row[:3] for row in inputs],
        ),
        CsvDownloads(
            "cost",
            [
                ("parts", csv_text(("way to serve", "part", result.currency, "formula"), parts)),
                ("levels", csv_text(("level", "runs a day", "cost", "formula"), levels)),
                ("inputs", csv_text(("symbol", "value", "origin", "source"), inputs)),
            ],
        ),
    ]
    return Section("cost", "Cost", blocks)


def sensitivity(swings: list[Swing]) -> Json:
    """Sensitivity: for each input a bar from the cost at half its value to the cost at twice its
    value; the widest on top.
    """
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
            "text": [
                (
                    f"{esc(s.input)} {s.low:,.4g}: {s.cost_low:,.4g}<br>{esc(s.input)} "
                    f"{s.high:,.4g}: {s.cost_high:,.4g}"
                )
                for s in shown
            ],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name in ("half to twice",)
    ]
    axis: Json = {
        "gridcolor": "var(--line)",
        "tickfont": {"color": "var(--soft)", "size": 12},
        "automargin": True,
        "fixedrange": True,
    }
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


def _picture(name: str, swings: list[Swing]) -> Figure | None:
    moving = [s for s in swings if s.cost_low != s.cost_high]
    if not moving:
        return None
    most = moving[0]
    says = (
        f"{name}: {most.input} matters most: the cost goes from {most.cost_low:,.4g} at "
        f"{most.low:,.4g} to {most.cost_high:,.4g} at {most.high:,.4g}"
    )
    caption = (
        f"{name}: cost a day if one input is halved or doubled and the others stay; orange: the "
        "cost falls as the input rises"
    )
    return Figure(f"cost-{name.replace(' ', '-')}", sensitivity(swings), says, caption)


def _runs(runs: float | None) -> str:
    return f"{runs:,.4g}" if runs else ""


def _shown(reading: Reading) -> str:
    return (
        str(reading)
        if isinstance(reading, Missing)
        else f"{reading.value:,.6g} {reading.unit}".strip()
    )


def _origin(reading: Reading) -> str:
    return "not measured" if isinstance(reading, Missing) else reading.origin
