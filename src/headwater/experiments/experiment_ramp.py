"""A ramp: enrolment rises stage by stage while guardrails and health hold, and an experiment that
does harm is stopped.

The split among the enrolled never changes, so no unit ever changes its arm. Each stage lasts at
least as long as planned. Guardrails are read by confidence sequences, which hold at every look, so
the ramp may look as often as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater import clock
from headwater.definitions.checks import timestamp_text
from headwater.definitions.project import Project
from headwater.experiments.analyse_experiment import analyse
from headwater.experiments.experiment_lifecycle import IMMATURE, health_of, state_of, units_of
from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.experiments.experiment_words import not_proven
from headwater.experiments.probe_budget import budget_spent
from headwater.journal.exposure_log import read_exposures
from headwater.models.experiment_store import ExperimentStore, StartedExperiment
from headwater.results.result import Result

RAMP = "ramp"
"""The author of what a ramp did."""
HOLDING = frozenset({"relative lift", "cluster count", "late outcomes"})
"""Checks that block a verdict, while serving goes as planned: they do not stop an experiment, and
no further unit is enrolled.
"""


class RampStep(Result, frozen=True):
    """What a ramp decided: to stop, to raise the enrolment, to hold it, or that nothing is left to
    do; the share from now on, and why.

    again: when to look next, ISO 8601; "" where nothing is left to do.
    """

    experiment: str
    action: Literal["stop", "raise", "hold", "done"]
    enrolled: float
    reason: str
    again: str = ""


@dataclass(frozen=True)
class RampLook:
    """What a ramp looks at.

    Args:
        harmed: guardrails beyond their margin, in words.
        broken: health checks that are broken, in words; outcomes that are not final yet are none.
        unseen: arms without a unit.
        held: broken checks that do no harm, such as too few clusters: they hold the enrolment where
            it is.
        unproven: guardrails whose harm may exceed their margin, in words; they hold nothing, since
            few units prove no guardrail.
    """

    harmed: Sequence[str] = ()
    broken: Sequence[str] = ()
    unseen: Sequence[str] = ()
    held: Sequence[str] = ()
    unproven: Sequence[str] = ()

    @property
    def holds(self) -> str:
        """What allows a further stage, in words."""
        open_ones = f"; {'; '.join(self.unproven)}" if self.unproven else ""
        return f"no guardrail is shown to be worse, and health holds{open_ones}"


def ramp_step(started: StartedExperiment, look: RampLook, at: int) -> RampStep:
    """The decision at a time, microseconds; nothing is written.

    >>> from headwater.models.experiment_store import ExperimentChange, FrozenArm, FrozenPlan
    >>> arms = (
    ...     FrozenArm("daily", "churn", "daily", 0.5),
    ...     FrozenArm("live", "churn", "as defined", 0.5),
    ... )
    >>> plan = FrozenPlan(
    ...     "fresher",
    ...     1,
    ...     "",
    ...     arms,
    ...     "user",
    ...     "ab",
    ...     {},
    ...     {},
    ...     ("orders",),
    ...     (),
    ...     None,
    ...     (0.0, 1.0),
    ...     0.0,
    ...     0,
    ...     14 * 86_400_000_000,
    ...     86_400_000_000,
    ...     (0.02, 0.1, 1.0),
    ...     5,
    ...     0.05,
    ...     0.8,
    ...     0.01,
    ... )
    >>> started = StartedExperiment(plan, (ExperimentChange("started", 0, enrolled=0.02),))
    >>> [ramp_step(started, RampLook(), hour * 3_600_000_000).action for hour in (1, 24)]
    ['hold', 'raise']
    >>> ramp_step(started, RampLook(harmed=["errors"]), 3_600_000_000).action
    'stop'
    """
    plan, name = started.plan, started.plan.experiment
    share = started.enrolled_at(at)
    state = state_of(started, at)
    if state in ("stopped", "ended"):
        return RampStep(
            name,
            "done",
            share,
            f"the experiment {'was stopped' if state == 'stopped' else 'ended as planned'}",
        )
    if state == "waiting":
        return RampStep(
            name,
            "hold",
            share,
            f"it begins at {timestamp_text(plan.start)}",
            timestamp_text(plan.start),
        )
    if look.harmed:
        return RampStep(name, "stop", 0.0, f"guardrail beyond its margin: {'; '.join(look.harmed)}")
    if look.broken:
        return RampStep(name, "stop", 0.0, f"health check broken: {'; '.join(look.broken)}")
    following = next((stage for stage in plan.enrolled if stage > share + 1e-12), None)
    if following is None:
        return RampStep(
            name,
            "hold",
            share,
            f"all stages are reached; {look.holds}",
            timestamp_text(min(at + plan.stage, plan.end)),
        )
    since = max(plan.start, *(change.at for change in started.changes if change.at <= at))
    if at < since + plan.stage:
        return RampStep(
            name,
            "hold",
            share,
            f"the stage lasts until {timestamp_text(since + plan.stage)}",
            timestamp_text(since + plan.stage),
        )
    if look.held:
        return RampStep(
            name,
            "hold",
            share,
            f"health check broken: {'; '.join(look.held)}",
            timestamp_text(at + plan.stage),
        )
    if look.unseen:
        return RampStep(
            name,
            "hold",
            share,
            f"no unit was exposed to arm {look.unseen[0]!r} yet",
            timestamp_text(at + plan.stage),
        )
    return RampStep(name, "raise", following, look.holds, timestamp_text(at + plan.stage))


def ramp(
    project: Project,
    name: str,
    *,
    places: ExperimentPlaces | None = None,
    at: int | None = None,
    look: Callable[[StartedExperiment], RampLook] | None = None,
) -> RampStep:
    """Look at a running experiment once, and stop it, raise its enrolment by one stage, or leave
    it.

    Args:
        project: whose experiment it is.
        name: of the experiment.
        places: where models and exposures are.
        at: the time, microseconds; None is now.
        look: the data of the look; None analyses the experiment's exposures and outcomes.

    Raises:
        UsageError: it was never started.
        DataError: exposures or outcomes cannot be read; the enrolment stays as it is.
    """
    places, now = places or ExperimentPlaces(), clock.now_micros() if at is None else at
    store = ExperimentStore(places.models)
    started = store.one(name)
    running = state_of(started, now) == "running"
    seen = (
        RampLook()
        if not running
        else look(started)
        if look is not None
        else _look(project, started, places, now)
    )
    step = ramp_step(started, seen, now)
    if step.action == "stop":
        store.stop(name, now, RAMP, step.reason)
    elif step.action == "raise":
        store.enrol(name, step.enrolled, now, RAMP, step.reason)
    return step


def _look(
    project: Project, started: StartedExperiment, places: ExperimentPlaces, at: int
) -> RampLook:
    """Guardrails and health as the analysis sees them now; of a shadow, which has no lift, its
    health.
    """
    plan = started.plan
    units = units_of(plan, read_exposures(places.data_dir, plan.experiment, plan.version))
    names = [arm.name for arm in plan.arms]
    served = {"shadow": names[:1], "interleaving": []}.get(plan.kind, names)
    unseen = [name for name, count in zip(served, units.counts(served), strict=True) if not count]
    if plan.kind == "shadow":
        broken = {check.name: check.evidence for check in health_of(plan, units) if check.blocks}
        harmed: list[str] = []
        unproven: list[str] = []
    else:
        result = analyse(
            project,
            plan.experiment,
            data_dir=places.data_dir,
            models=places.models,
            at=clock.timestamp(at),
            resources=places.resources,
        ).result
        broken = {line.check: line.evidence for line in result.health if line.status == "broken"}
        harmed = [
            (
                f"{metric.metric} of arm {metric.arm} changed by {metric.lift.value:+.1%}, and "
                f"{metric.margin:.1%} is accepted"
            )
            for metric in result.of_metric("guardrail")
            if metric.state == "worse"
        ]
        unproven = not_proven(result.of_metric("guardrail"), arms=len(names))
        harmed += budget_spent(plan, result)
    words = {name: f"{name}: {evidence}" for name, evidence in broken.items() if name != IMMATURE}
    return RampLook(
        harmed,
        [text for name, text in words.items() if name not in HOLDING],
        unseen,
        [text for name, text in words.items() if name in HOLDING],
        unproven,
    )
