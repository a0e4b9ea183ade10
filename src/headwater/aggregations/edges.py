"""first, last, latest, since_last: the event at an edge of the window, by (time, id, value).

State: (time, id, what breaks a tie, row of the event; row -1 for none). What breaks a tie is the value, and for `latest` each column in
turn, as whether it is not null and its value: ranks would mean nothing to a state of other events.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from headwater.aggregations.algebra import Finish, State
from headwater.compute import folds
from headwater.compute.arrays import NOTHING, Column, Events, Values
from headwater.compute.layer import Layer, Spans, Use
from headwater.definitions.durations import SECOND


class _Edges:
    def __init__(self, *, newest: bool, whole_row: bool = False) -> None:
        self.newest, self.whole_row = newest, whole_row

    def ranges(self, use: Use, spans: Spans) -> State:
        layer, events = spans.layer, spans.layer.events
        counts = Use((), use.where) if self.whole_row else use
        rank = self._rank(layer, use)
        position = np.empty(len(spans.lo), np.int64)
        folds.edge(layer.valid(counts), events.t, events.ident, rank, spans.lo, spans.hi, self.newest, position)
        none = position < 0

        def at(values: Values) -> Values:
            if len(values) == 0:
                return cast("Values", np.zeros(len(position), values.dtype))
            found = values.take(position, mode="wrap")  # the last for none
            if none.any():
                found[none] = 0
            return found

        ties = [at(part) for part in _parts(events, use.columns)] if self.whole_row else [at(rank)]
        return at(events.t), at(events.ident), *ties, spans.rows(position)

    def merge(self, left: State, right: State) -> State:
        *mine, row = left
        *theirs, other = right
        take = row < 0
        equal = (row >= 0) & (other >= 0)
        for a, b in zip(mine, theirs, strict=True):
            take |= equal & (b > a if self.newest else b < a)
            equal &= a == b
        return tuple(np.where(take & (other >= 0), b, a) for a, b in zip(left, right, strict=True))

    def finish(self, state: State, how: Finish) -> Column:
        t, row = state[0], state[-1]
        some = row >= 0
        if how.function == "since_last":
            return Column(np.where(some, how.T - t, 0) / SECOND, some)
        column = how.events.columns[how.use.columns[how.output]]
        if len(column.values) == 0:
            return Column(cast("Values", np.zeros(len(row), column.values.dtype)), some)
        found = column.take(np.maximum(row, 0))
        return Column(found.values, some if found.valid is None else some & found.valid)

    def _rank(self, layer: Layer, use: Use) -> Values:
        if not use.columns:
            return NOTHING
        if not self.whole_row:
            return layer.events.columns[use.columns[0]].values
        return layer.derive(("rank", use), lambda: _row_rank(layer.events, use.columns))


def _row_rank(events: Events, columns: tuple[str, ...]) -> Values:
    """The order of events of one time (and id) by their columns in turn, nulls first; 0 where no other has the time."""
    rank = np.zeros(len(events.t), np.int64)
    same = np.zeros(len(events.t) + 1, np.bool_)
    same[1:-1] = events.t[1:] == events.t[:-1]
    tied = np.flatnonzero(same[1:] | same[:-1])
    if len(tied) == 0:
        return rank
    keys = [part[tied] for part in _parts(events, columns)]
    order = np.lexsort(keys[::-1])
    fresh = np.logical_or.reduce([k[order][1:] != k[order][:-1] for k in keys])
    rank[tied[order]] = np.concatenate([[0], np.cumsum(fresh)])
    return rank


def _parts(events: Events, columns: tuple[str, ...]) -> list[Values]:
    """The columns in turn, as whether each is not null and its value: to compare rows by, nulls first."""
    made: list[Values] = []
    for name in columns:
        column = events.columns[name]
        valid = np.ones(len(column.values), np.bool_) if column.valid is None else column.valid
        made += [valid.astype(np.int64), np.where(valid, column.values, 0)]
    return made


NEWEST = _Edges(newest=True)
OLDEST = _Edges(newest=False)
NEWEST_ROW = _Edges(newest=True, whole_row=True)
