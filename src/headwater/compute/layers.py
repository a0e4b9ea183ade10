"""Late events: split the events of each key into layers, in each of which known order is event order.

In such a layer, what a request may see is one range, so one kernel serves events in order and late ones alike; the partial
results of the layers are merged, as those of tiles are. Each event goes to the first layer whose last known time is not later,
which needs the fewest layers that exist (the greedy cover of Dilworth's theorem): one where nothing is late.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba as nb
import numpy as np

from headwater.compute.arrays import I64, NOTHING, Asks, Events


def layers(events: Events) -> Iterator[Events]:
    """The events as layers in known order, all with the same keys; `row` says where each event was.

    A single layer is the events themselves.
    """
    if len(events.known) == 0:
        yield events
        return
    layer = np.empty(len(events.t), np.int64)
    deepest = _assign(events.starts, events.known, layer)
    if deepest <= 1:
        yield events
        return
    sizes = np.bincount(layer, minlength=deepest)
    order = np.argsort(layer, kind="stable")
    ends = np.cumsum(sizes)
    key = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))
    for size, end in zip(sizes.tolist(), ends.tolist(), strict=True):
        yield _taken(events, order[end - size : end], key)


def reached(layer: Events, asks: Asks) -> tuple[Asks, I64] | None:
    """The asks of the keys that have events in this layer, and where they stood; None where there are none."""
    wanted = np.diff(layer.starts) > 0
    counts = np.where(wanted, np.diff(asks.starts), 0)
    total = int(counts.sum())
    if total == 0:
        return None
    if total == len(asks.T):
        return asks, NOTHING
    starts = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(total) + np.repeat(asks.starts[:-1] - starts[:-1], counts)
    return Asks(starts, asks.T[index], asks.K[index]), index


def _taken(events: Events, index: I64, key: I64) -> Events:
    starts = np.concatenate([[0], np.cumsum(np.bincount(key[index], minlength=len(events.starts) - 1))])
    ident = events.ident[index] if len(events.ident) else events.ident
    columns = {name: column.take(index) for name, column in events.columns.items()}
    return Events(starts, events.t[index], events.known[index], events.delay, ident, columns, index, events.ended_after)


@nb.njit(nogil=True, cache=True)
def _assign(starts, known, layer):  # type: ignore[no-untyped-def]
    deepest = 0
    last = np.empty(64, np.int64)  # the last known time of each layer, falling from layer to layer
    for key in range(len(starts) - 1):
        used = 0
        for i in range(starts[key], starts[key + 1]):
            low, high = 0, used
            if used > 0 and last[0] <= known[i]:
                high = 0
            while low < high:
                middle = (low + high) >> 1
                if last[middle] <= known[i]:
                    high = middle
                else:
                    low = middle + 1
            if low == used:
                used += 1
                if used > len(last):
                    longer = np.empty(2 * len(last), np.int64)
                    longer[: len(last)] = last
                    last = longer
            last[low] = known[i]
            layer[i] = low
        deepest = max(deepest, used)
    return deepest
