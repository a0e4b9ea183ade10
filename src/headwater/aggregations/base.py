"""The interface of aggregations: partial results over ranges, their merge, and the final value.

States are arrays of one length, one entry a request (or a tile), or ragged: the sizes (l), then
arrays of the entries of all rows one after the other (`ragged`). A function whose states are
ragged, or whose windows have no fold, also has `sweep`.

The ranges of events visible to each request of a task, over all its layers, for functions that
sweep.

The order of events by (time, id, value): what first, last and their like go by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headwater.definitions.feature_view import Parameter
from headwater.definitions.windows import Window
from headwater.kernel import layers
from headwater.kernel.arrays import I64, Column, Events, ListColumn, RequestTimes, Values
from headwater.kernel.layers import Derived, Layer, Spans, Use

State = tuple[NDArray[np.int64] | NDArray[np.float64], ...]
"""Partial results; the states of l requests (or tiles)."""

Answers = Column | ListColumn


@dataclass(frozen=True)
class StateField:
    """One array of a state, of int64 or float64.

    entry: one number an entry of each row, and not one a row; the sizes, which come first, say how
    many entries each row has.
    column: the source column of the values, so that strings can be coded again for another state.
    ident: ids of events, likewise.
    op: how `merge` makes one number of two, where it is one of the ways of `kernel.layers`;
    so that compiled loops do as `merge` does. parameter: a number that goes with it.
    counts: where the number is how many events count for this; states that hold the same number
    share it where they are stored.
    """

    whole: bool = True  # int64, else float64
    entry: bool = False
    column: str | None = None
    ident: bool = False
    op: int | None = None
    parameter: int = 0
    counts: Use | None = None


Kinds = Mapping[str, bool]
"""Whether the values of each column are int64; else they are float64."""


@dataclass(frozen=True)
class GroupBy:
    """A secondary key: `use`'s first column, over the events that count for `use`; a map of its
    `max_keys` latest values at most.
    """

    use: Use
    max_keys: int


@dataclass(frozen=True)
class FinalizeContext:
    """The inputs of a final value: the function, its parameters and window, T (l), and the events,
    for the dtypes of their columns.
    """

    function: str
    params: Mapping[str, Parameter]
    T: I64
    events: Events  # those of the states, or none of the same columns
    use: Use
    window: Window
    output: int = 0
    K: I64 | None = None  # of states that were stored: by when a thing must be known; None is T


class AggregateFunction(Protocol):
    """Aggregation functions that share a partial result.

    Laws, which the conformance suite checks: `merge` is associative, and merging the states of any
    split of the events (into tiles, batches or layers) comes to the state of all.
    """

    def partial(self, use: Use, spans: Spans) -> State:
        """The state of each range, the neutral one where it is empty."""
        ...

    def merge(self, left: State, right: State) -> State:
        """The merged states of both sides, entry by entry."""
        ...

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:
        """The fields of a state, one for each of its arrays, so that states can be stored."""
        ...

    def finalize(self, state: State, context: FinalizeContext) -> Answers:
        """The values (l)."""
        ...


@runtime_checkable
class SweepingFunction(AggregateFunction, Protocol):
    """A function that answers all layers of some events in one pass: a sliding window, with events
    that enter and leave.

    Law: `sweep` equals, bit by bit, `finalize` of the layers' merged `partial` states.
    """

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:
        """The values (l) of requests that see `visible`."""
        ...


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


def in_time(layer: Layer, column: str) -> I64:
    """The rank of each event of the layer, to compare within a key, by (time, id, value of
    `column`): int64 (n), 0 to n - 1.

    Events come sorted by (key, time, id, known, values), so only those of one time are moved.
    """
    return layer.derive(("in time", column), lambda: _in_time(layer, column))


def _in_time(layer: Layer, column: str) -> I64:
    events = layer.events
    rank = np.arange(len(events.t))
    if len(rank) == 0:
        return rank
    fresh = np.ones(len(rank) + 1, np.bool_)
    fresh[1:-1] = events.t[1:] != events.t[:-1]
    tied = np.flatnonzero(~(fresh[1:] & fresh[:-1]))
    if len(tied) == 0:
        return rank
    group = np.cumsum(fresh[:-1])[tied]
    keys = [
        plain(events.columns[column].values)[tied],
        *([events.ident[tied]] if len(events.ident) else []),
        group,
    ]
    rank[tied[np.lexsort(keys)]] = tied
    return rank
