"""Who gets which arm of a started experiment, by its kind: a table. All of it is deterministic:
every process gives the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from headwater.errors import UsageError, nearest
from headwater.experiments.arms_by_bucket import ArmsByBucket
from headwater.experiments.arms_by_cluster import ArmsByCluster
from headwater.experiments.arms_by_unit import ArmsByUnit, AssignedArm, ControlInShadow, Interleaved
from headwater.models.experiment_store import StartedExperiment


class Assigner(Protocol):
    """Assigns the units of a started experiment."""

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:
        """The arm of a unit; None where it gets the default: not enrolled, held out, or of another
        part of the layer.

        Args:
            unit: its text, see `assignment.unit_text`.
            group: that of its region or cluster, for kinds that go by one.
            t: the request time, microseconds.
        """
        ...


ASSIGNERS: Final[Mapping[str, Callable[[StartedExperiment], Assigner]]] = {
    "ab": ArmsByUnit,
    "switchback": ArmsByBucket,
    "cluster": ArmsByCluster,
    "interleaving": Interleaved,
    "shadow": ControlInShadow,
}
"""By the kind of a plan."""


def assigner_of(started: StartedExperiment) -> Assigner:
    """The assigner of a started experiment.

    Raises:
        UsageError: a kind of a later version of headwater.
    """
    kind = started.plan.kind
    if kind not in ASSIGNERS:
        raise UsageError(
            f"experiment {started.plan.experiment!r} is of the kind {kind!r}; "
            f"{nearest(kind, ASSIGNERS)}"
        )
    return ASSIGNERS[kind](started)
