"""Lift as a function of the age of one view's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.results.estimate import Estimate
from headwater.results.result import Result


class AgePoint(Result, frozen=True):
    """The lift of a view whose features are `age_seconds` old over the same model without the view,
    with its 95 % interval.
    """

    age_seconds: float
    lift: Estimate


class AgeCurve(Result, frozen=True):
    """The lift of one view over its age, in the headline metric, with every other view as at level
    `others`.

    A lift need not fall with age. `half_life_seconds` and `lost_90_seconds` are the ages from which
    on, among those evaluated, at most half, or a tenth, of the lift at age 0 is left; None where
    that is not reached, or where the lift at age 0 does not exceed min_lift. `levels` are lifts
    averaged over the ages that each level's features have at the test requests: a daily job's are 0
    to 24 hours old.
    """

    view: str
    metric: str
    others: str  # the level that all other views have
    points: Sequence[AgePoint]  # from age 0 on
    levels: Mapping[str, Estimate]
    min_lift: float
    half_life_seconds: float | None = None
    lost_90_seconds: float | None = None
    fits: int = 0  # models that were trained for it
