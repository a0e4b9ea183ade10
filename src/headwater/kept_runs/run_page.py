"""The page of a kept run: that of its result, made again."""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.kept_runs.runs import KeptRun
from headwater.monitoring.parity import ParityRun
from headwater.pages import (
    assessment_page,
    attribution_section,
    backtest_page,
    delivery_page,
    experiment_page,
)
from headwater.pages.document import Table
from headwater.pages.page import Fold, Page, Row, Rows, split_sentence
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.experiment_result import ExperimentResult
from headwater.results.kept_evidence import with_experiments
from headwater.results.promise_result import DeliveryResult

_MOST_ROWS: Final = 6


def page_of(run: KeptRun) -> Page:
    """The page of a run.

    Raises:
        DataError: its result cannot be read, or another version of headwater wrote it.
    """
    result = run.result
    if isinstance(result, BacktestResult):
        return backtest_page.to_page(with_experiments(result, run.data_dir))
    if isinstance(result, AssessmentResult):
        backtest = result.backtest
        if isinstance(backtest, BacktestResult):
            tested = with_experiments(backtest, run.data_dir)
            result = msgspec.structs.replace(result, backtest=tested)
        return assessment_page.to_page(result)
    if isinstance(result, AttributionResult):
        return attribution_section.to_page(result)
    if isinstance(result, DeliveryResult):
        return delivery_page.to_page(result)
    if isinstance(result, ExperimentResult):
        return experiment_page.to_page(result)
    assert isinstance(result, ParityRun)
    return parity_page(result)


def parity_page(result: ParityRun) -> Page:
    """The page of served values next to training's: a row for each view, differing ones first."""
    views = sorted(result.views, key=lambda view: -len(view.mismatches))
    rows = [
        Row(
            view.view,
            f"{view.rows:,} keys",
            [f"{view.values:,}", f"{len(view.mismatches):,}"],
            state="differs" if view.mismatches else "equal",
            tone="worse" if view.mismatches else "wins",
            chosen=bool(view.mismatches),
        )
        for view in views[:_MOST_ROWS]
    ]
    wrong = [
        [
            miss.feature,
            ", ".join(f"{key}={value}" for key, value in miss.keys.items()),
            str(miss.online),
            str(miss.offline),
            miss.reason,
        ]
        for view in views
        for miss in view.mismatches[:20]
    ]
    every = [
        [view.view, f"{view.rows:,}", f"{view.values:,}", f"{len(view.mismatches):,}"]
        for view in views
    ]
    headings = ["feature", "keys", "online", "offline", "why"]
    differ = Table("Values that differ, the first 20 of each view", headings, wrong)
    table = Table("Values of each view", ["view", "keys", "values", "differ"], every)
    sentence, effect = split_sentence(str(result))
    return Page(
        "Parity",
        [result.project, "served values next to those of training"],
        sentence,
        effect,
        bool(wrong),
        rows=Rows("Views", ["view", "keys", "values", "differ"], rows),
        next=[("headwater explain", "where a value comes from")] if wrong else [],
        folds=[
            *([Fold("Values that differ", f"{len(wrong)} shown", [differ])] if wrong else []),
            Fold("Every view", f"{len(views)} views", [table]),
        ],
    )
