"""Sections that only some backtests have: the two transitions, money, and the folds of a rolling
origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports import figures, resolution_words, wording
from headwater.reports.document import Bullets, Cell, Figure, Section, Table, Text
from headwater.reports.sections import estimate_cell, gain_cell, step_name
from headwater.results.backtest_result import BacktestResult, Transition
from headwater.results.estimate import Comparison

_NEW = "new keys"
_COST = "cost"
_SAYS = {1: "1: on request, features as old as before", 2: "2: fresher features"}


def transitions(result: BacktestResult) -> Section | None:
    """The two transitions, to predictions on request and to fresher features, for all keys and for
    new ones.
    """
    if not result.transitions:
        return None
    label = wording.metric_label(result.headline)
    headings = ("transition", "step", "covered", "new keys covered", f"{label} gain", "of new keys")
    rows = [_transition(result, step) for step in result.transitions]
    table = Table(
        "A key is new if it has no precomputed prediction at its request.", headings, rows
    )
    return Section(
        "transitions",
        "From precomputed predictions to real time",
        [Text(wording.new_keys(result)), table],
    )


def _transition(result: BacktestResult, step: Transition) -> list[str | Cell]:
    arrow = f" {wording.ARROW} "
    fresh = next(
        (slice_result.comparisons for slice_result in result.slices if slice_result.name == _NEW),
        [],
    )
    covered = [
        arrow.join(map(wording.share, ends)) for ends in (step.coverage, step.coverage_of_new)
    ]
    gains = [
        gain_cell(result, _comparison(result.comparisons, step, result.headline)),
        gain_cell(result, _comparison(fresh, step, result.headline)),
    ]
    return [_SAYS[step.number], f"{step.from_}{arrow}{step.to}", *covered, *gains]


def _comparison(
    comparisons: Sequence[Comparison], step: Transition, metric: str
) -> Comparison | None:
    return next(
        (
            difference
            for difference in comparisons
            if (difference.from_, difference.to, difference.metric) == (step.from_, step.to, metric)
        ),
        None,
    )


def timestamps(result: BacktestResult) -> Section | None:
    """The resolution of each source's timestamps, what they cannot show, and the questions that are
    open.
    """
    if not result.resolutions:
        return None
    rows: list[list[str | Cell]] = [
        [
            source.source,
            source.column,
            resolution_words.periods(source),
            "by a column"
            if source.known_after_seconds is None
            else f"{wording.duration(source.known_after_seconds)} after it",
        ]
        for source in result.resolutions
    ]
    table = Table(
        "The resolution of each source's timestamps, by period.",
        ("source", "timestamp", "resolution", "known"),
        rows,
    )
    lines = resolution_words.lines(result)
    return Section(
        "timestamps", "What the timestamps can show", [*([Bullets(lines)] if lines else []), table]
    )


def money(result: BacktestResult) -> Section | None:
    """The cost of errors at each level, and the saving of each step."""
    if result.money is None:
        return None
    levels = [
        [level.name, estimate_cell(result, level, _COST)]
        for level in result.levels
        if _COST in level.metrics
    ]
    today = result.compared_with
    saved = [
        [step_name(step), gain_cell(result, step)]
        for step in result.comparisons
        if (step.from_, step.metric) == (today, _COST)
    ]
    tables = [Table("Cost per 1,000 requests.", ("level", "cost"), levels)]
    if saved:
        tables.append(Table("Saved per 1,000 requests by each level.", ("step", "saved"), saved))
    return Section(
        "money",
        "Cost of errors",
        [Text(f"{wording.money(result)} {wording.metric_meaning(_COST)}"), *tables],
    )


def folds(result: BacktestResult) -> Section | None:
    """The folds of a rolling origin, one by one."""
    if not result.folds:
        return None
    label, places = wording.metric_label(result.headline), wording.places(result, result.headline)
    names = [level.name for level in result.levels]
    rows = [
        [
            fold.split[:10],
            wording.count(fold.train_rows),
            wording.count(fold.test_rows),
            *(
                wording.number(fold.values[name].get(result.headline, math.nan), places)
                for name in names
            ),
        ]
        for fold in result.folds
    ]
    says = "; ".join(
        f"{name}: "
        + ", ".join(
            wording.number(fold.values[name][result.headline], places) for fold in result.folds
        )
        for name in names
    )
    picture = Figure(
        "folds",
        figures.folds(result),
        f"{label} of each fold. {says}",
        "Each fold was trained separately, on the data known at its split.",
    )
    text = (
        "All other numbers on this page use the test rows of all folds together; values of a "
        "single fold have no interval."
    )
    table = Table(f"{label} of each fold.", ("split", "training rows", "test rows", *names), rows)
    return Section("folds", f"{label} of each fold", [Text(text), picture, table])
