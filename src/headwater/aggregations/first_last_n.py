"""first_n and last_n. State: the values kept, by (time, id, value), as (sizes, time, id, value),
ragged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.aggregations import ragged, sliding
from headwater.aggregations.base import Answers, FinalizeContext, Kinds, State, StateField
from headwater.aggregations.event_order import in_time
from headwater.aggregations.visible_ranges import VisibleRanges, plain
from headwater.kernel.arrays import I64, ListColumn
from headwater.kernel.layers import Spans, Use


@dataclass(frozen=True)
class _FirstLastN:
    newest: bool
    k: int
    distinct: bool

    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        events = spans.layer.events
        ident = events.ident[index] if len(events.ident) else np.zeros(len(index), np.int64)
        return self._truncate(
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
        return self._truncate(rows, t, ident, values, len(left[0]))

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
            return ListColumn(lists.of, lists.starts, values[lists.items])
        values = np.empty_like(events.columns[use.columns[0]].values)
        values[rank] = plain(events.columns[use.columns[0]].values)
        if self.newest:  # the smallest code is the first listed
            rank, values = len(rank) - 1 - rank, values[::-1]
        valid = visible.whole.valid(use)
        codes = (np.where(valid, rank, -1) if len(valid) else rank).astype(np.int32)[visible.order]
        lists = sliding.best(visible, codes, len(rank), sliding.PRESENCE, self.k, flip=self.newest)
        return ListColumn(lists.of, lists.starts, values[lists.items])

    def _truncate(
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
            last = np.roll(ragged.fresh(rows[order], values[order]), -1)
            order = order[last]
            rows, t, ident, values = rows[order], t[order], ident[order], values[order]
        order = np.lexsort((values, ident, t, rows))
        rows = rows[order]
        sizes = ragged.sizes_of(rows, count)
        places = ragged.places(sizes)
        few = places >= np.repeat(sizes, sizes) - self.k if self.newest else places < self.k
        return np.minimum(sizes, self.k), t[order][few], ident[order][few], values[order][few]


def first_n(k: int, distinct: bool) -> _FirstLastN:
    """The family of `first_n(k=, distinct=)`."""
    return _FirstLastN(newest=False, k=k, distinct=distinct)


def last_n(k: int, distinct: bool) -> _FirstLastN:
    """The family of `last_n(k=, distinct=)`."""
    return _FirstLastN(newest=True, k=k, distinct=distinct)
