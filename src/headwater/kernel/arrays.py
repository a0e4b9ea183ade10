"""The few array bundles that the kernel passes around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Values = NDArray[np.int64] | NDArray[np.float64]

NOTHING: I64 = np.empty(0, np.int64)
LASTS = np.iinfo(np.int64).max
"""`removed_at` of an event that is never taken back."""


def run_starts(*keys: Values | Bool) -> Bool:
    """Whether each entry differs from the one before it; the first does."""
    new = np.ones(len(keys[0]), np.bool_)
    if len(new) > 1:
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return new


@dataclass(frozen=True)
class Column:
    """One value an event (or an answer a row): float64 or int64, and where it is not null.

    Booleans are 0 and 1, times microseconds, strings their rank among the sorted distinct strings.
    `valid` None: none is null.
    `hashes`: for strings, a hash of each distinct one, where a function needs it.
    """

    values: Values
    valid: Bool | None = None
    hashes: I64 | None = None

    def take(self, index: I64) -> Column:
        """The column at these positions."""
        return Column(
            self.values[index], None if self.valid is None else self.valid[index], self.hashes
        )

    def slice(self, start: int, stop: int) -> Column:
        """The column between two positions, without a copy."""
        return Column(
            self.values[start:stop],
            None if self.valid is None else self.valid[start:stop],
            self.hashes,
        )

    @staticmethod
    def join(parts: Sequence[Column]) -> Column:
        """Columns of answers one after the other; at least one."""
        valid = None
        if any(p.valid is not None for p in parts):
            valid = np.concatenate(
                [np.ones(len(p.values), np.bool_) if p.valid is None else p.valid for p in parts]
            )
        return Column(np.concatenate([p.values for p in parts]), valid)


@dataclass(frozen=True)
class ListColumn:
    """A list, or a map, for each of l answers, neighbours often share one.

    list_index: int64 (l), which list each answer is; never falling as `aggregate` makes it, any
    order afterwards.
    starts: int64 (m + 1): list i is items[starts[i]:starts[i + 1]]. `valid` None: no answer is
    null.
    values: for maps, whose keys the items are, what each of them maps to.
    """

    list_index: I64
    starts: I64
    items: Values
    valid: Bool | None = None
    values: Column | None = None

    def take(self, index: I64) -> ListColumn:
        """The answers at these positions."""
        return ListColumn(
            self.list_index[index],
            self.starts,
            self.items,
            None if self.valid is None else self.valid[index],
            self.values,
        )

    def slice(self, start: int, stop: int) -> ListColumn:
        """The answers between two positions, with their lists; `list_index` must not fall."""
        valid = None if self.valid is None else self.valid[start:stop]
        first, last = (
            (int(self.list_index[start]), int(self.list_index[stop - 1]))
            if start < stop
            else (0, -1)
        )
        a, b = int(self.starts[first]), int(self.starts[last + 1])
        values = None if self.values is None else self.values.slice(a, b)
        return ListColumn(
            self.list_index[start:stop] - first,
            self.starts[first : last + 2] - a,
            self.items[a:b],
            valid,
            values,
        )

    @staticmethod
    def join(parts: Sequence[ListColumn]) -> ListColumn:
        """Parts one after the other, none of them with nulls; at least one."""
        lists = np.cumsum([0, *(len(p.starts) - 1 for p in parts)])
        items = np.cumsum([0, *(len(p.items) for p in parts)])
        starts = [p.starts[:-1] + begin for p, begin in zip(parts, items[:-1], strict=True)]
        list_index = [p.list_index + begin for p, begin in zip(parts, lists[:-1], strict=True)]
        values = [p.values for p in parts if p.values is not None]
        return ListColumn(
            np.concatenate(list_index),
            np.concatenate([*starts, items[-1:]]),
            np.concatenate([p.items for p in parts]),
            values=Column.join(values) if values else None,
        )


@dataclass(frozen=True)
class Events:
    """Events sorted by (key, time, id, known, values), n of them for m keys.

    starts: int64 (m + 1): key k's events are at starts[k]:starts[k + 1].
    t: int64 (n), microseconds UTC. known: int64 (n), or empty where every event is known `delay`
    after its time.
    ident: int64 (n), the rank of the event's id, or empty. columns: what aggregations read, by
    name.
    row: int64 (n), the position in the events that these were taken from, or empty for the events
    themselves.
    ended_after: how long after an event's end, in microseconds, it is known that it ended.
    removed_at: int64 (n), from when on each event is taken back (LASTS: never), or empty where
    none is; then `known` is not empty.
    """

    starts: I64
    t: I64
    known: I64
    delay: int
    ident: I64
    columns: Mapping[str, Column]
    row: I64 = field(default_factory=lambda: NOTHING)
    ended_after: int = 0
    removed_at: I64 = field(default_factory=lambda: NOTHING)

    def keys(self, first: int, last: int) -> Events:
        """The events of the keys first to last - 1, without a copy."""
        a, b = int(self.starts[first]), int(self.starts[last])
        cut = {name: column.slice(a, b) for name, column in self.columns.items()}
        starts = self.starts[first : last + 1] - a
        sliced = (self.t[a:b], self.known[a:b], self.delay, self.ident[a:b], cut)
        return Events(
            starts, *sliced, ended_after=self.ended_after, removed_at=self.removed_at[a:b]
        )


@dataclass(frozen=True)
class RequestTimes:
    """Requests sorted by (key, T), l of them for m keys, as T and K of one freshness.

    starts: int64 (m + 1), as for events. T, K: int64 (l), microseconds UTC.
    """

    starts: I64
    T: I64
    K: I64

    def keys(self, first: int, last: int) -> RequestTimes:
        """The requests of the keys first to last - 1, without a copy."""
        a, b = int(self.starts[first]), int(self.starts[last])
        return RequestTimes(self.starts[first : last + 1] - a, self.T[a:b], self.K[a:b])

    def part(self, first: int, last: int) -> RequestTimes:
        """The requests at positions first to last - 1, for the same keys."""
        return RequestTimes(
            np.clip(self.starts, first, last) - first, self.T[first:last], self.K[first:last]
        )
