"""What every aggregation is: partial results over ranges, their merge, and the value they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headwater.compute.arrays import I64, Column, Events
from headwater.compute.layer import Spans, Use
from headwater.definitions.aggregation import Parameter

State = tuple[NDArray[np.int64] | NDArray[np.float64], ...]
"""Partial results: arrays of one length, one entry an ask (or a tile)."""


@dataclass(frozen=True)
class Finish:
    """What a value is made with: which function, its parameters, T (l), and the events that positions point into."""

    function: str
    params: Mapping[str, Parameter]
    T: I64
    events: Events
    use: Use
    output: int = 0


class Family(Protocol):
    """Functions that share a partial result.

    Laws, which the conformance suite holds every family to: `merge` is associative, and merging the states of any split of the
    events (into tiles, batches or layers) comes to the state of all.
    """

    def ranges(self, use: Use, spans: Spans) -> State:
        """The state of each range, the neutral one where it is empty."""
        ...

    def merge(self, left: State, right: State) -> State:
        """The states of both parts together, entry by entry."""
        ...

    def finish(self, state: State, how: Finish) -> Column:
        """The values (l)."""
        ...
