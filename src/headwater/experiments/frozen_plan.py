"""Freeze an experiment: its definition, the fitted models of its arms and the power from history
become a plan that never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from headwater.catalog.experiment_protection import needs_of
from headwater.definitions.checks import micros, parse_timestamp
from headwater.definitions.experiment import (
    LABEL,
    ABTest,
    Arm,
    ClusterTest,
    Experiment,
    ExperimentKind,
    Interleaving,
    Probe,
    Shadow,
    Switchback,
)
from headwater.definitions.labels import Outcome
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project
from headwater.errors import DataError
from headwater.experiments.assignment import Assignment
from headwater.experiments.probe_budget import LOSS_BUDGET
from headwater.models.compatibility import ages, staler_features
from headwater.models.experiment_store import FrozenArm, FrozenPlan, StartedExperiment
from headwater.models.registry import ModelRegistry, Version

_KINDS = {
    Shadow: "shadow",
    ABTest: "ab",
    Probe: "ab",
    Switchback: "switchback",
    ClusterTest: "cluster",
    Interleaving: "interleaving",
}
OUTCOME_RULES = (
    "give the model outcomes='independent' (what happens does not depend on the answer: will the "
    "flight be late?), outcomes='censored' (it is seen only where the answer allowed it: a "
    "blocked payment shows no fraud) or outcomes='caused' (it exists only because of the answer: "
    "an item that was never shown has no click)"
)


def kind_name(kind: ExperimentKind) -> str:
    """The kind in one word, as a frozen plan has it."""
    return _KINDS[type(kind)]


@dataclass(frozen=True)
class ArmModel:
    """The fitted model that an arm is served with.

    Args:
        variant: the arm's model at its level.
        version: the current version in the registry; None where there is none.
        staler: in words, which views are served staler than the version was trained; empty where
            nothing is.
        refused: why the arm cannot be served; "" where it can.
    """

    variant: ModelVariant
    version: Version | None
    staler: Sequence[str] = ()
    refused: str = ""


def arm_model(variant: ModelVariant, registry: ModelRegistry) -> ArmModel:
    """The fitted model of an arm: of the arm's own level, or the one as defined where the arm may
    be served staler.

    Args:
        variant: as `Project.arm_variant` gives it, as it is served.
        registry: of fitted models.
    """
    levels = [variant.name, AS_DEFINED] if variant.allow_staler else [variant.name]
    level = next(
        (level for level in levels if registry.stamp(variant.model.name, level) is not None), None
    )
    if level is None:
        level_option = "" if variant.name == AS_DEFINED else f" --level {variant.name!r}"
        return ArmModel(
            variant,
            None,
            refused="no fitted model; run: headwater train --model "
            f"{variant.model.name}{level_option}",
        )
    version = registry.current(variant.model.name, level)
    try:
        staler = ages(variant.model, variant.level, version.manifest, str(version.number))[1]
    except DataError as error:
        return ArmModel(variant, version, refused=str(error))
    refused = (
        str(staler_features(variant.model, str(version.number), staler))
        if staler and not variant.allow_staler
        else ""
    )
    return ArmModel(variant, version, staler, refused)


def freeze(
    project: Project,
    experiment: Experiment,
    registry: ModelRegistry,
    at: int,
    *,
    units_needed: int | None = None,
    break_even: float = 0.0,
    clusters: Mapping[str, str] | None = None,
) -> FrozenPlan:
    """The plan that an experiment starts with.

    Args:
        project: whose experiment it is.
        experiment: one of the project's.
        registry: of fitted models; each arm needs a current version.
        at: when it starts, microseconds; a later start in the experiment's plan counts instead.
        units_needed: of each arm, by the power from history.
        break_even: the relative gain at which the fresher arm pays for itself.
        clusters: of a cluster test, the arm of each known cluster; None leaves all to the hash of
            their names.

    Raises:
        DataError: a model has no declared outcomes, or an arm has no fitted model that may be
            served; the message names all of them.
    """
    undeclared = sorted({arm.model.name for arm in experiment.arms if arm.model.outcomes is None})
    problems = [
        f"model {name!r} does not declare what its outcomes depend on; {OUTCOME_RULES}"
        for name in undeclared
    ]
    arm_models = [
        (arm, arm_model(project.arm_variant(experiment, arm), registry)) for arm in experiment.arms
    ]
    problems += [f"arm {arm.name!r}: {model.refused}" for arm, model in arm_models if model.refused]
    if problems:
        raise DataError(f"experiment {experiment.name!r} cannot start: {'; '.join(problems)}")
    planned = experiment.plan
    begins = (
        at
        if planned.start is None
        else max(at, parse_timestamp(planned.start, "ExperimentPlan: start"))
    )
    return FrozenPlan(
        experiment=experiment.name,
        version=experiment.version,
        fingerprint=experiment.fingerprint,
        arms=tuple(_frozen(arm, model) for arm, model in arm_models),
        unit=experiment.unit,
        kind=kind_name(experiment.kind),
        columns={role: column for column, role in experiment.columns if role != "unit"},
        settings=_settings(experiment.kind),
        metrics=tuple(metric.name for metric in experiment.metrics),
        guardrails=tuple(guardrail.name for guardrail in experiment.guardrails),
        layer=experiment.layer,
        span=experiment.span,
        holdout=project.holdout,
        start=begins,
        duration=micros(planned.duration, "ExperimentPlan: duration"),
        stage=micros(planned.stage, "ExperimentPlan: stage"),
        enrolled=tuple(planned.enrolled),
        looks=planned.looks,
        alpha=planned.alpha,
        power=planned.power,
        min_lift=planned.min_lift,
        units_needed=units_needed,
        break_even=break_even,
        seed=seed_of(experiment),
        project=project.name,
        clusters=clusters or {},
        needs=needs_of(project, experiment),
        matures=horizon_of(experiment),
    )


def horizon_of(experiment: Experiment, label_window: int | None = None) -> int | None:
    """How long after an exposure the last of its metrics is known, microseconds; None where a
    column of the labels says.

    label_window: how long labels take whose definition does not say so.
    """
    longest = 0
    for metric in [*experiment.metrics, *experiment.guardrails]:
        for measured in (metric.value, metric.base):
            known_after = (
                measured.horizon + measured.source.delay
                if isinstance(measured, Outcome)
                else experiment.control.model.labels.maturity
                if measured == LABEL
                else 0
            )
            known_after = label_window if known_after is None else known_after
            if known_after is None:
                return None
            longest = max(longest, known_after)
    return longest


def seed_of(experiment: Experiment) -> int:
    """The seed of an experiment's schedules and shuffles: 31 bits that follow from its name and
    version.
    """
    return int.from_bytes(sha256(f"{experiment.salt}/schedule".encode()).digest()[:4], "big") >> 1


def assignment_of(started: StartedExperiment, at: int) -> Assignment:
    """How an experiment assigns its units at a time, microseconds: none before its start, after its
    stop and after its planned end.
    """
    plan = started.plan
    weights = {arm.name: arm.weight for arm in plan.arms}
    return Assignment(
        plan.salt, weights, started.enrolled_at(at), plan.layer, plan.span, plan.holdout
    )


def _settings(kind: ExperimentKind) -> dict[str, int | bool]:
    """A kind's settings; durations in microseconds."""
    if isinstance(kind, Switchback):
        length, washout = (
            micros(kind.length, "Switchback: length"),
            micros(kind.washout, "Switchback: washout"),
        )
        return {"length": length, "washout": washout, "random_bounds": kind.random_bounds}
    if isinstance(kind, Probe):
        return {LOSS_BUDGET: round(kind.loss_budget * 1e6)}
    if isinstance(kind, ClusterTest):
        return {"burn_in": micros(kind.burn_in, "ClusterTest: burn_in")}
    return {}


def _frozen(arm: Arm, model: ArmModel) -> FrozenArm:
    version = model.version
    return FrozenArm(
        name=arm.name,
        model=arm.model.name,
        level=model.variant.name,
        weight=arm.weight or 0.0,
        version=None if version is None else version.number,
        allow_staler=bool(model.staler),
        trained_level="" if version is None else version.level,
    )
