"""min and max, of numbers, times, booleans and strings. State: (n, the extreme)."""

from __future__ import annotations

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.kernel import layers
from headwater.kernel.arrays import Column
from headwater.kernel.layers import ADD, Spans, Use

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
