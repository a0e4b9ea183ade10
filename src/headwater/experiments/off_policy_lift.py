"""The lift of each arm's order of candidates over the control's, by the lists in random order that
were served since the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from headwater import settings
from headwater.backtesting.outcome_rules import declared
from headwater.definitions.project import Project
from headwater.errors import DataError, HeadwaterError
from headwater.experiments.answers_of_level import Places
from headwater.experiments.explored_rankings import ExploredLists, OrderedPlaces, explored_lists
from headwater.experiments.off_policy import Estimator
from headwater.experiments.served_requests import Period, served_requests
from headwater.models.experiment_store import FrozenArm, FrozenPlan
from headwater.models.registry import ModelRegistry
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import UNKNOWN, OffPolicyLift
from headwater.training.resources import Resources

ESTIMATORS: tuple[Estimator, ...] = ("snips", "ips", "dr")
"""The first stands on the axis."""


def off_policy_lifts(
    project: Project,
    plan: FrozenPlan,
    data_dir: str | Path | None,
    models: str | Path | None,
    now: int,
    resources: Resources,
) -> list[OffPolicyLift]:
    """The off-policy estimates of every arm but the control; empty where nothing was explored and
    outcomes do not need it.

    Versions were trained before the start, so that lists since then judge them. Where an estimate
    cannot be made, it says why.

    Args:
        project: which has the arms' models.
        plan: of the started experiment.
        data_dir: the folder of the serving log.
        models: the folder of fitted models.
        now: outcomes known by then count, microseconds.
        resources: what computing may use.
    """
    control, arms = plan.arms[0], plan.arms[1:]
    model = project.model(control.model)
    if model.ranking is None or not model.ranking.explore:
        if model.outcome_rule != "caused":
            return []
        try:
            declared(model)
        except DataError as error:
            return [_refused(arm, str(error)) for arm in arms]
    home = settings.home() if data_dir is None else Path(data_dir)
    places = Places(home, ModelRegistry(models), project.name)
    try:
        rows = served_requests(
            model, Period(plan.start, now, now), home, places.registry, resources
        )
        lists = explored_lists(model, rows, now)
        base = _ordered(project, control, lists, places, resources)
    except HeadwaterError as error:
        return [_refused(arm, str(error)) for arm in arms]
    return [
        lift
        for arm in arms
        for lift in _of_arm(project, (control, arm), lists, base, places, resources)
    ]


def _of_arm(
    project: Project,
    pair: tuple[FrozenArm, FrozenArm],
    lists: ExploredLists,
    base: OrderedPlaces,
    places: Places,
    resources: Resources,
) -> Sequence[OffPolicyLift]:
    """An arm by every estimator, or why there is none."""
    control, arm = pair
    if arm.model != control.model:
        return [
            _refused(
                arm,
                f"it is of the model {arm.model!r}, and the lists in random order are of "
                f"{control.model!r}",
            )
        ]
    try:
        order = _ordered(project, arm, lists, places, resources)
    except HeadwaterError as error:
        return [_refused(arm, str(error))]
    unestimated = OffPolicyLift(
        arm=arm.name,
        estimator=ESTIMATORS[0],
        lift=UNKNOWN,
        lists=lists.count,
        places=lists.shown.height,
        effective=order.effective,
        control_effective=base.effective,
        overlap=order.overlap,
        control_overlap=base.overlap,
    )
    try:
        lifts = {estimator: order.lift_over(base, estimator) for estimator in ESTIMATORS}
    except DataError as error:
        return [msgspec.structs.replace(unestimated, refused=str(error))]
    return [
        msgspec.structs.replace(
            unestimated, estimator=estimator, lift=Estimate(lift.lift, *lift.interval())
        )
        for estimator, lift in lifts.items()
    ]


def _ordered(
    project: Project, arm: FrozenArm, lists: ExploredLists, places: Places, resources: Resources
) -> OrderedPlaces:
    fitted = None if arm.version is None else (arm.trained_level or arm.level, arm.version)
    return lists.in_order(project.variant(arm.model, arm.level), places, resources, fitted)


def _refused(arm: FrozenArm, why: str) -> OffPolicyLift:
    return OffPolicyLift(arm.name, ESTIMATORS[0], UNKNOWN, 0, 0, 0.0, 0.0, 0.0, 0.0, why)
