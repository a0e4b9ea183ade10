"""Late and corrected events: split the events of each key into layers. Within a layer, the orders
of `known` and of `removed_at` are event order.

In such a layer, a request sees one range of events. So one kernel serves events in order, late
events and removed events alike; the partial results of the layers are merged, like those of tiles.
An event that lasts goes to the first layer of lasting events whose last known time is not later.
This needs the fewest layers (the greedy cover of Dilworth's theorem): one where nothing is late. A
removed event goes to the first layer of removed events where neither the last known time nor the
last removal is later; with two times to keep in order, first fit is not proven to need the fewest
layers. Removed events have their own layers, behind the others: an event that lasts would close a
layer to all removed ones, and most events last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from headwater.kernel.arrays import I64, LASTS, NOTHING, Events, RequestTimes
from headwater.kernel.compile_cache import njit


def layers(events: Events) -> Iterator[Events]:
    """The events as layers in the order of `known` (and of `removed_at`), all with the same keys;
    `row` is the former position of each event.

    A single layer is the events themselves. Where events are removed, the first layer holds the
    lasting ones, even if there are none, so that partial results are merged in the same order for
    any grouping of keys.
    """
    if len(events.known) == 0:
        yield events
        return
    layer = np.empty(len(events.t), np.int64)
    lasting, fleeting = _assign(events.starts, events.known, events.removed_at, LASTS, layer)
    if lasting <= 1 and fleeting == 0:
        yield replace(events, removed_at=NOTHING) if len(events.removed_at) else events
        return
    lasting = max(lasting, 1)
    layer = np.where(layer < 0, lasting - 1 - layer, layer)
    sizes = np.bincount(layer, minlength=lasting + fleeting)
    order = np.argsort(layer, kind="stable")
    ends = np.cumsum(sizes)
    key = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))
    for depth, (size, end) in enumerate(zip(sizes.tolist(), ends.tolist(), strict=True)):
        yield _taken(events, order[end - size : end], key, lasts=depth < lasting)


def reached(layer: Events, requests: RequestTimes) -> tuple[RequestTimes, I64] | None:
    """The requests of the keys that have events in this layer, and where they stood; None where
    there are none.
    """
    nonempty = np.diff(layer.starts) > 0
    counts = np.where(nonempty, np.diff(requests.starts), 0)
    total = int(counts.sum())
    if total == 0:
        return None
    if total == len(requests.T):
        return requests, NOTHING
    starts = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(total) + np.repeat(requests.starts[:-1] - starts[:-1], counts)
    return RequestTimes(starts, requests.T[index], requests.K[index]), index


def _taken(events: Events, index: I64, key: I64, *, lasts: bool) -> Events:
    starts = np.concatenate(
        [[0], np.cumsum(np.bincount(key[index], minlength=len(events.starts) - 1))]
    )
    ident = events.ident[index] if len(events.ident) else events.ident
    columns = {name: column.take(index) for name, column in events.columns.items()}
    removed_at = NOTHING if lasts else events.removed_at[index]
    return Events(
        starts,
        events.t[index],
        events.known[index],
        events.delay,
        ident,
        columns,
        index,
        events.ended_after,
        removed_at,
    )


@njit()
def _assign(starts, known, removed_at, lasts, layer):  # type: ignore[no-untyped-def]
    """Write each event's layer: from 0 where the event lasts, -1 minus the layer where it is taken
    back. Returns the number of layers of both kinds.
    """
    lasting, fleeting = 0, 0
    last = np.empty(64, np.int64)  # the last known time of each layer, falling from layer to layer
    # of each layer of retracted events
    last_known, last_removed = np.empty(64, np.int64), np.empty(64, np.int64)
    for key in range(len(starts) - 1):
        used, taken = 0, 0
        for i in range(starts[key], starts[key + 1]):
            if len(removed_at) > 0 and removed_at[i] < lasts:
                fits = 0
                while fits < taken and (
                    last_known[fits] > known[i] or last_removed[fits] > removed_at[i]
                ):
                    fits += 1
                if fits == taken:
                    taken += 1
                    if taken > len(last_known):
                        last_known, last_removed = _longer(last_known), _longer(last_removed)
                last_known[fits], last_removed[fits] = known[i], removed_at[i]
                layer[i] = -1 - fits
                continue
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
                    last = _longer(last)
            last[low] = known[i]
            layer[i] = low
        lasting, fleeting = max(lasting, used), max(fleeting, taken)
    return lasting, fleeting


@njit()
def _longer(array):  # type: ignore[no-untyped-def]
    longer = np.empty(2 * len(array), np.int64)
    longer[: len(array)] = array
    return longer
