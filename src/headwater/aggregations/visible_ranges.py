"""The ranges of events visible to each request of a task, over all its layers, for functions that
sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from headwater.definitions.windows import Window
from headwater.kernel import layers
from headwater.kernel.arrays import I64, RequestTimes, Values
from headwater.kernel.layers import Derived, Layer, Use

I32 = NDArray[np.int32]

# ranges in memory: requests go in slices, so memory stays bounded for any number of requests and
# layers of late events
_PLACES = 1 << 22
_LEAST = 1024  # requests in a slice: each begins with all the events of its first window


@dataclass(frozen=True)
class VisibleRanges:
    """The events that each of l requests sees, in d layers.

    whole: all events (n). order: int64 (n), their positions in `whole`, layer after layer.
    lo, hi: int64 (l, d): of layer i, request j sees the events order[lo[j, i]:hi[j, i]].
    begins: int64 (d + 1): layer i is order[begins[i]:begins[i + 1]].
    """

    whole: Layer
    order: I64
    lo: I64
    hi: I64
    begins: I64
    _derived: dict[tuple[object, ...], object] = field(default_factory=dict)

    def derive(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """The result of `make`, computed once for each key; results that do not depend on the
        requests are cached by `whole`.
        """
        if key not in self._derived:
            self._derived[key] = make()
        return cast("Derived", self._derived[key])

    def coded(self, use: Use) -> tuple[I32, Values]:
        """The values of the first column as codes in the order of `order`, int32 (n), -1 where they
        do not count; what the codes number.
        """
        codes, values = coded(self.whole, use)
        return codes[self.order], values


def plain(values: Values) -> Values:
    """The values with one zero: -0.0 equals 0.0 and would else show which of the two came first."""
    return cast("Values", values + 0.0) if values.dtype == np.float64 else values


def coded(layer: Layer, use: Use) -> tuple[I32, Values]:
    """The values of the first column as codes, int32 (n), -1 where events do not count for `use`;
    what the codes number, rising.
    """
    return layer.derive(("codes", use), lambda: _coded(layer, use))


def visible_ranges(
    whole: Layer,
    parts: Sequence[Layer],
    requests: Sequence[RequestTimes],
    window: Window,
    breadth: int = 1,
) -> Iterator[tuple[int, int, VisibleRanges]]:
    """Slices of all requests, set after set: where each begins and ends, and its visible ranges; at
    least one.

    breadth: how many times the memory of its own range a request needs at most.
    """
    rows = [layer.events.row for layer in parts]
    order = np.concatenate(rows) if len(parts) > 1 else np.arange(len(whole.events.t))
    begins = np.cumsum([0, *(len(layer.events.t) for layer in parts)])
    step, begin = max(_LEAST, _PLACES // (len(parts) * breadth)), 0
    for request_set in requests:
        for first in range(0, max(len(request_set.T), 1), step):
            few = (
                request_set
                if len(request_set.T) <= step
                else request_set.part(first, min(first + step, len(request_set.T)))
            )
            lo, hi = (
                np.empty((len(few.T), len(parts)), np.int64),
                np.empty((len(few.T), len(parts)), np.int64),
            )
            for depth, layer in enumerate(parts):
                a, b = layers.window_bounds(layer.events, few, window)
                lo[:, depth], hi[:, depth] = a + begins[depth], b + begins[depth]
            yield begin, begin + len(few.T), VisibleRanges(whole, order, lo, hi, begins)
            begin += len(few.T)


def _coded(layer: Layer, use: Use) -> tuple[I32, Values]:
    values, valid = plain(layer.events.columns[use.columns[0]].values), layer.valid(use)
    counted = values[valid] if len(valid) else values
    codes = np.full(len(values), -1, np.int32)
    at = valid if len(valid) else slice(None)
    if len(counted) and counted.dtype == np.int64:
        low, high = int(counted.min()), int(counted.max())
        if high - low < 2 * len(counted) + 64:  # such as booleans and most strings: no sort needed
            codes[at] = counted - low
            return codes, np.arange(low, high + 1)
    distinct, inverse = np.unique(counted, return_inverse=True)
    codes[at] = inverse
    return codes, cast("Values", distinct)
