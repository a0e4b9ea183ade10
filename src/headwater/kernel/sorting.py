"""Sorting by key and time, and finding possible duplicates: passes over whole arrays, without
comparing entries.

Keys are small codes, so a stable counting sort puts entries in their order in one pass. Entries
that come in the order of time, as logs do, need no other pass. Any others are first dealt into
spans of time, likewise stably, each as one word of its code and its position, so that the second
pass reads words in their order; the few that still stand wrong within a key are settled by
insertion.

Duplicates of an event, by the rule of `id_horizon`.

Images of events that change, as versions: each holds from when it became known until it is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.kernel.arrays import I64, LASTS, NOTHING, Bool, Column
from headwater.kernel.compile_cache import njit

Part = TypeVar("Part")

Made = TypeVar("Made")

Scalar = TypeVar("Scalar", bound=np.generic)

_SMALL = 1 << 14  # fewer entries are not worth a thread

_BITS = 16  # time is cut into 65,536 spans in one pass: their counters stay near the processor

_WORD = 63  # bits of a word that is not negative

_CROWDED = 32  # more events of one key in a span than this: two passes, over finer spans

_BLOCK = 1 << 12  # entries that are compared without a look at the result

_FEW_TIES = 1 << 14  # entries that a first search for ties has room for

# moves an entry before settling gives up, for a sort that compares (times that are far from evenly
# spread)
_PATIENCE = 32


def in_threads(work: Callable[[Part], Made], parts: Sequence[Part], threads: int) -> list[Made]:
    """`work` on each part, concurrently if there are threads; results in the order of the parts."""
    if len(parts) < 2 or threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def take(values: NDArray[Scalar], index: I64, threads: int) -> NDArray[Scalar]:
    """values[index]."""
    out = np.empty(len(index), values.dtype)

    def piece(cut: tuple[int, int]) -> None:
        first, last = cut
        # "raise" would write into a copy first
        np.take(values, index[first:last], out=out[first:last], mode="clip")

    in_threads(piece, _cuts(len(index), threads), threads)
    return out


def taken(column: Column, index: I64, threads: int) -> Column:
    """The column at these positions."""
    values = take(cast("I64", column.values), index, threads)  # or float64: its dtype stays
    return replace(
        column,
        values=values,
        valid=None if column.valid is None else take(column.valid, index, threads),
    )


def order_of(code: I64, t: I64, keys: int, threads: int) -> tuple[I64, I64]:
    """The positions of entries in the order of (code, t), stable: int64 (n); and where each code
    begins: int64 (keys + 1).

    Args:
        code: int64 (n), 0 to keys - 1.
        t: int64 (n).
        keys: how many codes there are.
        threads: how many to use; the order does not depend on it.

    >>> order_of(np.array([1, 0, 1]), np.array([5, 9, 4]), 2, threads=1)
    (array([1, 2, 0]), array([0, 1, 3]))
    """
    order, starts, _ = _ordered(code, t, keys, threads)
    return order, starts


def order_and_times(code: I64, t: I64, keys: int, threads: int) -> tuple[I64, I64, I64]:
    """As `order_of`, with the times in that order: int64 (n).

    >>> order_and_times(np.array([1, 0, 1]), np.array([5, 9, 4]), 2, threads=1)
    (array([1, 2, 0]), array([0, 1, 3]), array([9, 4, 5]))
    """
    order, starts, sorted_t = _ordered(code, t, keys, threads)
    return order, starts, take(t, order, threads) if sorted_t is None else sorted_t


def _ordered(code: I64, t: I64, keys: int, threads: int) -> tuple[I64, I64, I64 | None]:
    """The order, where each code begins, and the sorted times if they are at hand."""
    if all(in_threads(lambda cut: _rising(t, *cut), _cuts(len(t), threads), threads)):
        return *_dealt(code, 0, 0, keys, None, threads), None
    low = int(t.min())
    bits = (int(t.max()) - low).bit_length()
    order, starts = _by_span(code, t, low, bits, keys, threads)
    sorted_t = take(t, order, threads)
    if bits < 63 and all(
        in_threads(
            lambda cut: _settle(starts, sorted_t, order, *cut), _key_cuts(starts, threads), threads
        )
    ):
        return order, starts, sorted_t
    compared = (
        pl.DataFrame({"code": code, "t": t})
        .with_row_index("row")
        .sort("code", "t", maintain_order=True)["row"]
    )
    return compared.cast(pl.Int64).to_numpy(writable=True), starts, None


def _by_span(code: I64, t: I64, low: int, bits: int, keys: int, threads: int) -> tuple[I64, I64]:
    """The positions of entries in the order of code, and of time up to spans of it, stable; and
    where each code begins.
    """
    sizes = _counted(code, NOTHING, 0, 0, keys, threads).sum(axis=0)
    shift, position_bits = max(bits - _BITS, 0), len(t).bit_length()
    if int(sizes.max()) > _CROWDED << _BITS or position_bits + keys.bit_length() > _WORD:
        return _dealt(code, 0, 0, keys, _by_fine_span(t, low, bits, threads), threads)
    words = _dealt(t, low, shift, 1 << _BITS, None, threads, code, position_bits)[0]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    cuts = _cuts(len(t), min(threads, max(len(t) // keys, 1)))
    heads = np.zeros((len(cuts), keys), np.int64)
    in_threads(
        lambda i: _count(words, NOTHING, 0, position_bits, _mask(keys), *cuts[i], heads[i + 1]),
        range(len(cuts) - 1),
        threads,
    )
    heads = starts[:-1] + np.cumsum(heads, axis=0)
    out = np.empty(len(t), np.int64)
    in_threads(
        lambda i: _deal_words(words, position_bits, *cuts[i], heads[i], out),
        range(len(cuts)),
        threads,
    )
    return out, starts


def _by_fine_span(t: I64, low: int, bits: int, threads: int) -> I64:
    """The positions of entries in the order of time up to fine spans of it, stable, by two
    passes.
    """
    half = _BITS * 3 // 4
    fine, _ = _dealt(t, low, max(bits - 2 * half, 0), 1 << half, None, threads)
    return _dealt(t, low, max(bits - half, 0), 1 << half, fine, threads)[0]


def numbered(values: I64) -> tuple[I64, I64]:
    """The place of each value among the distinct ones, int64 (n), and these, rising.

    >>> numbered(np.array([7, 3, 7]))
    (array([1, 0, 1]), array([3, 7]))
    """
    number, first = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    count = _number(values, np.full(1 << max(2 * len(values), 2).bit_length(), -1), number, first)
    distinct = first[:count]
    order = np.argsort(distinct)
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return rank[number], distinct[order]


def tied(starts: I64, t: I64, threads: int = 1) -> tuple[I64, I64]:
    """The positions of sorted entries with the key and time of another entry, and the group of
    each: int64 both.

    >>> tied(np.array([0, 3, 4]), np.array([5, 5, 6, 6]))
    (array([0, 1]), array([1, 1]))
    """
    ties = in_threads(lambda cut: _all_ties(starts, t, *cut), _key_cuts(starts, threads), threads)
    groups, before = [], 0
    for _, group in ties:
        groups.append(group + before)
        before += int(group[-1]) if len(group) else 0
    return np.concatenate([places for places, _ in ties]), np.concatenate(groups)


def _all_ties(starts: I64, t: I64, first: int, last: int) -> tuple[I64, I64]:
    """As `tied`, of the keys first to last - 1."""
    room = _FEW_TIES
    while True:
        places, group = np.empty(room, np.int64), np.empty(room, np.int64)
        room = int(_ties(starts, t, first, last, places, group))
        if room <= len(places):
            return places[:room], group[:room]


def perhaps_repeated(hashes: NDArray[np.uint64], threads: int = 1) -> Bool:
    """Whether an entry's hash may be there twice, bool (n): true for all that are, and for few
    others.

    >>> perhaps_repeated(np.array([7 << 60, 3, 7 << 60], np.uint64))
    array([ True, False,  True])
    """
    bits = max(len(hashes) * 16, 64).bit_length()
    out, shift, twice = (
        np.empty(len(hashes), np.bool_),
        np.uint64(64 - bits),
        np.zeros(1 << bits >> 3, np.uint8),
    )
    _mark(hashes, shift, np.zeros_like(twice), twice)
    in_threads(
        lambda cut: _marked(hashes, shift, twice, *cut, out), _cuts(len(hashes), threads), threads
    )
    return out


def _cuts(n: int, threads: int) -> list[tuple[int, int]]:
    """The bounds that cut 0:n into one part for each thread."""
    parts = threads if n >= _SMALL else 1
    return [(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


def _key_cuts(starts: I64, threads: int) -> list[tuple[int, int]]:
    """The bounds that cut keys into one part for each thread, each of about as many entries."""
    ends = [
        0,
        *np.searchsorted(starts, [b for _, b in _cuts(int(starts[-1]), threads)[:-1]]).tolist(),
        len(starts) - 1,
    ]
    return list(pairwise(ends))


def _mask(size: int) -> int:
    """The least bit mask that leaves every number below `size` unchanged."""
    return (1 << max(size - 1, 0).bit_length()) - 1


def _counted(x: I64, order: I64, low: int, shift: int, size: int, threads: int) -> I64:
    """How often each value of (x - low) >> shift modulo `size` occurs in the part of each thread:
    int64 (parts, size).
    """
    cuts = _cuts(len(x), min(threads, max(len(x) // size, 1)))  # each thread counts for itself
    counts = np.zeros((len(cuts), size), np.int64)
    in_threads(
        lambda i: _count(x, order, low, shift, _mask(size), *cuts[i], counts[i]),
        range(len(cuts)),
        threads,
    )
    return counts


def _dealt(
    x: I64,
    low: int,
    shift: int,
    size: int,
    before: I64 | None,
    threads: int,
    code: I64 = NOTHING,
    bits: int = 0,
) -> tuple[I64, I64]:
    """A stable counting sort of `before` (else 0, 1, ...) by (x - low) >> shift modulo `size`, and
    where each value begins.

    With `code`, of words: code << bits | position.
    """
    order = NOTHING if before is None else before
    counts = _counted(x, order, low, shift, size, threads)
    cuts = _cuts(len(x), len(counts))
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    heads = starts[:-1] + np.cumsum(counts, axis=0) - counts
    out = np.empty(len(x), np.int64)
    in_threads(
        lambda i: _deal(x, order, low, shift, _mask(size), code, bits, *cuts[i], heads[i], out),
        range(len(cuts)),
        threads,
    )
    return out, starts


@njit()
def _rising(t, first, last):  # type: ignore[no-untyped-def]
    """Whether no entry of first:last is below the one before it."""
    for begin in range(max(first, 1), last, _BLOCK):
        falls = 0
        for i in range(begin, min(begin + _BLOCK, last)):
            falls += t[i] < t[i - 1]
        if falls:
            return False
    return True


@njit()
def _ties(starts, t, first, last, places, group):  # type: ignore[no-untyped-def]
    """The ties of the keys first:last into `places` and `group`, as far as there is room; how many
    there are.
    """
    count, groups = 0, 0
    for key in range(first, last):
        tie = False
        for i in range(starts[key] + 1, starts[key + 1]):
            if t[i] != t[i - 1]:
                tie = False
                continue
            if not tie:
                groups += 1
                if count < len(places):
                    places[count], group[count] = i - 1, groups
                count += 1
                tie = True
            if count < len(places):
                places[count], group[count] = i, groups
            count += 1
    return count


@njit()
def _count(x, order, low, shift, mask, first, last, counts):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        j = order[i] if len(order) else i
        counts[((x[j] - low) >> shift) & mask] += 1


@njit()
def _deal(x, order, low, shift, mask, code, bits, first, last, heads, out):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        j = order[i] if len(order) else i
        digit = ((x[j] - low) >> shift) & mask
        out[heads[digit]] = (code[j] << bits) | j if len(code) else j
        heads[digit] += 1


@njit()
def _deal_words(words, bits, first, last, heads, out):  # type: ignore[no-untyped-def]
    position = (1 << bits) - 1
    for i in range(first, last):
        digit = words[i] >> bits
        out[heads[digit]] = words[i] & position
        heads[digit] += 1


@njit()
def _settle(starts, t, order, first, last):  # type: ignore[no-untyped-def]
    """Insertion sort within each key of first:last; False, with the work left undone, where it
    would take long.
    """
    budget = _PATIENCE * (starts[last] - starts[first]) + 1
    for key in range(first, last):
        begin = starts[key]
        for i in range(begin + 1, starts[key + 1]):
            if t[i - 1] <= t[i]:
                continue
            when, row, j = t[i], order[i], i
            while j > begin and t[j - 1] > when:
                t[j], order[j] = t[j - 1], order[j - 1]
                j -= 1
            t[j], order[j] = when, row
            budget -= i - j
            if budget < 0:
                return False
    return True


@njit()
def _mark(hashes, shift, seen, twice):  # type: ignore[no-untyped-def]
    """Set the bit of each hash in `seen`, and in `twice` where it was set."""
    for h in hashes:
        bit = h >> shift
        flag = np.uint8(1 << (bit & np.uint64(7)))
        if seen[bit >> np.uint64(3)] & flag:
            twice[bit >> np.uint64(3)] |= flag
        seen[bit >> np.uint64(3)] |= flag


@njit()
def _marked(hashes, shift, twice, first, last, out):  # type: ignore[no-untyped-def]
    for i in range(first, last):
        bit = hashes[i] >> shift
        out[i] = (twice[bit >> np.uint64(3)] >> (bit & np.uint64(7))) & 1 == 1


@njit()
def _number(values, table, number, first):  # type: ignore[no-untyped-def]
    """Number values in order of appearance; `first` holds each once. Returns how many there are.
    table: -1 everywhere; a power of two of places.
    """
    mask, count = len(table) - 1, 0
    for i in range(len(values)):
        h = values[i] * -7046029254386353131
        p = (h ^ (h >> 29)) & mask
        while table[p] >= 0 and first[table[p]] != values[i]:
            p = (p + 1) & mask
        if table[p] < 0:
            table[p], first[count] = count, values[i]
            count += 1
        number[i] = table[p]
    return count


def accepted(
    ident: I64, known: I64, tie_order: I64, content: I64, horizon: int
) -> tuple[Bool, int]:
    """Which events are accepted, and the number of duplicates that differ from the accepted event.

    In known order, a copy is dropped iff an accepted copy with its id was known less than `horizon`
    before.

    Args:
        ident: int64 (n), equal for copies. known: int64 (n), microseconds. place: int64 (n), the
            order of copies that were known at the same moment, so that the first of them does not
            depend on arrival. content: int64 (n), a hash of what the event says.
        horizon: microseconds.

    >>> accepted(
    ...     np.array([7, 7, 7]), np.array([0, 9, 10]), np.array([0, 0, 0]), np.array([1, 2, 1]), 10
    ... )
    (array([ True, False,  True]), 1)
    """
    order = np.lexsort((tie_order, known, ident))
    keep = np.ones(len(ident), np.bool_)
    return keep, int(_accept(order, ident, known, content, horizon, keep))


@njit()
def _accept(order, ident, known, content, horizon, keep):  # type: ignore[no-untyped-def]
    conflicts = 0
    best = -1
    for i in order:
        if best >= 0 and ident[i] == ident[best] and known[i] - known[best] < horizon:
            keep[i] = False
            conflicts += content[i] != content[best]
        else:
            best = i
    return conflicts


def versions(
    ident: I64, known: I64, before: Bool, tie_order: I64, content: I64, exact: I64
) -> tuple[Bool, I64, int]:
    """Which images begin a version, when each version is taken back, and how many images took back
    a version that was not there.

    Of the images of one id that became known at one moment, what holds from then on is the one
    after a change, and nothing where there are only images before. Of several after, it is one that
    is not also an image before at that moment (else it was passed through), and of these the last
    by `tie_order`. Where what holds stays the same, so does the version.

    Args:
        ident: int64 (n), a number from 0 for each event that images are of.
        known: int64 (n), microseconds.
        before: bool (n), whether it is the image before a change.
        place: int64 (n), the order of images that were known at the same moment, so that none
            depends on arrival.
        content: int64 (n), a hash of the columns that are read. exact: int64 (n), a hash of all
            columns that decide ties.

    >>> before, zeros, content = (
    ...     np.array([False, True, False, True]),
    ...     np.zeros(4, np.int64),
    ...     np.array([3, 3, 4, 4]),
    ... )
    >>> known = np.array([1, 5, 5, 9])
    >>> keep, removed_at, _ = versions(zeros, known, before, zeros, content, content)
    >>> keep, removed_at[keep]
    (array([ True, False,  True, False]), array([5, 9]))
    """
    order, passed = _in_turn(ident, known, before, tie_order, exact)
    last = np.ones(len(order), np.bool_)  # of its moment: what holds from then on
    last[:-1] = (ident[order][1:] != ident[order][:-1]) | (known[order][1:] != known[order][:-1])
    state = order[last]
    again = np.zeros(len(state), np.bool_)
    again[1:] = ident[state][1:] == ident[state][:-1]
    live = ~before[state]
    held = again & np.roll(live, 1)
    same = held & live & (content[state] == np.roll(content[state], 1))
    changed = np.flatnonzero(np.where(live, ~same, held))
    until = np.full(len(changed), LASTS)
    until[:-1] = np.where(
        ident[state[changed]][1:] == ident[state[changed]][:-1], known[state[changed]][1:], LASTS
    )
    begun = state[changed[live[changed]]]
    keep, removed_at = np.zeros(len(ident), np.bool_), np.full(len(ident), LASTS)
    keep[begun], removed_at[begun] = True, until[live[changed]]
    held_before = held[np.concatenate([[0], np.cumsum(last[:-1])])]
    nothing = before[order] & ~passed[order] & ~held_before
    return keep, removed_at, int(nothing.sum())


def _in_turn(ident: I64, known: I64, before: Bool, tie_order: I64, exact: I64) -> tuple[I64, Bool]:
    """The order of images, int64 (n), by event and time known, the image that holds afterwards
    last; and which were passed through, bool (n).
    """
    order, starts = order_of(ident, known, int(ident.max()) + 1, threads=1)
    several, moment = tied(starts, known[order])
    images, passed = order[several], np.zeros(len(order), np.bool_)
    by_content = np.lexsort((exact[images], moment))
    fresh = np.ones(len(images), np.bool_)
    fresh[1:] = (np.diff(moment[by_content]) != 0) | (np.diff(exact[images][by_content]) != 0)
    group = np.cumsum(fresh) - 1
    there = np.zeros((2, len(images)), np.bool_)
    there[before[images][by_content].astype(np.int64), group] = True
    passed[images[by_content]] = (there[0] & there[1])[group]
    rank = np.where(before[images], 0, np.where(passed[images], 1, 2))
    order[several] = images[np.lexsort((tie_order[images], rank, moment))]
    return order, passed
