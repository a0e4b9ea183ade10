"""The latest kept runs of a model, by kind, and the decision that they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from headwater.console.console_context import ConsoleContext
from headwater.errors import HeadwaterError
from headwater.kept_runs.run_page import page_of
from headwater.kept_runs.runs import KeptRun
from headwater.models.promises import deliveries
from headwater.pages import assessment_page, evidence_words, wording
from headwater.pages.page import Page
from headwater.results.assessment_result import AssessmentResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.kept_evidence import kept_experiments
from headwater.results.promise_result import DeliveryResult
from headwater.results.result import Result
from headwater.results.stored_runs import RunRecord

_CACHED_FOR: float = 3600.0  # seconds; a result never changes


@dataclass(frozen=True)
class ModelDecision:
    """The decisions about a model, for its card.

    verdict: a sentence; empty where nothing is kept. money: a day, in words. next_step: what to do,
    and command: how; both empty where nothing is to do. record: of the run that says so. withdrawn:
    the sentence that production did not keep the promise.
    """

    model: str
    verdict: str = ""
    lead: str = ""
    money: str = ""
    next_step: str = ""
    command: str = ""
    record: RunRecord | None = None
    withdrawn: str = ""


def records(
    context: ConsoleContext, subject: str | None = None, kind: str | None = None
) -> list[RunRecord]:
    """The records of kept runs, the latest first; of one subject or kind, if given."""
    return [
        record
        for record in context.runs().records
        if subject in (None, record.subject) and kind in (None, record.kind)
    ]


def result_of(context: ConsoleContext, record: RunRecord) -> Result:
    """The result of a run, read once.

    Raises:
        DataError: it cannot be read.
    """
    return context.cached(
        ("result", record.id), _CACHED_FOR, lambda: KeptRun(record, context.stored_runs).result
    )


def page_of_record(context: ConsoleContext, record: RunRecord) -> Page:
    """The page of a run, made once for each state of the runs.

    Raises:
        DataError: its result cannot be read.
    """
    return context.cached(
        ("page", record.id, len(records(context))),
        _CACHED_FOR,
        lambda: page_of(KeptRun(record, context.stored_runs)),
    )


def decision_of(context: ConsoleContext, model: str) -> ModelDecision:
    """What the latest assessment, else the latest backtest, says of a model."""
    missed = next(
        (
            result.first_line
            for result in delivered(context)
            if result.promise.model == model and result.withdrawn
        ),
        "",
    )
    every = [
        record for record in records(context, model) if record.kind in ("assessment", "backtest")
    ]
    latest = next((r for r in every if r.kind == "assessment"), next(iter(every), None))
    project = f"--project {context.file}"
    if latest is None:
        return ModelDecision(
            model, command=f"headwater backtest {project} --model {model}", withdrawn=missed
        )
    try:
        result = result_of(context, latest)
    except HeadwaterError as error:
        return ModelDecision(model, latest.sentence, str(error), record=latest, withdrawn=missed)
    if isinstance(result, AssessmentResult):
        return ModelDecision(
            model,
            assessment_page.headline(result),
            f"{assessment_page.details(result)} {_tested(context, result.result)}".strip(),
            _money(result),
            next(iter(assessment_page.steps(result)), ""),
            "",
            latest,
            missed,
        )
    backtest = result if isinstance(result, BacktestResult) else None
    sentence = latest.sentence if backtest is None else wording.verdict(backtest)
    assess = f"headwater assess {project} --model {model}"
    return ModelDecision(
        model,
        sentence,
        _tested(context, backtest),
        "",
        "Assess what it costs, and what blocks it",
        assess,
        latest,
        missed,
    )


def _tested(context: ConsoleContext, backtest: BacktestResult | None) -> str:
    """What experiments on the backtest's model found."""
    if backtest is None:
        return ""
    model = backtest.model
    experiments = context.cached(
        ("experiments", model), 5.0, lambda: kept_experiments(model, context.data_dir)
    )
    return " ".join(
        evidence_words.of_experiments(msgspec.structs.replace(backtest, experiments=experiments))
    )


def delivered(context: ConsoleContext) -> Sequence[DeliveryResult]:
    """The latest comparison of each model of the project with its promise."""
    names = {model.name for model in context.project.models}
    return context.cached(
        "deliveries",
        5.0,
        lambda: [
            result for result in deliveries(context.registry) if result.promise.model in names
        ],
    )


def _money(result: AssessmentResult) -> str:
    earns, costs = result.decision.earns, result.decision.extra
    if earns.value is None and costs.value is None:
        return "money is not known: give costs and worth to `headwater assess`"
    parts = [
        f"{verb} {assessment_page.money(reading)} a day"
        for verb, reading in (("earns", earns), ("costs", costs))
        if reading.value is not None
    ]
    return ", ".join(parts)
