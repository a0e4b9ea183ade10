"""Compiled loops over states with entries (`aggregations.ragged`): queues, lists, distinct counts,
percentiles, frequent values.

They read the entries in the records, without a copy. Common arguments:

words, reals: the records, as int64 and as float64 bit by bit. at: (records, arrays + 1), where the
arrays of each record begin, as of `record_layout.located`. c: the state's first array. tiles:
(records, 2), begin and end of the tiles that a window counts.
entries: (records, 2), begin and end of their entries, see `entry_ranges`. items: the items of
lists; `used`: how many are already there.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.aggregations.count_distinct import EXACT, estimate, packed

_FEW = 8  # up to this number, values are selected one by one instead of sorted
_SHIFT = 52 - 6  # of a percentile's bucket, see `aggregations.approx_percentile`


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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
        best = np.int64(-1)  # as in `map_kernels.map_of`
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


@nb.njit(nogil=True, cache=True)
def _follows(words, reals, at, c, entry, other, real):  # type: ignore[no-untyped-def]
    """Whether an entry (record, position) is after another by (time, id, value)."""
    for column in (c + 1, c + 2):
        a, b = words[at[entry[0], column] + entry[1]], words[at[other[0], column] + other[1]]
        if a != b:
            return a > b
    p, q = at[entry[0], c + 3] + entry[1], at[other[0], c + 3] + other[1]
    return reals[p] > reals[q] if real else words[p] > words[q]


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def slot_of(x, bits):  # type: ignore[no-untyped-def]
    """Where to look first for a word in a hash table of 2^bits slots."""
    return np.int64((np.uint64(x) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))


@nb.njit(nogil=True, cache=True)
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


@nb.njit(nogil=True, cache=True)
def least(values, floats, k, real, items, used):  # type: ignore[no-untyped-def]
    """Write the `k` smallest values as items, ascending; the number of items after that."""
    order, count = rising_order(values, floats, real), min(k, len(values))
    for i in range(count):
        items[used + i] = values[order[i]]
    return used + count


@nb.njit(nogil=True, cache=True)
def rising_order(values, floats, real):  # type: ignore[no-untyped-def]
    """A stable order of integers, or of floats if `real`. numpy's sorts take long to compile."""
    n, width = len(values), 1
    order, other = np.arange(n), np.empty(n, np.int64)
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
                    other[p] = order[i]
                    i += 1
                else:
                    other[p] = order[j]
                    j += 1
        order, other = other, order
        width *= 2
    return order
