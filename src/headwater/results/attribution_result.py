"""The result of an attribution as plain frozen dataclasses; every rendering reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

from headwater.definitions.level import Level
from headwater.definitions.readable import Readable
from headwater.results.estimate import Estimate, LeakFinding, Paired


@dataclass(frozen=True)
class UnitLift(Readable):
    """The lift of one view, or one group of views, by itself, on all test days.

    `added`: it alone is made fresh, all else stale. `removed`: the loss if it alone is stale, all else fresh. Two views with the
    same information both have a large `added` and a small `removed`. p-values hold over all of these steps
    together (Holm).
    """

    name: str  # of the view, the group, or the source if views are grouped by source
    views: Sequence[str]
    sources: Sequence[str]
    added: Paired
    removed: Paired
    cost: float | None = None  # money a day, if costs were given


@dataclass(frozen=True)
class PathStep(Readable):
    """One step of the greedy path: the unit that became fresh, and the lift of the set so far on days that were not used to choose it.

    `lift` is the set over the stale level, `gain` this step alone; each kind is judged together over the path (Holm). `share` is the
    part of the fresh level's lift, with its 95 % interval; NaN where that lift is not above 0.
    """

    name: str
    units: Sequence[str]  # fresh after this step
    lift: Paired
    gain: Paired
    share: Estimate
    cost: float | None = None  # of the set, money a day


@dataclass(frozen=True)
class Efficient(Readable):
    """A set of units that is best for its cost among those tried, by the choosing days; its lift is that of the other days."""

    units: Sequence[str]
    cost: float
    lift: Paired
    per_unit: float  # money a day for each 1 of the metric; NaN if there is no gain


@dataclass(frozen=True)
class SliceLift(Readable):
    """One slice of the test rows: the fresh level over the stale one on all days, and the plan over the stale one on reporting days.

    Intervals are widened, so that those of all slices hold together.
    """

    name: str
    describes: str
    rows: int
    whole: Paired | None  # None if the slice has no rows
    lift: Paired | None


@dataclass(frozen=True)
class AttributionResult(Readable):
    """The data of an `Attribution`."""

    model: str
    metric: str
    higher_is_better: bool
    stale: str  # the names of the two levels
    fresh: str
    describes: Mapping[str, str]  # name of the level -> its freshness in words
    values: Mapping[str, Estimate]  # name of the level -> the metric, on all test days
    min_lift: float
    share_wanted: float
    units: Sequence[UnitLift]  # the largest `added` first
    path: Sequence[PathStep]
    chosen: Sequence[str]
    stay: Sequence[str]
    worth: bool  # the plan's lift is significantly above the smallest one worth having
    whole: Paired
    lift: Paired | None  # of the path's last set over the stale level; None if the path is empty
    rest: Paired | None  # the fresh level over that set: the gain of making the others fresh too
    share: Estimate
    slices: Sequence[SliceLift]
    efficient: Sequence[Efficient]  # from cheap to dear; empty without costs
    cost: float | None  # of the plan, money a day
    cost_of_all: float | None
    level: Level
    plan: str
    notes: Sequence[str]  # limits of the plan: slices without a lift, leaks, uncertainty
    leak_audit: Sequence[LeakFinding]
    choosing_days: int
    reporting_days: int
    sets: int  # how many sets of fresh views were trained
    seconds: float
    intervals: str = ""
    joined: Sequence[str] = ()  # why some views are one unit

    def to_dict(self) -> dict[str, object]:
        """The attribution as JSON data: all fields except `level`, whose fresh views `fresh_views` names; NaN becomes None."""
        values = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "level"}
        return values | {"fresh_views": list(self.fresh_views)}

    @property
    def fresh_views(self) -> Sequence[str]:
        """The views that the plan makes fresh."""
        return tuple(view for unit in self.units if unit.name in self.chosen for view in unit.views)

    def __str__(self) -> str:
        return self.plan


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name.rstrip("_"): _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
