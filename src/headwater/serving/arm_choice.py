"""The arm of each row of a request, and which rows are answered alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from headwater.errors import UsageError
from headwater.experiments.arms_by_unit import INTERLEAVED, AssignedArm
from headwater.experiments.assigners import Assigner
from headwater.experiments.assignment import unit_text
from headwater.journal.exposure_rows import NO_ROOM
from headwater.models.experiment_store import FrozenPlan
from headwater.online.ranker import Proposed
from headwater.serving.loaded_models import Key

NO_UNIT = "no unit"
_new = tuple.__new__  # without the arguments' names, which take most of the time


@dataclass(frozen=True, eq=False)
class RunningExperiment:
    """An experiment that this process serves.

    plan: what it was started with. keys: the model and level of each arm. promised: seconds, the
    age that each arm's answers may have.
    assign: its units. counts: rows by the outcome of their assignment: "no unit", "no room",
    "override", "exposed".
    """

    plan: FrozenPlan
    keys: Mapping[str, Key]
    promised: Mapping[str, float]
    assign: Assigner
    counts: Counter[str] = field(default_factory=Counter)

    @cached_property
    def group(self) -> str | None:
        """The request's column that arms go by, if that is not the unit."""
        return next(iter(self.plan.columns.values()), None)

    @cached_property
    def groups(self) -> Mapping[str, tuple[ArmGroup]]:
        """The model for a request whose rows all have an arm, by the arm; an interleaved list is
        begun by the control.
        """
        names = {arm: arm for arm in self.keys} | {INTERLEAVED: self.plan.arms[0].name}
        return {
            arm: (ArmGroup(self.keys[version_arm], None, f"{self.plan.experiment}/{arm}"),)
            for arm, version_arm in names.items()
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The request's columns that assignment needs."""
        return (self.plan.unit, *self.plan.columns.values())

    def arm_of(self, row: Mapping[str, object], t: int, *, room: bool) -> RowArm | None:
        """The arm of a row at a time in microseconds; None where it gets the default. room: whether
        its exposure can be logged.
        """
        unit, group = _text(row.get(self.plan.unit)), None
        if self.group is not None:
            group = _text(row.get(self.group))
        if unit is None or (group is None and self.group is not None):
            self.counts[NO_UNIT] += 1
            return None
        assigned = self.assign(unit, group, t)
        if assigned is None:
            return None
        if not room:
            self.counts[NO_ROOM] += 1
            assigned = assigned._replace(arm=self.plan.arms[0].name, flag=NO_ROOM)
        return _new(RowArm, (self, unit, assigned, False))

    def overridden(self, row: Mapping[str, object], t: int, arm: str) -> RowArm | None:
        """A row that gets an arm by the wish of its sender; None where its unit would not take
        part. It is logged, and not analysed.
        """
        assigned_arm = self.arm_of(row, t, room=True)
        if assigned_arm is None:
            return None
        self.counts["override"] += 1
        return assigned_arm._replace(
            assigned=assigned_arm.assigned._replace(arm=arm), override=True
        )


class RowArm(NamedTuple):
    """A row's experiment, unit (as text) and arm; override: whether the sender chose it."""

    experiment: RunningExperiment
    unit: str
    assigned: AssignedArm
    override: bool = False

    @property
    def key(self) -> Key:
        """The model and level that answer; of an interleaved list, those of the control."""
        return self.experiment.groups[self.assigned.arm][0].key

    @property
    def named(self) -> dict[str, str]:
        """Experiment, arm and flag by name, as answers have them."""
        names = {"experiment": self.experiment.plan.experiment, "arm": self.assigned.arm}
        return {**names, "flag": self.assigned.flag} if self.assigned.flag else names

    @property
    def label(self) -> str:
        """Experiment and arm, as the serving log has them."""
        return f"{self.experiment.plan.experiment}/{self.assigned.arm}"


class ArmGroup(NamedTuple):
    """Rows of a request that one model at one level answers; None is all rows. arm: for the serving
    log.
    """

    key: Key
    rows: Sequence[int] | None
    arm: str | None


class ArmChoice(NamedTuple):
    """The arms of a request.

    rows: of each row, None for the default; empty where all get the default. groups: what answers
    which. second: the candidates of the other ranking of an interleaved list.
    """

    rows: Sequence[RowArm | None]
    groups: Sequence[ArmGroup]
    second: Proposed | None = None


def one_row(
    experiments: Sequence[RunningExperiment], row: Mapping[str, object], t: int, *, room: bool
) -> ArmChoice | None:
    """The arm of a request for one row; None where it gets the default."""
    for experiment in experiments:
        arm = experiment.arm_of(row, t, room=room)
        if arm is not None:
            return _new(ArmChoice, ((arm,), experiment.groups[arm.assigned.arm], None))
    return None


def chosen_arm(
    experiments: Sequence[RunningExperiment],
    model: str,
    rows: Sequence[Mapping[str, object]],
    t: int,
    arm: str,
) -> ArmChoice:
    """The arms of rows whose sender chose one by name.

    Raises:
        UsageError: no running experiment of the model has that arm.
    """
    for experiment in experiments:
        if arm in experiment.keys:
            every = [experiment.overridden(row, t, arm) for row in rows]
            return ArmChoice(
                every if any(every) else (), (ArmGroup(experiment.keys[arm], None, None),)
            )
    arms = [name for experiment in experiments for name in experiment.keys]
    raise UsageError(
        f"no running experiment of model {model!r} has an arm {arm!r}; allowed: "
        f"{', '.join(arms) or 'none, no experiment runs'}"
    )


def chosen_level(
    experiments: Sequence[RunningExperiment], key: Key, rows: Sequence[Mapping[str, object]], t: int
) -> ArmChoice | None:
    """The arms of rows whose sender chose a level; None where no arm has the level, so that nothing
    is logged.
    """
    for experiment in experiments:
        arm = next((arm for arm, served in experiment.keys.items() if served == key), None)
        if arm is not None:
            every = [experiment.overridden(row, t, arm) for row in rows]
            return ArmChoice(every, (ArmGroup(key, None, None),)) if any(every) else None
    return None


def several_rows(
    experiments: Sequence[RunningExperiment],
    model: str,
    rows: Sequence[Mapping[str, object]],
    t: int,
    *,
    room: bool,
) -> ArmChoice | None:
    """The arms of a request for several rows; None where all get the default."""
    every = [
        next(
            filter(None, (experiment.arm_of(row, t, room=room) for experiment in experiments)), None
        )
        for row in rows
    ]
    groups: dict[tuple[Key, str | None], list[int]] = {}
    for n, arm in enumerate(every):
        groups.setdefault(
            ((model, None), None) if arm is None else (arm.key, arm.label), []
        ).append(n)
    if not any(every):
        return None
    if len(groups) == 1:
        ((key, label),) = groups
        return ArmChoice(every, (ArmGroup(key, None, label),))
    return ArmChoice(every, [ArmGroup(key, rows, label) for (key, label), rows in groups.items()])


def _text(value: object) -> str | None:
    """A unit's text; None where it cannot be one."""
    if type(value) is str:
        return value or None
    if type(value) is int:
        return str(value)
    try:
        return unit_text(value)
    except UsageError:
        return None
