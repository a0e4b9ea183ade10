"""Compiled loops for maps by a secondary key (`aggregations.grouped`): choose the latest
categories, then merge and finish their states.

An entry is (category, time and id of its latest event, then the inner state, a row of numbers). See
`entry_kernels` for the arguments. Nothing is sorted but the chosen categories: a hash table numbers
all, and only entries of chosen ones are copied.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from headwater.kernel.merge_program import joined
from headwater.state.entry_kernels import slot_of
from headwater.state.record_layout import FLOAT
from headwater.state.value_kernels import finished

INNER, INNER_WORD = 8, 7
"""The words before the merge program of an inner state: how many columns, how many steps, the read
(5), and whether it is a float.
"""


@nb.njit(nogil=True, cache=True)
def map_of(words, plan, inner, at, c, tiles, entries, total, most, T, items, used):  # type: ignore[no-untyped-def]
    """Write the map of the `most` latest categories as items, the latest last; how many there are.

    inner: where the plan of the inner state stands, INNER words and its program. The items are the
    categories, then the values, then for each 1 where its value is not null, else 0.
    """
    if total == 0:
        return 0
    columns, steps = plan[inner], plan[inner + 1]
    how = plan[inner + INNER : inner + INNER + 3 * steps].reshape(steps, 3)
    bits = 4
    while (1 << bits) < 2 * total:
        bits += 1
    size = 1 << bits
    # one array: each of its own takes as long as some dozens of entries
    room = np.empty(size + total * (8 + columns) + 1, np.int64)
    group_of, rank, best = room[:total], room[total : 2 * total], room[2 * total : 3 * total]
    heads = room[3 * total : 6 * total].reshape(total, 3)
    groups = _numbered(words, at, c, entries, bits, room[len(room) - size :], group_of, heads)
    count = _latest(heads[:groups], most, best, rank)
    begins, leaf, rows = (
        room[6 * total : 7 * total + 1],
        room[7 * total + 1 : 8 * total + 1],
        room[8 * total + 1 : len(room) - size],
    )
    rows = rows.reshape(total, columns)
    _copied(words, at, c, tiles, entries, (group_of, rank), count, (begins, leaf, rows))
    kind, a, b, k, d = (
        plan[inner + 2],
        plan[inner + 3],
        plan[inner + 4],
        plan[inner + 5],
        plan[inner + 6],
    )
    real, floats, values = (
        plan[inner + INNER_WORD] == FLOAT,
        rows.view(np.float64),
        items.view(np.float64),
    )
    states, numbers = rows.ravel(), floats.ravel()
    for i in range(count):
        row, target = begins[i], used + count + i
        _merge(how, rows, floats, leaf, row, begins[i + 1])
        v, x, valid = finished(kind, states, numbers, T, row * columns, a, b, k, d)
        items[used + i] = heads[best[i], 0]
        if real:
            values[target] = x
        else:
            items[target] = v
        items[target + count] = valid and (not real or math.isfinite(x))
    return count


@nb.njit(nogil=True, cache=True)
def _numbered(words, at, c, entries, bits, table, group_of, heads):  # type: ignore[no-untyped-def]
    """Number the categories; how many there are.

    group_of: the number of each entry's category, record after record. heads: of each category
    itself, and time and id of its latest event. The latest tiles of a record come first, so that a
    category's first entry mostly has its latest event.
    """
    table[:] = -1
    groups, begin = np.int64(0), 0  # not a literal: numba would compile what takes it once more
    for r in range(len(entries)):
        first = entries[r, 0]
        for e in range(entries[r, 1] - 1, first - 1, -1):
            category, t, ident = (
                words[at[r, c + 1] + e],
                words[at[r, c + 2] + e],
                words[at[r, c + 3] + e],
            )
            slot = slot_of(category, bits)
            while table[slot] >= 0 and heads[table[slot], 0] != category:
                slot = (slot + 1) & ((1 << bits) - 1)
            group = table[slot]
            if group < 0:
                group = table[slot] = groups
                heads[group, 0], heads[group, 1], heads[group, 2] = category, t, ident
                groups += 1
            elif t > heads[group, 1] or (t == heads[group, 1] and ident > heads[group, 2]):
                heads[group, 1], heads[group, 2] = t, ident
            group_of[begin + e - first] = group
        begin += entries[r, 1] - first
    return groups


@nb.njit(nogil=True, cache=True)
def _latest(heads, most, best, rank):  # type: ignore[no-untyped-def]
    """Choose the `most` categories with the latest (time, id, category), in ascending order; how
    many there are.

    best: their numbers. rank: of each category its place in `best`, or -1.
    """
    count = min(most, len(heads))
    for group in range(len(heads)):
        rank[group] = -1
        if group < count:  # a heap: the earliest of the best comes first
            child = group
            while child > 0 and _earlier(heads, group, best[(child - 1) >> 1]):
                best[child] = best[(child - 1) >> 1]
                child = (child - 1) >> 1
            best[child] = group
        elif _earlier(heads, best[0], group):
            _sift(heads, best, count, group)
    for last in range(count - 1, 0, -1):  # the earliest goes last, which ends in descending order
        earliest, moved = best[0], best[last]
        _sift(heads, best, last, moved)
        best[last] = earliest
    for i in range(count // 2):
        best[i], best[count - 1 - i] = best[count - 1 - i], best[i]
    for i in range(count):
        rank[best[i]] = i
    return count


@nb.njit(nogil=True, cache=True)
def _sift(heads, heap, size, group):  # type: ignore[no-untyped-def]
    """Replace the first of a heap, which is the earliest category."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _earlier(heads, heap[child + 1], heap[child]):
            child += 1
        if not _earlier(heads, heap[child], group):
            break
        heap[place], place = heap[child], child
    heap[place] = group


@nb.njit(nogil=True, cache=True)
def _earlier(heads, a, b):  # type: ignore[no-untyped-def]
    """Whether category a is before b by (time, id, category)."""
    if heads[a, 1] != heads[b, 1]:
        return heads[a, 1] < heads[b, 1]
    if heads[a, 2] != heads[b, 2]:
        return heads[a, 2] < heads[b, 2]
    return heads[a, 0] < heads[b, 0]


@nb.njit(nogil=True, cache=True)
def _copied(words, at, c, tiles, entries, of, count, to):  # type: ignore[no-untyped-def]
    """Copy the inner states of the chosen categories, category after category, each in the order of
    its tiles.

    of: the number of each entry's category, and of each category its place among the chosen ones,
    or -1. count: how many are chosen. to, to be filled: where the rows of each begin, and the last
    end; the position of each row's tile in a merge of all tiles; and the rows.
    """
    (group_of, rank), (begins, leaf, rows) = of, to
    begins[: count + 1] = 0
    for group in group_of:
        if rank[group] >= 0:
            begins[rank[group] + 1] += 1
    for i in range(count):
        begins[i + 1] += begins[i]
    n, tile = 0, 1  # the state of no event comes first
    for r in range(len(tiles)):
        e = entries[r, 0]
        for i in range(tiles[r, 0], tiles[r, 1]):
            for _ in range(words[at[r, c] + i]):
                place = rank[group_of[n]]
                if place >= 0:
                    row = begins[place]
                    begins[place] += 1
                    leaf[row] = tile
                    for k in range(rows.shape[1]):
                        rows[row, k] = words[at[r, c + 4 + k] + e]
                n += 1
                e += 1
            tile += 1
    for i in range(count, 0, -1):  # each begin has become the next one's
        begins[i] = begins[i - 1]
    begins[0] = 0


@nb.njit(nogil=True, cache=True)
def _merge(how, rows, floats, leaf, first, last):  # type: ignore[no-untyped-def]
    """The rows first:last as one, in row `first`: those of neighbouring leaves are merged, then
    those of neighbouring pairs, and so on.

    So floats are added in the same order as when whole tiles are merged in pairs; a leaf without a
    row adds nothing.
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
