"""count: how many events, or values that are not null. State: (n,)."""

from __future__ import annotations

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
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
