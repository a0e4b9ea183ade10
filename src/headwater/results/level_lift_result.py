"""What each level would have given for the requests that production answered, day by day, as plain
frozen values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.estimate import Comparison, Estimate
from headwater.results.result import Result

DayState = Literal["judged", "not matured", "lacks outcomes", "undefined"]
AlternativeKind = Literal["staler", "fresher", "without", "together"]
AlternativeState = Literal["earns", "earned nothing", "open", "too early"]


class LiftDay(Result, frozen=True):
    """One day, UTC, of served requests.

    Attributes:
        day: a date.
        requests: logged rows. with_outcome: those whose outcome is known.
        weight: how many requests those with an outcome stand for: the sum of 1 over the log's
            sample rate.
        values: the metric of each level alone on this day; NaN where it is undefined or the day is
            not judged.
        delivered: the metric of the predictions as they were served.
        lifts: of each other level over the served one, with its 95 % interval on this day (blocks
            of hours); more is better.
        over_stalest: the same over the stalest level.
        state: whether the day counts. versions: those that served.
    """

    day: str
    requests: int
    with_outcome: int
    weight: float
    values: Mapping[str, float]
    delivered: float
    lifts: Mapping[str, Estimate]
    over_stalest: Mapping[str, Estimate]
    state: DayState
    versions: Sequence[str] = ()


class LevelModelUsed(Result, frozen=True):
    """A model that scored a level. digest: SHA-256 of the estimator's file. seconds: of its
    training, 0 where it was there.
    """

    level: str
    served_version: str
    version: str
    digest: str
    until: str
    seed: int
    seconds: float


class Alternative(Result, frozen=True):
    """The served level compared with one other: a level, or itself with one view, or several, as at
    the stalest level.

    Attributes:
        name: of the level, or of the views. views: those that would change; empty of a level.
        kind: "staler" or "fresher" level; "without" one view's freshness; "together" several views'
            together.
        freshness: what it would be, in words. now: what it is.
        daily: the lift of the fresher of the two over the staler, of each judged day.
        state: "earned nothing": an interval lies wholly below break-even. "earns": wholly above.
            "too early": fewer than 14 judged days.
        since: the first day of the window that decides, else of the longest; lift: its mean, with
            an interval that holds at every look of a year in this project. days: how many.
        break_even: the least lift worth its cost. worst_week: the week with the largest lift, as
            its Monday and mean.
        saved: what the staler of the two saves, money a day; None where no cost was given.
            experiment: the estimate of an experiment.
        sentence: the state in words.
    """

    name: str
    views: Sequence[str]
    kind: AlternativeKind
    freshness: str
    now: str
    daily: Sequence[float]
    state: AlternativeState
    since: str
    days: int
    lift: Estimate
    break_even: float
    worst_week: str
    worst_lift: float
    saved: float | None = None
    experiment: Estimate | None = None
    sentence: str = ""


class LevelLiftResult(Result, frozen=True, tag="level lift"):
    """Lift by freshness over time.

    Attributes:
        model, metric, higher_is_better: the judged metric. served: the level that serves. stalest:
            the one that views are compared with.
        levels: each in words, from stale to fresh.
        days: from early to late. values: the metric of each level over all judged days, with its 95
            % interval (blocks as in a backtest).
        comparisons: every level against the served one and against the stalest, over all judged
            days.
        alternatives: what decides, with confidence sequences over days.
        series: how many are read together. alpha: the error of all of them in a year.
        rows, weight: of the judged days. left_out: rows that are not among them, by reason.
        models: that scored. seconds: of training, by level.
        agreement: share of rows whose computed score of the served level is the served one, within
            1e-9.
        notes: what a reader must know. checked_at: ISO 8601. first_line: the result in a sentence.
    """

    model: str
    metric: str
    higher_is_better: bool
    served: str
    stalest: str
    levels: Mapping[str, str]
    days: Sequence[LiftDay]
    values: Mapping[str, Estimate]
    comparisons: Sequence[Comparison]
    alternatives: Sequence[Alternative]
    series: int
    alpha: float
    rows: int
    weight: float
    left_out: Mapping[str, int]
    models: Sequence[LevelModelUsed]
    seconds: Mapping[str, float]
    agreement: float
    notes: Sequence[str]
    checked_at: str
    first_line: str = ""

    @property
    def judged(self) -> Sequence[LiftDay]:
        """The days that count."""
        return [day for day in self.days if day.state == "judged"]

    @property
    def decayed(self) -> Sequence[Alternative]:
        """What has earned nothing."""
        return [
            alternative
            for alternative in self.alternatives
            if alternative.state == "earned nothing"
        ]
