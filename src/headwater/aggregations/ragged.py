"""States whose rows have entries of their own number: the sizes (l), then arrays of the entries,
row after row.

For tiles and tests: ranges here are gathered, one entry an event, so they should not overlap much.
Windows of history are swept instead.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from headwater.kernel.arrays import I64, run_starts
from headwater.kernel.layers import Spans, Use

Entries = NDArray[np.int64] | NDArray[np.float64]


def rows_of(sizes: I64) -> I64:
    """The row of each entry."""
    return np.repeat(np.arange(len(sizes)), sizes)


def rows_of_both(left: tuple[Entries, ...], right: tuple[Entries, ...]) -> I64:
    """The row of each entry of two states, one after the other."""
    return np.concatenate([rows_of(cast("I64", state[0])) for state in (left, right)])


def sizes_of(rows: I64, count: int) -> I64:
    """How many entries each of `count` rows has."""
    return np.bincount(rows, minlength=count).astype(np.int64)


def places(sizes: I64) -> I64:
    """The position of each entry in its row, from 0."""
    ends = np.cumsum(sizes)
    return np.arange(int(sizes.sum())) - np.repeat(ends - sizes, sizes)


def gather(use: Use, spans: Spans) -> tuple[I64, I64]:
    """The row and the position of every event that counts for `use` in a range, in order."""
    sizes = np.maximum(spans.hi - spans.lo, 0)
    rows, index = rows_of(sizes), places(sizes) + np.repeat(spans.lo, sizes)
    valid = spans.layer.valid(use)
    return (rows[valid[index]], index[valid[index]]) if len(valid) else (rows, index)


def counted(rows: I64, values: Entries, counts: I64, count: int) -> tuple[I64, Entries, I64]:
    """Entries as a state of `count` rows with each value once, in rising order, and its counts
    added up.
    """
    order = np.lexsort((values, rows))
    rows, values, counts = rows[order], values[order], counts[order]
    first = np.flatnonzero(run_starts(rows, values))
    total = np.add.reduceat(counts, first) if len(first) else counts
    return sizes_of(rows[first], count), values[first], total
