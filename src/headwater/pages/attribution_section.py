"""An attribution as a table for the terminal, and as a section of the page."""

from __future__ import annotations

import math

from headwater.pages import wording
from headwater.pages.document import Block, Bullets, Table
from headwater.pages.page import Fold, Page
from headwater.results.attribution_result import (
    AttributionResult,
    Efficient,
    PathStep,
    SliceLift,
    UnitLift,
)
from headwater.results.estimate import Comparison


def to_page(attribution: AttributionResult) -> Page:
    """The page of an attribution alone."""
    step = f"{attribution.stale} {wording.ARROW} {attribution.fresh}"
    folds = [Fold("Which views earn from freshness", "", to_blocks(attribution))]
    return Page("Attribution", [step], attribution.plan, folds=folds)


def to_blocks(attribution: AttributionResult) -> list[Block]:
    """The views one at a time, the path, and what it costs."""
    return [*_tables(attribution), Bullets(attribution.notes)]


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
