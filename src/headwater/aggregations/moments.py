"""count, sum, mean, std and var.

count: how many events, or values that are not null. State: (n,).

sum and mean. State: (n, total, and for integers the total as float64).

An integer total wraps around in int64; the float64 total is off by far less than 2^63, so the
wrapped one is exact iff the two are close. Otherwise the sum has left int64: null.

std and var. State: (n, mean, sum of squared deviations), merged after Chan, Golub and LeVeque
(1979).
"""

from __future__ import annotations

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
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
