"""The result of a cost assessment as plain frozen values; every rendering reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.measurement import Number, Reading
from headwater.results.result import Result

WayName = Literal["precompute for all", "on request", "streaming"]


class CostPart(Result, frozen=True):
    """One component of the cost a day of a way to serve: its name, the amount, and the formula with
    its numbers.
    """

    name: str
    amount: Number
    arithmetic: str


class Way(Result, frozen=True):
    """The cost a day of one way to serve: total and components; `lacks` names missing inputs, and
    then the total is Missing.
    """

    name: WayName
    total: Reading
    parts: Sequence[CostPart]
    lacks: Sequence[str] = ()


class ViewCost(Result, frozen=True):
    """The cost a day of streaming one view, for a choice view by view."""

    view: str
    total: Reading


class LevelCost(Result, frozen=True):
    """The daily cost of keeping a backtest's level fresh: its runs a day (None without a job), the
    cost, and the arithmetic.
    """

    level: str
    runs_a_day: float | None
    a_day: Reading
    arithmetic: str = ""


class Cost(Result, frozen=True, tag="cost"):
    """The cost a day of each way to serve a model's requests.

    inputs: every input, by its symbol. ways: precompute for all, on request, streaming. break_even:
    requests a day above which precomputing is cheaper than on request. waste: the share of
    precomputed predictions that are never requested. rows_per_read: of a window by view. levels:
    what each level of a backtest costs, if one was given. sentence: what it comes to, in words.
    """

    model: str
    currency: str
    inputs: Mapping[str, Reading]
    ways: Sequence[Way]
    break_even: Reading
    waste: Reading
    views: Sequence[ViewCost]
    rows_per_read: Mapping[str, Reading]
    levels: Sequence[LevelCost]
    sentence: str

    def way(self, name: WayName) -> Way:
        """The way of that name."""
        return next(way for way in self.ways if way.name == name)
