"""The order of events by (time, id, value): what first, last and their like go by."""

from __future__ import annotations

import numpy as np

from headwater.aggregations.visible_ranges import plain
from headwater.kernel.arrays import I64
from headwater.kernel.layers import Layer


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
