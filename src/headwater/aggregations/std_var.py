"""std and var. State: (n, mean, sum of squared deviations), merged after Chan, Golub and LeVeque
(1979).
"""

from __future__ import annotations

import numpy as np

from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.kernel import layers
from headwater.kernel.arrays import Column
from headwater.kernel.layers import Spans, Use


class _Moments:
    def partial(self, use: Use, spans: Spans) -> State:
        return layers.moments(spans.layer.floats(use), spans.ranges)

    def merge(self, left: State, right: State) -> State:
        (n, mean, square), (k, right_mean, more) = left, right
        total = np.maximum(n + k, 1)
        with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64 is null in the end
            apart = np.where((n > 0) & (k > 0), right_mean - mean, 0.0)
            centre = np.where(
                n == 0, right_mean, np.where(k == 0, mean, mean + apart * (k / total))
            )
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
