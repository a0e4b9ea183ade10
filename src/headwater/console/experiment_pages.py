"""Experiments, read only: how each stands, its latest decision page, and the lift curves of models
that are monitored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headwater.console.attention import monitored
from headwater.console.console_context import ConsoleContext
from headwater.console.kept_decisions import page_of_record, records, result_of
from headwater.console.page_types import ConsoleRequest, NotShown
from headwater.console.summaries import Summary
from headwater.definitions.level import at_level
from headwater.errors import HeadwaterError, nearest
from headwater.experiments.experiment_lifecycle import experiment_status, state_of
from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.models.experiment_store import ExperimentStore, StartedExperiment
from headwater.pages import experiment_page, level_lift_page
from headwater.pages.page import Page
from headwater.results.experiment_result import ExperimentResult
from headwater.results.planned_experiment import ExperimentStatus

_EVERY: Final = 60.0  # seconds between two reads of the exposures


@dataclass(frozen=True)
class ShownExperiment:
    """An experiment in the list.

    state: "not started", "waiting", "running", "stopped" or "ended". first_line: of the latest
    analysis, decision: its verdict with the class of its label. guardrails: of each the state, its
    class, and what it is of.
    """

    name: str
    state: str
    kind: str
    unit: str
    arms: Sequence[str]
    first_line: str = ""
    analysed_at: str = ""
    decision: tuple[str, str] | None = None
    guardrails: Sequence[tuple[str, str, str]] = ()


def experiments(context: ConsoleContext, _request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the list, with the monitored lift curves."""
    started = _started(context)
    defined = {experiment.name: experiment for experiment in context.project.experiments}
    names = dict.fromkeys([*started, *defined])
    parts = [(result, level_lift_page.to_page(result)) for result in monitored(context)]
    return {
        "experiments": [_listed(context, name, started.get(name)) for name in names],
        "monitored": parts,
        "file": context.file,
    }


def experiment(context: ConsoleContext, request: ConsoleRequest) -> Mapping[str, object]:
    """The variables of the page of one experiment.

    Raises:
        NotShown: no experiment of that name is defined or was started.
    """
    name, started = request.names["name"], _started(context)
    names = [*started, *(experiment.name for experiment in context.project.experiments)]
    if name not in names:
        raise NotShown(
            f"the project has no experiment {name[:100]!r}; {nearest(name[:100], names)}"
        )
    started_experiment = started.get(name)
    record = next(iter(records(context, name, "experiment")), None)
    shown: Page | None = None
    problem = ""
    if record is not None:
        try:
            shown = page_of_record(context, record)
        except HeadwaterError as error:
            problem = str(error)
    status: Summary[ExperimentStatus] | None = None
    if started_experiment is not None:
        places = ExperimentPlaces(models=context.models, data_dir=context.data_dir)
        status = context.summaries.latest(
            f"experiment {name}",
            ExperimentStatus,
            lambda: experiment_status(context.project, name, places=places, at=context.now()),
            seconds=_EVERY,
        )
    return {
        "heading": f"Experiment {name}",
        "listed": _listed(context, name, started_experiment),
        "changes": [] if started_experiment is None else started_experiment.changes,
        "status": status,
        "record": record,
        "problem": problem,
        "shown": shown,
        "file": context.file,
    }


def _started(context: ConsoleContext) -> dict[str, StartedExperiment]:
    """The latest version of each experiment of the project that was started."""
    store, ours = ExperimentStore(context.models), ("", context.project.name)
    return context.cached(
        "experiments",
        2.0,
        lambda: {
            experiment.plan.experiment: experiment
            for experiment in store.started()
            if experiment.plan.project in ours
        },
    )


def _listed(
    context: ConsoleContext, name: str, started: StartedExperiment | None
) -> ShownExperiment:
    record = next(iter(records(context, name, "experiment")), None)
    first_line, at = "", "" if record is None else record.at
    decision: tuple[str, str] | None = None
    guardrails: list[tuple[str, str, str]] = []
    if record is not None:
        try:
            result = result_of(context, record)
            first_line = record.sentence
            if isinstance(result, ExperimentResult):
                first_line, decision = (
                    result.first_line,
                    (result.decision, experiment_page.chip(result)),
                )
                guardrails = list(experiment_page.guardrail_states(result))
        except HeadwaterError as error:
            first_line = str(error)
    if started is None:
        return ShownExperiment(
            name, "not started", "", "", [], first_line, at, decision, guardrails
        )
    plan = started.plan
    arms = [f"{arm.name}: {at_level(arm.model, arm.level)}" for arm in plan.arms]
    return ShownExperiment(
        name,
        state_of(started, context.now()),
        plan.kind,
        plan.unit,
        arms,
        first_line,
        at,
        decision,
        guardrails,
    )
