"""first, last, latest, since_last: the event at an edge of the window, by (time, id, value).

State: (time, id, the values, whether there is an event). The values break ties: that of the column,
and for `latest` each column in turn, as whether it is not null and its value. Ranks would mean
nothing to a state of other events.

first_n and last_n. State: the values kept, by (time, id, value), as (sizes, time, id, value),
ragged.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import cast

import numpy as np

from headwater.aggregations import ragged, sliding
from headwater.aggregations.base import (
    Answers,
    FinalizeContext,
    Kinds,
    State,
    StateField,
    VisibleRanges,
    in_time,
    plain,
)
from headwater.aggregations.reads import (
    DIFFERENT,
    LATEST,
    RECENT,
    SINCE,
    Read,
    StoredColumns,
    nullable,
)
from headwater.aggregations.reads import NEWEST as NEWEST_FLAG
from headwater.aggregations.reference import EVERY, Answer, Counted
from headwater.aggregations.table import Entry
from headwater.definitions.checks import SECOND, spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs, size
from headwater.kernel import layers
from headwater.kernel.arrays import (
    I64,
    NOTHING,
    Bool,
    Column,
    Events,
    ListColumn,
    Values,
    run_starts,
)
from headwater.kernel.layers import LESS, MORE, SOME, Layer, Spans, Use


class _FirstLast:
    def __init__(self, *, newest: bool, whole_row: bool = False) -> None:
        self.newest, self.whole_row = newest, whole_row

    def partial(self, use: Use, spans: Spans) -> State:
        layer, events = spans.layer, spans.layer.events
        counts = Use((), use.where) if self.whole_row else use
        if spans.shares and len(layer.valid(counts)) == 0 and layer.distinct_times():
            edge = spans.derive(
                ("edge", self.newest), lambda: _shared_edge(spans, newest=self.newest)
            )
            values = _parts(events, use.columns) if self.whole_row else [self._rank(layer, use)]
        else:
            rank = self._rank(layer, use)
            position = np.empty(len(spans.lo), np.int64)
            layers.edge(
                layer.valid(counts),
                events.t,
                events.ident,
                rank,
                spans.lo,
                spans.hi,
                self.newest,
                position,
            )
            edge = _edge(events, position, position < 0)
            values = _parts(events, use.columns) if self.whole_row else [rank]
        return (
            edge.t,
            edge.ident,
            *(edge.pick(column_values) for column_values in values),
            edge.nonempty,
        )

    def merge(self, left: State, right: State) -> State:
        *left_values, nonempty = left
        *right_values, right_nonempty = right
        take = nonempty == 0
        equal = (nonempty > 0) & (right_nonempty > 0)
        for a, b in zip(left_values, right_values, strict=True):
            take |= equal & (b > a if self.newest else b < a)
            equal &= a == b
        return tuple(
            np.where(take & (right_nonempty > 0), b, a) for a, b in zip(left, right, strict=True)
        )

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        names = use.columns if self.whole_row else use.columns[:1]
        op = MORE if self.newest else LESS
        values = [StateField(kinds[name], column=name, op=op) for name in names]
        if self.whole_row:
            values = [field for value in values for field in (StateField(op=op), value)]
        return (
            StateField(op=op),
            StateField(ident=True, op=op),
            *(values or [StateField(op=op)]),
            StateField(op=SOME),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        nonempty = state[-1] > 0
        if context.function == "since_last":
            return Column(np.where(nonempty, context.T - state[0], 0) / SECOND, nonempty)
        if self.whole_row:
            valid, values = state[2 + 2 * context.output : 4 + 2 * context.output]
            return Column(values, nonempty & (valid > 0))
        return Column(state[2], nonempty)

    def _rank(self, layer: Layer, use: Use) -> Values:
        if not use.columns:
            return NOTHING
        if not self.whole_row:
            return layer.events.columns[use.columns[0]].values
        return layer.derive(("rank", use), lambda: _row_rank(layer.events, use.columns))


@dataclass(frozen=True)
class _Edge:
    """The event at the edge of each range: its position, -1 where there is none; its time and id, 0
    there; whether there is one (0 or 1).

    All int64 (l).
    """

    position: I64
    none: Bool | None
    t: I64
    ident: I64
    nonempty: I64

    def pick(self, values: Values) -> Values:
        """A value of each of these events, 0 where there is none."""
        return _at(values, self.position, self.none)


def _at(values: Values, position: I64, none: Bool | None) -> Values:
    if len(values) == 0:
        return cast("Values", np.zeros(len(position), values.dtype))
    picked = values.take(position, mode="wrap")  # the last for none
    if none is not None:
        picked[none] = 0
    return picked


def _edge(events: Events, position: I64, empty: Bool) -> _Edge:
    none = empty if empty.any() else None
    t, ident = (cast("I64", _at(values, position, none)) for values in (events.t, events.ident))
    return _Edge(position, none, t, ident, (~empty).astype(np.int64))


def _shared_edge(spans: Spans, *, newest: bool) -> _Edge:
    """The first or last event of each range; all columns share it, since all count and none has the
    time of another.
    """
    empty = spans.hi <= spans.lo
    edge = _edge(
        spans.layer.events, np.where(empty, -1, spans.hi - 1 if newest else spans.lo), empty
    )
    for array in (edge.t, edge.ident, edge.nonempty):
        array.flags.writeable = False
    return edge


def _row_rank(events: Events, columns: tuple[str, ...]) -> Values:
    """The order of events of one time (and id) by their columns in turn, nulls first; 0 where no
    other has the time.
    """
    rank = np.zeros(len(events.t), np.int64)
    same = np.zeros(len(events.t) + 1, np.bool_)
    same[1:-1] = events.t[1:] == events.t[:-1]
    tied = np.flatnonzero(same[1:] | same[:-1])
    if len(tied) == 0:
        return rank
    keys = [column_values[tied] for column_values in _parts(events, columns)]
    order = np.lexsort(keys[::-1])
    fresh = np.logical_or.reduce([k[order][1:] != k[order][:-1] for k in keys])
    rank[tied[order]] = np.concatenate([[0], np.cumsum(fresh)])
    return rank


def _parts(events: Events, columns: tuple[str, ...]) -> list[Values]:
    """The columns in turn, as whether each is not null and its value: to compare rows by, nulls
    first.
    """
    compared_columns: list[Values] = []
    for name in columns:
        column = events.columns[name]
        valid = np.ones(len(column.values), np.bool_) if column.valid is None else column.valid
        compared_columns += [valid.astype(np.int64), np.where(valid, column.values, 0)]
    return compared_columns


NEWEST = _FirstLast(newest=True)

OLDEST = _FirstLast(newest=False)

NEWEST_ROW = _FirstLast(newest=True, whole_row=True)


@dataclass(frozen=True)
class _FirstLastN:
    newest: bool
    k: int
    distinct: bool

    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        events = spans.layer.events
        ident = events.ident[index] if len(events.ident) else np.zeros(len(index), np.int64)
        return self._kept(
            rows,
            events.t[index],
            ident,
            plain(events.columns[use.columns[0]].values[index]),
            len(spans.lo),
        )

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        t, ident, values = (
            np.concatenate([a, b]) for a, b in zip(left[1:], right[1:], strict=True)
        )
        return self._kept(rows, t, ident, values, len(left[0]))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        name = use.columns[0]
        return (
            StateField(),
            StateField(entry=True),
            StateField(entry=True, ident=True),
            StateField(kinds[name], entry=True, column=name),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        return ListColumn(
            np.arange(len(state[0])), np.concatenate([[0], np.cumsum(state[0])]), state[3]
        )

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        events = visible.whole.events
        rank = in_time(visible.whole, use.columns[0])
        if self.distinct:
            codes, values = visible.coded(use)
            ranks = (rank if self.newest else len(rank) - 1 - rank)[visible.order]
            lists = sliding.best(
                visible, codes, len(values), sliding.NEWEST, self.k, ranks, flip=self.newest
            )
            return ListColumn(lists.list_index, lists.starts, values[lists.items])
        values = np.empty_like(events.columns[use.columns[0]].values)
        values[rank] = plain(events.columns[use.columns[0]].values)
        if self.newest:  # the smallest code is the first listed
            rank, values = len(rank) - 1 - rank, values[::-1]
        valid = visible.whole.valid(use)
        codes = (np.where(valid, rank, -1) if len(valid) else rank).astype(np.int32)[visible.order]
        lists = sliding.best(visible, codes, len(rank), sliding.PRESENCE, self.k, flip=self.newest)
        return ListColumn(lists.list_index, lists.starts, values[lists.items])

    def _kept(
        self,
        rows: I64,
        t: ragged.Entries,
        ident: ragged.Entries,
        values: ragged.Entries,
        count: int,
    ) -> State:
        if self.distinct:
            order = np.lexsort((values, ident, t, values, rows))
            if not self.newest:
                order = order[::-1]
            # of each value, the occurrence that goes furthest
            last = np.roll(run_starts(rows[order], values[order]), -1)
            order = order[last]
            rows, t, ident, values = rows[order], t[order], ident[order], values[order]
        order = np.lexsort((values, ident, t, rows))
        rows = rows[order]
        sizes = ragged.sizes_of(rows, count)
        places = ragged.places(sizes)
        few = places >= np.repeat(sizes, sizes) - self.k if self.newest else places < self.k
        return np.minimum(sizes, self.k), t[order][few], ident[order][few], values[order][few]


@spelled
def first(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The first value that is not null in each column, by (event time, id, value); null when there
    are none.
    """
    needs("first", columns, "page")
    return made("first", columns, windows, where, name, each=True)


@spelled
def last(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The last value that is not null in each column, by (event time, id, value); null when there
    are none.
    """
    needs("last", columns, "page")
    return made("last", columns, windows, where, name, each=True)


@spelled
def latest(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Every column of the one latest row, nulls included, by (event time, id, the columns in
    order); null when there is none.
    """
    needs("latest", columns, "status")
    return made("latest", columns, windows, where, name)


@spelled
def since_last(
    *, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Seconds from the last event to T, the end of the window: float64, null when there is none."""
    return made("since_last", (), windows, where, name)


@spelled
def first_n(
    *columns: str,
    k: int,
    distinct: bool = False,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The first `k` values that are not null, oldest first, by (event time, id, value): a list, []
    when there are none.

    `distinct`: each value once, where it came first.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(first_n("page", k=3), page=["a", "a", "b", "c"]),
    ...     value_of(first_n("page", k=2, distinct=True), page=["a", "a", "b", "c"]),
    ... )
    (['a', 'a', 'b'], ['a', 'b'])
    """
    needs("first_n", columns, "page")
    params = (*size("first_n", "k", k), ("distinct", bool(distinct)))
    return made("first_n", columns, windows, where, name, each=True, params=params)


@spelled
def last_n(
    *columns: str,
    k: int,
    distinct: bool = False,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The last `k` values that are not null, oldest first, by (event time, id, value): a list, []
    when there are none.

    `distinct`: each value once, where it came last.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(last_n("page", k=3), page=["a", "b", "b", "a"]),
    ...     value_of(last_n("page", k=3, distinct=True), page=["a", "b", "b", "a"]),
    ... )
    (['b', 'b', 'a'], ['b', 'a'])
    """
    needs("last_n", columns, "page")
    params = (*size("last_n", "k", k), ("distinct", bool(distinct)))
    return made("last_n", columns, windows, where, name, each=True, params=params)


def _read_edge(stored: StoredColumns) -> Read:
    """The value of an event, of state (time, id, value, whether there is one)."""
    return nullable(stored, 2, -1)


def _read_latest(stored: StoredColumns) -> Read:
    """One column of a row, null where it was null there."""
    c, at = stored.columns, 2 + 2 * stored.output
    return Read((LATEST, c[at + 1], c[-1], c[at]), real=not stored.whole)


def _read_since(stored: StoredColumns) -> Read:
    """Seconds from an event to T."""
    return Read((SINCE, stored.columns[0], stored.columns[-1]), real=True)


def _read_last_n(stored: StoredColumns) -> Read:
    """The last values, of entries (time, id, value)."""
    return _recent(stored, NEWEST_FLAG)


def _read_first_n(stored: StoredColumns) -> Read:
    """The first values, of entries (time, id, value)."""
    return _recent(stored, 0)


def _recent(stored: StoredColumns, flags: int) -> Read:
    k = int(stored.params["k"])
    return Read(
        (RECENT, stored.columns[0], k, flags | (DIFFERENT if stored.params["distinct"] else 0)),
        real=not stored.whole,
        most=k,
    )


def _naive_first(counted: Counted) -> Answer:
    return Answer(counted.values[0][0], "present")


def _naive_last(counted: Counted) -> Answer:
    return Answer(counted.values[0][-1], "present")


def _naive_latest(counted: Counted) -> Answer:
    return Answer(counted.values[counted.feature.column][-1], "present")


def _naive_since_last(counted: Counted) -> Answer:
    seconds = Fraction(counted.request.T - int(counted.events[-1].time), SECOND)
    return Answer(float(seconds), "present", float(abs(seconds)) / 1e6)


def _naive_first_n(counted: Counted) -> Answer:
    params = counted.params
    listed = list(dict.fromkeys(counted.values[0])) if params["distinct"] else counted.values[0]
    return Answer(listed[: int(params["k"])], "present")


def _naive_last_n(counted: Counted) -> Answer:
    params = counted.params
    listed = counted.values[0][::-1]
    listed = list(dict.fromkeys(listed)) if params["distinct"] else listed
    return Answer(listed[: int(params["k"])][::-1], "present")


ROWS = (
    Entry(
        "first",
        "same",
        accepts="any",
        family=OLDEST,
        splits=True,
        read=_read_edge,
        reference=_naive_first,
        cases=lambda: [first(*EVERY), first("flag").by("moment", max_keys=3)],
    ),
    Entry(
        "last",
        "same",
        accepts="any",
        family=NEWEST,
        splits=True,
        read=_read_edge,
        reference=_naive_last,
        cases=lambda: [last(*EVERY), last("word", "real").by("whole", max_keys=2)],
    ),
    Entry(
        "latest",
        "same",
        accepts="any",
        family=NEWEST_ROW,
        per_column=True,
        read=_read_latest,
        reference=_naive_latest,
        cases=lambda: [latest(*EVERY)],
    ),
    Entry(
        "since_last",
        "float",
        accepts="any",
        family=NEWEST,
        splits=True,
        read=_read_since,
        reference=_naive_since_last,
        cases=lambda: [since_last(), since_last().by("word", max_keys=2)],
    ),
    Entry(
        "first_n",
        "list",
        accepts="any",
        family=partial(_FirstLastN, newest=False),
        empty=(),
        shape=("k", "distinct"),
        read=_read_first_n,
        reference=_naive_first_n,
        cases=lambda: [
            first_n(*EVERY, k=2),
            first_n("flag", k=2, distinct=True, name="early"),
        ],
    ),
    Entry(
        "last_n",
        "list",
        accepts="any",
        family=partial(_FirstLastN, newest=True),
        empty=(),
        shape=("k", "distinct"),
        read=_read_last_n,
        reference=_naive_last_n,
        cases=lambda: [
            last_n(*EVERY, k=2),
            last_n("word", k=3, distinct=True, name="recent"),
            last_n("real", k=2, distinct=True, name="seen"),
        ],
    ),
)
