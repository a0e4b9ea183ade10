"""Switchback: each region gets a new arm in each bucket of time, by a coin of region and bucket."""

from __future__ import annotations

from bisect import bisect_right

from headwater.experiments.arms_by_unit import UNKNOWN, AssignedArm, StagedAssignment
from headwater.experiments.assignment import BUCKETS, Assignment, bucket
from headwater.journal.exposure_rows import WASHOUT
from headwater.models.experiment_store import StartedExperiment

_MOST_REGIONS = 100_000  # whose random bounds are kept
_TAKES_PART = AssignedArm("", 1.0)  # the remembered state of a unit


class ArmsByBucket:
    """The arm of each region and bucket of time. Regions are enrolled; holdouts and layers go by
    unit.

    Bucket i of a region begins i times the length after the start of the experiment. With random
    bounds it is `length / 2 + length * h / 10000` long, h the hash bucket of `SALT/SEED/length` and
    `i:region`.
    """

    def __init__(self, started: StartedExperiment) -> None:
        plan = started.plan
        self._staged, self._start = StagedAssignment(started), plan.start
        self._length, self._washout = (
            int(plan.settings["length"]),
            int(plan.settings.get("washout", 0)),
        )
        self._random, self._salt = (
            bool(plan.settings.get("random_bounds", False)),
            f"{plan.salt}/{plan.seed}",
        )
        self._coins = Assignment(self._salt, {arm.name: arm.weight for arm in plan.arms})
        self._bounds: dict[str, list[int]] = {}

    def __call__(self, unit: str, group: str | None, t: int) -> AssignedArm | None:
        """As `assigners.Assigner`; `group`: the region."""
        stage = self._staged.at(t)
        if group is None or t < self._start or stage is None:
            return None
        taking_part = stage.known.get(unit, UNKNOWN)
        if taking_part is UNKNOWN:
            taking_part = stage.keep(unit, _TAKES_PART if stage.units.takes_part(unit) else None)
        if taking_part is None:
            return None
        number, begin = self.bucket_at(group, t)
        flag = WASHOUT if t - begin < self._washout else ""
        bucket_key = f"{number}{flag}", group
        remembered = stage.known.get(bucket_key, UNKNOWN)
        if remembered is not UNKNOWN:
            return remembered
        if not stage.groups.takes_part(group):
            return stage.keep(bucket_key, None)
        arm = self._coins.arm(f"{number}:{group}")
        assert arm is not None
        return stage.keep(
            bucket_key, AssignedArm(arm, self._coins.propensity(arm), group, number, flag)
        )

    def bucket_at(self, region: str, t: int) -> tuple[int, int]:
        """The number of a region's bucket at a time, and when it begins; both times in
        microseconds.
        """
        passed = t - self._start
        if not self._random:
            number = passed // self._length
            return number, self._start + number * self._length
        bounds = self._bounds.get(region)
        if bounds is None:
            if len(self._bounds) >= _MOST_REGIONS:
                self._bounds.clear()
            bounds = self._bounds[region] = [0]
        if bounds[-1] <= passed:
            bounds = self._extended(bounds, region, passed)
        number = bisect_right(bounds, passed) - 1
        return number, self._start + bounds[number]

    def _extended(self, bounds: list[int], region: str, passed: int) -> list[int]:
        """Bounds beyond a time; a new list, since another thread may read the one before."""
        more = list(bounds)
        while more[-1] <= passed:
            share = bucket(f"{self._salt}/length", f"{len(more) - 1}:{region}")
            more.append(more[-1] + self._length // 2 + self._length * share // BUCKETS)
        self._bounds[region] = more
        return more
