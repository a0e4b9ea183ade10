"""The interface of aggregations: partial results over ranges, their merge, and the final value.

States are arrays of one length, one entry a request (or a tile), or ragged: the sizes (l), then
arrays of the entries of all rows one after the other (`ragged`). A function whose states are
ragged, or whose windows have no fold, also has `sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headwater.aggregations.visible_ranges import VisibleRanges
from headwater.definitions.aggregate import Parameter
from headwater.definitions.windows import Window
from headwater.kernel.arrays import I64, Column, Events, ListColumn
from headwater.kernel.layers import Spans, Use

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
