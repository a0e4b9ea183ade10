"""What running experiments need of a project: a change of it is refused while they run, since their plans never change."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.catalog.serialize import experiment_definition, model_definition, service_definition, view_definition
from headwater.definitions.definition import fingerprint_of
from headwater.definitions.experiment import Experiment
from headwater.definitions.project import Project
from headwater.definitions.timestamps import timestamp_text
from headwater.models.experiment_store import ExperimentStore, StartedExperiment
from headwater.models.registry import ModelRegistry


def needs_of(project: Project, experiment: Experiment) -> dict[str, str]:
    """A fingerprint of each definition that an experiment needs: itself, and the models, services, levels and views of its arms.

    Labels are left out: more of them change nothing that is served.
    """
    needs = {f"experiment {experiment.name}": fingerprint_of(experiment_definition(project, experiment))}
    for arm in experiment.arms:
        variant = project.arm_variant(experiment, arm)
        needs[f"model {arm.model.name}"] = fingerprint_of(model_definition(arm.model))
        needs[f"level {variant.name} of arm {arm.name}"] = fingerprint_of([variant.level.describe(arm.model)])
        for service in variant.services:
            needs[f"service {service.name} of arm {arm.name}"] = fingerprint_of(service_definition(service))
            for view in service.views_within:
                needs[f"view {view.name} of arm {arm.name}"] = fingerprint_of([view_definition(view), view.tiles_fingerprint])
    return needs


def conflicts(project: Project, registry: ModelRegistry, now: int) -> Iterator[str]:
    """Why a project cannot be applied while its experiments run: one reason each, with what to do.

    Args:
        project: as it would be applied.
        registry: of fitted models, where started experiments are kept.
        now: microseconds.
    """
    current = {experiment.name: experiment for experiment in project.experiments}
    for started in ExperimentStore(registry.folder).started():
        plan = started.plan
        if started.stopped_at is not None or now >= plan.end or plan.project != project.name:
            continue
        experiment = current.get(plan.experiment)
        if experiment is None:
            yield f"{_running(started)}, and the project no longer defines it; put it back, or stop it first: {_stop(started)}"
            continue
        needs = needs_of(project, experiment)
        changed = [name for name, fingerprint in plan.needs.items() if needs.get(name) != fingerprint]
        if changed:
            names = list(dict.fromkeys(name.partition(" of arm ")[0] for name in changed))
            yield (
                f"{_running(started)}, and needs what would change: {', '.join(names)}. Keep these as they are and give the changed ones new "
                f"names, or stop it first: {_stop(started)}"
            )


def _running(started: StartedExperiment) -> str:
    plan = started.plan
    return f"experiment {plan.experiment!r}, version {plan.version}, runs until {timestamp_text(plan.end)}"


def _stop(started: StartedExperiment) -> str:
    return f"headwater experiment stop {started.plan.experiment} --reason TEXT"
