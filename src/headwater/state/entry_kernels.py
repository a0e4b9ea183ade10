"""Compiled loops over states with entries (`aggregations.ragged`): queues, lists, distinct counts,
percentiles, frequent values.

They read the entries in the records, without a copy. Common arguments:

words, reals: the records, as int64 and as float64 bit by bit. at: (records, arrays + 1), where the
arrays of each record begin, as of `tiles.located`. c: the state's first array. tiles:
(records, 2), begin and end of the tiles that a window counts.
entries: (records, 2), begin and end of their entries, see `entry_ranges`. items: the items of
lists; `used`: how many are already there.

Compiled loops for maps by a secondary key (`aggregations.grouped`): choose the latest
categories, then merge and finish their states.

An entry is (category, time and id of its latest event, then the inner state, a row of numbers). See
`entry_kernels` for the arguments. Nothing is sorted but the chosen categories: a hash table numbers
all, and only entries of chosen ones are copied.

The value of a feature from the state of its window, a row of numbers: what `finalize` of its
function does, for one key.
"""

from __future__ import annotations

import math

import numpy as np

from headwater.aggregations.count_distinct import EXACT, estimate, packed
from headwater.aggregations.reads import (
    DECAYED_MEAN,
    DECAYED_SUM,
    DEVIATION,
    FRACTION,
    KEPT,
    LATEST,
    MEAN,
    RATE,
    REAL,
    SINCE,
    SUM,
    VARIANCE,
    WHOLE,
)
from headwater.definitions.checks import SECOND
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import joined, remaining
from headwater.state.tiles import FLOAT

_FEW = 8  # up to this number, values are selected one by one instead of sorted

_SHIFT = 52 - 6  # of a percentile's bucket, see `aggregations.approx_percentile`


@njit()
def entry_ranges(words, at, tiles, c, entries):  # type: ignore[no-untyped-def]
    """Write the range of entries of each record's tiles in the window into `entries`; the number of
    entries.
    """
    total = 0
    for r in range(len(tiles)):
        low, high, begin = at[r, c] + tiles[r, 0], at[r, c] + tiles[r, 1], 0
        for i in range(at[r, c], low):
            begin += words[i]
        end = begin
        for i in range(low, high):
            end += words[i]
        entries[r, 0], entries[r, 1] = begin, end
        total += end - begin
    return total


@njit()
def open_intervals(words, at, c, entries, T, known_ended):  # type: ignore[no-untyped-def]
    """How many events have not ended by T, and the sum of their ages; ends after `known_ended` are
    not known.
    """
    count, age = 0, 0
    for r in range(len(entries)):
        starts, ends = at[r, c + 1], at[r, c + 2]
        for e in range(entries[r, 0], entries[r, 1]):
            if words[ends + e] >= T or words[ends + e] > known_ended:
                count += 1
                age += T - words[starts + e]
    return count, age


@njit()
def recent(words, reals, at, c, entries, k, newest, distinct, real, items, used):  # type: ignore[no-untyped-def]
    """Write the `k` last (or first) values by (time, id, value) as items, ascending; the number of
    items after that.

    The tiles of a record and the entries of a tile are in ascending order, so the records are
    merged from one end.
    """
    heads = np.empty(len(entries), np.int64)
    for r in range(len(entries)):
        heads[r] = entries[r, 1] - 1 if newest else entries[r, 0]
    first = used
    while used - first < k:
        best = np.int64(-1)  # as in `map_of`
        for r in range(len(entries)):
            if not entries[r, 0] <= heads[r] < entries[r, 1]:
                continue
            if (
                best < 0
                or _follows(words, reals, at, c, (r, heads[r]), (best, heads[best]), real) == newest
            ):
                best = np.int64(r)
        if best < 0:
            break
        value = words[at[best, c + 3] + heads[best]]
        heads[best] += -1 if newest else 1
        if distinct and (items[first:used] == value).any():
            continue
        items[used] = value
        used += 1
    if newest:
        items[first:used] = items[first:used][::-1].copy()
    return used


@njit()
def _follows(words, reals, at, c, entry, earlier, real):  # type: ignore[no-untyped-def]
    """Whether an entry (record, position) is after another by (time, id, value)."""
    for column in (c + 1, c + 2):
        a, b = words[at[entry[0], column] + entry[1]], words[at[earlier[0], column] + earlier[1]]
        if a != b:
            return a > b
    p, q = at[entry[0], c + 3] + entry[1], at[earlier[0], c + 3] + earlier[1]
    return reals[p] > reals[q] if real else words[p] > words[q]


@njit()
def distinct_count(words, at, c, tiles, entries, total):  # type: ignore[no-untyped-def]
    """The number of distinct hashes: exact, or above EXACT estimated from their registers."""
    exact = True
    for r in range(len(tiles)):
        for i in range(at[r, c + 1] + tiles[r, 0], at[r, c + 1] + tiles[r, 1]):
            exact = exact and words[i] == 1
    if exact:
        count = _different(words, at, c, entries, total)
        if count <= EXACT:
            return count
    registers, ranks = np.zeros(4096, np.int64), np.zeros(54, np.int64)
    for r in range(len(tiles)):
        e = at[r, c + 2] + entries[r, 0]
        for i in range(tiles[r, 0], tiles[r, 1]):
            hashed = words[at[r, c + 1] + i] == 1
            for _ in range(words[at[r, c] + i]):
                entry = packed(words[e]) if hashed else words[e]
                registers[entry >> 6] = max(registers[entry >> 6], entry & 63)
                e += 1
    for rank in registers:
        ranks[rank] += 1
    return estimate(ranks)


@njit()
def _different(words, at, c, entries, total):  # type: ignore[no-untyped-def]
    """The number of distinct hashes among the entries; EXACT + 1 if there are more."""
    size = 16
    while size < 2 * min(total, EXACT + 1):
        size *= 2
    table, zero, count = np.zeros(size, np.int64), 0, 0
    for r in range(len(entries)):
        for e in range(at[r, c + 2] + entries[r, 0], at[r, c + 2] + entries[r, 1]):
            x = words[e]
            if x == 0:
                zero = 1
                continue
            slot = x & (size - 1)
            while table[slot] != 0 and table[slot] != x:
                slot = (slot + 1) & (size - 1)
            if table[slot] == 0:
                table[slot] = x
                count += 1
                if count + zero > EXACT:
                    return EXACT + 1
    return count + zero


@njit()
def percentile(words, reals, at, c, entries, total, millionths):  # type: ignore[no-untyped-def]
    """The middle of the bucket that holds the rank, and whether there is one."""
    pairs, used, n, rising = np.empty(total, np.int64), 0, 0, True
    for r in range(len(entries)):
        for e in range(entries[r, 0], entries[r, 1]):
            bucket, count = words[at[r, c + 1] + e], words[at[r, c + 2] + e]
            # a count is below 2^44, a bucket's size below 2^17
            pairs[used] = ((bucket + (1 << 18)) << 44) | count
            rising = rising and (used == 0 or pairs[used] > pairs[used - 1])
            n += count
            used += 1
    if n == 0:
        return 0.0, False
    order = np.arange(total) if rising else rising_order(pairs, reals, False)
    rest, bucket = max(1, -(-(n * millionths) // 1_000_000)), 0
    for i in order:
        pair = pairs[i]
        rest -= pair & ((1 << 44) - 1)
        if rest <= 0:
            bucket = (pair >> 44) - (1 << 18)
            break
    if bucket == 0:
        return 0.0, True
    pairs[0] = (abs(bucket) << _SHIFT) | (1 << (_SHIFT - 1))
    middle = pairs.view(np.float64)[0]
    return (middle if bucket > 0 else -middle), True


@njit()
def tallied(words, at, c, entries, total, counted, values, counts):  # type: ignore[no-untyped-def]
    """Write each distinct value of the entries and its count; the number of distinct values.
    counted: whether entries have counts.
    """
    bits = 4
    while (1 << bits) < 2 * total:
        bits += 1
    table, n, mask = np.full(1 << bits, -1), 0, (1 << bits) - 1
    for r in range(len(entries)):
        for e in range(entries[r, 0], entries[r, 1]):
            x = words[at[r, c + 1] + e]
            slot = slot_of(x, bits)
            while table[slot] >= 0 and values[table[slot]] != x:
                slot = (slot + 1) & mask
            if table[slot] < 0:
                table[slot] = n
                values[n], counts[n] = x, 0
                n += 1
            counts[table[slot]] += words[at[r, c + 2] + e] if counted else 1
    return n


@njit()
def slot_of(x, bits):  # type: ignore[no-untyped-def]
    """Where to look first for a word in a hash table of 2^bits slots."""
    return np.int64((np.uint64(x) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))


@njit()
def most_frequent(values, floats, counts, k, real, items, used):  # type: ignore[no-untyped-def]
    """Write the `k` values with the greatest counts as items, on ties the smaller value first; the
    number of items after that.
    """
    n = len(values)
    if k > _FEW:
        order = rising_order(values, floats, real)
        often = rising_order(-counts[order], floats, False)
        for i in range(min(k, n)):
            items[used] = values[order[often[i]]]
            used += 1
        return used
    for _ in range(min(k, n)):
        best = 0
        for j in range(1, n):
            lesser = floats[j] < floats[best] if real else values[j] < values[best]
            if counts[j] > counts[best] or (counts[j] == counts[best] and lesser):
                best = j
        items[used], counts[best] = values[best], -1
        used += 1
    return used


@njit()
def least(values, floats, k, real, items, used):  # type: ignore[no-untyped-def]
    """Write the `k` smallest values as items, ascending; the number of items after that."""
    order, count = rising_order(values, floats, real), min(k, len(values))
    for i in range(count):
        items[used + i] = values[order[i]]
    return used + count


@njit()
def rising_order(values, floats, real):  # type: ignore[no-untyped-def]
    """A stable order of integers, or of floats if `real`. numpy's sorts take long to compile."""
    n, width = len(values), 1
    order, merged_order = np.arange(n), np.empty(n, np.int64)
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for p in range(low, high):
                first = j == high
                if i < middle and j < high:
                    a, b = order[i], order[j]
                    first = floats[a] <= floats[b] if real else values[a] <= values[b]
                if first:
                    merged_order[p] = order[i]
                    i += 1
                else:
                    merged_order[p] = order[j]
                    j += 1
        order, merged_order = merged_order, order
        width *= 2
    return order


INNER, INNER_WORD = 8, 7
"""The words before the merge program of an inner state: how many columns, how many steps, the read
(5), and whether it is a float.
"""


@njit()
def map_of(words, plan, inner, at, c, tiles, entries, total, most, T, items, used):  # type: ignore[no-untyped-def]
    """Write the map of the `most` latest categories as items, the latest last; how many there are.

    inner: where the plan of the inner state stands, INNER words and its program. The items are the
    categories, then the values, then for each 1 where its value is not null, else 0.
    """
    if total == 0:
        return 0
    columns, steps = plan[inner], plan[inner + 1]
    merge_steps = plan[inner + INNER : inner + INNER + 3 * steps].reshape(steps, 3)
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
        _merge(merge_steps, rows, floats, leaf, row, begins[i + 1])
        v, x, valid = finished(kind, states, numbers, T, row * columns, a, b, k, d)
        items[used + i] = heads[best[i], 0]
        if real:
            values[target] = x
        else:
            items[target] = v
        items[target + count] = valid and (not real or math.isfinite(x))
    return count


@njit()
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


@njit()
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


@njit()
def _sift(heads, heap, size, group):  # type: ignore[no-untyped-def]
    """Replace the first of a heap, which is the earliest category."""
    slot = 0
    while 2 * slot + 1 < size:
        child = 2 * slot + 1
        if child + 1 < size and _earlier(heads, heap[child + 1], heap[child]):
            child += 1
        if not _earlier(heads, heap[child], group):
            break
        heap[slot], slot = heap[child], child
    heap[slot] = group


@njit()
def _earlier(heads, a, b):  # type: ignore[no-untyped-def]
    """Whether category a is before b by (time, id, category)."""
    if heads[a, 1] != heads[b, 1]:
        return heads[a, 1] < heads[b, 1]
    if heads[a, 2] != heads[b, 2]:
        return heads[a, 2] < heads[b, 2]
    return heads[a, 0] < heads[b, 0]


@njit()
def _copied(words, at, c, tiles, entries, category_of, count, to):  # type: ignore[no-untyped-def]
    """Copy the inner states of the chosen categories, category after category, each in the order of
    its tiles.

    category_of: the number of each entry's category, and of each category its place among the
    chosen ones, or -1. count: how many are chosen. to, to be filled: where the rows of each begin,
    and the last end; the position of each row's tile in a merge of all tiles; and the rows.
    """
    (group_of, rank), (begins, leaf, rows) = category_of, to
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
                slot = rank[group_of[n]]
                if slot >= 0:
                    row = begins[slot]
                    begins[slot] += 1
                    leaf[row] = tile
                    for k in range(rows.shape[1]):
                        rows[row, k] = words[at[r, c + 4 + k] + e]
                n += 1
                e += 1
            tile += 1
    for i in range(count, 0, -1):  # each begin has become the next one's
        begins[i] = begins[i - 1]
    begins[0] = 0


@njit()
def _merge(merge_steps, rows, floats, leaf, first, last):  # type: ignore[no-untyped-def]
    """Merge the rows first:last into row `first`: neighbouring leaves first, then neighbouring
    pairs, and so on.

    So floats are added in the same order as when whole tiles are merged in pairs; a leaf without a
    row adds nothing.
    """
    while last - first > 1:
        i, end = first, first
        while i < last:
            both = i + 1 < last and leaf[i] >> 1 == leaf[i + 1] >> 1
            if both:
                joined(merge_steps, rows, floats, i, i + 1)
            if end < i:
                rows[end] = rows[i]
            leaf[end] = leaf[i] >> 1
            end += 1
            i += 2 if both else 1
        last = end


WIDTH = 12
"""The words of a plan for each feature."""

_FAR = 2.0**62


@njit()
def finished(kind, states, reals, T, at, a, b, c, d):  # type: ignore[no-untyped-def]
    """The value as an integer, as a float, and whether it is not null; `kind`, a to d: a read of
    `aggregations.reads`.

    states: rows of numbers; reals: the same words as float64. at: where the row begins.
    """
    valid, x, v = True, 0.0, 0
    if kind == WHOLE:
        v = states[at + a]
    elif kind == REAL:
        x = reals[at + a]
    elif kind == SUM:
        v, valid = states[at + a], abs(reals[at + b] - states[at + a]) < _FAR
    elif kind == MEAN:
        x, valid = _total(states, reals, at, b, c) / max(states[at + a], 1), states[at + a] > 0
    elif kind in (KEPT, LATEST):
        v, x, valid = states[at + a], reals[at + a], states[at + b] > 0
        if kind == LATEST:
            valid = valid and states[at + c] > 0
    elif kind in (DEVIATION, VARIANCE):
        freedom = states[at + a] - c
        x, valid = reals[at + b] / max(freedom, 1), freedom > 0
        if kind == DEVIATION:
            x = math.sqrt(x)
    elif kind == SINCE:
        valid = states[at + b] > 0
        x = (T - states[at + a] if valid else 0) / SECOND
    elif kind == RATE:
        x = (states[at + a] if b == -2 else _total(states, reals, at, a, b)) / (c / SECOND)
    elif kind == FRACTION:
        x, valid = states[at + b] / max(states[at + a], 1), states[at + a] > 0
    elif kind == DECAYED_SUM:
        x = reals[at + c] * remaining(states[at + b], T, states[at + a], d)
    elif kind == DECAYED_MEAN:
        valid = states[at + a] > 0
        x = reals[at + b] / (reals[at + c] if valid else 1.0)
    else:
        below = _total(states, reals, at, c, d)
        valid = below != 0
        x = _total(states, reals, at, a, b) / (below if valid else 1.0)
    return v, x, valid


@njit()
def _total(states, reals, at, a, rough):  # type: ignore[no-untyped-def]
    """A sum as float64: of floats, or of integers, for which `rough` holds the sum once it has left
    int64; `at`: where the state begins.
    """
    if rough < 0:
        return reals[at + a]
    return (
        np.float64(states[at + a])
        if abs(reals[at + rough] - states[at + a]) < _FAR
        else reals[at + rough]
    )
