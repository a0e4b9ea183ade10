"""Readiness and cost as sections of the HTML page."""

from __future__ import annotations

from headwater.pages.document import (
    Block,
    Bullets,
    CsvDownloads,
    Section,
    Table,
    Text,
    csv_text,
)
from headwater.results.cost_result import Cost
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
