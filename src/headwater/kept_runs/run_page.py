"""The page of a kept run: that of its result, made again."""

from __future__ import annotations

from headwater.errors import UsageError
from headwater.kept_runs.runs import KeptRun
from headwater.pages import (
    assessment_page,
    backtest_page,
    delivery_page,
    experiment_page,
    page_forms,
)
from headwater.results.assessment_result import AssessmentResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.experiment_result import ExperimentResult
from headwater.results.kept_evidence import with_experiments
from headwater.results.promise_result import DeliveryResult


def page_of(run: KeptRun) -> str:
    """The page as HTML.

    Raises:
        UsageError: a kind of run that has none.
    """
    result = run.result
    if isinstance(result, BacktestResult):
        return page_forms.to_html(backtest_page.to_page(with_experiments(result, run.data_dir)))
    if isinstance(result, AssessmentResult):
        return assessment_page.to_html(result)
    if isinstance(result, DeliveryResult):
        return page_forms.to_html(delivery_page.to_page(result))
    if isinstance(result, ExperimentResult):
        return page_forms.to_html(experiment_page.to_page(result))
    raise UsageError(
        f"run {run.id} is of kind {run.record.kind!r}, which has no page; take its JSON with --json"
    )
