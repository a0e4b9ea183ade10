"""Codes of strings by a hash table over Arrow's string views: strings of up to 12 bytes are
compared without a look at their data.

Open addressing with linear probing; a slot is one word of a code and 32 bits of the hash, so that
another string is rarely read. The table grows with the distinct strings and not with the rows, so
that it stays near the processor. The hash is seeded in each process, so collisions cannot be
prepared. The codes do not depend on the seed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from headwater.kernel.addresses import word
from headwater.kernel.arrays import I64, Bool
from headwater.kernel.compile_cache import njit
from headwater.kernel.sorting import in_threads

U64 = NDArray[np.uint64]
Views = tuple[U64, I64, Bool]
"""The views of n strings, uint64 (n, 2), the addresses of their data buffers, and which are not
null (empty: all).
"""

_SMALL = 1 << 14  # fewer strings are not worth a thread
_BATCH = 32  # strings whose hashes are computed together, before the table is looked at
_SEED = np.uint64(secrets.randbits(64))
_M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_LENGTH = np.uint64(0xFFFFFFFF)  # of a string in its view, and the code in a slot
_TAG = np.uint64(0xFFFFFFFF00000000)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)  # no code is as large
_SLOTS = 1 << 12
_INLINE = 12  # bytes of a string that lies within its view


class _Table(NamedTuple):
    """The distinct strings so far: by slot, 32 bits of the hash of a string and then its code,
    _FREE where there is none.

    By code, the view of each string and the side that it was first seen in. The addresses of all
    sides' buffers, and where those of each side begin.
    """

    slots: U64
    first: U64
    home: NDArray[np.int32]
    addresses: I64
    starts: I64


def code_strings(
    requested: Sequence[Views], events: Views, threads: int
) -> tuple[list[I64], I64, int]:
    """The codes 0, 1, 2, ... of the strings in `requested`, by first appearance; the codes of the
    events' strings; the number of codes.

    A null, and an event's string that is not among those requested, has the code after the last.
    """
    table = _empty(
        [len(views) for views, _, _ in requested], [buffers for _, buffers, _ in requested]
    )
    count = 0
    for number, (views, _, valid) in enumerate(requested):
        done = 0
        while done < len(views):
            done, count = _build(views, valid, done, number, table, count, _SEED)
            if done < len(views):
                table = _grown(table, count)

    def code(side: Views) -> I64:
        out = np.empty(len(side[0]), np.int64)
        pieces = threads if len(out) > _SMALL else 1
        cuts = list(pairwise(len(out) * n // pieces for n in range(pieces + 1)))
        in_threads(lambda cut: _code(side, cut, table, count, _SEED, out), cuts, threads)
        return out

    return [code(side) for side in requested], code(events), count


def _empty(sizes: Sequence[int], buffers: Sequence[I64]) -> _Table:
    """An empty table for strings of sides with these numbers of rows and these data buffers."""
    total, starts = sum(sizes), np.cumsum([0, *(len(buffer) for buffer in buffers)])
    addresses = np.concatenate([np.zeros(0, np.int64), *buffers])
    return _Table(
        np.full(_SLOTS, _FREE),
        np.empty((total, 2), np.uint64),
        np.empty(total, np.int32),
        addresses,
        starts,
    )


def _grown(table: _Table, count: int) -> _Table:
    """The table with four times as many slots."""
    slots = np.full(4 * len(table.slots), _FREE)
    _enter(table, count, slots, _SEED)
    return table._replace(slots=slots)


@nb.njit(nogil=True, inline="always")
def _mixed(a, b):  # type: ignore[no-untyped-def]
    h = (a ^ (b * _M1)) * _M2
    h ^= h >> np.uint64(29)
    h *= _M1
    return h ^ (h >> np.uint64(32))


@nb.njit(nogil=True, inline="always")
def _word(address):  # type: ignore[no-untyped-def]
    """The 8 bytes from an address on, which need not be a multiple of 8."""
    return np.uint64(word(address, 0))


@nb.njit(nogil=True, inline="always")
def _address(view, buffers, first):  # type: ignore[no-untyped-def]
    """Where the data of a string begins, by the second word of its view."""
    return buffers[first + np.int64(view & _LENGTH)] + np.int64(view >> np.uint64(32))


@nb.njit(nogil=True, inline="always")
def _hash(a, b, buffers, first, seed):  # type: ignore[no-untyped-def]
    size = np.int64(a & _LENGTH)
    h = _mixed(a, seed)
    if size <= _INLINE:
        return _mixed(h, b)
    begin, i = _address(b, buffers, first), 0
    while i + 8 < size:
        h = _mixed(h, _word(begin + i))
        i += 8
    return _mixed(h, _word(begin + size - 8))


@nb.njit(nogil=True, inline="always")
def _equal(a, b, buffers, first, c, d, others, other_first):  # type: ignore[no-untyped-def]
    """Whether two strings are equal. Strings with equal prefix and length are compared word by
    word; the last two words may overlap.
    """
    if a != c:
        return False
    size = np.int64(a & _LENGTH)
    if size <= _INLINE:
        return b == d
    x, y, i = _address(b, buffers, first), _address(d, others, other_first), 0
    while i + 8 < size:
        if _word(x + i) != _word(y + i):
            return False
        i += 8
    return _word(x + size - 8) == _word(y + size - 8)


@njit()
def _enter(table, count, slots, seed):  # type: ignore[no-untyped-def]
    """The strings of a table into the slots of a larger one."""
    _, first, home, buffers, starts = table
    mask = np.uint64(len(slots) - 1)
    for k in range(count):
        h = _hash(first[k, 0], first[k, 1], buffers, starts[home[k]], seed)
        p = h & mask
        while slots[p] != _FREE:
            p = (p + np.uint64(1)) & mask
        slots[p] = (h & _TAG) | np.uint64(k)


@njit()
def _build(views, valid, begin, side, table, count, seed):  # type: ignore[no-untyped-def]
    """Enter the strings of one side from a position on, until the table is half full: the next
    position, and how many are distinct.
    """
    slots, first, home, buffers, starts = table
    mask = np.uint64(len(slots) - 1)
    for i in range(begin, len(views)):
        if len(valid) and not valid[i]:
            continue
        a, b = views[i, 0], views[i, 1]
        h = _hash(a, b, buffers, starts[side], seed)
        p, tag = h & mask, h & _TAG
        while slots[p] != _FREE:
            k = np.int64(slots[p] & _LENGTH)
            if slots[p] & _TAG == tag and _equal(
                a, b, buffers, starts[side], first[k, 0], first[k, 1], buffers, starts[home[k]]
            ):
                break
            p = (p + np.uint64(1)) & mask
        if slots[p] == _FREE:
            if 2 * count >= len(slots):
                return i, count
            slots[p] = tag | np.uint64(count)
            first[count, 0], first[count, 1], home[count] = a, b, side
            count += 1
    return len(views), count


@njit()
def _code(side, cut, table, none, seed, out):  # type: ignore[no-untyped-def]
    """Look the strings of a range of positions up: their codes into `out`, `none` for those
    without.
    """
    views, buffers, valid = side
    slots, first, home, others, starts = table
    mask, hashes = np.uint64(len(slots) - 1), np.empty(_BATCH, np.uint64)
    for begin in range(cut[0], cut[1], _BATCH):
        end = min(begin + _BATCH, cut[1])
        for i in range(begin, end):
            hashes[i - begin] = (
                _hash(views[i, 0], views[i, 1], buffers, 0, seed)
                if not len(valid) or valid[i]
                else np.uint64(0)
            )
        for i in range(begin, end):
            h = hashes[i - begin]
            p, tag = h & mask, h & _TAG
            out[i] = none
            if len(valid) and not valid[i]:
                continue
            while slots[p] != _FREE:
                k = np.int64(slots[p] & _LENGTH)
                if slots[p] & _TAG == tag and _equal(
                    views[i, 0],
                    views[i, 1],
                    buffers,
                    0,
                    first[k, 0],
                    first[k, 1],
                    others,
                    starts[home[k]],
                ):
                    out[i] = k
                    break
                p = (p + np.uint64(1)) & mask
