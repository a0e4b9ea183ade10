"""Compiled loops for maps by a secondary key (`aggregations.grouped`): merge the states of each category, and finish the latest ones.

An entry is (category, time and id of its latest event, then the inner state, a row of numbers). See `entry_kernels` for the arguments.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from headwater.kernel.merge_program import joined
from headwater.state.entry_kernels import rising_order
from headwater.state.record_layout import FLOAT
from headwater.state.value_kernels import finished

INNER, INNER_WORD = 8, 7
"""The words before the merge program of an inner state: how many columns, how many steps, the read (5), and whether it is a float."""


@nb.njit(nogil=True, cache=True)
def map_of(words, plan, inner, at, c, tiles, entries, total, most, T, items, used):  # type: ignore[no-untyped-def]
    """Write the map of the `most` latest categories as items, the latest last; how many there are.

    inner: where the plan of the inner state stands, INNER words and its program. The items are the categories, then the values, then for
    each 1 where its value is not null, else 0.
    """
    columns, steps = plan[inner], plan[inner + 1]
    how = plan[inner + INNER : inner + INNER + 3 * steps].reshape(steps, 3)
    rows, heads, leaf = np.empty((total, columns), np.int64), np.empty((total, 3), np.int64), np.empty(total, np.int64)
    _in_order(words, at, c, tiles, entries, rows, heads, leaf)
    floats = rows.view(np.float64)
    groups, begin = np.int64(0), np.int64(0)  # not literals: numba would compile `_merge` once more for them
    while begin < total:
        end = begin + 1
        while end < total and heads[end, 0] == heads[begin, 0]:
            later = heads[end, 1] > heads[begin, 1] or (heads[end, 1] == heads[begin, 1] and heads[end, 2] > heads[begin, 2])
            if later:
                heads[begin, 1], heads[begin, 2] = heads[end, 1], heads[end, 2]
            end += 1
        _merge(how, rows, floats, leaf, begin, end)
        if groups < begin:
            heads[groups], rows[groups] = heads[begin], rows[begin]
        groups, begin = groups + 1, end
    count = min(most, groups)
    kind, a, b, k, d = plan[inner + 2], plan[inner + 3], plan[inner + 4], plan[inner + 5], plan[inner + 6]
    real = plan[inner + INNER_WORD] == FLOAT
    states, numbers, values = rows.ravel(), floats.ravel(), items.view(np.float64)
    latest = _latest(heads[:groups])
    for i in range(count):
        row, target = latest[groups - count + i], used + count + i
        v, x, valid = finished(kind, states, numbers, T, row * columns, a, b, k, d)
        items[used + i] = heads[row, 0]
        if real:
            values[target] = x
        else:
            items[target] = v
        items[target + count] = valid and (not real or math.isfinite(x))
    return count


@nb.njit(nogil=True, cache=True)
def _in_order(words, at, c, tiles, entries, rows, heads, leaf):  # type: ignore[no-untyped-def]
    """Copy all entries sorted by category and then by tile; `leaf`: the position of each entry's tile in a merge of all tiles."""
    total, n, tile = len(leaf), 0, 1  # the state of no event comes first
    categories, tile_of, position = np.empty(total, np.int64), np.empty(total, np.int64), np.empty((total, 2), np.int64)
    for r in range(len(tiles)):
        e = entries[r, 0]
        for i in range(tiles[r, 0], tiles[r, 1]):
            for _ in range(words[at[r, c] + i]):
                categories[n], tile_of[n] = words[at[r, c + 1] + e], tile
                position[n, 0], position[n, 1] = r, e
                n += 1
                e += 1
            tile += 1
    order = rising_order(categories, rows.view(np.float64).ravel(), False)
    for i in range(total):
        r, e = position[order[i], 0], position[order[i], 1]
        leaf[i] = tile_of[order[i]]
        for k in range(3):
            heads[i, k] = words[at[r, c + 1 + k] + e]
        for k in range(rows.shape[1]):
            rows[i, k] = words[at[r, c + 4 + k] + e]


@nb.njit(nogil=True, cache=True)
def _merge(how, rows, floats, leaf, first, last):  # type: ignore[no-untyped-def]
    """The rows first:last as one, in row `first`: those of neighbouring leaves are merged, then those of neighbouring pairs, and so on.

    So floats are added in the same order as when whole tiles are merged in pairs; a leaf without a row adds nothing.
    """
    while last - first > 1:
        i, end = first, first
        while i < last:
            both = i + 1 < last and leaf[i] >> 1 == leaf[i + 1] >> 1
            if both:
                joined(how, rows, floats, i, i + 1)
            if end < i:
                rows[end] = rows[i]
            leaf[end] = leaf[i] >> 1
            end += 1
            i += 2 if both else 1
        last = end


@nb.njit(nogil=True, cache=True)
def _latest(heads):  # type: ignore[no-untyped-def]
    """The order of categories by (time, id, category); they are passed in ascending order."""
    reals = np.empty(0)
    order = rising_order(heads[:, 2].copy(), reals, False)
    return order[rising_order(heads[:, 1].copy()[order], reals, False)]
