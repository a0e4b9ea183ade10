"""count, sum, mean, std and var.

count: how many events, or values that are not null. State: (n,).

sum and mean. State: (n, total, and for integers the total as float64).

An integer total wraps around in int64; the float64 total is off by far less than 2^63, so the
wrapped one is exact iff the two are close. Otherwise the sum has left int64: null.

std and var. State: (n, mean, sum of squared deviations), merged after Chan, Golub and LeVeque
(1979).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.aggregations.reads import (
    DEVIATION,
    MEAN,
    REAL,
    SUM,
    VARIANCE,
    WHOLE,
    Read,
    StoredColumns,
)
from headwater.aggregations.reference import EVERY, NUMBERS, Answer, Counted, scale, total
from headwater.aggregations.table import Entry
from headwater.definitions.checks import check, spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs
from headwater.kernel import layers
from headwater.kernel.arrays import Column
from headwater.kernel.layers import ADD, Spans, Use


class _Counts:
    def partial(self, use: Use, spans: Spans) -> State:
        return (spans.counted(use),)

    def merge(self, left: State, right: State) -> State:
        return (left[0] + right[0],)

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return (StateField(op=ADD, counts=use),)

    def finalize(self, state: State, context: FinalizeContext) -> Column:  # noqa: ARG002 (the protocol's signature)
        return Column(state[0])


COUNTS = _Counts()


class _Sums:
    def partial(self, use: Use, spans: Spans) -> State:
        values = spans.layer.filled(use, 0)
        n = spans.counted(use)
        total = layers.fold(values, layers.ADD, 0, spans.ranges)
        if values.dtype != np.int64:
            return n, total
        floats = spans.layer.derive(("rough", use), lambda: values.astype(np.float64))
        return n, total, layers.fold(floats, layers.ADD, 0, spans.ranges)

    def merge(self, left: State, right: State) -> State:
        # a sum that leaves float64 is null in the end
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(a + b for a, b in zip(left, right, strict=True))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        whole = kinds[use.columns[0]]
        return (
            StateField(op=ADD, counts=use),
            StateField(whole, op=ADD),
            *([StateField(whole=False, op=ADD)] if whole else []),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        n, total = state[0], state[1]
        exact = None
        if len(state) == 3:
            exact = np.abs(state[2] - total) < 2.0**62
        if context.function == "sum":
            return Column(total, None if exact is None or exact.all() else exact)
        if exact is not None:
            total = np.where(exact, total, state[2])
        return Column(total / np.maximum(n, 1), n > 0)


SUMS = _Sums()


class _Moments:
    def partial(self, use: Use, spans: Spans) -> State:
        return layers.moments(spans.layer.floats(use), spans.ranges)

    def merge(self, left: State, right: State) -> State:
        (n, mean, square), (k, other, more) = left, right
        total = np.maximum(n + k, 1)
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64 is null in the end
            apart = np.where((n > 0) & (k > 0), other - mean, 0.0)
            centre = np.where(n == 0, other, np.where(k == 0, mean, mean + apart * (k / total)))
            return n + k, centre, square + more + apart * apart * (n * k / total)

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return (
            StateField(op=layers.MOMENTS),
            StateField(whole=False, op=layers.MOMENTS),
            StateField(whole=False, op=layers.MOMENTS),
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        n, _, square = state
        freedom = n - int(context.params["ddof"])
        variance = square / np.maximum(freedom, 1)
        return Column(np.sqrt(variance) if context.function == "std" else variance, freedom > 0)


MOMENTS = _Moments()


@spelled
def count(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The number of events, or of values that are not null in each column named: int64, 0 when
    there are none.

    >>> count(where="late", windows=["1h"]).function
    'count'
    """
    return made("count", columns, windows, where, name, each=True)


@spelled
def sum(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The sum of a column of numbers or booleans: exact int64 for integers, else float64; 0 when
    there are none.
    """
    needs("sum", columns, "amount")
    return made("sum", columns, windows, where, name, each=True)


@spelled
def mean(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The mean of a column of numbers or booleans: float64, null when there are none."""
    needs("mean", columns, "amount")
    return made("mean", columns, windows, where, name, each=True)


@spelled
def std(
    *columns: str,
    ddof: int = 1,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The standard deviation of a column: float64, null where there are not more than `ddof`
    values.

    `ddof` 1 is the sample's, 0 the population's.
    """
    needs("std", columns, "amount")
    return made("std", columns, windows, where, name, each=True, params=_ddof("std", ddof))


@spelled
def var(
    *columns: str,
    ddof: int = 1,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The variance of a column: float64, null where there are not more than `ddof` values.

    `ddof` 1 is the sample's, 0 the population's.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(var("amount"), amount=[1.0, 3.0]),
    ...     value_of(var("amount", ddof=0), amount=[1.0, 3.0]),
    ... )
    (2.0, 1.0)
    """
    needs("var", columns, "amount")
    return made("var", columns, windows, where, name, each=True, params=_ddof("var", ddof))


def _ddof(function: str, value: int) -> tuple[tuple[str, int]]:
    """The parameter with the degrees of freedom that a deviation takes off."""
    give = "1 for the sample's deviation or 0 for the population's"
    check(type(value) is int and value in (0, 1), value, f"{function}(): ddof", give)
    return (("ddof", value),)


def _read_count(stored: StoredColumns) -> Read:
    """The state's first number itself."""
    return Read((WHOLE, stored.columns[0]), real=False)


def _read_sum(stored: StoredColumns) -> Read:
    """A sum, of state (n, total, and for integers the total as a float)."""
    return (
        Read((SUM, *sum_columns(stored.columns)), real=False)
        if stored.whole
        else Read((REAL, stored.columns[1]), real=True)
    )


def _read_mean(stored: StoredColumns) -> Read:
    """A sum over its number of values."""
    return Read((MEAN, stored.columns[0], *sum_columns(stored.columns)), real=True)


def _read_std(stored: StoredColumns) -> Read:
    """The root of a variance, of state (n, mean, squares)."""
    return _spread(DEVIATION, stored)


def _read_var(stored: StoredColumns) -> Read:
    """Squares of differences from the mean over n - ddof."""
    return _spread(VARIANCE, stored)


def _spread(opcode: int, stored: StoredColumns) -> Read:
    return Read(
        (opcode, stored.columns[0], stored.columns[2], int(stored.params["ddof"])), real=True
    )


def sum_columns(columns: tuple[int, ...]) -> tuple[int, int]:
    """The columns of a sum: the total, and for integers that as a float."""
    return columns[1], columns[2] if len(columns) == 3 else -1


def _naive_count(counted: Counted) -> Answer:
    return Answer(len(counted.events), "present")


def _naive_sum(counted: Counted) -> Answer:
    exact = total(counted.numbers)
    if all(isinstance(v, int) for v in counted.values[0]):
        inside = -(2**63) <= exact < 2**63
        return Answer(int(exact), "present") if inside else Answer(None, "overflow")
    return Answer(float(exact), "present", scale(total(map(abs, counted.numbers))))


def _naive_mean(counted: Counted) -> Answer:
    exact, n = total(counted.numbers), len(counted.numbers)
    float(exact)  # OverflowError where the sum has left float64, though the mean has not
    return Answer(float(exact / n), "present", scale(total(map(abs, counted.numbers)) / n))


def _naive_std(counted: Counted) -> Answer:
    answer = _naive_var(counted)
    if answer.value is None:
        return answer
    return answer._replace(value=math.sqrt(_squares(counted.numbers) / _freedom(counted)))


def _naive_var(counted: Counted) -> Answer:
    squares = _squares(counted.numbers)
    float(squares)
    if _freedom(counted) <= 0:
        return Answer(None, "present")
    variance = squares / _freedom(counted)
    mean = total(counted.numbers) / len(counted.numbers)
    return Answer(float(variance), "present", scale(variance + mean**2))


def _squares(numbers: list[Fraction]) -> Fraction:
    """The sum of squared deviations from the mean."""
    mean = total(numbers) / len(numbers)
    return total((x - mean) ** 2 for x in numbers)


def _freedom(counted: Counted) -> int:
    return len(counted.numbers) - int(counted.params["ddof"])


ROWS = (
    Entry(
        "count",
        "int",
        accepts="any",
        family=COUNTS,
        empty=0,
        splits=True,
        read=_read_count,
        reference=_naive_count,
        cases=lambda: [
            count(),
            count(*EVERY),
            count().by("word", max_keys=2),
            count("real").by("flag"),
        ],
    ),
    Entry(
        "sum",
        "sum",
        accepts="number",
        family=SUMS,
        empty=0,
        null="overflow",
        adds="sum",
        splits=True,
        read=_read_sum,
        reference=_naive_sum,
        cases=lambda: [sum(*NUMBERS), sum("real", "whole").by("word", max_keys=3)],
    ),
    Entry(
        "mean",
        "float",
        accepts="number",
        family=SUMS,
        adds="mean",
        splits=True,
        read=_read_mean,
        reference=_naive_mean,
        cases=lambda: [mean(*NUMBERS), mean("whole").by("word", max_keys=2)],
    ),
    Entry(
        "std",
        "float",
        accepts="number",
        family=MOMENTS,
        adds="deviation",
        splits=True,
        read=_read_std,
        reference=_naive_std,
        cases=lambda: [
            std(*NUMBERS),
            std("real", ddof=0, name="spread"),
            std("real").by("flag"),
        ],
    ),
    Entry(
        "var",
        "float",
        accepts="number",
        family=MOMENTS,
        adds="variance",
        splits=True,
        read=_read_var,
        reference=_naive_var,
        cases=lambda: [
            var(*NUMBERS),
            var("real", ddof=0, name="variance"),
            var("real", ddof=0).by("word", max_keys=2),
        ],
    ),
)
