"""What running experiments need of a project: no change of it is applied or served while they run,
since their plans never change.
"""

from __future__ import annotations

from collections.abc import Iterator

from headwater.catalog.serialize import (
    experiment_definition,
    model_definition,
    service_definition,
    view_definition,
)
from headwater.definitions.checks import timestamp_text
from headwater.definitions.definition import fingerprint_of
from headwater.definitions.experiment import Experiment
from headwater.definitions.project import Project
from headwater.errors import UsageError
from headwater.models.experiment_store import ExperimentStore, StartedExperiment
from headwater.models.registry import ModelRegistry


def needs_of(project: Project, experiment: Experiment) -> dict[str, str]:
    """A fingerprint of each definition that an experiment needs: itself, and the models, services,
    levels and views of its arms.

    Labels are left out: more of them change nothing that is served.
    """
    needs = {
        f"experiment {experiment.name}": fingerprint_of(experiment_definition(project, experiment))
    }
    for arm in experiment.arms:
        variant = project.arm_variant(experiment, arm)
        needs[f"model {arm.model.name}"] = fingerprint_of(model_definition(arm.model))
        needs[f"level {variant.name} of arm {arm.name}"] = fingerprint_of(
            [variant.level.describe(arm.model)]
        )
        for service in variant.services:
            needs[f"service {service.name} of arm {arm.name}"] = fingerprint_of(
                service_definition(service)
            )
            for view in service.views_within:
                needs[f"view {view.name} of arm {arm.name}"] = fingerprint_of(
                    [view_definition(view), view.tiles_fingerprint]
                )
    return needs


def conflicts(project: Project, registry: ModelRegistry, now: int) -> Iterator[str]:
    """Why a project cannot be applied while its experiments run: one reason each, with what to do.

    Args:
        project: as it would be applied.
        registry: of fitted models, where started experiments are kept.
        now: microseconds.
    """
    for started, reason in _different(project, ExperimentStore(registry.folder), now):
        if any(experiment.name == started.plan.experiment for experiment in project.experiments):
            remedy = "Keep these as they are and give the changed ones new names"
        else:
            remedy = "Put it back"
        yield f"{_running(started)}, and {reason}. {remedy}, or stop it first: {_stop(started)}"


def check_served(project: Project, store: ExperimentStore, now: int) -> None:
    """Check that a project serves what its running experiments were started with.

    Args:
        project: as it would be served.
        store: of started experiments.
        now: microseconds.

    Raises:
        UsageError: it would serve something else; the message names each experiment, the difference
            and the remedy.
    """
    reasons = [
        f"{_running(started)}, and {reason} (stop it: {_stop(started)})"
        for started, reason in _different(project, store, now)
    ]
    if reasons:
        raise UsageError(
            f"project {project.name!r} would serve other arms than its experiments were started "
            f"with: {'. '.join(reasons)}. Serve the definitions that they were started with, or "
            "stop them by the commands above"
        )


def difference(project: Project, started: StartedExperiment) -> str | None:
    """What an experiment was started with, and a project defines otherwise or not at all; None
    where they agree.
    """
    plan = started.plan
    experiment = next(
        (candidate for candidate in project.experiments if candidate.name == plan.experiment), None
    )
    if plan.project != project.name:
        return None
    if experiment is None:
        return "the project does not define it"
    needs = needs_of(project, experiment)
    changed = [name for name, fingerprint in plan.needs.items() if needs.get(name) != fingerprint]
    if not changed:
        return None
    arms = {arm.name for arm in experiment.arms}
    removed = [f"arm {arm.name} (removed)" for arm in plan.arms if arm.name not in arms]
    names = list(dict.fromkeys(name.partition(" of arm ")[0] for name in changed))
    return f"it needs what this project changes: {', '.join([*removed, *names])}"


def _different(
    project: Project, store: ExperimentStore, now: int
) -> Iterator[tuple[StartedExperiment, str]]:
    """Running experiments that a project defines otherwise, with the difference."""
    for started in store.started():
        if started.stopped_at is None and now < started.plan.end:
            reason = difference(project, started)
            if reason is not None:
                yield started, reason


def _running(started: StartedExperiment) -> str:
    plan = started.plan
    return (
        f"experiment {plan.experiment!r}, version {plan.version}, runs until "
        f"{timestamp_text(plan.end)}"
    )


def _stop(started: StartedExperiment) -> str:
    return f"headwater experiment stop {started.plan.experiment} --reason TEXT"
