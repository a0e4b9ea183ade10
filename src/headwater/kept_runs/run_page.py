"""The page of a kept run: that of its result, made again."""

from __future__ import annotations

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
from headwater.pages.page import Fold, Page, split_sentence
from headwater.results.assessment_result import AssessmentResult
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.experiment_result import ExperimentResult
from headwater.results.kept_evidence import with_experiments
from headwater.results.promise_result import DeliveryResult


def page_of(run: KeptRun) -> Page:
    """The page of a run.

    Raises:
        DataError: its result cannot be read, or another version of headwater wrote it.
    """
    result = run.result
    if isinstance(result, BacktestResult):
        return backtest_page.to_page(with_experiments(result, run.data_dir))
    if isinstance(result, AssessmentResult):
        return assessment_page.to_page(result)
    if isinstance(result, AttributionResult):
        return attribution_section.to_page(result)
    if isinstance(result, DeliveryResult):
        return delivery_page.to_page(result)
    if isinstance(result, ExperimentResult):
        return experiment_page.to_page(result)
    assert isinstance(result, ParityRun)
    return _parity(result)


def _parity(result: ParityRun) -> Page:
    rows = [
        [view.view, f"{view.rows:,}", f"{view.values:,}", f"{len(view.mismatches):,}"]
        for view in result.views
    ]
    wrong = [
        [
            miss.feature,
            ", ".join(f"{k}={v}" for k, v in miss.keys.items()),
            str(miss.online),
            str(miss.offline),
            miss.reason,
        ]
        for view in result.views
        for miss in view.mismatches[:20]
    ]
    headings = ["view", "keys", "values", "differ"]
    table = Table("Values that are served, compared with training", headings, rows)
    columns = ["feature", "keys", "online", "offline", "why"]
    differ = Table("The first 20 of each view", columns, wrong)
    sentence, effect = split_sentence(str(result))
    return Page(
        "Parity",
        ["served values against training"],
        sentence,
        effect,
        bool(wrong),
        folds=[
            Fold("View by view", "", [table]),
            *([Fold("Values that differ", "", [differ])] if wrong else []),
        ],
    )
