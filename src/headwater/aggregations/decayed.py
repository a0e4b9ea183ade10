"""decayed_sum and decayed_mean: weights that halve with every half-life.

State: (n, the time of the last value, the sum and the weights as of that time). Every weight is
taken as of the last value of its part, so it is at most 1, and parts are merged by taking the
earlier one down to the later one's time: nothing grows, and what underflows no longer counts.
Folded from both sides as sums are (`kernel/layers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.kernel.arrays import Column
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


def decays(half_life: int) -> _Decays:
    """The family of `decayed_sum(half_life=)` and `decayed_mean(half_life=)`, in microseconds."""
    return _Decays(half_life)


@nb.njit(nogil=True, cache=True)
def _merge(left, right, half_life, merged):  # type: ignore[no-untyped-def]
    (n, t, total, weight), (k, u, more, heavier), (count, last, both, weights) = left, right, merged
    for i in range(len(n)):
        count[i], last[i], both[i], weights[i] = decayed(
            n[i], t[i], total[i], weight[i], k[i], u[i], more[i], heavier[i], half_life
        )


@nb.njit(nogil=True, cache=True)
def _as_of(T, n, last, total, half_life, out):  # type: ignore[no-untyped-def]
    for i in range(len(n)):
        out[i] = total[i] * remaining(last[i], T[i], n[i], half_life)


@nb.njit(nogil=True, cache=True)
def _join(t, total, weight, u, more, heavier, half_life):  # type: ignore[no-untyped-def]
    """Two parts, the second not earlier; a part of nothing has no weight."""
    if heavier == 0.0:
        return t, total, weight
    if weight == 0.0:
        return u, more, heavier
    down = np.exp2((t - u) / half_life)
    return u, total * down + more, weight * down + heavier


@nb.njit(nogil=True, cache=True)
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
