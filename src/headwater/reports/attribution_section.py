"""An attribution as a table for the terminal, and as a section of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType

from headwater.reports import wording
from headwater.reports.markup import EMPTY, Html, bullets, esc, grid, paragraph, section
from headwater.reports.terminal import Shown, ShownTable
from headwater.results.attribution_result import AttributionResult, Efficient, PathStep, SliceLift, UnitLift
from headwater.results.estimate import Paired

_TITLE = "Which views earn from freshness"


@dataclass(frozen=True)
class _Grid:
    """A table of strings, for HTML and the terminal."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def to_table(found: AttributionResult) -> RenderableType:
    """The attribution as rich prints it: the plan, then the views one at a time, the path, and what it costs."""
    parts: list[RenderableType] = [Shown(found.plan, "bold")]
    for made in _grids(found):
        parts += [Shown(""), ShownTable(made.caption, made.headings, made.rows)]
    return Group(*parts, Shown(""), *(Shown(line, "dim") for line in found.notes))


def to_section(found: AttributionResult | None) -> Html:
    """The attribution as a section of the page; empty if none was requested."""
    if found is None:
        return EMPTY
    grids = [
        grid(made.caption, [esc(text) for text in made.headings], [[esc(cell) for cell in row] for row in made.rows])
        for made in _grids(found)
    ]
    return section("attribution", _TITLE, paragraph(found.plan, "lead"), *grids, bullets(found.notes))


def _grids(found: AttributionResult) -> list[_Grid]:
    places = wording.places_of(value.value for value in found.values.values())
    label, step = wording.metric_label(found.metric), f"{found.stale} {wording.ARROW} {found.fresh}"
    priced = found.cost_of_all is not None
    money = ("money a day",) if priced else ()
    made = [
        _Grid(
            f"One at a time: {label}, {step} (+ is a gain)",
            ("view", f"{found.fresh} alone", "verdict", f"loss with only this {found.stale}", "verdict", *money),
            [_unit(unit, places) for unit in found.units],
        )
    ]
    if found.path:
        headings = (f"then {found.fresh}", f"lift over {found.stale}", "share of the lift", "gain of this step", "verdict", *money)
        made.append(
            _Grid(
                f"Together: {label}, on days that were not used to choose the order", headings, [_step(one, places) for one in found.path]
            )
        )
    if found.efficient:
        headings = ("money a day", "views", f"lift over {found.stale}", "verdict", "money a day for each 1 of lift")
        made.append(_Grid("Best sets for their cost, among those tried", headings, [_efficient(one, places) for one in found.efficient]))
    if found.slices:
        headings = ("slice", "rows", step, "verdict", "the plan", "verdict")
        made.append(_Grid(f"Slices: {label} (intervals widened for all of them)", headings, [_slice(one, places) for one in found.slices]))
    return made


def _unit(unit: UnitLift, places: int) -> list[str]:
    name = unit.name if len(unit.views) == 1 else f"{unit.name} ({', '.join(unit.views)})"
    return [name, *_judged(unit.added, places), *_judged(unit.removed, places), *_money(unit.cost)]


def _step(step: PathStep, places: int) -> list[str]:
    share = wording.share(step.share.value) if math.isfinite(step.share.value) else wording.NO_VALUE
    return [f"+ {step.name}", wording.gain(step.lift, places), share, *_judged(step.gain, places), *_money(step.cost)]


def _efficient(one: Efficient, places: int) -> list[str]:
    each = f"{one.per_unit:,.0f}" if math.isfinite(one.per_unit) else wording.NO_VALUE
    return [f"{one.cost:,.2f}", ", ".join(one.units), *_judged(one.lift, places), each]


def _slice(part: SliceLift, places: int) -> list[str]:
    return [part.name, wording.count(part.rows), *_judged(part.whole, places), *_judged(part.lift, places)]


def _judged(step: Paired | None, places: int) -> list[str]:
    return [wording.NO_VALUE, ""] if step is None else [wording.gain(step, places), step.verdict]


def _money(cost: float | None) -> list[str]:
    return [] if cost is None else [f"{cost:,.2f}"]
