"""mode, top_k and collect_set: exact, by how often each value occurs.

State of mode and top_k: each value with its count, in rising order (`ragged`): (sizes, values,
counts); it is as large as there are different values. That of collect_set: (sizes, values), the
`max_size` smallest at most.
"""

from __future__ import annotations

from collections import Counter
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
from headwater.aggregations.reads import (
    FREQUENT as FREQUENT_READ,
)
from headwater.aggregations.reads import (
    LEAST_VALUES,
    Read,
    StoredColumns,
)
from headwater.aggregations.reference import EVERY, Answer, Counted, Value, in_order
from headwater.aggregations.table import Entry
from headwater.definitions.checks import spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs, size
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


@spelled
def mode(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The most frequent value of a column, of the column's dtype; the smallest of those equally
    frequent, null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(mode("page"), page=["b", "a", "b", "a", "c"])
    'a'
    """
    needs("mode", columns, "page")
    return made("mode", columns, windows, where, name, each=True)


@spelled
def top_k(
    *columns: str,
    k: int,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The `k` most frequent values of a column, those equally frequent smallest first: a list, []
    when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(top_k("item", k=2), item=["c", "b", "a", "b"])
    ['b', 'a']
    """
    needs("top_k", columns, "item")
    return made("top_k", columns, windows, where, name, each=True, params=size("top_k", "k", k))


@spelled
def collect_set(
    *columns: str,
    max_size: int,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The different values of a column in rising order, of more than `max_size` the smallest: a
    list, [] when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(collect_set("page", max_size=2), page=["c", "b", "b", "a"])
    ['a', 'b']
    """
    needs("collect_set", columns, "page")
    params = size("collect_set", "max_size", max_size)
    return made("collect_set", columns, windows, where, name, each=True, params=params)


def _read_mode(stored: StoredColumns) -> Read:
    """The most frequent value, of entries (value, count)."""
    return Read((FREQUENT_READ, stored.columns[0], -1), real=not stored.whole)


def _read_top_k(stored: StoredColumns) -> Read:
    """The most frequent values, of entries (value, count)."""
    k = int(stored.params["k"])
    return Read((FREQUENT_READ, stored.columns[0], k), real=not stored.whole, most=k)


def _read_collect_set(stored: StoredColumns) -> Read:
    """The least values, of entries (value)."""
    most = int(stored.params["max_size"])
    return Read((LEAST_VALUES, stored.columns[0], most), real=not stored.whole, most=most)


def _naive_mode(counted: Counted) -> Answer:
    return Answer(_frequent(counted.values[0])[0], "present")


def _naive_top_k(counted: Counted) -> Answer:
    return Answer(_frequent(counted.values[0])[: int(counted.params["k"])], "present")


def _frequent(values: list[Value]) -> list[Value]:
    counts = Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], in_order(value)))


def _naive_collect_set(counted: Counted) -> Answer:
    return Answer(
        sorted(set(counted.values[0]), key=in_order)[: int(counted.params["max_size"])],
        "present",
    )


ROWS = (
    Entry(
        "mode",
        "same",
        accepts="any",
        family=FREQUENT,
        keeps_values=True,
        read=_read_mode,
        reference=_naive_mode,
        cases=lambda: [mode(*EVERY)],
    ),
    Entry(
        "top_k",
        "list",
        accepts="any",
        family=FREQUENT,
        empty=(),
        keeps_values=True,
        read=_read_top_k,
        reference=_naive_top_k,
        cases=lambda: [top_k(*EVERY, k=2), top_k("word", k=100, name="all_words")],
    ),
    Entry(
        "collect_set",
        "list",
        accepts="any",
        family=_Smallest,
        empty=(),
        shape=("max_size",),
        keeps_values=True,
        read=_read_collect_set,
        reference=_naive_collect_set,
        cases=lambda: [collect_set(*EVERY, max_size=2)],
    ),
)
