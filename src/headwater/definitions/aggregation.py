"""The aggregations as a user writes them: names, columns and parameters, without a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.definitions.base import Definition, check_name
from headwater.definitions.durations import Duration, Window, as_window
from headwater.errors import DefinitionError

Windows = Sequence[Duration | Window]
Parameter = int | float | str | bool


@dataclass(frozen=True, eq=False)
class Aggregation(Definition):
    """One function over columns of a source's events, in one or more windows.

    Made by `count`, `sum`, `mean` and their like. `windows` None takes those of the view.
    """

    function: str
    columns: tuple[str, ...]
    windows: tuple[Window, ...] | None
    where: str | None
    name: str | None
    params: tuple[tuple[str, Parameter], ...] = ()
    each: bool = False  # one feature for each column, rather than one of all columns together
    label: str = ""  # the columns as they stand in a feature's name

    def __post_init__(self) -> None:
        what = f"{self.function}()"
        for column in (*self.columns, *([self.where] if self.where is not None else [])):
            if not isinstance(column, str):
                raise DefinitionError(f"{what}: {column!r} is not a column name; make a column with the source's select, and name it here")
        if self.name is not None:
            check_name(self.name, what)
            if self.each and len(self.columns) > 1:
                raise DefinitionError(
                    f"{what}: name={self.name!r} cannot name {len(self.columns)} features; write one {what} for each column"
                )


def _made(
    function: str,
    columns: tuple[str, ...],
    windows: Windows | None,
    where: str | None,
    name: str | None,
    **more: object,
) -> Aggregation:
    if isinstance(windows, str):
        raise DefinitionError(f'{function}(): windows is the text {windows!r}; give a list, such as ["{windows}"]')
    if windows is not None and not isinstance(windows, Sequence):
        raise DefinitionError(f"{function}(): windows is {windows!r}; give a list of durations and windows")
    sized = None if windows is None else tuple(as_window(w, None) for w in windows)
    return Aggregation(function, columns, sized, where, name, **more)  # type: ignore[arg-type]


def _needs(function: str, columns: tuple[str, ...], example: str) -> None:
    if not columns:
        raise DefinitionError(f"{function}() needs a column, such as {function}({example!r})")


def count(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The number of events, or of values that are not null in each column named: int64, 0 when there are none.

    >>> count(where="late", windows=["1h"]).function
    'count'
    """
    return _made("count", columns, windows, where, name, each=True)


def sum(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The sum of a column of numbers or booleans: exact int64 for integers, else float64; 0 when there are none."""
    _needs("sum", columns, "amount")
    return _made("sum", columns, windows, where, name, each=True)


def mean(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The mean of a column of numbers or booleans: float64, null when there are none."""
    _needs("mean", columns, "amount")
    return _made("mean", columns, windows, where, name, each=True)


def min(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The least value of a column, of the column's dtype; null when there are none."""
    _needs("min", columns, "amount")
    return _made("min", columns, windows, where, name, each=True)


def max(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The greatest value of a column, of the column's dtype; null when there are none."""
    _needs("max", columns, "amount")
    return _made("max", columns, windows, where, name, each=True)


def std(*columns: str, ddof: int = 1, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The standard deviation of a column: float64, null where there are not more than `ddof` values.

    `ddof` 1 is the sample's, 0 the population's.
    """
    _needs("std", columns, "amount")
    return _made("std", columns, windows, where, name, each=True, params=(("ddof", _ddof(ddof)),))


def first(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The first value that is not null in each column, by (event time, id, value); null when there are none."""
    _needs("first", columns, "page")
    return _made("first", columns, windows, where, name, each=True)


def last(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The last value that is not null in each column, by (event time, id, value); null when there are none."""
    _needs("last", columns, "page")
    return _made("last", columns, windows, where, name, each=True)


def latest(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Every column of the one latest row, nulls included, by (event time, id, the columns in order); null when there is none."""
    _needs("latest", columns, "status")
    return _made("latest", columns, windows, where, name)


def since_last(*, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Seconds from the last event to T, the end of the window: float64, null when there is none."""
    return _made("since_last", (), windows, where, name)


def open_count(*, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """How many events in the window are still open: `until` is null, or not before T, or was not known by K. int64, 0 for none.

    A queue: +1 at the event time, -1 at min(until, event time + window). That an event ended is known at `until` plus the
    source's `known_after` (and never before the event itself is known).
    """
    return _made("open_count", (until,), windows, where, name)


def open_age(*, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The mean seconds from the event time to T over the events that `open_count` counts: float64, null when none is open."""
    return _made("open_age", (until,), windows, where, name)


def _ddof(value: int) -> int:
    if value not in (0, 1):
        raise DefinitionError(f"ddof is {value!r}; give 1 for the sample's deviation or 0 for the population's")
    return value
