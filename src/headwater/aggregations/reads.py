"""How compiled loops compute a function's value from the columns of its stored state.

A read is an opcode and up to four operands: columns of the record, or numbers. `state.read_kernels`
has the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headwater.definitions.feature_view import Parameter
from headwater.definitions.windows import Window
from headwater.kernel.layers import Use

(
    WHOLE,
    REAL,
    SUM,
    MEAN,
    KEPT,
    LATEST,
    DEVIATION,
    VARIANCE,
    SINCE,
    RATE,
    FRACTION,
    RATIO,
    DECAYED_SUM,
    DECAYED_MEAN,
) = range(14)
"""The computation of a value from up to four columns of a window's state."""
OPEN_COUNT, OPEN_AGE, DISTINCT, PERCENTILE, RECENT, FREQUENT, LEAST_VALUES, MAP = range(14, 22)
"""The computation of a value from the entries of the tiles of a window: of a state's first column
and up to two numbers.
"""
NEWEST, DIFFERENT = 1, 2
"""Flags of RECENT: the last values and not the first; each value once."""


@dataclass(frozen=True)
class StoredColumns:
    """The columns of the stored state that a value is read from.

    columns: of the record, those that hold the state. whole: whether the feature's column is int64,
    and not float64.
    ended_after: how long after its end, in microseconds, an event is known to have ended.
    """

    columns: tuple[int, ...]
    whole: bool
    use: Use
    params: Mapping[str, Parameter]
    window: Window
    output: int
    ended_after: int = 0


@dataclass(frozen=True)
class Read:
    """An opcode and its operands; whether the value, or each of a list, is a float; and how many a
    list has at most, 0 where it is none.
    """

    words: tuple[int, ...]
    real: bool
    most: int = 0


ReadRule = Callable[[StoredColumns], Read]


def number(stored: StoredColumns) -> Read:
    """The state's first number itself."""
    return Read((WHOLE, stored.columns[0]), real=False)


def total(stored: StoredColumns) -> Read:
    """A sum, of state (n, total, and for integers the total as a float)."""
    return (
        Read((SUM, *_rough(stored.columns)), real=False)
        if stored.whole
        else Read((REAL, stored.columns[1]), real=True)
    )


def mean(stored: StoredColumns) -> Read:
    """A sum over its number of values."""
    return Read((MEAN, stored.columns[0], *_rough(stored.columns)), real=True)


def extreme(stored: StoredColumns) -> Read:
    """A value, of state (n, value)."""
    return _nullable(stored, 1, 0)


def edge(stored: StoredColumns) -> Read:
    """The value of an event, of state (time, id, value, whether there is one)."""
    return _nullable(stored, 2, -1)


def by(stored: StoredColumns) -> Read:
    """The value of the event where another column is least or greatest."""
    return _nullable(stored, 4, 0)


def latest(stored: StoredColumns) -> Read:
    """One column of a row, null where it was null there."""
    c, at = stored.columns, 2 + 2 * stored.output
    return Read((LATEST, c[at + 1], c[-1], c[at]), real=not stored.whole)


def since(stored: StoredColumns) -> Read:
    """Seconds from an event to T."""
    return Read((SINCE, stored.columns[0], stored.columns[-1]), real=True)


def deviation(stored: StoredColumns) -> Read:
    """The root of a variance, of state (n, mean, squares)."""
    return _spread(DEVIATION, stored)


def variance(stored: StoredColumns) -> Read:
    """Squares of differences from the mean over n - ddof."""
    return _spread(VARIANCE, stored)


def rate(stored: StoredColumns) -> Read:
    """A number of events, or a sum, per second of the window."""
    assert stored.window.length is not None
    return Read(
        (
            RATE,
            *(_rough(stored.columns) if stored.use.columns else (stored.columns[0], -2)),
            stored.window.length,
        ),
        real=True,
    )


def fraction(stored: StoredColumns) -> Read:
    """The second number of a state over its first."""
    return Read((FRACTION, stored.columns[0], stored.columns[1]), real=True)


def ratio(stored: StoredColumns) -> Read:
    """A sum over another; `whole` of the first column says where the second begins."""
    cut = 3 if stored.whole else 2
    return Read((RATIO, *_rough(stored.columns[:cut]), *_rough(stored.columns[cut:])), real=True)


def decayed_sum(stored: StoredColumns) -> Read:
    """A sum whose weights halve until T, of state (n, last, total, weight)."""
    n, last, total, _ = stored.columns
    return Read((DECAYED_SUM, n, last, total, int(stored.params["half_life"])), real=True)


def decayed_mean(stored: StoredColumns) -> Read:
    """A sum over its weights."""
    n, _, total, weight = stored.columns
    return Read((DECAYED_MEAN, n, total, weight), real=True)


def open_count(stored: StoredColumns) -> Read:
    """How many events are open, of entries (time, end)."""
    return Read((OPEN_COUNT, stored.columns[0], stored.ended_after), real=False)


def open_age(stored: StoredColumns) -> Read:
    """The mean age of open events in seconds, of entries (time, end)."""
    return Read((OPEN_AGE, stored.columns[0], stored.ended_after), real=True)


def distinct(stored: StoredColumns) -> Read:
    """How many values differ, of (sizes, whether exact, hashes or registers)."""
    return Read((DISTINCT, stored.columns[0]), real=False)


def percentile(stored: StoredColumns) -> Read:
    """The bucket of a rank, of entries (bucket, count)."""
    return Read(
        (PERCENTILE, stored.columns[0], round(float(stored.params["q"]) * 1_000_000)), real=True
    )


def last_values(stored: StoredColumns) -> Read:
    """The last values, of entries (time, id, value)."""
    return _recent(stored, NEWEST)


def first_values(stored: StoredColumns) -> Read:
    """The first values, of entries (time, id, value)."""
    return _recent(stored, 0)


def mode(stored: StoredColumns) -> Read:
    """The most frequent value, of entries (value, count)."""
    return Read((FREQUENT, stored.columns[0], -1), real=not stored.whole)


def frequent(stored: StoredColumns) -> Read:
    """The most frequent values, of entries (value, count)."""
    k = int(stored.params["k"])
    return Read((FREQUENT, stored.columns[0], k), real=not stored.whole, most=k)


def least_values(stored: StoredColumns) -> Read:
    """The least values, of entries (value)."""
    most = int(stored.params["max_size"])
    return Read((LEAST_VALUES, stored.columns[0], most), real=not stored.whole, most=most)


def _recent(stored: StoredColumns, flags: int) -> Read:
    k = int(stored.params["k"])
    return Read(
        (RECENT, stored.columns[0], k, flags | (DIFFERENT if stored.params["distinct"] else 0)),
        real=not stored.whole,
        most=k,
    )


def _nullable(stored: StoredColumns, value: int, count: int) -> Read:
    return Read((KEPT, stored.columns[value], stored.columns[count]), real=not stored.whole)


def _spread(opcode: int, stored: StoredColumns) -> Read:
    return Read(
        (opcode, stored.columns[0], stored.columns[2], int(stored.params["ddof"])), real=True
    )


def _rough(columns: tuple[int, ...]) -> tuple[int, int]:
    """The columns of a sum: the total, and for integers that as a float."""
    return columns[1], columns[2] if len(columns) == 3 else -1
