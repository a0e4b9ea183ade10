"""What the naive reference of each function is written in: exact arithmetic over the events that
count, one line of meaning each.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Literal, NamedTuple

from headwater.definitions.feature_view import Feature, Parameter
from headwater.definitions.source import Source
from headwater.definitions.windows import window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Value = bool | int | float | str | datetime | date | None
Row = Mapping[str, Value]
Status = Literal["present", "empty", "missing", "expired", "overflow"]


class Answer(NamedTuple):
    """A value, why it is what it is, and what a float's tolerance is 1e-9 of; of a map, an answer
    for each key.
    """

    value: Value | list[Value] | dict[Value, Answer]
    status: Status
    scale: float = 0.0


class Event(NamedTuple):
    """One row of the source: the time that windows see, when it was known and from when on it was
    taken back, in microseconds; its id.
    """

    time: float
    known: float
    ident: Value
    row: Row
    removed_at: float = math.inf


class NaiveRequest(NamedTuple):
    """The two times of a request, the source's rules, and whether any event of the key is known
    within the view's windows.
    """

    T: int
    K: int
    source: Source
    retained: bool


@dataclass(frozen=True)
class Counted:
    """The events that a feature counts for one request, never none.

    events: in order. values: of each of the feature's columns, those of the events.
    """

    feature: Feature
    events: list[Event]
    values: list[list[Value]]
    request: NaiveRequest

    @property
    def params(self) -> Mapping[str, Parameter]:
        """The function's parameters."""
        return dict(self.feature.aggregation.params)

    @property
    def numbers(self) -> list[Fraction]:
        """The values of the first column, exact."""
        return numbers_of(self.values[0])


Reference = Callable[[Counted], Answer]

NUMBERS: Sequence[str] = ("real", "whole", "flag")
EVERY: Sequence[str] = (*NUMBERS, "word", "moment")
"""The columns of `testing.cases.SCHEMA` that hold numbers or booleans; and all."""

SIZED = (window("1h"), window("10m", hop="1m"))
"""Windows for functions that a lifetime has no value of."""


def as_micros(timestamp: datetime) -> int:
    """A tz-aware timestamp as microseconds since 1970 UTC.

    >>> as_micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (timestamp - EPOCH) // _MICROSECOND


def in_order(value: Value) -> tuple[int, Value]:
    """A key to sort values by, null first."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0, 0
    return 1, as_micros(value) if isinstance(value, datetime) else value


def numbers_of(values: list[Value]) -> list[Fraction]:
    """The values as exact numbers."""
    return [Fraction(v) for v in values if isinstance(v, int | float)]


def total(numbers: Iterable[Fraction]) -> Fraction:
    """Their exact sum."""
    return sum(numbers, Fraction(0))


def scale(exact: Fraction | float) -> float:
    """The scale of a tolerance, at most the greatest float."""
    return float(min(Fraction(exact), Fraction(sys.float_info.max)))
