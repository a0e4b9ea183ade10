"""mode, top_k and collect_set: exact, by how often each value occurs.

State of mode and top_k: each value with its count, in rising order (`ragged`): (sizes, values,
counts); it is as large as there are different values. That of collect_set: (sizes, values), the
`max_size` smallest at most.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    plain,
)
from headwater.kernel.arrays import I64, Column, ListColumn, Values
from headwater.kernel.layers import Spans, Use


class _Frequent:
    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        values = plain(spans.layer.events.columns[use.columns[0]].values[index])
        return ragged.counted(rows, values, np.ones(len(rows), np.int64), len(spans.lo))

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        values, counts = (np.concatenate([a, b]) for a, b in zip(left[1:], right[1:], strict=True))
        return ragged.counted(rows, values, counts, len(left[0]))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        name = use.columns[0]
        return (
            StateField(),
            StateField(kinds[name], entry=True, column=name),
            StateField(entry=True),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Answers:
        sizes, values, counts = state
        rows = ragged.rows_of(sizes)  # type: ignore[arg-type]
        order = np.lexsort((values, -counts, rows))
        within_length = ragged.places(sizes) < _list_length(context)  # type: ignore[arg-type]
        return _answers(
            ListColumn(
                np.arange(len(sizes)),
                _starts(rows[within_length], len(sizes)),
                values[order][within_length],
            ),
            context,
        )

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:
        codes, values = visible.coded(use)
        lists = sliding.best(visible, codes, len(values), sliding.COUNT, _list_length(context))
        return _answers(ListColumn(lists.list_index, lists.starts, values[lists.items]), context)


@dataclass(frozen=True)
class _Smallest:
    max_size: int

    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        return self._truncate(
            rows, plain(spans.layer.events.columns[use.columns[0]].values[index]), len(spans.lo)
        )

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        return self._truncate(rows, np.concatenate([left[1], right[1]]), len(left[0]))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        name = use.columns[0]
        return StateField(), StateField(kinds[name], entry=True, column=name)

    def finalize(self, state: State, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        return ListColumn(
            np.arange(len(state[0])), np.concatenate([[0], np.cumsum(state[0])]), state[1]
        )

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        codes, values = visible.coded(use)
        lists = sliding.best(visible, codes, len(values), sliding.PRESENCE, self.max_size)
        return ListColumn(lists.list_index, lists.starts, values[lists.items])

    def _truncate(self, rows: I64, values: ragged.Entries, count: int) -> State:
        sizes, values, _ = ragged.counted(rows, values, np.ones(len(rows), np.int64), count)
        few = ragged.places(sizes) < self.max_size
        return np.minimum(sizes, self.max_size), values[few]


def _list_length(context: FinalizeContext) -> int:
    return int(context.params["k"]) if context.function == "top_k" else 1


def _answers(lists: ListColumn, context: FinalizeContext) -> Answers:
    """The lists, or for mode the one value in each."""
    if context.function == "top_k":
        return lists
    nonempty = np.diff(lists.starts) > 0
    values = cast("Values", np.zeros(len(nonempty), lists.items.dtype))
    values[nonempty] = lists.items
    return Column(values[lists.list_index], nonempty[lists.list_index])


def _starts(rows: I64, count: int) -> I64:
    return np.concatenate([[0], np.cumsum(ragged.sizes_of(rows, count))])


FREQUENT = _Frequent()


def collect_set(max_size: int) -> _Smallest:
    """The family of `collect_set(max_size=)`."""
    return _Smallest(max_size)
