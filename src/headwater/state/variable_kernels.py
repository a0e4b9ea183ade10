"""Features whose states have entries, for one key of a view: each by the loop of its function;
lists and maps go into a buffer of items.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.aggregations.reads import (
    DIFFERENT,
    DISTINCT,
    FREQUENT,
    LEAST_VALUES,
    MAP,
    NEWEST,
    OPEN_AGE,
    OPEN_COUNT,
    PERCENTILE,
    RECENT,
)
from headwater.definitions.durations import SECOND
from headwater.state.entry_kernels import (
    distinct_count,
    entry_ranges,
    least,
    most_frequent,
    open_intervals,
    percentile,
    recent,
    tallied,
)
from headwater.state.map_kernels import INNER_WORD, map_of
from headwater.state.record_layout import FLOAT, LENGTH_BITS, TEXT, spelt
from headwater.state.value_kernels import WIDTH


@nb.njit(nogil=True, cache=True)
def variable_features(plan, view, features, records, strings, times, position, out):  # type: ignore[no-untyped-def]
    """Write the values of the features of a view that have entries, for one key; how many items
    there are then.

    view: where its section begins; features: where those of its features do. records: words, reals
    and at, as of `entry_kernels`, and the tiles of each window. strings: as of
    `record_layout.spelt`. times: T, and by when a thing must be known. position: the number of the
    key, and how many keys there are. out: values, nulls and items, and how many items there are.
    """
    words, reals, at, tiles = records
    values, gone, items, used = out
    floats = values.view(np.float64)
    for f in range(features, features + WIDTH * plan[view + 3], WIDTH):
        if plan[f] < OPEN_COUNT:
            continue
        first, cell = used, plan[f + 8] * position[1] + position[0]
        v, x, valid, used = _value(
            words, reals, plan, view, f, at, tiles[plan[f + 1]], times, items, used
        )
        gone[cell] = not valid
        if plan[f + 6] == FLOAT:
            floats[cell] = x
        else:
            values[cell] = v
        size = (used - first) // 3 if plan[f] == MAP else used - first
        if plan[f + 5] == TEXT:
            for i in range(first, first + size):
                items[i] = spelt(words, strings, items[i])
        if plan[f] == MAP and plan[view + plan[f + 4] + INNER_WORD] == TEXT:
            for i in range(first + size, first + 2 * size):
                if items[i + size]:
                    items[i] = spelt(words, strings, items[i])
    return used


@nb.njit(nogil=True, cache=True)
def _value(words, reals, plan, view, f, at, tiles, times, items, used):  # type: ignore[no-untyped-def]
    """The value of the feature at word f of the plan: as an integer, as a float, whether it is not
    null, and how many items there are then.

    at, tiles: see `entry_kernels`. view: where the section of its view begins.
    """
    kind, c, a, b = plan[f], plan[f + 2], plan[f + 3], plan[f + 4]
    entries = np.empty((len(tiles), 2), np.int64)
    total = entry_ranges(words, at, tiles, c, entries)
    if kind in (OPEN_COUNT, OPEN_AGE):
        count, age = open_intervals(words, at, c, entries, times[0], times[1] - a)
        return count, age / max(count, 1) / SECOND, kind == OPEN_COUNT or count > 0, used
    if kind == DISTINCT:
        return distinct_count(words, at, c, tiles, entries, total), 0.0, True, used
    if kind == PERCENTILE:
        value, valid = percentile(words, reals, at, c, entries, total, a)
        return 0, value, valid, used
    if kind == MAP:
        count = map_of(
            words, plan, view + b, at, c, tiles, entries, total, a, times[0], items, used
        )
        return (used << LENGTH_BITS) | count, 0.0, True, used + 3 * count
    first, real = used, plan[f + 5] == FLOAT
    if kind == RECENT:
        used = recent(
            words, reals, at, c, entries, a, b & NEWEST > 0, b & DIFFERENT > 0, real, items, used
        )
    else:
        values, counts = np.empty(total, np.int64), np.empty(total, np.int64)
        n = tallied(words, at, c, entries, total, kind == FREQUENT, values, counts)
        floats = values.view(np.float64)[:n]
        if kind == LEAST_VALUES:
            return (
                (first << LENGTH_BITS) | min(n, a),
                0.0,
                True,
                least(values[:n], floats, a, real, items, used),
            )
        used = most_frequent(values[:n], floats, counts[:n], abs(a), real, items, used)
    if a < 0:  # the one value, and no list
        valid = used > first
        return (
            (items[first], items.view(np.float64)[first], True, first)
            if valid
            else (0, 0.0, False, first)
        )
    return (first << LENGTH_BITS) | (used - first), 0.0, True, used
