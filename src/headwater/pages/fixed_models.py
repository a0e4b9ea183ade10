"""The differences between the models that were fitted, next to those of the training procedure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headwater.pages import wording
from headwater.pages.document import Cell, Table
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Comparison

HEADING = "fitted models only"


def by_step(result: BacktestResult) -> Mapping[tuple[str, str], Comparison]:
    """The difference in the headline of each pair of levels; empty where each level was trained
    once, since both are then the same.
    """
    has_interval = any(
        math.isfinite(step.low) for step in result.comparisons if step.metric == result.headline
    )
    return (
        {(step.from_, step.to): step for step in result.fixed_models}
        if result.refitted and has_interval
        else {}
    )


def gain(result: BacktestResult, step: Comparison) -> str:
    """The difference of a step with its interval over the fitted models only."""
    alone = by_step(result).get((step.from_, step.to))
    return "" if alone is None else wording.gain(alone, wording.places(result, alone.metric))


def to_table(result: BacktestResult) -> Table | None:
    """A row for each difference in the headline, the training procedure first; None where each
    level was trained once.
    """
    fixed, places = by_step(result), wording.places(result, result.headline)
    steps = [
        step
        for step in result.comparisons
        if step.metric == result.headline and (step.from_, step.to) in fixed
    ]
    rows: list[list[str | Cell]] = [
        [
            f"{step.from_} {wording.ARROW} {step.to}",
            *(_cell(comparison, places) for comparison in (step, fixed[step.from_, step.to])),
        ]
        for step in steps
    ]
    covers = (
        "What an interval covers: the training procedure, trained again, on later periods; or the "
        "fitted models only, on later periods."
    )
    if all(
        (step.low, step.high) == (fixed[step.from_, step.to].low, fixed[step.from_, step.to].high)
        for step in steps
    ):
        covers += " Here training again adds nothing that can be told from the noise of the test."
    return Table(covers, ["step", "training procedure", HEADING], rows) if rows else None


def _cell(step: Comparison, places: int) -> Cell:
    """A gain with its interval below it, which is readable on a phone."""
    return Cell(
        wording.number(step.delta, places, signed=True),
        wording.interval(step.low, step.high, places),
    )
