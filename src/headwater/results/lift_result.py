"""The lift of a backtest, as input of an assessment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["no history", "batch", "hourly", "streaming", "at request time"]


MODES: Sequence[Mode] = ("no history", "batch", "hourly", "streaming", "at request time")


@dataclass(frozen=True)
class Stand:
    """A level of the backtest: its freshness in words, how its features are computed, and its headline metric (NaN if unknown)."""

    name: str
    describes: str
    kind: str
    mode: Mode
    value: float


@dataclass(frozen=True)
class Step:
    """A step between two levels in one metric, so signed that a rise is a gain; `low` and `high` are NaN without an interval."""

    from_: str
    to: str
    metric: str
    delta: float
    low: float
    high: float
    detectable: float
    verdict: str
    sentence: str

    @property
    def lifts(self) -> bool:
        """Whether it is a LIFT: nothing else counts as a gain."""
        return self.verdict == "LIFT"

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        numbers = {"delta": self.delta, "low": self.low, "high": self.high, "detectable": self.detectable}
        plain = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"from": self.from_, "to": self.to, "metric": self.metric, **plain, "verdict": self.verdict, "sentence": self.sentence}


@dataclass(frozen=True)
class Earned:
    """Which views earn from freshness: the attribution's plan.

    gains: by view, in the order of the path; views that were made fresh together share one.
    """

    stale: str
    fresh: str
    plan: str
    chosen: Sequence[str]
    stay: Sequence[str]
    gains: Mapping[str, Step]
    alone: Mapping[str, Step]


@dataclass(frozen=True)
class Lift:
    """The lift found by a backtest.

    steps: from each level to the next, in the headline metric. whole: from the first level to the last; None for two. money: the steps of
    the metric "cost", if costs were given. leaks: findings that make every number unreliable. earned: of an attribution, if there is one.
    source_json: the whole backtest as JSON data.
    """

    model: str
    headline: str
    levels: Sequence[Stand]
    steps: Sequence[Step]
    whole: Step | None
    money: Sequence[Step]
    leaks: Sequence[str]
    earned: Earned | None
    source_json: Mapping[str, object]

    def level(self, name: str) -> Stand:
        """The level of that name."""
        return next(level for level in self.levels if level.name == name)
