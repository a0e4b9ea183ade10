"""decayed_sum and decayed_mean: weights that halve with every half-life.

State: (n, the time of the last value, the sum and the weights as of that time). Every weight is
taken as of the last value of its part, so it is at most 1, and parts are merged by taking the
earlier one down to the later one's time: nothing grows, and what underflows no longer counts.
Folded from both sides as sums are (`kernel/layers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.aggregations.reads import DECAYED_MEAN, DECAYED_SUM, Read, StoredColumns
from headwater.aggregations.reference import NUMBERS, Answer, Counted, scale
from headwater.aggregations.table import Entry
from headwater.definitions.checks import Duration, micros, spelled, text
from headwater.definitions.feature_view import Aggregation, Windows, made, needs
from headwater.kernel.arrays import Column
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import DECAY, Spans, Use, decayed, remaining


@dataclass(frozen=True)
class _Decays:
    half_life: int

    def partial(self, use: Use, spans: Spans) -> State:
        values, n = spans.layer.floats(use), spans.counted(use)
        last, total, weight = np.zeros(len(n), np.int64), np.zeros(len(n)), np.zeros(len(n))
        _fold(
            values, spans.layer.events.t, float(self.half_life), *spans.ranges, last, total, weight
        )
        return n, last, total, weight

    def merge(self, left: State, right: State) -> State:
        merged = tuple(np.empty_like(column) for column in left)
        # a sum that leaves float64 is null in the end
        _merge(tuple(left), tuple(right), self.half_life, merged)
        return merged

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return tuple(
            StateField(whole=whole, op=DECAY, parameter=self.half_life)
            for whole in (True, True, False, False)
        )

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        n, last, total, weight = state
        if context.function == "decayed_mean":
            return Column(total / np.where(n > 0, weight, 1.0), n > 0)
        values = np.empty(len(n))
        _as_of(context.T, n, last, total, self.half_life, values)
        return Column(values)


@njit()
def _merge(left, right, half_life, merged):  # type: ignore[no-untyped-def]
    (n, t, total, weight), (k, u, more, heavier), (count, last, both, weights) = left, right, merged
    for i in range(len(n)):
        count[i], last[i], both[i], weights[i] = decayed(
            n[i], t[i], total[i], weight[i], k[i], u[i], more[i], heavier[i], half_life
        )


@njit()
def _as_of(T, n, last, total, half_life, out):  # type: ignore[no-untyped-def]
    for i in range(len(n)):
        out[i] = total[i] * remaining(last[i], T[i], n[i], half_life)


@njit()
def _join(t, total, weight, u, more, heavier, half_life):  # type: ignore[no-untyped-def]
    """Two parts, the second not earlier; a part of nothing has no weight."""
    if heavier == 0.0:
        return t, total, weight
    if weight == 0.0:
        return u, more, heavier
    down = np.exp2((t - u) / half_life)
    return u, total * down + more, weight * down + heavier


@njit()
def _fold(v, t, half_life, lo, hi, block, removable, last, total, weight):  # type: ignore[no-untyped-def]
    n = len(v)
    left, right = np.zeros((n, 2)), np.zeros((n, 2))
    left_t, right_t = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        present = 1.0 if v[i] == v[i] else 0.0
        x = v[i] if present else 0.0
        if block[i] == i:
            left_t[i], left[i, 0], left[i, 1] = t[i], x, present
        else:
            left_t[i], left[i, 0], left[i, 1] = _join(
                left_t[i - 1], left[i - 1, 0], left[i - 1, 1], t[i], x, present, half_life
            )
    for i in range(n - 1, -1, -1):
        present = 1.0 if v[i] == v[i] else 0.0
        x = v[i] if present else 0.0
        if i == n - 1 or block[i + 1] == i + 1:
            right_t[i], right[i, 0], right[i, 1] = t[i], x, present
        else:
            right_t[i], right[i, 0], right[i, 1] = _join(
                t[i], x, present, right_t[i + 1], right[i + 1, 0], right[i + 1, 1], half_life
            )
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        if b <= a:
            continue
        middle = block[b - 1]
        if middle == a:
            u, s, w = left_t[b - 1], left[b - 1, 0], left[b - 1, 1]
        elif middle > a:
            u, s, w = _join(
                right_t[a],
                right[a, 0],
                right[a, 1],
                left_t[b - 1],
                left[b - 1, 0],
                left[b - 1, 1],
                half_life,
            )
        elif not removable:
            u, s, w = np.int64(0), 0.0, 0.0
            for i in range(a, b):
                if v[i] == v[i]:
                    u, s, w = _join(u, s, w, t[i], v[i], 1.0, half_life)
        elif b == n or block[b] == b:
            u, s, w = right_t[a], right[a, 0], right[a, 1]
        else:
            u, s, w = np.int64(0), 0.0, 0.0
            for i in range(b - 1, a - 1, -1):
                if v[i] == v[i]:
                    u, s, w = _join(t[i], v[i], 1.0, u, s, w, half_life)
        last[j], total[j], weight[j] = u, s, w


@spelled
def decayed_sum(
    *columns: str,
    half_life: Duration,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The sum of a column, each value times 2^-((T - event time) / half_life): float64, 0 when
    there are none.

    The half-life stands in the name: half_life="1h" makes
    `decayed_sum_amount_halflife_1h_lifetime`.

    >>> from headwater.testing.examples import value_of
    >>> value_of(
    ...     decayed_sum("amount", half_life="1m"), amount=[8.0, 4.0]
    ... )  # two minutes and one minute before T
    4.0
    """
    needs("decayed_sum", columns, "amount")
    return _decayed("decayed_sum", columns, half_life, windows, where, name)


@spelled
def decayed_mean(
    *columns: str,
    half_life: Duration,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The mean of a column, each value weighted with 2^-((T - event time) / half_life): float64,
    null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(
    ...     decayed_mean("amount", half_life="1m"), amount=[8.0, 2.0]
    ... )  # weights of 1/4 and 1/2
    4.0
    """
    needs("decayed_mean", columns, "amount")
    return _decayed("decayed_mean", columns, half_life, windows, where, name)


def _decayed(
    function: str,
    columns: tuple[str, ...],
    half_life: Duration,
    windows: Windows | None,
    where: str | None,
    name: str | None,
) -> Aggregation:
    life = micros(half_life, f"{function}(): half_life", positive=True)
    params = (("half_life", life),)
    return made(
        function,
        columns,
        windows,
        where,
        name,
        each=True,
        params=params,
        detail=f"halflife_{text(life)}",
    )


def _read_sum(stored: StoredColumns) -> Read:
    """A sum whose weights halve until T, of state (n, last, total, weight)."""
    n, last, total, _ = stored.columns
    return Read((DECAYED_SUM, n, last, total, int(stored.params["half_life"])), real=True)


def _read_mean(stored: StoredColumns) -> Read:
    """A sum over its weights."""
    n, _, total, weight = stored.columns
    return Read((DECAYED_MEAN, n, total, weight), real=True)


def _naive_decayed_sum(counted: Counted) -> Answer:
    weights = _weights(counted, counted.request.T)
    numbers = [x * Fraction(w) for x, w in zip(counted.numbers, weights, strict=True)]
    return Answer(float(sum(numbers)), "present", scale(sum(map(abs, numbers))))


def _naive_decayed_mean(counted: Counted) -> Answer:
    # as of the last event: not all can vanish
    weights = [Fraction(w) for w in _weights(counted, int(counted.events[-1].time))]
    numbers = counted.numbers
    total = sum((x * w for x, w in zip(numbers, weights, strict=True)), Fraction(0))
    size = sum((abs(x) * w for x, w in zip(numbers, weights, strict=True)), Fraction(0))
    float(total)  # as of mean
    return Answer(float(total / sum(weights)), "present", scale(size / sum(weights)))


def _weights(counted: Counted, T: int) -> list[float]:
    half_life = int(counted.params["half_life"])
    return [
        2.0 ** -((T - int(e.time)) / half_life) if (T - e.time) / half_life < 1074 else 0.0
        for e in counted.events
    ]


ROWS = (
    Entry(
        "decayed_sum",
        "float",
        accepts="number",
        family=_Decays,
        empty=0.0,
        shape=("half_life",),
        adds="sum",
        splits=True,
        read=_read_sum,
        reference=_naive_decayed_sum,
        cases=lambda: [
            decayed_sum(*NUMBERS, half_life="10s"),
            decayed_sum("whole", half_life="10s").by("word", max_keys=3),
        ],
    ),
    Entry(
        "decayed_mean",
        "float",
        accepts="number",
        family=_Decays,
        shape=("half_life",),
        adds="sum",
        splits=True,
        read=_read_mean,
        reference=_naive_decayed_mean,
        cases=lambda: [
            decayed_mean(*NUMBERS, half_life="1us"),
            decayed_mean(*NUMBERS, half_life="1h"),
            decayed_mean("real", half_life="1h").by("flag"),
        ],
    ),
)
