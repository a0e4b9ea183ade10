"""The result of a cost assessment as plain frozen dataclasses; every rendering reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.readable import Readable
from headwater.results.measurement import Number, Reading

WayName = Literal["precompute for all", "on request", "streaming"]


@dataclass(frozen=True)
class Part(Readable):
    """One component of the cost a day of a way to serve: its name, the amount, and the formula with its numbers."""

    name: str
    amount: Number
    arithmetic: str

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {"name": self.name, "amount": self.amount.to_dict(), "arithmetic": self.arithmetic}


@dataclass(frozen=True)
class Way(Readable):
    """The cost a day of one way to serve: total and components; `lacks` names missing inputs, and then the total is Missing."""

    name: WayName
    total: Reading
    parts: Sequence[Part]
    lacks: Sequence[str] = ()

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {
            "name": self.name,
            "total": self.total.to_dict(),
            "parts": [component.to_dict() for component in self.parts],
            "lacks": list(self.lacks),
        }


@dataclass(frozen=True)
class Swing(Readable):
    """The cost a day of a way to serve if one input is low or high and all others stay."""

    way: WayName
    input: str
    low: float
    high: float
    cost_low: float
    cost_high: float

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
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
    """The cost a day of streaming one view, for a choice view by view."""

    view: str
    total: Reading

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {"view": self.view, "total": self.total.to_dict()}


@dataclass(frozen=True)
class PointPrice(Readable):
    """The price of a point of lift: a step between two levels of a backtest, its lift, its extra cost a day, and their quotient.

    lift: in the metric's own units, as the backtest has it. per_point: money a day for 0.01 of the metric; Missing if there is no lift.
    """

    from_: str
    to: str
    metric: str
    lift: float
    extra: Reading
    per_point: Reading

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
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
    """The cost a day of each way to serve a model's requests.

    inputs: every input, by its symbol. ways: precompute for all, on request, streaming. break_even: requests a day above
    which precomputing is cheaper than on request. waste: the share of precomputed predictions that are never requested. rows_per_read: of a
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
        """The value as JSON data."""
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
