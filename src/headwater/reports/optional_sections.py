"""Sections that only some backtests have: the two transitions, money, and the folds of a rolling origin."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports import figures, wording
from headwater.reports.markup import EMPTY, Html, esc, figure, grid, paragraph, section, value_cell
from headwater.results.backtest_result import BacktestResult, Transition
from headwater.results.estimate import Paired

_NEW = "new keys"
_COST = "cost"
_SAYS = {1: "1: on request, features as old as before", 2: "2: fresher features"}


def transitions(result: BacktestResult) -> Html:
    """The two transitions, to predictions on request and to fresher features, for all keys and for new ones."""
    if not result.transitions:
        return EMPTY
    label = wording.metric_label(result.headline)
    headings = ("transition", "step", "covered", "new keys covered", f"{label} gain", "of new keys")
    rows = [_transition(result, step) for step in result.transitions]
    table = grid("A key is new if it has no precomputed prediction at its request.", [esc(text) for text in headings], rows)
    return section("transitions", "From precomputed predictions to real time", paragraph(wording.new_keys(result)), table)


def _transition(result: BacktestResult, step: Transition) -> list[Html]:
    arrow = f" {wording.ARROW} "
    fresh = next((slice_result.paired for slice_result in result.slices if slice_result.name == _NEW), [])
    covered = [esc(arrow.join(map(wording.share, ends))) for ends in (step.coverage, step.coverage_of_new)]
    gains = [_gain(result, _found(result.paired, step, result.headline)), _gain(result, _found(fresh, step, result.headline))]
    return [esc(_SAYS[step.number]), esc(f"{step.from_}{arrow}{step.to}"), *covered, *gains]


def _found(paired: Sequence[Paired], step: Transition, metric: str) -> Paired | None:
    return next(
        (difference for difference in paired if (difference.from_, difference.to, difference.metric) == (step.from_, step.to, metric)), None
    )


def _gain(result: BacktestResult, step: Paired | None) -> Html:
    if step is None:
        return esc(wording.NO_VALUE)
    places = wording.places(result, step.metric)
    return value_cell(wording.number(step.delta, places, signed=True), wording.interval(step.low, step.high, places))


def money(result: BacktestResult) -> Html:
    """The cost of errors at each level, and the saving of each step."""
    if result.money is None:
        return EMPTY
    places = wording.places(result, _COST)
    levels = [
        [esc(level.name), value_cell(wording.number(metric.value, places), wording.interval(metric.low, metric.high, places))]
        for level in result.levels
        if (metric := level.metrics.get(_COST))
    ]
    saved = [
        [esc(f"{step.from_} {wording.ARROW} {step.to}"), _gain(result, step), esc(step.verdict)]
        for step in result.paired
        if step.metric == _COST
    ]
    parts = [grid("Cost per 1,000 requests.", [esc("level"), esc("cost")], levels)]
    if saved:
        parts.append(grid("Saved per 1,000 requests by each step.", [esc(text) for text in ("step", "saved", "verdict")], saved))
    text = f"{wording.money(result)} {wording.metric_meaning(_COST)}"
    return section("money", "Cost of errors", paragraph(text), *parts)


def folds(result: BacktestResult) -> Html:
    """The folds of a rolling origin, one by one."""
    if not result.folds:
        return EMPTY
    label, places = wording.metric_label(result.headline), wording.places(result, result.headline)
    names = [level.name for level in result.levels]
    rows = [
        [
            esc(fold.split[:10]),
            esc(wording.count(fold.train_rows)),
            esc(wording.count(fold.test_rows)),
            *(esc(wording.number(fold.values[name].get(result.headline, math.nan), places)) for name in names),
        ]
        for fold in result.folds
    ]
    headings = [esc(text) for text in ("split", "training rows", "test rows", *names)]
    says = "; ".join(
        f"{name}: " + ", ".join(wording.number(fold.values[name][result.headline], places) for fold in result.folds) for name in names
    )
    picture = figure(
        "folds", figures.folds(result), f"{label} of each fold. {says}", "Each fold was trained separately, on the data known at its split."
    )
    text = "All other numbers on this page use the test rows of all folds together; values of a single fold have no interval."
    return section("folds", f"{label} of each fold", paragraph(text), picture, grid(f"{label} of each fold.", headings, rows))
