"""A secondary key: what another family makes, for each of the latest categories.

Events are put in groups, one for each category of a key, in the order in which they were; a window
of a group is a range again, so the other family's own ranges, merges and values serve. Which
categories an answer holds is what `last_n(distinct=True)` lists.

State: (sizes, category, time and id of its latest event, then the other family's state), ragged,
categories rising. It holds every category, however many; the latest `max_keys` are chosen at the
end, as only all parts together say which they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from headwater.aggregations import ragged, sliding
from headwater.aggregations.base import (
    I32,
    AggregateFunction,
    Answers,
    FinalizeContext,
    GroupBy,
    Kinds,
    State,
    StateField,
    VisibleRanges,
    coded,
    in_time,
    plain,
)
from headwater.kernel.arrays import (
    I64,
    NOTHING,
    Column,
    Events,
    ListColumn,
    RequestTimes,
    Values,
    run_starts,
)
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import Layer, Spans, Use, seek
from headwater.kernel.sorting import order_of

GROUP = 4
"""The arrays of a state before those of the other family: sizes, categories, times and ids."""


@dataclass(frozen=True)
class GroupedFunction:
    """The family of `inner`'s functions by a secondary key."""

    inner: AggregateFunction
    by: GroupBy

    def partial(self, use: Use, spans: Spans) -> State:
        events = spans.layer.events
        rows, index = ragged.gather(self.by.use, spans)
        category = plain(events.columns[self.by.use.columns[0]].values[index])
        order = np.lexsort((category, rows))  # stable: events of a category stay in their order
        rows, index, category = rows[order], index[order], category[order]
        first = np.flatnonzero(run_starts(rows, category))
        starts = np.append(first, len(rows))
        layer = Layer(_grouped(events, index, starts, self.by.use))
        of_each = Spans(layer, spans.requests, spans.window, starts[:-1], starts[1:])
        latest = starts[1:] - 1
        ident = layer.events.ident[latest] if len(events.ident) else np.zeros(len(first), np.int64)
        state = self.inner.partial(Use(use.columns), of_each)
        return (
            ragged.sizes_of(rows[first], len(spans.lo)),
            category[first],
            layer.events.t[latest],
            ident,
            *state,
        )

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        parts = [np.concatenate([a, b]) for a, b in zip(left[1:], right[1:], strict=True)]
        order = np.lexsort((parts[0], rows))
        rows, parts = rows[order], [array[order] for array in parts]
        fresh = run_starts(rows, parts[0])
        # a category that both have is there twice, the left one first
        first_rows, both = np.flatnonzero(fresh), np.flatnonzero(~fresh)
        out = [array[first_rows] for array in parts]
        at = np.cumsum(fresh)[both] - 1
        _, t, ident, *inner = parts
        later = np.where(
            (t[both] > t[both - 1]) | ((t[both] == t[both - 1]) & (ident[both] > ident[both - 1])),
            both,
            both - 1,
        )
        joined = self.inner.merge(
            tuple(array[both - 1] for array in inner), tuple(array[both] for array in inner)
        )
        for target, new in zip(out[1:], (t[later], ident[later], *joined), strict=True):
            target[at] = new
        return ragged.sizes_of(rows[first_rows], len(left[0])), *out

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        name = self.by.use.columns[0]
        inner = self.inner.state_fields(Use(use.columns), kinds)
        entry_fields = (
            StateField(),
            StateField(kinds[name], entry=True, column=name),
            StateField(entry=True),
            StateField(entry=True, ident=True),
        )
        return *entry_fields, *(replace(field, entry=True, counts=None) for field in inner)

    def finalize(self, state: State, context: FinalizeContext) -> Answers:
        sizes, category, t, ident, *inner = state
        rows = ragged.rows_of(cast("I64", sizes))
        order = np.lexsort((category, ident, t, rows))
        order = order[
            ragged.places(cast("I64", sizes))
            >= np.repeat(sizes - self.by.max_keys, cast("I64", sizes))
        ]
        chosen = tuple(array[order] for array in inner)
        values = self._values(chosen, context, context.T[rows[order]])
        starts = np.concatenate([[0], np.cumsum(np.minimum(sizes, self.by.max_keys))])
        return ListColumn(np.arange(len(sizes)), starts, category[order], values=values)

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:
        groups = _groups(visible, self.by.use)
        pairs = visible.derive(
            ("pairs", groups.use, self.by.max_keys),
            lambda: _pairs(visible, groups, self.by.max_keys, context.T),
        )
        T = context.T[pairs.request]
        first, *others = zip(groups.layers, pairs.ranges, strict=True)
        state = self._of_layer(use, *first, T, context)
        nonempty = first[1].hi > first[1].lo
        for layer, ranges in others:
            more, pair = self._of_layer(use, layer, ranges, T, context), ranges.pair
            joined = self.inner.merge(tuple(array[pair] for array in state), more)
            for array, both, alone in zip(state, joined, more, strict=True):
                array[pair] = np.where(nonempty[pair], both, alone)
            nonempty[pair] = True
        return ListColumn(
            pairs.list_index,
            pairs.starts,
            groups.categories[pairs.group],
            values=self._values(state, context, T),
        )

    def _of_layer(
        self, use: Use, layer: Layer, ranges: _Ranges, T: I64, context: FinalizeContext
    ) -> State:
        # no more matters: their ranges are known
        requests = RequestTimes(NOTHING, T[ranges.pair], NOTHING)
        return self.inner.partial(
            Use(use.columns), Spans(layer, requests, context.window, ranges.lo, ranges.hi)
        )

    def _values(self, state: State, context: FinalizeContext, T: I64) -> Column:
        return cast(
            "Column",
            self.inner.finalize(state, replace(context, T=T, use=Use(context.use.columns))),
        )


@dataclass(frozen=True)
class _CategoryGroups:
    """The events that count, in g groups: one for each category of each key, by key and category.

    use: the events that count, its columns without those that are never null. categories: (g).
    layers: the events of each layer in groups. at: for each layer, where these were in the order of
    the visible ranges, int64; rising within a group. group, rank, near: of each event in that
    order, int32 and int64 (n): its group or -1, its rank by time, and the event before it of the
    same group, or -1.
    """

    use: Use
    categories: Values
    layers: Sequence[Layer]
    at: Sequence[I64]
    group: I32
    rank: I64
    near: I64


@dataclass(frozen=True)
class _RequestPairs:
    """The maps of requests as p pairs of a request and a group; neighbours that see the same at the
    same T share a map.

    list_index, starts: as of `ListColumn`. request, group: int64 (p). ranges: of each layer.
    """

    list_index: I64
    starts: I64
    request: I64
    group: I64
    ranges: Sequence[_Ranges]


@dataclass(frozen=True)
class _Ranges:
    """The events of a layer, in groups, that each of q pairs sees: lo:hi. Every pair in the first
    layer, then those that see any.
    """

    pair: I64
    lo: I64
    hi: I64


def _grouped(events: Events, index: I64, starts: I64, by: Use) -> Events:
    """The events at these positions, which all count for `by`, regrouped under new keys that begin
    at `starts`.
    """
    columns = {name: column.take(index) for name, column in events.columns.items()}
    columns |= {name: replace(columns[name], valid=None) for name in by.columns}
    ident = events.ident[index] if len(events.ident) else events.ident
    row = events.row[index] if len(events.row) else index
    return Events(
        starts, events.t[index], NOTHING, events.delay, ident, columns, row, events.ended_after
    )


def _groups(visible: VisibleRanges, by: Use) -> _CategoryGroups:
    columns = visible.whole.events.columns
    use = Use(
        (by.columns[0], *(name for name in by.columns[1:] if columns[name].valid is not None)),
        by.where,
    )
    return visible.whole.derive(("groups", use), lambda: _made(visible, use))


def _made(visible: VisibleRanges, use: Use) -> _CategoryGroups:
    whole = visible.whole
    events = whole.events
    codes, values = coded(whole, use)
    counted = np.flatnonzero(codes >= 0)
    key = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))[counted]
    order, _ = order_of(
        key, codes[counted].astype(np.int64), max(len(events.starts) - 1, 1), threads=1
    )
    rows = counted[order]
    fresh = run_starts(key[order], codes[rows].astype(np.int64))
    group, ends = np.cumsum(fresh) - 1, np.arange(int(fresh.sum()) + 1)
    position = np.empty(len(codes), np.int64)
    position[visible.order] = np.arange(len(codes))
    at, near, group_of = (
        position[rows],
        np.full(len(codes), -1, np.int64),
        np.full(len(codes), -1, np.int32),
    )
    near[at[1:][~fresh[1:]]] = at[:-1][~fresh[1:]]
    group_of[at] = group
    layers, places = [], []
    for begin, end in zip(visible.begins[:-1], visible.begins[1:], strict=True):
        members = np.flatnonzero((at >= begin) & (at < end))
        layers.append(
            Layer(_grouped(events, rows[members], np.searchsorted(group[members], ends), use))
        )
        places.append(at[members])
    rank = in_time(whole, use.columns[0])[visible.order]
    return _CategoryGroups(use, values[codes[rows[fresh]]], layers, places, group_of, rank, near)


def _pairs(visible: VisibleRanges, groups: _CategoryGroups, max_keys: int, T: I64) -> _RequestPairs:
    lists = sliding.best(
        visible,
        groups.group,
        len(groups.categories),
        sliding.NEWEST,
        max_keys,
        groups.rank,
        groups.near,
        flip=True,
    )
    fresh = run_starts(lists.list_index, T)
    requests = np.flatnonzero(fresh)
    chosen = lists.list_index[requests]
    sizes = np.diff(lists.starts)[chosen]
    request = np.repeat(requests, sizes)
    group = cast("I64", lists.items[ragged.places(sizes) + np.repeat(lists.starts[chosen], sizes)])
    ranges = []
    for depth, (layer, at) in enumerate(zip(groups.layers, groups.at, strict=True)):
        lo, hi = np.empty(len(request), np.int64), np.empty(len(request), np.int64)
        _ranges(
            layer.events.starts,
            at,
            request,
            group,
            visible.lo[:, depth],
            visible.hi[:, depth],
            lo,
            hi,
        )
        seen = np.flatnonzero(hi > lo) if depth else np.arange(len(request))
        ranges.append(_Ranges(seen, lo[seen], hi[seen]) if depth else _Ranges(seen, lo, hi))
    return _RequestPairs(
        np.cumsum(fresh) - 1, np.concatenate([[0], np.cumsum(sizes)]), request, group, ranges
    )


@njit()
def _ranges(starts, at, request, group, lo, hi, out_lo, out_hi):  # type: ignore[no-untyped-def]
    """The events of each pair's group in lo:hi of its request, found by steps from the last place
    in the group.
    """
    first, last = starts.copy(), starts.copy()
    for p in range(len(request)):
        g, j = group[p], request[p]
        begin, end = starts[g], starts[g + 1]
        if begin == end or lo[j] >= hi[j]:
            out_lo[p] = out_hi[p] = begin
            continue
        first[g] = out_lo[p] = seek(at, first[g], begin, end, lo[j])
        last[g] = out_hi[p] = seek(at, last[g], begin, end, hi[j])
