"""rate, fraction and ratio: counts and sums (`counts`, `sums`) over something.

State of rate: that of the count or of the sum. Of fraction: (events, those where the flag is true).
Of ratio: those of both sums.
"""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.aggregations.moments import COUNTS, SUMS, sum_columns
from headwater.aggregations.reads import FRACTION, RATE, RATIO, Read, StoredColumns
from headwater.aggregations.reference import NUMBERS, SIZED, Answer, Counted, numbers_of, scale
from headwater.aggregations.table import Entry
from headwater.definitions.checks import SECOND, spelled
from headwater.definitions.feature_view import Aggregation, Windows, made
from headwater.kernel import layers
from headwater.kernel.arrays import F64, Column
from headwater.kernel.layers import ADD, Spans, Use


class _Added:
    """States that are merged by adding."""

    def merge(self, left: State, right: State) -> State:
        # a sum that leaves float64 is null in the end
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(a + b for a, b in zip(left, right, strict=True))


class _Rates(_Added):
    def partial(self, use: Use, spans: Spans) -> State:
        return (SUMS if use.columns else COUNTS).partial(use, spans)

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        return (SUMS if use.columns else COUNTS).state_fields(use, kinds)

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        assert context.window.length is not None, "refused at definition"
        return Column(
            (_total(state) if context.use.columns else state[0]) / (context.window.length / SECOND)
        )


class _Fractions(_Added):
    def partial(self, use: Use, spans: Spans) -> State:
        true = layers.fold(spans.layer.filled(use, 0), layers.ADD, 0, spans.ranges)
        return spans.counted(Use((), use.where)), true

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return StateField(op=ADD, counts=Use((), use.where)), StateField(op=ADD)

    def finalize(self, state: State, context: FinalizeContext) -> Column:  # noqa: ARG002 (the protocol's signature)
        return Column(state[1] / np.maximum(state[0], 1), state[0] > 0)


class _Ratios(_Added):
    def partial(self, use: Use, spans: Spans) -> State:
        above, below = (SUMS.partial(Use((name,), use.where), spans) for name in use.columns)
        return *above, *below

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        return tuple(
            field
            for name in use.columns
            for field in SUMS.state_fields(Use((name,), use.where), kinds)
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        split = 3 if context.events.columns[context.use.columns[0]].values.dtype == np.int64 else 2
        above, below = _total(state[:split]), _total(state[split:])
        with np.errstate(over="ignore", invalid="ignore"):
            return Column(above / np.where(below == 0, 1.0, below), below != 0)


def _total(state: State) -> F64:
    """The sum as float64, also where an integer one has left int64."""
    if len(state) == 2:
        return cast("F64", state[1])
    return cast("F64", np.where(np.abs(state[2] - state[1]) < 2.0**62, state[1], state[2]))


RATES = _Rates()
FRACTIONS = _Fractions()
RATIOS = _Ratios()


@spelled
def rate(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Events, or the sum of each column named, per second of the window's length: float64, 0 when
    there are none.

    The length is that of the window, not of its hop. A lifetime has no length and is refused.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(rate(), window="10m", page=["a"] * 6),
    ...     value_of(rate("amount"), window="10m", amount=[300, 600]),
    ... )
    (0.01, 1.5)
    """
    return made("rate", columns, windows, where, name, each=True)


@spelled
def fraction(
    flag: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The share of events where the boolean column `flag` is true (null is not): float64, null when
    there are no events.

    >>> from headwater.testing.examples import value_of
    >>> value_of(fraction("late"), late=[True, False, None, False])
    0.25
    """
    return made("fraction", (flag,), windows, where, name, label=flag)


@spelled
def ratio(
    numerator: str,
    denominator: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The sum of one column over the sum of another, nulls skipped in each: float64, null where the
    second sum is 0 or of nothing.

    >>> from headwater.testing.examples import value_of
    >>> value_of(ratio("clicks", "views"), clicks=[1, 2, None], views=[4, 4, 4])
    0.25
    """
    return made(
        "ratio", (numerator, denominator), windows, where, name, label=f"{numerator}_{denominator}"
    )


def _read_rate(stored: StoredColumns) -> Read:
    """A number of events, or a sum, per second of the window."""
    assert stored.window.length is not None
    return Read(
        (
            RATE,
            *(sum_columns(stored.columns) if stored.use.columns else (stored.columns[0], -2)),
            stored.window.length,
        ),
        real=True,
    )


def _read_fraction(stored: StoredColumns) -> Read:
    """The second number of a state over its first."""
    return Read((FRACTION, stored.columns[0], stored.columns[1]), real=True)


def _read_ratio(stored: StoredColumns) -> Read:
    """A sum over another; `whole` of the first column says where the second begins."""
    cut = 3 if stored.whole else 2
    return Read(
        (RATIO, *sum_columns(stored.columns[:cut]), *sum_columns(stored.columns[cut:])), real=True
    )


def _naive_rate(counted: Counted) -> Answer:
    assert counted.feature.window.length is not None
    seconds = Fraction(counted.feature.window.length, SECOND)
    numbers = counted.numbers if counted.values else [Fraction(1)] * len(counted.events)
    float(sum(numbers))  # as of mean
    return Answer(
        float(sum(numbers) / seconds),
        "present",
        scale(sum(map(abs, numbers), Fraction(0)) / seconds),
    )


def _naive_fraction(counted: Counted) -> Answer:
    share = Fraction(sum(value is True for value in counted.values[0]), len(counted.events))
    return Answer(float(share), "present", float(share))


def _naive_ratio(counted: Counted) -> Answer:
    above, below = (numbers_of(column) for column in counted.values)
    over = sum(below)
    float(sum(above)), float(over)  # as of mean
    if over == 0:
        return Answer(None, "present")
    ratio = sum(above) / over
    return Answer(
        float(ratio),
        "present",
        scale((sum(map(abs, above)) + abs(ratio) * sum(map(abs, below))) / abs(over)),
    )


ROWS = (
    Entry(
        "rate",
        "float",
        accepts="number",
        family=RATES,
        empty=0.0,
        adds="sum",
        splits=True,
        needs_length=True,
        read=_read_rate,
        reference=_naive_rate,
        cases=lambda: [
            rate(windows=SIZED),
            rate(*NUMBERS, windows=SIZED),
            rate("whole", windows=SIZED).by("word", max_keys=2),
        ],
    ),
    Entry(
        "fraction",
        "float",
        accepts="flag",
        family=FRACTIONS,
        splits=True,
        read=_read_fraction,
        reference=_naive_fraction,
        cases=lambda: [fraction("flag"), fraction("flag").by("word", max_keys=2)],
    ),
    Entry(
        "ratio",
        "float",
        accepts="number",
        family=RATIOS,
        adds="sum",
        splits=True,
        read=_read_ratio,
        reference=_naive_ratio,
        cases=lambda: [
            ratio("real", "whole"),
            ratio("whole", "flag"),
            ratio("real", "whole").by("flag"),
        ],
    ),
)
