"""An attribution as a table for the terminal, and as a section of the page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from headwater.reports import wording
from headwater.reports.document import Block, Bullets, Section, Table, Text
from headwater.reports.page import render
from headwater.results.attribution_result import (
    AttributionResult,
    Efficient,
    PathStep,
    SliceLift,
    UnitLift,
)
from headwater.results.estimate import Comparison
from headwater.terminal.layout import Group, Shown, ShownTable

if TYPE_CHECKING:
    from rich.console import RenderableType


def to_table(attribution: AttributionResult) -> RenderableType:
    """The attribution as rich prints it: the plan, then the views one at a time, the path, and what
    it costs.
    """
    parts: list[RenderableType] = [Shown(attribution.plan, "bold")]
    for table in _tables(attribution):
        parts += [Shown(""), ShownTable(table.caption, table.headings, table.rows)]
    return Group(*parts, Shown(""), *(Shown(line, "dim") for line in attribution.notes))


def to_notebook(attribution: AttributionResult) -> str:
    """The same as a fragment of HTML, without scripts."""
    section = Section("attribution", "", [*_tables(attribution), Bullets(attribution.notes)])
    return render("sections_notebook.html.j2", first=attribution.plan, sections=[section])


def to_section(attribution: AttributionResult | None) -> Section | None:
    """The attribution as a section of the page; None if none was requested."""
    if attribution is None:
        return None
    blocks: list[Block] = [
        Text(attribution.plan, "lead"),
        *_tables(attribution),
        Bullets(attribution.notes),
    ]
    return Section("attribution", "Which views earn from freshness", blocks)


def _tables(attribution: AttributionResult) -> list[Table]:
    places = wording.places_of(value.value for value in attribution.values.values())
    label, step = (
        wording.metric_label(attribution.metric),
        f"{attribution.stale} {wording.ARROW} {attribution.fresh}",
    )
    priced = attribution.cost_of_all is not None
    money = ("money a day",) if priced else ()
    tables = [
        Table(
            f"One at a time: {label}, {step} (+ is a gain)",
            (
                "view",
                f"{attribution.fresh} alone",
                "verdict",
                f"loss with only this {attribution.stale}",
                "verdict",
                *money,
            ),
            [_unit(unit, places) for unit in attribution.units],
        )
    ]
    if attribution.path:
        headings = (
            f"then {attribution.fresh}",
            f"lift over {attribution.stale}",
            "share of the lift",
            "gain of this step",
            "verdict",
            *money,
        )
        tables.append(
            Table(
                f"Together: {label}, on days that were not used to choose the order",
                headings,
                [_step(row, places) for row in attribution.path],
            )
        )
    if attribution.efficient:
        headings = (
            "money a day",
            "views",
            f"lift over {attribution.stale}",
            "verdict",
            "money a day for each 1 of lift",
        )
        tables.append(
            Table(
                "Best sets for their cost, among those tried",
                headings,
                [_efficient(row, places) for row in attribution.efficient],
            )
        )
    if attribution.slices:
        headings = ("slice", "rows", step, "verdict", "the plan", "verdict")
        tables.append(
            Table(
                f"Slices: {label} (intervals widened for all of them)",
                headings,
                [_slice(row, places) for row in attribution.slices],
            )
        )
    return tables


def _unit(unit: UnitLift, places: int) -> list[str]:
    name = unit.name if len(unit.views) == 1 else f"{unit.name} ({', '.join(unit.views)})"
    return [name, *_judged(unit.added, places), *_judged(unit.removed, places), *_money(unit.cost)]


def _step(step: PathStep, places: int) -> list[str]:
    share = wording.share(step.share.value) if math.isfinite(step.share.value) else wording.NO_VALUE
    return [
        f"+ {step.name}",
        wording.gain(step.lift, places),
        share,
        *_judged(step.gain, places),
        *_money(step.cost),
    ]


def _efficient(choice: Efficient, places: int) -> list[str]:
    per_unit = f"{choice.per_unit:,.0f}" if math.isfinite(choice.per_unit) else wording.NO_VALUE
    return [f"{choice.cost:,.2f}", ", ".join(choice.units), *_judged(choice.lift, places), per_unit]


def _slice(slice_lift: SliceLift, places: int) -> list[str]:
    return [
        slice_lift.name,
        wording.count(slice_lift.rows),
        *_judged(slice_lift.whole, places),
        *_judged(slice_lift.lift, places),
    ]


def _judged(step: Comparison | None, places: int) -> list[str]:
    return (
        [wording.NO_VALUE, ""] if step is None else [wording.gain(step, places), step.verdict_words]
    )


def _money(cost: float | None) -> list[str]:
    return [] if cost is None else [f"{cost:,.2f}"]
