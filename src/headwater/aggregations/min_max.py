"""min and max, of numbers, times, booleans and strings. State: (n, the extreme).

min_by and max_by: the value of one column where another is least or greatest, of several the
latest by (time, id, value).

State: (n, the other's value, time, id, value).
"""

from __future__ import annotations

import builtins
from typing import cast

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField, in_time
from headwater.aggregations.reads import Read, StoredColumns, nullable
from headwater.aggregations.reference import EVERY, Answer, Counted, Value, in_order
from headwater.aggregations.table import Entry
from headwater.definitions.checks import spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs
from headwater.kernel import layers
from headwater.kernel.arrays import I64, Column, Values
from headwater.kernel.layers import ADD, LESS, MORE, SOME, Layer, Spans, Use

_WORST = {
    layers.LEAST: (np.inf, np.iinfo(np.int64).max),
    layers.GREATEST: (-np.inf, np.iinfo(np.int64).min),
}


class _Extremes:
    def __init__(self, op: int) -> None:
        self.op = op

    def partial(self, use: Use, spans: Spans) -> State:
        worst = _WORST[self.op][spans.layer.events.columns[use.columns[0]].values.dtype == np.int64]
        values = spans.layer.filled(use, worst)
        return spans.counted(use), layers.fold(values, self.op, worst, spans.ranges)

    def merge(self, left: State, right: State) -> State:
        join = np.minimum if self.op == layers.LEAST else np.maximum
        return left[0] + right[0], join(left[1], right[1])

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        name = use.columns[0]
        return StateField(op=ADD, counts=use), StateField(kinds[name], column=name, op=self.op)

    def finalize(self, state: State, context: FinalizeContext) -> Column:  # noqa: ARG002 (the protocol's signature)
        return Column(state[1], state[0] > 0)


LEAST = _Extremes(layers.LEAST)

GREATEST = _Extremes(layers.GREATEST)


class _MinMaxBy:
    def __init__(self, *, greatest: bool) -> None:
        self.greatest = greatest

    def partial(self, use: Use, spans: Spans) -> State:
        layer, events = spans.layer, spans.layer.events
        score, position = layer.derive(("by", self.greatest, use), lambda: self._scores(layer, use))
        best = cast("I64", layers.fold(score, layers.GREATEST, -1, spans.ranges))
        nonempty = best >= 0

        def at(values: Values) -> Values:
            picked = (
                np.where(nonempty, values[position[best]], 0)
                if len(values)
                else np.zeros(len(best), values.dtype)
            )
            return cast("Values", picked)

        column, by = (events.columns[name].values for name in use.columns)
        return nonempty.astype(np.int64), at(by), at(events.t), at(events.ident), at(column)

    def merge(self, left: State, right: State) -> State:
        take, equal = left[0] == 0, (left[0] > 0) & (right[0] > 0)
        for field_index, (a, b) in enumerate(zip(left[1:], right[1:], strict=True)):
            take |= equal & (b > a if self.greatest or field_index > 0 else b < a)
            equal &= a == b
        return tuple(
            np.where(take & (right[0] > 0), b, a) for a, b in zip(left, right, strict=True)
        )

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        column, by = use.columns
        first = StateField(kinds[by], column=by, op=MORE if self.greatest else LESS)
        return (
            StateField(op=SOME),
            first,
            StateField(op=MORE),
            StateField(ident=True, op=MORE),
            StateField(kinds[column], column=column, op=MORE),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:  # noqa: ARG002 (the protocol's signature)
        return Column(state[4], state[0] > 0)

    def _scores(self, layer: Layer, use: Use) -> tuple[I64, I64]:
        """A number for each event, greater for what goes before, -1 where it does not count; and
        the event of each number.
        """
        rank = in_time(layer, use.columns[0])
        by_time = np.empty(len(rank), np.int64)
        by_time[rank] = np.arange(len(rank))
        by = layer.events.columns[use.columns[1]].values[by_time]
        if not self.greatest:
            by = np.invert(by) if by.dtype == np.int64 else -by
        position = by_time[np.argsort(by, kind="stable")]
        score = np.empty(len(rank), np.int64)
        score[position] = np.arange(len(rank))
        valid = layer.valid(use)
        return (np.where(valid, score, -1) if len(valid) else score), position


LEAST_BY = _MinMaxBy(greatest=False)

GREATEST_BY = _MinMaxBy(greatest=True)


@spelled
def min(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The least value of a column, of the column's dtype; null when there are none."""
    needs("min", columns, "amount")
    return made("min", columns, windows, where, name, each=True)


@spelled
def max(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The greatest value of a column, of the column's dtype; null when there are none."""
    needs("max", columns, "amount")
    return made("max", columns, windows, where, name, each=True)


@spelled
def min_by(
    column: str,
    by: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The value of `column` in the event where `by` is least, of several the latest; of `column`'s
    dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value
    of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(min_by("item", "price"), item=["a", "b", "c"], price=[3, 2, 2])
    'c'
    """
    return made("min_by", (column, by), windows, where, name, label=f"{column}_{by}")


@spelled
def max_by(
    column: str,
    by: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The value of `column` in the event where `by` is greatest, of several the latest; of
    `column`'s dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value
    of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(max_by("item", "price"), item=["a", "b", "c"], price=[3, 2, None])
    'a'
    """
    return made("max_by", (column, by), windows, where, name, label=f"{column}_{by}")


def _read_extreme(stored: StoredColumns) -> Read:
    """A value, of state (n, value)."""
    return nullable(stored, 1, 0)


def _read_by(stored: StoredColumns) -> Read:
    """The value of the event where another column is least or greatest."""
    return nullable(stored, 4, 0)


def _naive_min(counted: Counted) -> Answer:
    return Answer(_least(counted.values[0]), "present")


def _naive_max(counted: Counted) -> Answer:
    return Answer(_greatest(counted.values[0]), "present")


def _naive_min_by(counted: Counted) -> Answer:
    least = _least(counted.values[1])
    return Answer(
        [value for value, by in zip(*counted.values, strict=True) if by == least][-1], "present"
    )


def _naive_max_by(counted: Counted) -> Answer:
    greatest = _greatest(counted.values[1])
    return Answer(
        [value for value, by in zip(*counted.values, strict=True) if by == greatest][-1], "present"
    )


def _least(values: list[Value]) -> Value:
    return builtins.min(values, key=in_order)


def _greatest(values: list[Value]) -> Value:
    return builtins.max(values, key=in_order)


ROWS = (
    Entry(
        "min",
        "same",
        accepts="any",
        family=LEAST,
        compares=True,
        splits=True,
        read=_read_extreme,
        reference=_naive_min,
        cases=lambda: [min(*EVERY), min("word").by("flag", max_keys=1)],
    ),
    Entry(
        "max",
        "same",
        accepts="any",
        family=GREATEST,
        compares=True,
        splits=True,
        read=_read_extreme,
        reference=_naive_max,
        cases=lambda: [max(*EVERY), max("moment").by("whole")],
    ),
    Entry(
        "min_by",
        "same",
        accepts="any",
        family=LEAST_BY,
        splits=True,
        skips_null=True,
        read=_read_by,
        reference=_naive_min_by,
        cases=lambda: [
            min_by("word", "real"),
            min_by("real", "whole"),
            min_by("word", "real").by("flag"),
        ],
    ),
    Entry(
        "max_by",
        "same",
        accepts="any",
        family=GREATEST_BY,
        splits=True,
        skips_null=True,
        read=_read_by,
        reference=_naive_max_by,
        cases=lambda: [
            max_by("whole", "word"),
            max_by("moment", "flag"),
            max_by("real", "whole").by("word", max_keys=2),
        ],
    ),
)
