"""The result of an attribution as plain frozen values; every rendering reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.results.audit_result import AuditResult
from headwater.results.estimate import Comparison, Estimate
from headwater.results.result import Result
from headwater.terminal.text import visible


class UnitLift(Result, frozen=True):
    """The lift of one view, or one group of views, by itself, on all test days.

    `added`: it alone is made fresh, all else stale. `removed`: the loss if it alone is stale, all
    else fresh. Two views with the same information both have a large `added` and a small `removed`.
    p-values hold over all of these steps together (Holm).
    """

    name: str  # of the view, the group, or the source if views are grouped by source
    views: Sequence[str]
    sources: Sequence[str]
    added: Comparison
    removed: Comparison
    cost: float | None = None  # money a day, if costs were given


class PathStep(Result, frozen=True):
    """One step of the greedy path: the unit that became fresh, and the lift of the set so far on
    days that were not used to choose it.

    `lift` is the set over the stale level, `gain` this step alone; each kind is judged together
    over the path (Holm). `share` is the part of the fresh level's lift, with its 95 % interval; NaN
    where that lift is not above 0.
    """

    name: str
    units: Sequence[str]  # fresh after this step
    lift: Comparison
    gain: Comparison
    share: Estimate
    cost: float | None = None  # of the set, money a day


class Efficient(Result, frozen=True):
    """A set of units with the best lift for its cost on the choosing days; `lift` is of the
    reporting days.
    """

    units: Sequence[str]
    cost: float
    lift: Comparison
    per_unit: float  # money a day for each 1 of the metric; NaN without a gain


class SliceLift(Result, frozen=True):
    """One slice of the test rows: the fresh level over the stale one on all days, and the plan over
    the stale one on reporting days.

    Intervals are widened, so that those of all slices hold together.
    """

    name: str
    describes: str
    rows: int
    whole: Comparison | None  # None if the slice has no rows
    lift: Comparison | None


class AttributionResult(Result, frozen=True, tag="attribution"):
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
    whole: Comparison
    # of the path's last set over the stale level; None if the path is empty
    lift: Comparison | None
    # the fresh level over that set: the gain of making the others fresh too
    rest: Comparison | None
    share: Estimate
    slices: Sequence[SliceLift]
    efficient: Sequence[Efficient]  # from cheap to dear; empty without costs
    cost: float | None  # of the plan, money a day
    cost_of_all: float | None
    plan: str
    notes: Sequence[str]  # limits of the plan: slices without a lift, leaks, uncertainty
    audit: AuditResult
    choosing_days: int
    reporting_days: int
    sets: int  # how many sets of fresh views were trained
    seconds: float
    intervals: str = ""
    joined: Sequence[str] = ()  # why some views are one unit
    fresh_views: Sequence[str] = ()  # that the plan makes fresh
    # units that the timestamps cannot tell apart at the two levels, and why; never credited
    not_measurable: Mapping[str, str] = {}

    @property
    def figures(self) -> Mapping[str, float]:
        """The metric of both levels, and the share of the lift that the plan keeps."""
        return {
            f"{self.metric} {name}": estimate.value for name, estimate in self.values.items()
        } | {"share of the lift": self.share.value}

    @property
    def seconds_taken(self) -> float:
        """How long it took."""
        return self.seconds

    def views_of(self, units: Sequence[str]) -> Sequence[str]:
        """The views of these units, in order; a name that is not a unit stands for itself."""
        views = {unit.name: unit.views for unit in self.units}
        return [view for name in units for view in views.get(name, [name])]

    @property
    def gains(self) -> Mapping[str, Comparison]:
        """By view, the gain of its step of the path, in order; views that became fresh together
        share one.
        """
        return {view: step.gain for step in self.path for view in self.views_of([step.name])}

    @property
    def alone(self) -> Mapping[str, Comparison]:
        """By view, the lift of its unit alone."""
        return {view: unit.added for unit in self.units for view in unit.views}

    def __str__(self) -> str:
        return visible(self.plan)
