"""Start, stop and watch over an experiment: a start freezes the plan, and no later change of the
project reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.checks import timestamp_text
from headwater.definitions.experiment import Experiment
from headwater.definitions.project import Project
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.experiments.experiment_planning import (
    ExperimentPlaces,
    planned_and_frozen,
    why_no_new_version,
)
from headwater.experiments.experiment_words import awaited
from headwater.experiments.exposed_units import ARM, AT, ExposedUnits, exposed_units
from headwater.experiments.frozen_plan import horizon_of
from headwater.experiments.health import HealthCheck, unit_checks
from headwater.experiments.request_labels import LabelsOf
from headwater.journal.exposure_log import read_exposures
from headwater.journal.exposure_rows import FLAG, WASHOUT
from headwater.kernel.arrays import I64
from headwater.models.experiment_store import ExperimentStore, FrozenPlan, StartedExperiment
from headwater.results.planned_experiment import ExperimentStatus, PlannedExperiment

IMMATURE = "matured outcomes"
"""The one check that time alone mends: it blocks a verdict, and neither stops nor holds an
experiment.
"""


def start_experiment(
    project: Project,
    name: str,
    *,
    by: str,
    places: ExperimentPlaces | None = None,
    at: int | None = None,
    break_even: float = 0.0,
    expect: str | None = None,
    accept_missing: bool = False,
) -> StartedExperiment:
    """Freeze the plan of an experiment and start it; a running service takes it up within seconds.

    Args:
        project: whose experiment it is.
        name: of the experiment.
        by: who starts it.
        places: where models, views and history are.
        at: the time of the start, microseconds; None is now.
        break_even: the relative gain at which the fresher arm pays for itself.
        expect: the hash of the plan that was looked at; another one is an error.
        accept_missing: start although the online store has not all views yet, such as where another
            machine fills it.

    Raises:
        UsageError: it runs, ran to its end or was stopped; another running experiment decides for
            the same model; something is missing, or the plan is another one than expected.
        DataError: a model does not declare what its outcomes depend on, or the units differ before
            the start.
    """
    experiment, places = project.experiment(name), places or ExperimentPlaces()
    store, now = ExperimentStore(places.models), clock.now_micros() if at is None else at
    over = why_no_new_version(store, experiment, now)
    if over:
        raise UsageError(over)
    _check_alone(store, project, experiment, now)
    planned, plan = planned_and_frozen(project, name, places=places, at=now, break_even=break_even)
    _check_ready(planned, accept_missing=accept_missing)
    assert plan is not None, "what cannot be frozen is refused, or missing"
    if expect is not None and plan.digest != expect:
        raise UsageError(
            f"the plan of experiment {name!r} is {plan.digest}, and {expect} was expected: the "
            "definitions, the models or the history changed since; look at a new plan"
        )
    return store.start(plan, now, by)


def stop_experiment(
    project: Project,
    name: str,
    *,
    reason: str,
    by: str,
    models: str | Path | None = None,
    at: int | None = None,
) -> StartedExperiment:
    """Stop the running version of an experiment: its units get the default from now on. Outcomes
    that mature later still count.

    Args:
        project: whose experiment it is; one that the project no longer defines can be stopped too.
        name: of the experiment.
        reason: why, for the record.
        by: who stops it.
        models: the folder of fitted models; None is `models` in headwater's home.
        at: the time, microseconds; None is now.

    Raises:
        UsageError: it is not running, or no reason is given.
    """
    if not reason.strip():
        raise UsageError(f"experiment {name!r}: give a reason to stop; it is kept with the result")
    store = ExperimentStore(models)
    _latest_started(store, project, name)
    return store.stop(name, clock.now_micros() if at is None else at, by, reason)


def experiment_status(
    project: Project, name: str, *, places: ExperimentPlaces | None = None, at: int | None = None
) -> ExperimentStatus:
    """How the latest version of an experiment stands: stage, exposures by arm, maturity, the next
    look, health.

    Raises:
        UsageError: it was never started.
    """
    places = places or ExperimentPlaces()
    now = clock.now_micros() if at is None else at
    started = _latest_started(ExperimentStore(places.models), project, name)
    plan = started.plan
    rows = read_exposures(places.data_dir, name, plan.version)
    units = units_of(plan, rows)
    final_at = outcomes_final(project, plan, units, places, now)
    matured = float(np.mean(final_at <= now)) if len(final_at) else math.nan
    checks = health_of(plan, units, matured)
    broken = [f"{check.name}: {check.evidence}" for check in checks if check.blocks]
    stopped = next((change for change in started.changes if change.change == "stopped"), None)
    until = now if stopped is None else stopped.at
    looks = [
        plan.start + round(plan.duration * (look + 1) / plan.looks) for look in range(plan.looks)
    ]
    share = started.enrolled_at(now)
    reached = [
        change.enrolled
        for change in started.changes
        if change.change != "stopped" and change.at <= now
    ]
    return ExperimentStatus(
        experiment=name,
        version=plan.version,
        state=state_of(started, now),
        digest=plan.digest,
        started=timestamp_text(plan.start),
        end=timestamp_text(min(plan.end, until) if stopped is not None else plan.end),
        stage=_stage(plan, reached[-1] if reached else 0.0),
        stages=len(plan.enrolled),
        enrolled=share,
        exposed=_by_arm(plan, rows.group_by(ARM).len()),
        units=dict(
            zip(
                [arm.name for arm in plan.arms],
                units.counts([arm.name for arm in plan.arms]),
                strict=True,
            )
        ),
        matured=matured,
        awaited=awaited(final_at, now),
        next_look=""
        if stopped is not None
        else next((timestamp_text(look) for look in looks if look > now), ""),
        health=_health_line(checks, units),
        broken=broken,
        stopped_because=""
        if stopped is None
        else f"{stopped.reason} ({stopped.by})"
        if stopped.by
        else stopped.reason,
        changes=[
            " ".join(
                filter(
                    None,
                    [
                        timestamp_text(change.at),
                        change.change,
                        f"{change.enrolled:.0%}",
                        change.by,
                        change.reason,
                    ],
                )
            )
            for change in started.changes
        ],
    )


def state_of(
    started: StartedExperiment, at: int
) -> Literal["waiting", "running", "stopped", "ended"]:
    """Whether an experiment waits for its planned start, runs, was stopped, or ended as planned."""
    if started.stopped_at is not None and started.stopped_at <= at:
        return "stopped"
    return (
        "waiting" if at < started.plan.start else "ended" if at >= started.plan.end else "running"
    )


def units_of(plan: FrozenPlan, rows: pl.DataFrame) -> ExposedUnits:
    """The units that exposures give evidence of: all of a shadow, else the units that were served
    their arm.
    """
    return exposed_units(
        rows if plan.kind == "shadow" else rows.filter(pl.col(FLAG).is_in(["", WASHOUT]))
    )


def health_of(plan: FrozenPlan, units: ExposedUnits, matured: float = 1.0) -> list[HealthCheck]:
    """The checks of an experiment that need no outcome; the split of units only where they are
    split one by one.
    """
    if plan.kind != "ab":
        return [
            check
            for check in unit_checks(units, _weights(plan), matured=matured)
            if check.name not in ("sample ratio", "assignment")
        ]
    return unit_checks(units, _weights(plan), matured=matured)


def outcomes_final(
    project: Project, plan: FrozenPlan, units: ExposedUnits, places: ExperimentPlaces, at: int
) -> I64:
    """When the outcome of each unit is final, by its first exposure: int64 microseconds, rising;
    empty where no rule says when.

    Where a column of the labels says when an outcome is known, it is as late as nearly all were in
    their table, as in an analysis.
    """
    experiment = next((e for e in project.experiments if e.name == plan.experiment), None)
    if experiment is None or not units.frame.height:
        return np.empty(0, np.int64)
    horizon = horizon_of(experiment)
    if horizon is None:
        try:
            models = {arm.model.name: arm.model for arm in experiment.arms}.values()
            windows = [
                LabelsOf.with_history(
                    model, experiment.unit, places.data_dir, at, places.resources
                ).window
                for model in models
            ]
        except HeadwaterError:  # the analysis says why
            return np.empty(0, np.int64)
        horizon = horizon_of(experiment, max(windows)) or 0
    return np.sort(units.frame[AT].dt.epoch("us").to_numpy() + horizon)


def _weights(plan: FrozenPlan) -> Mapping[str, float]:
    return {arm.name: arm.weight for arm in plan.arms}


def _by_arm(plan: FrozenPlan, counts: pl.DataFrame) -> dict[str, int]:
    by_arm = dict(counts.iter_rows())
    return {arm.name: int(by_arm.get(arm.name, 0)) for arm in plan.arms}


def _stage(plan: FrozenPlan, share: float) -> int:
    """Which stage a share is, 1 the first; 0 before it."""
    return sum(stage <= share + 1e-12 for stage in plan.enrolled)


def _health_line(checks: list[HealthCheck], units: ExposedUnits) -> str:
    if not units.frame.height:
        return ""
    broken = [check for check in checks if check.blocks and check.name != IMMATURE]
    if broken:
        return f"broken: {'; '.join(f'{check.name} ({check.evidence})' for check in broken)}"
    checked = sum(check.status == "ok" for check in checks)
    early = ", outcomes not final yet" if any(check.blocks for check in checks) else ""
    return f"ok ({checked} of {len(checks)} checks){early}"


def _latest_started(store: ExperimentStore, project: Project, name: str) -> StartedExperiment:
    """The latest version of a started experiment.

    Raises:
        UsageError: it was never started, with the nearest name.
    """
    if not store.started(name):
        if any(experiment.name == name for experiment in project.experiments):
            raise UsageError(
                f"experiment {name!r} was not started; run: headwater experiment start {name}"
            )
        names = {
            *(e.name for e in project.experiments),
            *(started.plan.experiment for started in store.started()),
        }
        if not names:
            project.experiment(name)
        raise UsageError(f"no experiment is named {name!r}; {nearest(name, sorted(names))}")
    return store.one(name)


def _check_alone(
    store: ExperimentStore, project: Project, experiment: Experiment, now: int
) -> None:
    """Refuse an experiment whose units another one that runs may decide for; the project may no
    longer define that one.
    """
    models = {arm.model.name for arm in experiment.arms}
    for started in store.started():
        plan = started.plan
        if (
            plan.experiment == experiment.name
            or plan.project not in ("", project.name)
            or state_of(started, now) in ("stopped", "ended")
        ):
            continue
        shared = sorted(models & {arm.model for arm in plan.arms})
        apart = plan.layer is not None and plan.layer == experiment.layer
        overlap = apart and experiment.span[0] < plan.span[1] and plan.span[0] < experiment.span[1]
        if overlap or (shared and not apart):
            subject = f"a part of layer {plan.layer!r}" if overlap else f"model {shared[0]!r}"
            raise UsageError(
                f"experiment {plan.experiment!r} runs, and decides for {subject} too; stop it, or "
                "give both one layer with spans that do not overlap"
            )


def _check_ready(planned: PlannedExperiment, *, accept_missing: bool) -> None:
    if planned.refused:
        raise UsageError(
            f"experiment {planned.experiment!r} cannot start: {'; '.join(planned.refused)}"
        )
    missing = [
        need
        for need in planned.missing
        if not (accept_missing and not need.what.startswith(("model ", "level ")))
    ]
    if not missing:
        return
    needs = "; ".join(f"arm {need.arm}: {need.what} ({need.note})" for need in missing[:4])
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    commands = dict.fromkeys(need.command for need in missing if need.command)
    raise UsageError(
        f"experiment {planned.experiment!r} cannot start, {len(missing)} of its needs are "
        f"missing: {needs}{more}. Run: {'; '.join(commands)}"
    )
