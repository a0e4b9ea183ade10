"""The result as HTML for a notebook: small, without scripts, for light and dark themes."""

from __future__ import annotations

import math

from headwater.reports import (
    audit_words,
    axis,
    evidence_words,
    figures,
    fixed_models,
    recommendation_words,
    resolution_words,
    wording,
)
from headwater.reports.document import Cell, Table
from headwater.reports.page import render
from headwater.reports.sections import estimate_cell, step_name
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult


def to_notebook(result: BacktestResult) -> str:
    """A fragment of HTML for `_repr_html_`: the verdict, its conditions, a static lift curve and
    the levels.
    """
    sentences = (
        *(wording.rest(result), *wording.limits(result), acknowledgement_note(result.audit)),
        *(wording.together(result), wording.new_keys(result), wording.money(result)),
    )
    curve = figures.lift_curve(result)
    return render(
        "notebook.html.j2",
        verdict=wording.verdict(result),
        findings=audit_words.blocking(result.audit),
        questions=audit_words.conditions(result.audit),
        lines=[
            *(line for line in sentences if line),
            *evidence_words.of_experiments(result),
            *resolution_words.lines(result),
        ],
        differing=wording.exceptions(result),
        curve=curve,
        says=axis.summary(result) if curve else "",
        tables=[table for table in (_levels(result), _steps(result)) if table.rows],
        foot=[_foot(result), *audit_words.lines(result.audit)],
    )


def _levels(result: BacktestResult) -> Table:
    metrics = recommendation_words.ordered_metrics(result)[:3]
    rows: list[list[str | Cell]] = [
        [
            level.name,
            *(estimate_cell(result, level, metric) for metric in metrics),
            level.kind_words,
            wording.duration(level.age_seconds),
            wording.share(level.coverage),
        ]
        for level in result.levels
    ]
    return Table(
        "Levels",
        ["level", *map(wording.metric_label, metrics), "kind", "mean age", "covered"],
        rows,
    )


def _steps(result: BacktestResult) -> Table:
    """The steps in the headline metric, with their verdicts."""
    decimals = wording.places(result, result.headline)
    both = bool(fixed_models.by_step(result))
    rows = [
        [
            step_name(step),
            wording.gain(step, decimals),
            wording.verdict_word(result, step),
            *([fixed_models.gain(result, step)] if both else []),
        ]
        for step in wording.shown_steps(result)
    ]
    headings = [
        "step",
        f"gain in {wording.metric_label(result.headline)}",
        "verdict",
        *([fixed_models.HEADING] if both else []),
    ]
    return Table("Steps", headings, rows)


def _foot(result: BacktestResult) -> str:
    split = result.split
    rows = (
        f"{wording.count(split.train_rows)} rows to train, {wording.count(split.test_rows)} to test"
    )
    brackets = f"Brackets are {wording.intervals(result)} " if _bracketed(result) else ""
    return f"{brackets}{rows}."


def _bracketed(result: BacktestResult) -> bool:
    """Whether any number that is shown has an interval in brackets."""
    ends = [(value.low, value.high) for level in result.levels for value in level.metrics.values()]
    return any(
        math.isfinite(low) and math.isfinite(high)
        for low, high in [*ends, *((step.low, step.high) for step in result.comparisons)]
    )
