"""Before an experiment starts: what each arm needs and whether it is there, what history says it
can find, and what speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater import clock
from headwater.definitions.checks import HOUR, micros, parse_timestamp, timestamp_text
from headwater.definitions.definition import Readable
from headwater.definitions.experiment import ClusterTest, Experiment, Interleaving, Shadow
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project, backtest_only, stored
from headwater.errors import DataError, HeadwaterError
from headwater.experiments.cluster_lift import FEW_CLUSTERS
from headwater.experiments.frozen_plan import OUTCOME_RULES, arm_model, freeze, kind_name
from headwater.experiments.group_sequential import bounds
from headwater.experiments.history_power import history_power
from headwater.experiments.history_split import DIFFERS, history_split
from headwater.experiments.history_sums import listed_clusters
from headwater.experiments.unit_history import unit_history
from headwater.models.experiment_store import ExperimentStore, FrozenPlan
from headwater.models.registry import ModelRegistry
from headwater.monitoring.status import Status, status
from headwater.results.planned_experiment import (
    ExperimentNeed,
    HistoryPower,
    HistorySplit,
    NeedState,
    PlannedExperiment,
    PlannedLook,
)
from headwater.stores import OnlineStore
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_STATES: dict[str, NeedState] = {
    "current": "there",
    "ahead": "there",
    "approximate": "there",
    "stale": "stale",
}
DEFAULT = "default"
"""What answers units that are in no arm, in the place of an arm's name: outside the enrolment, held
out, or without the unit.
"""
_LEAST_POWER = 0.5
_ANY = 10.0  # a lift of 1,000 %: no one has it


@dataclass(frozen=True)
class ExperimentPlaces(Readable):
    """Where an experiment's models, views and history are.

    Args:
        models: the folder of fitted models; None is `models` in headwater's home.
        store: an online store or its URL; None is that of the settings.
        data_dir: the folder of logs; None is headwater's home.
        log: whether history is read from the serving log, instead of the labels' table.
        history: whether history is read at all.
        resources: for reading it.
    """

    models: str | Path | None = None
    store: OnlineStore | str | None = None
    data_dir: str | Path | None = None
    log: bool = False
    history: bool = True
    resources: Resources = field(default_factory=lambda: DEFAULT_RESOURCES)

    @property
    def registry(self) -> ModelRegistry:
        """The registry of fitted models."""
        return ModelRegistry(self.models)


def plan_experiment(
    project: Project,
    name: str,
    *,
    places: ExperimentPlaces | None = None,
    at: int | None = None,
    break_even: float = 0.0,
) -> PlannedExperiment:
    """What an experiment needs before its start, what it can find, and what speaks against it;
    nothing is written.

    Args:
        project: whose experiment it is.
        name: of the experiment.
        places: where models, views and history are.
        at: the time of a start, microseconds; None is now. History ends there.
        break_even: the relative gain at which the fresher arm pays for itself.

    Raises:
        UsageError: the project has no such experiment.
    """
    return planned_and_frozen(project, name, places=places, at=at, break_even=break_even)[0]


def planned_and_frozen(
    project: Project,
    name: str,
    *,
    places: ExperimentPlaces | None = None,
    at: int | None = None,
    break_even: float = 0.0,
) -> tuple[PlannedExperiment, FrozenPlan | None]:
    """As `plan_experiment`, with the plan that a start now would freeze; None where it cannot be
    frozen.
    """
    experiment, places = project.experiment(name), places or ExperimentPlaces()
    now = clock.now_micros() if at is None else at
    plan, notes = experiment.plan, list[str]()
    seen = _history(project, experiment, places, now, notes)
    power, split = seen.power, seen.split
    needs = [
        need
        for served in _served_arms(project, experiment)
        for need in _models(served, places.registry)
    ]
    needs += _stored(project, experiment, places, now)
    frozen, refused = None, list[str]()
    try:
        frozen = seen.freeze(project, experiment, places.registry, now, break_even)
    except DataError as error:
        if not any(need.state == "missing" for need in needs):
            refused.append(str(error))
    undeclared = sorted({arm.model.name for arm in experiment.arms if arm.model.outcomes is None})
    if undeclared:
        refused = [
            f"model {model!r} does not declare what its outcomes depend on; {OUTCOME_RULES}"
            for model in undeclared
        ]
    if split is not None and split.differs:
        refused.append(
            f"the units of version {experiment.version} differ before any arm acts, in "
            f"{split.metric} (p {split.p:.2g}, below {DIFFERS}): give the experiment "
            f"version={experiment.version + 1}, which shuffles all units again"
        )
    running = [
        started
        for started in ExperimentStore(places.models).started(name)
        if started.stopped_at is None and now < started.plan.end
    ]
    over = why_no_new_version(ExperimentStore(places.models), experiment, now)
    refused += [over] if over and not running else []
    start = (
        now
        if plan.start is None
        else max(now, parse_timestamp(plan.start, "ExperimentPlan: start"))
    )
    duration = micros(plan.duration, "ExperimentPlan: duration")
    planned = PlannedExperiment(
        experiment=name,
        version=experiment.version,
        kind=kind_name(experiment.kind),
        unit=experiment.unit,
        arms={
            arm.name: (
                f"{arm.model.name} at {project.arm_variant(experiment, arm).name}, {arm.weight:.0%}"
            )
            for arm in experiment.arms
        },
        metrics=[metric.name for metric in experiment.metrics],
        guardrails=[metric.name for metric in experiment.guardrails],
        start=timestamp_text(start),
        end=timestamp_text(start + duration),
        enrolled=list(plan.enrolled),
        stage_hours=micros(plan.stage, "ExperimentPlan: stage") / HOUR,
        looks=[]
        if isinstance(experiment.kind, Shadow | Interleaving)
        else _looks(experiment, start, duration),
        needs=needs,
        power=power,
        split=split,
        digest="" if frozen is None else frozen.digest,
        refused=refused,
        warnings=[
            *_warnings(project, experiment, power, split),
        ],
        notes=notes,
        running=running[-1].plan.version if running else None,
        break_even=break_even,
        columns={role: column for column, role in experiment.columns if role != "unit"},
    )
    return planned, frozen


def why_no_new_version(store: ExperimentStore, experiment: Experiment, now: int) -> str:
    """Why this version of an experiment cannot start after the versions that did; "" if it can."""
    for started in store.started(experiment.name):
        version, since = started.plan.version, timestamp_text(started.plan.start)
        if started.stopped_at is None and started.plan.end > now:
            return (
                f"experiment {experiment.name!r}, version {version}, was started before and runs "
                f"since {since}; look at it with: headwater experiment status {experiment.name}"
            )
        if version >= experiment.version:
            done = "ended" if started.stopped_at is None else "was stopped"
            return (
                f"version {version} of experiment {experiment.name!r} {done}, and its units have "
                f"seen their arms; give the experiment version={version + 1}, which shuffles all "
                "units again"
            )
    return ""


def _looks(experiment: Experiment, start: int, duration: int) -> list[PlannedLook]:
    plan = experiment.plan
    shares = [(look + 1) / plan.looks for look in range(plan.looks)]
    edges = bounds(shares, plan.alpha / (len(experiment.arms) - 1))
    return [
        PlannedLook(timestamp_text(start + round(duration * share)), share, edge)
        for share, edge in zip(shares, edges, strict=True)
    ]


@dataclass(frozen=True)
class SeenHistory:
    """What history shows of an experiment; None where it does not. clusters: the arms of the
    clusters of a cluster test.
    """

    power: HistoryPower | None = None
    split: HistorySplit | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)

    def freeze(
        self,
        project: Project,
        experiment: Experiment,
        registry: ModelRegistry,
        at: int,
        break_even: float,
    ) -> FrozenPlan:
        """The plan of a start at a time, microseconds; raises as `frozen_plan.freeze`."""
        needed = None if self.power is None else self.power.units_needed
        return freeze(
            project,
            experiment,
            registry,
            at,
            units_needed=needed,
            break_even=break_even,
            clusters=self.clusters,
        )


def _history(
    project: Project, experiment: Experiment, places: ExperimentPlaces, now: int, notes: list[str]
) -> SeenHistory:
    """Power and A/A test; where history does not show them, `notes` get the reason."""
    if not places.history:
        notes.append("history was not read: no power, no duration, no A/A test")
        return SeenHistory()
    if isinstance(experiment.kind, Shadow | Interleaving):
        notes.append(
            "a shadow and an interleaving estimate no lift: no power, no duration, no A/A test"
        )
        return SeenHistory()
    share = (1 - project.holdout) * (
        1.0 if experiment.layer is None else experiment.span[1] - experiment.span[0]
    )
    clusters: Mapping[str, str] = {}
    try:
        history = unit_history(
            experiment,
            from_log=places.data_dir,
            log=places.log,
            until=now,
            resources=places.resources,
        )
        clusters = listed_clusters(history)
        return SeenHistory(history_power(history, share), history_split(history), clusters)
    except HeadwaterError as error:
        notes.append(f"history does not show what the experiment can find: {error}")
        return SeenHistory(clusters=clusters)


@dataclass(frozen=True)
class _ServedArm:
    """The units that a model at a level answers. by_request: at a request, rather than from the
    serving log, as challengers are.
    """

    arm: str
    variant: ModelVariant
    by_request: bool = True


def _served_arms(project: Project, experiment: Experiment) -> list[_ServedArm]:
    """The arms, and the units outside of all arms, which get the default: each model as defined."""
    shadow = isinstance(experiment.kind, Shadow)
    arms = [
        _ServedArm(
            arm.name,
            project.arm_variant(experiment, arm),
            by_request=not shadow or arm is experiment.control,
        )
        for arm in experiment.arms
    ]
    served = {
        (served_arm.variant.model.name, served_arm.variant.name)
        for served_arm in arms
        if served_arm.by_request
    }
    models = dict.fromkeys(arm.model.name for arm in experiment.arms)
    return [
        *arms,
        *(
            _ServedArm(DEFAULT, project.variant(model))
            for model in models
            if (model, AS_DEFINED) not in served
        ),
    ]


def _models(served: _ServedArm, registry: ModelRegistry) -> Iterator[ExperimentNeed]:
    """The fitted model that answers: there, of the definitions that are served, and fresh
    enough.
    """
    arm, variant = served.arm, served.variant
    only = backtest_only(variant) if served.by_request and variant.name != AS_DEFINED else None
    if only is not None:
        yield ExperimentNeed(
            arm, f"level {variant.name}", "missing", f"nothing can serve it: {only}"
        )
        return
    model = arm_model(variant, registry)
    subject = f"model {variant.model.name} at {variant.name}"
    level = [] if variant.name == AS_DEFINED else ["--level", variant.name]
    command = " ".join(["headwater", "train", "--model", variant.model.name, *level])
    if model.version is None:
        yield ExperimentNeed(arm, subject, "missing", "not trained", command)
    elif model.refused:
        yield ExperimentNeed(arm, subject, "missing", model.refused, command)
    else:
        staler = f", served staler than trained: {'; '.join(model.staler)}" if model.staler else ""
        yield ExperimentNeed(
            arm,
            subject,
            "there",
            f"version {model.version.number} of {model.version.level}{staler}",
        )


def _stored(
    project: Project, experiment: Experiment, places: ExperimentPlaces, now: int
) -> Iterator[ExperimentNeed]:
    """The views and precomputed predictions of each arm in the online store."""
    try:
        stored_status: Status | None = status(
            project,
            store=places.store,
            data_dir=places.data_dir,
            at=clock.timestamp(now),
            models=places.models,
        )
        lost = ""
    except HeadwaterError as error:
        stored_status, lost = None, str(error)
    states = {} if stored_status is None else {view.view: view for view in stored_status.views}
    scores = (
        {}
        if stored_status is None
        else {(score.model, score.level): score for score in stored_status.predictions}
    )
    for served in _served_arms(project, experiment):
        arm, variant = served.arm, served.variant
        if not served.by_request:
            continue
        if variant.name != AS_DEFINED and backtest_only(variant) is not None:
            continue
        tiles = _tiles(variant)
        for view in stored(project):
            if view.view.tiles_fingerprint not in tiles or not (
                view.view.freshness.scheduled or view.view.freshness.streamed
            ):
                continue
            name = view.name
            command = (
                f"headwater materialize {name}"
                if view.view.freshness.scheduled
                else "headwater ingest"
            )
            if name in states and states[name].note:
                yield ExperimentNeed(
                    arm, f"view {name}", "missing", f"{states[name].state}: {states[name].note}"
                )
                continue
            state = states[name].state if name in states else "absent"
            yield _need(arm, f"view {name}", state, lost, command)
        if variant.precomputed is not None:
            score = scores.get((variant.model.name, variant.name))
            level = "" if variant.name == AS_DEFINED else f" --level {variant.name}"
            command = f"headwater materialize {variant.model.name}{level}"
            yield _need(
                arm,
                f"predictions of {variant.model.name}",
                "absent" if score is None else score.state,
                lost,
                command,
            )


def _tiles(variant: ModelVariant) -> set[str]:
    """What the views that a variant reads at a request are told apart by."""
    if variant.precomputed is not None and not variant.precomputed.on_request:
        return set()
    return {
        view.root.tiles_fingerprint for service in variant.services for view in service.views_within
    }


def _need(arm: str, subject: str, state: str, lost: str, command: str) -> ExperimentNeed:
    known_state = _STATES.get(state, "missing")
    return ExperimentNeed(
        arm, subject, known_state, lost or state, "" if known_state == "there" else command
    )


def _warnings(
    project: Project, experiment: Experiment, power: HistoryPower | None, split: HistorySplit | None
) -> Iterator[str]:
    if not isinstance(experiment.kind, Shadow | Interleaving) and "caused" in (
        arm.model.outcomes for arm in experiment.arms
    ):
        yield (
            "the model's outcomes are caused by its answers: train each arm on its own log "
            f"(headwater train --from-log --experiment {experiment.name}), or the arms learn from "
            "each other and their difference fades"
        )
    if power is not None and power.power_planned < _LEAST_POWER:
        longer = (
            ""
            if power.days is None
            else f"; {experiment.plan.power:.0%} takes {power.days:.0f} days"
        )
        smallest = (
            ""
            if power.smallest_lift > _ANY
            else f". By the planned end the smallest lift found is {power.smallest_lift:.1%}"
        )
        yield (
            f"a lift of {power.min_lift:.1%} would be found in {power.power_planned:.0%} of such "
            f"experiments{longer}{smallest}"
        )
    if (
        power is not None
        and isinstance(experiment.kind, ClusterTest)
        and power.units < 2 * FEW_CLUSTERS
    ):
        yield (
            f"{power.units} clusters are few: with fewer than {FEW_CLUSTERS} in an arm, the "
            "result hangs on the few that were drawn"
        )
    if split is not None and split.unsound:
        yield (
            f"{split.rejected:.0%} of {split.splits} random splits of history differ, where 5 % "
            "should: the deciding metric has too heavy a tail or too few units for its test; cap "
            "it, or take a metric with a smaller variation"
        )
    if experiment.plan.stage and len(experiment.plan.enrolled) > 1:
        stages = micros(experiment.plan.stage, "ExperimentPlan: stage") * (
            len(experiment.plan.enrolled) - 1
        )
        if stages >= micros(experiment.plan.duration, "ExperimentPlan: duration"):
            yield (
                "the stages of the enrolment last as long as the experiment: its last stage never "
                "begins; shorten stage or raise duration"
            )
    staler = [
        arm.name
        for arm in experiment.arms
        if arm.allow_staler and project.arm_variant(experiment, arm).allow_staler
    ]
    if staler:
        yield (
            f"arm {', '.join(staler)} may be served staler than its model was trained "
            "(allow_staler): part of its loss is the mismatch"
        )
