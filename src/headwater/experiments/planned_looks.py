"""When a running experiment is looked at: as planned shares of its information mature, never
because a page was opened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headwater.kernel.arrays import I64
from headwater.models.experiment_store import StartedExperiment

_NEW = 0.01
"""The least share of new units that makes a further look."""


@dataclass(frozen=True)
class PlannedLooks:
    """The looks that have come.

    Args:
        times: of each, microseconds: outcomes that were final then are its data.
        information: the share of the planned units at each, rising; where looks come by time, the
            share of the planned time. The error that is spent follows it.
        units: of all arms that had matured at each, rising.
        planned: the units of all arms that are planned; None where looks come by time.
        over: whether enrolment has ended and every outcome is final, so that no further look comes.
    """

    times: list[int]
    information: list[float]
    units: list[int]
    planned: int | None
    over: bool = False

    @property
    def number(self) -> int:
        """Of the newest look; 0 before the first."""
        return len(self.times)


def planned_looks(
    started: StartedExperiment, first: I64, matures: I64, at: int, *, by_units: bool
) -> PlannedLooks:
    """The looks by a time.

    The k-th of K looks comes when k/K of the planned units have matured; where no number is
    planned, or information grows with time, when k/K of the duration have passed and its outcomes
    are final. A look with hardly a new unit takes the place of the one before. After a stop or the
    planned end one last look has every outcome, those that matured since included; at the planned
    end it may spend all error that is left.

    Args:
        started: the plan and what was done since.
        first: the first exposures of the units, int64 microseconds.
        matures: when each of them counts, int64 microseconds.
        at: the time, microseconds.
        by_units: whether information grows with units.
    """
    plan = started.plan
    planned = plan.units_needed * len(plan.arms) if by_units and plan.units_needed else None
    if not len(matures):
        return PlannedLooks([], [], [], planned)
    ordered, delay = np.sort(matures), int((matures - first).max())
    ended = min(plan.end, started.stopped_at if started.stopped_at is not None else plan.end)
    looks: list[tuple[int, float]] = []
    for look in range(1, plan.looks + 1):
        share = look / plan.looks
        if planned is None:
            time = plan.start + round(plan.duration * share) + delay
            if time > min(at, ended + delay):
                break
        else:
            units = math.ceil(planned * share - 1e-9)
            if units > len(ordered) or int(ordered[units - 1]) > at:
                break
            time, share = int(ordered[units - 1]), units / planned
        looks.append((time, share))
    last = int(ordered[-1])
    over = at >= max(ended, last)
    if over:
        share = len(ordered) / planned if planned else (ended - plan.start) / plan.duration
        share = 1.0 if ended >= plan.end else max(share, 1e-6)
        if looks and (looks[-1][0] >= last or looks[-1][1] >= share or len(looks) == plan.looks):
            looks[-1] = max(looks[-1][0], last), max(looks[-1][1], share)
        else:
            looks.append((last, share))
    return _with_units(looks, ordered, planned, over=over)


def _with_units(
    looks: list[tuple[int, float]], matures: I64, planned: int | None, *, over: bool
) -> PlannedLooks:
    """The looks with the units that had matured at each; a look with less than `_NEW` more than the
    one before takes its place.
    """
    chosen: list[tuple[int, float, int]] = []
    for time, share in looks:
        units = int(np.searchsorted(matures, time, side="right"))
        if chosen and units < chosen[-1][2] * (1 + _NEW):
            chosen.pop()
        if units:
            chosen.append((time, share, units))
    return PlannedLooks(
        [time for time, _, _ in chosen],
        [share for _, share, _ in chosen],
        [units for _, _, units in chosen],
        planned,
        over,
    )
