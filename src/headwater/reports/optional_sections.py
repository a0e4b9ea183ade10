"""Sections that only some backtests have: timestamps, money, and the folds of a rolling
origin.
"""

from __future__ import annotations

import math

from headwater.reports import resolution_words, wording
from headwater.reports.document import Bullets, Cell, Section, Table, Text
from headwater.reports.sections import estimate_cell, gain_cell, step_name
from headwater.results.backtest_result import BacktestResult

_COST = "cost"
_SAYS = {1: "1: on request, features as old as before", 2: "2: fresher features"}


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
    text = (
        "All other numbers on this page use the test rows of all folds together; values of a "
        "single fold have no interval."
    )
    table = Table(f"{label} of each fold.", ("split", "training rows", "test rows", *names), rows)
    return Section("folds", f"{label} of each fold", [Text(text), table])
