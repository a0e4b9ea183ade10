"""Served answers against the answers of another level to the same requests, by the rows that may
judge both: `backtesting.outcome_rules`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl

from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.outcome_rules import acted_on, scorable_rows
from headwater.definitions.evaluations import DecisionValue, Evaluation
from headwater.definitions.model import Censored, Model
from headwater.errors import DataError, UsageError
from headwater.experiments.list_gap import list_gap
from headwater.experiments.metric_gap import metric_gap
from headwater.kernel.arrays import F64, Bool
from headwater.results.level_gap_result import DecisionFlips, DecisionMoney, FlipCell, LevelGap


def level_gap(
    model: Model,
    evaluation: Evaluation | None,
    rows: DeliveredRows,
    other: F64,
    levels: tuple[str | None, str] = (None, ""),
) -> LevelGap:
    """How another level's answers differ from the served ones.

    Args:
        model: which.
        evaluation: its headline metric is compared, and its `value` says which scores are acted on
            and what that is worth.
        rows: what was served.
        other: the other level's scores, float64 (rows) or (rows, classes), NaN where it has no
            answer.
        levels: the names of both, for their costs in `evaluation.value`.
    """
    if rows.groups is not None:
        return list_gap(model, evaluation, rows, other)
    notes: list[str] = []
    there = ~np.isnan(rows.score if rows.score.ndim == 1 else rows.score[:, 0]) & ~np.isnan(
        other if other.ndim == 1 else other[:, 0]
    )
    apart = np.asarray(
        (np.abs(rows.score - other) > 1e-9).reshape(len(there), -1).any(axis=1), np.bool_
    )
    changed = float(apart[there].mean()) if there.any() else math.nan
    if not there.all():
        notes.append(
            f"{int((~there).sum()):,} requests have no answer at one of the levels, and are not "
            "compared"
        )
    value = None if evaluation is None else evaluation.value
    decide = _decision(model, value)
    flips = money = None
    if decide is None:
        notes.append(
            "no decision is declared: give hw.censored(above=...) or "
            "Evaluation(value=hw.DecisionValue(acted_on=...))"
        )
    else:
        rule, acts = decide
        served_acts, other_acts = acts(rows.score) & there, acts(other) & there
        flips = _flips(rule, served_acts, other_acts, rows, there)
    try:
        may = scorable_rows(
            model, rows.frame.filter(pl.Series(there)), [rows.score[there], other[there]]
        )
    except (DataError, UsageError) as error:
        return LevelGap(changed, flips, None, None, [*notes, str(error)])
    weight = np.zeros(len(there))
    weight[there] = may.weight
    weight *= rows.known
    if value is not None and decide is not None:
        money = _money(value, decide[1], rows, other, np.where(there, weight, 0.0), levels)
    chosen, note = weight > 0, "all requests with a known outcome"
    if (may.weight != 1).any():
        held = np.zeros(len(there), np.bool_)
        held[there] = may.held_out
        chosen, note = (
            chosen & held,
            "requests of the approve-anyway holdout, an unweighted sample of all",
        )
    metric = metric_gap(model, evaluation, rows, other, chosen, note, notes)
    return LevelGap(changed, flips, metric, money, notes)


def _decision(
    model: Model, value: DecisionValue | None
) -> tuple[str, Callable[[F64], Bool]] | None:
    """Which scores are acted on: the rule in words, and of scores whether each is."""
    if not model.task_type.positives:
        return None
    if isinstance(model.outcomes, Censored):
        rule = model.outcomes
        return rule.describe, lambda scores: acted_on(rule, scores)
    if value is None:
        return None
    share = value.acted_on

    def highest(scores: F64) -> Bool:
        finite = scores[~np.isnan(scores)]
        if not len(finite):
            return np.zeros(len(scores), np.bool_)
        bound = np.sort(finite)[::-1][max(math.ceil(share * len(finite)), 1) - 1]
        return np.asarray(scores >= bound, np.bool_)

    return f"the {100 * share:.3g} % with the highest scores of each level", highest


def _flips(rule: str, served: Bool, other: Bool, rows: DeliveredRows, there: Bool) -> DecisionFlips:
    positive = rows.known & (rows.y > 0)

    def cell(mask: Bool) -> FlipCell:
        return FlipCell(
            int(mask.sum()), int((mask & rows.known).sum()), int((mask & positive).sum())
        )

    return DecisionFlips(
        rule,
        cell(served & other),
        cell(served & ~other),
        cell(other & ~served),
        cell(there & ~served & ~other),
    )


def _money(
    value: DecisionValue,
    acts: Callable[[F64], Bool],
    rows: DeliveredRows,
    other: F64,
    weight: F64,
    levels: tuple[str | None, str],
) -> DecisionMoney:
    y = np.where(rows.known, rows.y, 0.0)
    value_of_row = weight * np.where(y > 0, value.hit, -value.false_alarm)
    costs = [
        math.nan if name is None else float(value.costs.get(name, math.nan)) for name in levels
    ]
    return DecisionMoney(
        float(value_of_row[acts(rows.score)].sum()), float(value_of_row[acts(other)].sum()), *costs
    )
