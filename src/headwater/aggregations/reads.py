"""How compiled loops compute a function's value from the columns of its stored state.

A read is an opcode and up to four operands: columns of the record, or numbers. `state.read_kernels`
has the loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headwater.definitions.aggregate import Parameter
from headwater.definitions.windows import Window
from headwater.kernel.layer import Use

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


How = Callable[[StoredColumns], Read]


def number(of: StoredColumns) -> Read:
    """The state's first number itself."""
    return Read((WHOLE, of.columns[0]), real=False)


def total(of: StoredColumns) -> Read:
    """A sum, of state (n, total, and for integers the total as a float)."""
    return (
        Read((SUM, *_rough(of.columns)), real=False)
        if of.whole
        else Read((REAL, of.columns[1]), real=True)
    )


def mean(of: StoredColumns) -> Read:
    """A sum over its number of values."""
    return Read((MEAN, of.columns[0], *_rough(of.columns)), real=True)


def extreme(of: StoredColumns) -> Read:
    """A value, of state (n, value)."""
    return _kept(of, 1, 0)


def edge(of: StoredColumns) -> Read:
    """The value of an event, of state (time, id, value, whether there is one)."""
    return _kept(of, 2, -1)


def by(of: StoredColumns) -> Read:
    """The value of the event where another column is least or greatest."""
    return _kept(of, 4, 0)


def latest(of: StoredColumns) -> Read:
    """One column of a row, null where it was null there."""
    c, at = of.columns, 2 + 2 * of.output
    return Read((LATEST, c[at + 1], c[-1], c[at]), real=not of.whole)


def since(of: StoredColumns) -> Read:
    """Seconds from an event to T."""
    return Read((SINCE, of.columns[0], of.columns[-1]), real=True)


def deviation(of: StoredColumns) -> Read:
    """The root of a variance, of state (n, mean, squares)."""
    return _spread(DEVIATION, of)


def variance(of: StoredColumns) -> Read:
    """Squares of differences from the mean over n - ddof."""
    return _spread(VARIANCE, of)


def rate(of: StoredColumns) -> Read:
    """A number of events, or a sum, per second of the window."""
    assert of.window.length is not None
    return Read(
        (RATE, *(_rough(of.columns) if of.use.columns else (of.columns[0], -2)), of.window.length),
        real=True,
    )


def fraction(of: StoredColumns) -> Read:
    """The second number of a state over its first."""
    return Read((FRACTION, of.columns[0], of.columns[1]), real=True)


def ratio(of: StoredColumns) -> Read:
    """A sum over another; `whole` of the first column says where the second begins."""
    cut = 3 if of.whole else 2
    return Read((RATIO, *_rough(of.columns[:cut]), *_rough(of.columns[cut:])), real=True)


def decayed_sum(of: StoredColumns) -> Read:
    """A sum whose weights halve until T, of state (n, last, total, weight)."""
    n, last, total, _ = of.columns
    return Read((DECAYED_SUM, n, last, total, int(of.params["half_life"])), real=True)


def decayed_mean(of: StoredColumns) -> Read:
    """A sum over its weights."""
    n, _, total, weight = of.columns
    return Read((DECAYED_MEAN, n, total, weight), real=True)


def open_count(of: StoredColumns) -> Read:
    """How many events are open, of entries (time, end)."""
    return Read((OPEN_COUNT, of.columns[0], of.ended_after), real=False)


def open_age(of: StoredColumns) -> Read:
    """The mean age of open events in seconds, of entries (time, end)."""
    return Read((OPEN_AGE, of.columns[0], of.ended_after), real=True)


def distinct(of: StoredColumns) -> Read:
    """How many values differ, of (sizes, whether exact, hashes or registers)."""
    return Read((DISTINCT, of.columns[0]), real=False)


def percentile(of: StoredColumns) -> Read:
    """The bucket of a rank, of entries (bucket, count)."""
    return Read((PERCENTILE, of.columns[0], round(float(of.params["q"]) * 1_000_000)), real=True)


def last_values(of: StoredColumns) -> Read:
    """The last values, of entries (time, id, value)."""
    return _recent(of, NEWEST)


def first_values(of: StoredColumns) -> Read:
    """The first values, of entries (time, id, value)."""
    return _recent(of, 0)


def mode(of: StoredColumns) -> Read:
    """The most frequent value, of entries (value, count)."""
    return Read((FREQUENT, of.columns[0], -1), real=not of.whole)


def frequent(of: StoredColumns) -> Read:
    """The most frequent values, of entries (value, count)."""
    k = int(of.params["k"])
    return Read((FREQUENT, of.columns[0], k), real=not of.whole, most=k)


def least_values(of: StoredColumns) -> Read:
    """The least values, of entries (value)."""
    most = int(of.params["max_size"])
    return Read((LEAST_VALUES, of.columns[0], most), real=not of.whole, most=most)


def _recent(of: StoredColumns, flags: int) -> Read:
    k = int(of.params["k"])
    return Read(
        (RECENT, of.columns[0], k, flags | (DIFFERENT if of.params["distinct"] else 0)),
        real=not of.whole,
        most=k,
    )


def _kept(of: StoredColumns, value: int, count: int) -> Read:
    return Read((KEPT, of.columns[value], of.columns[count]), real=not of.whole)


def _spread(opcode: int, of: StoredColumns) -> Read:
    return Read((opcode, of.columns[0], of.columns[2], int(of.params["ddof"])), real=True)


def _rough(columns: tuple[int, ...]) -> tuple[int, int]:
    """The columns of a sum: the total, and for integers that as a float."""
    return columns[1], columns[2] if len(columns) == 3 else -1
