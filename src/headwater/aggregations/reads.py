"""How compiled loops compute a function's value from the columns of its stored state.

A read is an opcode and up to four operands: columns of the record, or numbers. `state.read_kernels`
has the loops; the file of each family, the rules that make reads.
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


def nullable(stored: StoredColumns, value: int, count: int) -> Read:
    """A column's value as it is kept, null where another column is 0."""
    return Read((KEPT, stored.columns[value], stored.columns[count]), real=not stored.whole)
