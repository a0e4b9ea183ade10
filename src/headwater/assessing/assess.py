"""hw.assess: one verdict and a plan from lift, attribution, cost, readiness and latency of a model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock, settings
from headwater.assessing.assessment import Assessment
from headwater.assessing.cost import cost
from headwater.assessing.cost_inputs import Where
from headwater.assessing.decision import decide
from headwater.assessing.decision_words import changes
from headwater.assessing.lift import GivenBacktest, earned_of, lift_of
from headwater.assessing.network import network
from headwater.assessing.probes.request_probe import of_log
from headwater.assessing.published import published
from headwater.assessing.questions import Answers
from headwater.assessing.readiness import Places, readiness
from headwater.assessing.request_time import SHARES, Asked, at_request
from headwater.assessing.risks import risks
from headwater.assessing.stages import staged
from headwater.backtesting.attribution import attribution
from headwater.backtesting.backtest import Backtest, backtest
from headwater.definitions.durations import micros
from headwater.definitions.level import Level, ladder
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.rolling import Rolling
from headwater.errors import HeadwaterError, UsageError
from headwater.results.assessment_parts import AtRequest
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.cost_result import Cost
from headwater.results.decision_result import Evidence
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import Readiness
from headwater.training.resources import Tick

if TYPE_CHECKING:
    import polars as pl


def assess(  # noqa: PLR0913 (each is a question that a user asks; all but the project have a default)
    project: Project,
    model: str | None = None,
    *,
    backtest: GivenBacktest | None = None,
    attribute: bool = True,
    levels: Mapping[str, Level] | None = None,
    split: str | datetime | Rolling | None = None,
    seeds: int = 1,
    min_lift: float | None = None,
    store: str | None = None,
    folder: str | Path | None = None,
    models: str | Path | None = None,
    prices: str | Path | None = None,
    places: Places | None = None,
    answers: Answers | None = None,
    worth: float | None = None,
    network: Sequence[str] | None = None,
    time_out: Sequence[float] = SHARES,
    seed: int = 0,
    progress: bool | Tick | None = None,
) -> Assessment:
    """Whether real time is right for a model, for which views, at what cost, and what to do first.

    A part without its inputs (no data, no store, no Kafka, no log, no prices) is Missing, with the reason.

    Args:
        project: the project.
        model: the model's name; None if the project has only one.
        backtest: the result of `hw.backtest()`, its `to_dict()`, or a JSON file of it; None runs one.
        attribute: whether to find out which views earn, if a step is a LIFT and the backtest has no attribution.
        levels: to backtest; None takes the project's, or the usual ladder if it has none.
        split, seeds, min_lift, seed: for a backtest run here; see `hw.backtest` (seeds is its `refits`).
        store, folder, models: where to measure; None takes the settings. prices: a price file.
        places: further places for readiness to measure; `store`, `folder` and `models` take precedence over its own.
        answers: to the questions that cannot be measured.
        worth: the value a day of 0.01 of the headline metric, in the currency of the prices.
        network: which of "adversaries", "feedback" and "supply" the task has, or "none"; None infers them from the definition.
        time_out: shares of timed-out calls of each request-time feature, at which the lift is measured; empty leaves it out.
        progress: as for `hw.backtest`.

    Raises:
        UsageError: an unknown model, an invalid backtest or that of another model, an invalid price file or an unknown effect.
    """
    if not isinstance(project, Project):
        raise UsageError(f"assess() takes a Project, and was given {type(project).__name__}")
    if worth is not None and not (isinstance(worth, int | float) and 0 <= worth < math.inf):
        raise UsageError(f"worth is {worth!r}; give money a day, 0 or more, for 0.01 of the metric")
    for share in time_out:
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise UsageError(f"time_out holds {share!r}; give shares of calls from 0 to 1, such as 0.05")
    chosen = project.model(model)
    here = settings.home() if folder is None else Path(folder)
    looked = places or Places()
    if store is not None or folder is not None or models is not None:
        kept = looked.models if models is None else Path(models)
        looked = dataclasses.replace(looked, store=looked.store if store is None else store, folder=here, models=kept)
    where = Where(store=looked.store, folder=here, models=looked.models, prices=None if prices is None else Path(prices))
    run = _Run(project, chosen, backtest, attribute, levels, split, seeds, min_lift, seed, progress)
    return _joined(run, where, looked, answers, _Also(worth, network, time_out))


@dataclass(frozen=True)
class _Also:
    worth: float | None
    network: Sequence[str] | None
    time_out: Sequence[float]


def _joined(run: _Run, where: Where, places: Places, answers: Answers | None, also: _Also) -> Assessment:
    model, project = run.model, run.project
    effects = network(model, also.network)  # invalid effects are refused before anything is run
    lift, attributed = run.lift, run.attribution
    spent = _cost(run, where, lift)
    ready = _readiness(project, places, answers)
    evidence = Evidence([view.name for view in model.features.views], lift, spent, ready, also.worth)
    decision = decide(evidence)
    readings, log = of_log(model, where.folder or settings.home())
    request_time_features = _at_request(run, decision.base, decision.level, log, also.time_out)
    others = published(model)
    budget: Reading = Missing(f"model {model.name!r} has no latency_budget")
    if model.latency_budget is not None:
        budget = Number(micros(model.latency_budget, "latency_budget") / 1e6, "s", "given", f"latency_budget of model {model.name!r}")
    return Assessment(
        project=project.name,
        model=model.name,
        at=clock.now().isoformat(timespec="seconds"),
        verdict=decision.sentence,
        decision=decision,
        plan=staged(evidence, decision),
        changes=changes(evidence, decision),
        risks=risks(evidence, decision, request_time_features, effects, model),
        lift=lift,
        attribution=attributed,
        cost=spent,
        readiness=ready,
        latency=readings["latency"],
        budget=budget,
        at_request=request_time_features,
        network=effects,
        published=others,
        result=run.result,
    )


@dataclass
class _Run:
    """The backtest and the attribution, given or run here, each at most once."""

    project: Project
    model: Model
    given_backtest: GivenBacktest | None
    attribute: bool
    levels: Mapping[str, Level] | None
    split: str | datetime | Rolling | None
    seeds: int
    min_lift: float | None
    seed: int
    progress: bool | Tick | None

    @cached_property
    def compared(self) -> Mapping[str, Level]:
        """The levels, from stale to fresh."""
        return self.levels or self.project.levels or ladder()

    @cached_property
    def _backtest(self) -> tuple[Lift | Missing, BacktestResult | None]:
        if self.given_backtest is not None:
            lift = lift_of(self.given_backtest)
            if lift.model != self.model.name:
                raise UsageError(f"the backtest is of model {lift.model!r}, and the assessment of {self.model.name!r}; give that model's")
            return lift, self.given_backtest.result if isinstance(self.given_backtest, Backtest) else None
        try:
            result = backtest(
                self.model,
                levels=self.compared,
                split=self.split,
                refits=self.seeds,
                min_lift=self.min_lift,
                seed=self.seed,
                progress=self.progress,
            )
        except HeadwaterError as error:
            return Missing(f"the backtest could not be run: {error}"), None
        return lift_of(result), result.result

    @cached_property
    def attribution(self) -> AttributionResult | Missing:
        """The attribution: of the backtest, else run here."""
        lift, result = self._backtest
        if result is not None and result.attribution is not None:
            return result.attribution
        if isinstance(lift, Missing):
            return Missing("no backtest is available")
        if lift.earned is not None:
            return Missing("the backtest has its own; its tables are in the backtest report")
        if not self.attribute:
            return Missing("not requested")
        if not any(step.lifts for step in [*lift.steps, *([lift.whole] if lift.whole else [])]):
            return Missing("no step is a LIFT, so there is nothing to attribute")
        return self._attributed()

    def _attributed(self) -> AttributionResult | Missing:
        ends = [n for n, level in self.compared.items() if level.reads_history(self.model) and level.scoring(self.model) is None]
        if len(ends) < 2:
            return Missing("it needs two levels that read history and predict on request")
        stale, fresh = ends[0], ends[-1]
        try:
            return attribution(
                self.model,
                stale=self.compared[stale],
                fresh=self.compared[fresh],
                names=(stale, fresh),
                split=self.split,
                refits=self.seeds,
                min_lift=self.min_lift,
                seed=self.seed,
                progress=self.progress,
            )
        except HeadwaterError as error:
            return Missing(str(error))

    @cached_property
    def lift(self) -> Lift | Missing:
        """The backtest's lift, with the attribution."""
        lift, _ = self._backtest
        attributed = self.attribution
        if isinstance(lift, Missing) or isinstance(attributed, Missing) or lift.earned is not None:
            return lift
        return dataclasses.replace(lift, earned=earned_of(attributed))

    @property
    def result(self) -> BacktestResult | None:
        """The full backtest result; None if only its JSON was given."""
        return self._backtest[1]


def _cost(run: _Run, where: Where, lift: Lift | Missing) -> Cost | Missing:
    try:
        return cost(run.project, run.model.name, where, None if isinstance(lift, Missing) else lift)
    except UsageError:
        raise
    except HeadwaterError as error:
        return Missing(str(error))


def _readiness(project: Project, places: Places, answers: Answers | None) -> Readiness | Missing:
    try:
        return readiness(project, places, answers)
    except UsageError:
        raise
    except HeadwaterError as error:
        return Missing(str(error))


def _at_request(run: _Run, base: str, level: str, log: pl.DataFrame | None, shares: Sequence[float]) -> Sequence[AtRequest]:
    """The features computed at request time, between the verdict's levels if the project has them, else the first and last."""
    names = list(run.compared)
    stale = base if base in run.compared else names[0]
    fresh = level if level in run.compared and level != stale else names[-1]
    ends = (stale, run.compared[stale]), (fresh, run.compared[fresh])
    return at_request(Asked(run.model, *ends, run.split, shares, run.seed, log, run.min_lift))
