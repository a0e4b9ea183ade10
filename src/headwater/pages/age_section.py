"""The section on lift by the age of each view."""

from __future__ import annotations

from headwater.pages import figures, wording
from headwater.pages.document import Block, Cell, Figure, Table, Text
from headwater.results.age_curve_result import AgeCurve
from headwater.results.backtest_result import BacktestResult


def to_blocks(result: BacktestResult) -> list[Block]:
    """The curves, when a half of the lift is gone, and the lift of each level; none if no ages were
    requested.
    """
    curves = result.curves_of_age
    if not curves:
        return []
    label, places = wording.metric_label(curves[0].metric), wording.places(result, curves[0].metric)
    says = " ".join(_says(curve) for curve in curves)
    on = f", {result.blocks.on}" if result.blocks is not None and result.blocks.on else ""
    note = (
        "Each point is a model trained with this view at that age and all others as at "
        f"{curves[0].others}, against the same model without the view. "
        f"{sum(curve.fits for curve in curves)} models were trained once each, so bands hold for "
        f"these very models{on}."
    )
    levels = list(curves[0].levels)
    rows: list[list[str | Cell]] = [
        [
            curve.view,
            *(
                Cell(
                    wording.number(curve.levels[name].value, places, signed=True),
                    wording.interval(curve.levels[name].low, curve.levels[name].high, places),
                )
                for name in levels
            ),
        ]
        for curve in curves
    ]
    table = Table(
        "The curve averaged over the ages that each level's features have at the test requests.",
        ["view", *levels],
        rows,
    )
    picture = Figure(
        figures.lift_by_age(curves, label),
        says,
        "Bands are 95 % intervals. A curve need not fall.",
    )
    return [picture, Text(says), table, Text(note, "quiet")]


def _says(curve: AgeCurve) -> str:
    if curve.points[0].lift.value <= curve.min_lift:
        return (
            f"{curve.view}: the lift at age 0 does not exceed {curve.min_lift:.3g}, so it has no "
            "half-life."
        )
    half, most = curve.half_life_seconds, curve.lost_90_seconds
    oldest = wording.duration(curve.points[-1].age_seconds)
    if half is None:
        return (
            f"{curve.view}: more than half of the lift is left at {oldest}, the oldest age "
            "evaluated."
        )
    rest = (
        f"90 % by {wording.duration(most)}"
        if most is not None
        else f"more than 10 % is left at {oldest}"
    )
    return f"{curve.view}: half of the lift is gone by {wording.duration(half)}, {rest}."
