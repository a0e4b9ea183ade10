"""hw.operations.assess: one verdict and a plan from lift, attribution, cost, readiness and latency
of a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from headwater import clock
from headwater.assessing.assessment import Assessment
from headwater.assessing.cost import cost
from headwater.assessing.decision import decide, judged_by_money
from headwater.assessing.lift import GivenBacktest, backtest_of
from headwater.assessing.locations import Locations
from headwater.assessing.network import network
from headwater.assessing.probes.request_probe import of_log
from headwater.assessing.questions import Answers, checked
from headwater.assessing.readiness import readiness
from headwater.assessing.request_time import RequestTimeJob, at_request
from headwater.backtesting.attribution import attribution
from headwater.backtesting.backtest import backtest
from headwater.backtesting.break_even import recommended
from headwater.backtesting.describe import value_of
from headwater.backtesting.withdrawals import known_deliveries
from headwater.definitions.checks import micros
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.level import Level, ladder
from headwater.definitions.model import Model
from headwater.definitions.project import Project, checked_call
from headwater.engine.engines import engine_name
from headwater.errors import HeadwaterError, UsageError
from headwater.results.assessment_parts import AtRequest
from headwater.results.attribution_result import AttributionResult
from headwater.results.audit_result import DELIVERY
from headwater.results.backtest_result import BacktestResult
from headwater.results.cost_result import Cost
from headwater.results.decision_result import Evidence
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import Readiness
from headwater.results.stored_runs import keep_run
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    import polars as pl


@checked_call
def assess(
    project: Project,
    model: str | None = None,
    *,
    backtest: GivenBacktest | None = None,
    evaluation: Evaluation | None = None,
    locations: Locations | None = None,
    answers: Answers | Mapping[str, str | float] | None = None,
    resources: Resources | None = None,
) -> Assessment:
    """Whether real time is right for a model, for which views, at what cost, and what to do first.

    A part without its inputs (no data, no store, no Kafka, no log, no prices) is Missing, with the
    reason. A backtest that is run here compares the project's levels, or the usual ladder if it has
    none.

    Args:
        project: the project.
        model: the model's name; None if the project has only one.
        backtest: the result of `hw.backtest()`, its `to_dict()`, or a JSON file of it; None runs
            one.
        evaluation: how the model is judged where a backtest or an attribution is run here; None
            takes the project's own.
        locations: where to measure: stores, logs, models, prices, databases; None takes the
            settings.
        answers: to questions that cannot be measured, by the id of the question, such as {"supply":
            "yes", "S2": 0.08}. The questions are written by `headwater assess readiness
            --write-questions`. Three are on network effects: "supply", "adversaries" and
            "feedback".
        resources: what the call may use: threads, memory, a cache, progress.

    Raises:
        UsageError: an unknown model, an invalid backtest or that of another model, an invalid price
            file or an invalid answer.
    """
    checked_answers = (
        answers if isinstance(answers, Answers) else checked(answers or {})
    )  # invalid answers are refused before anything is run
    evaluation, checked_answers = _one_answer(
        evaluation or project.evaluation or Evaluation(), checked_answers
    )
    places = locations or Locations()
    run = _AssessmentRun(
        project, project.model(model), backtest, evaluation, resources or DEFAULT_RESOURCES, places
    )
    assessment = _joined(run, places, checked_answers)
    return keep_run(
        "assessment",
        assessment.verdict,
        assessment,
        run.model,
        folder=places.folder,
        engine=engine_name(run.resources.engine),
    )


def _one_answer(evaluation: Evaluation, answers: Answers) -> tuple[Evaluation, Answers]:
    """The question on adversaries is in both, and answered once: an answer to either counts for the
    other.
    """
    adversaries = answers.effects.get("adversaries")
    if adversaries is None and evaluation.adversaries is not None:
        return evaluation, Answers(
            {**answers.by_id, "adversaries": "yes" if evaluation.adversaries else "no"}
        )
    return (
        dataclasses.replace(evaluation, adversaries=adversaries)
        if evaluation.adversaries is None and adversaries is not None
        else evaluation
    ), answers


def _joined(run: _AssessmentRun, locations: Locations, answers: Answers) -> Assessment:
    model, project = run.model, run.project
    effects = network(answers.effects)
    readings, log = of_log(model, locations.folder)
    lift, attributed = run.lift, run.attribution
    spent = _cost(run, locations, lift)
    ready = _readiness(project, locations, answers)
    evidence = judged_by_money(
        Evidence([view.name for view in model.features.views], lift, spent, ready)
    )
    decision = decide(evidence)
    request_time_features = _at_request(run, decision.level, log)
    budget: Reading = Missing(f"model {model.name!r} has no latency_budget")
    if model.latency_budget is not None:
        budget = Number(
            micros(model.latency_budget, "latency_budget") / 1e6,
            "s",
            "given",
            f"latency_budget of model {model.name!r}",
        )
    return Assessment(
        project=project.name,
        model=model.name,
        at=clock.now().isoformat(timespec="seconds"),
        verdict=decision.sentence,
        decision=decision,
        backtest=evidence.lift if isinstance(evidence.lift, Missing) else evidence.lift.backtest,
        attribution=attributed,
        cost=spent,
        readiness=ready,
        latency=readings["latency"],
        budget=budget,
        at_request=request_time_features,
        network=effects,
    )


@dataclass
class _AssessmentRun:
    """The backtest and the attribution, given or run here, each at most once."""

    project: Project
    model: Model
    given_backtest: GivenBacktest | None
    evaluation: Evaluation
    resources: Resources
    locations: Locations

    @cached_property
    def compared(self) -> Mapping[str, Level]:
        """The levels, from stale to fresh."""
        return self.project.named_levels or ladder()

    @cached_property
    def backtest(self) -> BacktestResult | Missing:
        """The backtest, given or run here."""
        if self.given_backtest is not None:
            result = backtest_of(self.given_backtest)
            if result.model != self.model.name:
                raise UsageError(
                    f"the backtest is of model {result.model!r}, and the assessment of "
                    f"{self.model.name!r}; give that model's"
                )
            if result.value is None:
                result = msgspec.structs.replace(result, value=value_of(self.evaluation))
            return self._with_withdrawals(result)
        models = self.locations.models
        try:
            return backtest(
                self.model, self.compared, self.evaluation, models=models, resources=self.resources
            ).result
        except HeadwaterError as error:
            return Missing(f"the backtest could not be run: {error}")

    def _with_withdrawals(self, result: BacktestResult) -> BacktestResult:
        """A given backtest with the deliveries of production, which may be newer: a withdrawal, or
        the end of its promise.
        """
        current = known_deliveries(self.model.name, self.locations.models).on(
            result, self.evaluation.acknowledged
        )
        findings = [
            [f for f in assessed.audit.findings if f.check == DELIVERY]
            for assessed in (result, current)
        ]
        changed = [f.to_dict() for f in findings[0]] != [f.to_dict() for f in findings[1]]
        return recommended(current) if changed else current

    @cached_property
    def attribution(self) -> AttributionResult | Missing:
        """The attribution: of the backtest, else run here."""
        if isinstance(self.backtest, Missing):
            return Missing("no backtest is available")
        if self.backtest.attribution is not None:
            return self.backtest.attribution
        if not self.evaluation.attribute:
            return Missing("not requested")
        lift = Lift(self.backtest)
        if not any(step.lifts for step in lift.steps):
            return Missing("no fresher level is a LIFT, so there is nothing to attribute")
        return self._attributed()

    def _attributed(self) -> AttributionResult | Missing:
        ends = [
            n
            for n, level in self.compared.items()
            if level.reads_history(self.model) and level.precomputed(self.model) is None
        ]
        if len(ends) < 2:
            return Missing("it needs two levels that read history and predict on request")
        levels = {name: self.compared[name] for name in (ends[0], ends[-1])}
        try:
            return attribution(
                self.model,
                levels,
                dataclasses.replace(self.evaluation, slices=None),
                resources=self.resources,
            ).plain
        except HeadwaterError as error:
            return Missing(str(error))

    @property
    def lift(self) -> Lift | Missing:
        """The backtest's lift, with the attribution."""
        earned = None if isinstance(self.attribution, Missing) else self.attribution
        return self.backtest if isinstance(self.backtest, Missing) else Lift(self.backtest, earned)


def _cost(run: _AssessmentRun, locations: Locations, lift: Lift | Missing) -> Cost | Missing:
    try:
        return cost(
            run.project, run.model.name, locations, None if isinstance(lift, Missing) else lift
        )
    except UsageError:
        raise
    except HeadwaterError as error:
        return Missing(str(error))


def _readiness(project: Project, locations: Locations, answers: Answers) -> Readiness | Missing:
    try:
        return readiness(project, locations, answers)
    except UsageError:
        raise
    except HeadwaterError as error:
        return Missing(str(error))


def _at_request(run: _AssessmentRun, level: str, log: pl.DataFrame | None) -> Sequence[AtRequest]:
    """The features computed at request time, at the verdict's level if the project has it, else the
    last.
    """
    chosen = level if level in run.compared else list(run.compared)[-1]
    job = RequestTimeJob(run.model, run.compared[chosen], run.evaluation, run.resources, log)
    return at_request(job)
