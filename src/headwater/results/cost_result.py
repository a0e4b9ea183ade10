"""What an assessment of costs found: plain frozen values that every rendering reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.readable import Readable
from headwater.results.measurement import Number, Reading

WayName = Literal["precompute for all", "on request", "streaming"]


@dataclass(frozen=True)
class Part(Readable):
    """One part of what a way costs a day: its name, the amount, and the formula with its numbers."""

    name: str
    amount: Number
    arithmetic: str

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {"name": self.name, "amount": self.amount.to_dict(), "arithmetic": self.arithmetic}


@dataclass(frozen=True)
class Way(Readable):
    """What one way to answer costs a day, in all and in parts; `lacks` says which inputs there are none of, and then total is Missing."""

    name: WayName
    total: Reading
    parts: Sequence[Part]
    lacks: Sequence[str] = ()

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {
            "name": self.name,
            "total": self.total.to_dict(),
            "parts": [part.to_dict() for part in self.parts],
            "lacks": list(self.lacks),
        }


@dataclass(frozen=True)
class Swing(Readable):
    """What a way costs a day where one input is low or high and all others stay."""

    way: WayName
    input: str
    low: float
    high: float
    cost_low: float
    cost_high: float

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {
            "way": self.way,
            "input": self.input,
            "low": self.low,
            "high": self.high,
            "cost_low": self.cost_low,
            "cost_high": self.cost_high,
        }


@dataclass(frozen=True)
class ViewCost(Readable):
    """What streaming one view costs a day, for a choice view by view."""

    view: str
    total: Reading

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {"view": self.view, "total": self.total.to_dict()}


@dataclass(frozen=True)
class PointPrice(Readable):
    """What a point of lift costs: the step between two levels of a backtest, its lift, what it costs more a day, and their quotient.

    lift: in the metric's own units, as the backtest has it. per_point: money a day for 0.01 of the metric; Missing where there is no lift.
    """

    from_: str
    to: str
    metric: str
    lift: float
    extra: Reading
    per_point: Reading

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {
            "from": self.from_,
            "to": self.to,
            "metric": self.metric,
            "lift": self.lift,
            "extra": self.extra.to_dict(),
            "per_point": self.per_point.to_dict(),
        }


@dataclass(frozen=True)
class Cost(Readable):
    """What the ways to answer a model's requests cost a day.

    inputs: every number that went in, by its symbol. ways: precompute for all, on request, streaming. break_even: requests a day above
    which precomputing is cheaper than on request. waste: the share of precomputed predictions that nobody asks for. rows_per_read: of a
    window by view. sentence: what it comes to, in words.
    """

    model: str
    currency: str
    inputs: Mapping[str, Reading]
    ways: Sequence[Way]
    break_even: Reading
    waste: Reading
    views: Sequence[ViewCost]
    rows_per_read: Mapping[str, Reading]
    swings: Sequence[Swing]
    points: Sequence[PointPrice]
    sentence: str

    def way(self, name: WayName) -> Way:
        """The way of that name."""
        return next(way for way in self.ways if way.name == name)

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {
            "model": self.model,
            "currency": self.currency,
            "sentence": self.sentence,
            "ways": [way.to_dict() for way in self.ways],
            "break_even": self.break_even.to_dict(),
            "waste": self.waste.to_dict(),
            "views": [view.to_dict() for view in self.views],
            "rows_per_read": {name: reading.to_dict() for name, reading in self.rows_per_read.items()},
            "sensitivity": [swing.to_dict() for swing in self.swings],
            "points": [point.to_dict() for point in self.points],
            "inputs": {name: reading.to_dict() for name, reading in self.inputs.items()},
        }
