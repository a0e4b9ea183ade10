"""Each unit keeps one arm: A/B tests. Shadows and interleavings choose the units that take part in
the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from headwater.experiments.assignment import Assignment
from headwater.experiments.frozen_plan import assignment_of
from headwater.journal.exposure_rows import SHADOW
from headwater.models.experiment_store import StartedExperiment

INTERLEAVED = "interleaved"
"""The arm of a list that mixes the rankings of two arms."""
_NEVER = 2**62
_MOST = 50_000  # units whose arms are remembered


class AssignedArm(NamedTuple):
    """What a row gets.

    arm: its name. propensity: the probability of it. cluster: the region or cluster that the arm
    goes by; None where it goes by the unit.
    bucket: of time, counted from the start of the experiment. flag: of the exposure, as
    `logs.exposure_rows` has them.
    """

    arm: str
    propensity: float
    cluster: str | None = None
    bucket: int | None = None
    flag: str = ""


UNKNOWN: Final = AssignedArm("", 0.0)
"""What a stage remembers of units and groups that were not asked for yet."""


class EnrolmentStage(NamedTuple):
    """A stage of an experiment: who takes part, and the units and groups known by now.

    whole: the assignment. units, groups: its parts, where units are held out and divided by layers,
    and groups (regions, clusters) are enrolled. known: by unit, or by unit and group.
    """

    whole: Assignment
    units: Assignment
    groups: Assignment
    known: dict[str | tuple[str, str], AssignedArm | None]

    def keep(self, key: str | tuple[str, str], assigned: AssignedArm | None) -> AssignedArm | None:
        """Remember an arm."""
        if len(self.known) >= _MOST:
            self.known.clear()
        self.known[key] = assigned
        return assigned


class StagedAssignment:
    """The assignment of a started experiment, as its stages enrol more and more units. Threads may
    share one.
    """

    def __init__(self, started: StartedExperiment) -> None:
        self._started = started
        self._times = sorted({change.at for change in started.changes} | {started.plan.end})
        self._present: tuple[int, int, EnrolmentStage | None] = (0, 0, None)

    def at(self, t: int) -> EnrolmentStage | None:
        """The stage at a time in microseconds; None where no unit is enrolled."""
        low, high, stage = self._present
        if not low <= t < high:
            low = max((time for time in self._times if time <= t), default=-_NEVER)
            high = min((time for time in self._times if time > t), default=_NEVER)
            whole = assignment_of(self._started, t)
            stage = (
                EnrolmentStage(
                    whole, replace(whole, enrolled=1.0), replace(whole, layer=None, holdout=0.0), {}
                )
                if whole.enrolled
                else None
            )
            self._present = low, high, stage
        return stage


class ArmsByUnit:
    """The arm of each unit, by the hash of it."""

    def __init__(self, started: StartedExperiment) -> None:
        self._staged = StagedAssignment(started)
        assignment = assignment_of(started, started.plan.start)
        self._by_arm = {
            arm.name: AssignedArm(arm.name, assignment.propensity(arm.name))
            for arm in started.plan.arms
        }

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:  # noqa: ARG002 (as `Assigner`)
        """As `assigners.Assigner`."""
        stage = self._staged.at(t)
        if stage is None:
            return None
        remembered = stage.known.get(unit, UNKNOWN)  # one step: another thread may clear `known`
        if remembered is not UNKNOWN:
            return remembered
        arm = stage.whole.arm(unit)
        return stage.keep(unit, None if arm is None else self._by_arm[arm])


class ControlInShadow:
    """The control for every unit that takes part."""

    def __init__(self, started: StartedExperiment) -> None:
        self._staged = StagedAssignment(started)
        self._arm = AssignedArm(started.plan.arms[0].name, 1.0, flag=SHADOW)

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:  # noqa: ARG002 (as `Assigner`)
        """As `assigners.Assigner`."""
        stage = self._staged.at(t)
        return self._arm if stage is not None and stage.whole.takes_part(unit) else None


class Interleaved:
    """A list of both rankings for every unit that takes part; each picks first in a round with
    probability one half.
    """

    def __init__(self, started: StartedExperiment) -> None:
        self._staged = StagedAssignment(started)
        self._arm = AssignedArm(INTERLEAVED, 0.5)

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:  # noqa: ARG002 (as `Assigner`)
        """As `assigners.Assigner`."""
        stage = self._staged.at(t)
        return self._arm if stage is not None and stage.whole.takes_part(unit) else None
