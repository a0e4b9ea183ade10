"""rate, fraction and ratio: counts and sums (`counts`, `sums`) over something.

State of rate: that of the count or of the sum. Of fraction: (events, those where the flag is true).
Of ratio: those of both sums.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.aggregations.moments import COUNTS, SUMS
from headwater.definitions.checks import SECOND
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
