"""Records of an LMDB file, found and copied by a compiled loop: a get of py-lmdb costs as much for
its call and copy as for its search.

The loop reads the pages of the file as LMDB itself does, through a map of the file. The caller
holds a read transaction of py-lmdb, which registers the reader, so that no writer reuses a page of
that snapshot. Anything that the loop does not know, another format or a root that is not of this
snapshot any more, it answers with a negative number, and the caller gets the values from py-lmdb.

The format is that of LMDB 0.9 (data version 1, `MDB_meta`, `MDB_page` and `MDB_node` in mdb.c): two
meta pages, that of snapshot n at n modulo 2; pages of 16 bytes of head and then the offsets of
nodes in the order of their keys; nodes of 8 bytes of head, key and value.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numba as nb
import numpy as np
from numpy.typing import NDArray

from headwater.kernel.addresses import acquired, byte, integer, prefetch, short, word
from headwater.kernel.arrays import I64

U8 = NDArray[np.uint8]
FULL: Final = -2
"""The return value, in place of the ends of records, if the array is too small for them."""

_UNKNOWN: Final = -1  # the values have to be got from py-lmdb
_BEYOND: Final = -3  # the file has grown beyond its map
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_META: Final = struct.Struct("<16x2I16xI")  # magic, data version, page size
_PAGE_SIZE, _TREE, _ROOT, _SNAPSHOT = 40, 88, 128, 144  # offsets in a meta page
# of a page: its flags, the end of the offsets of its nodes, and their begin
_FLAGS, _LOWER, _HEAD = 10, 12, 16
_BRANCH, _LEAF, _KINDS = 0x01, 0x02, 0x6F  # of a page's flags those that say what it is
_BIG: Final = 0x01  # flag of a node whose value has pages of its own
_NODE: Final = 8
_DEEPEST: Final = 32
_TOGETHER: Final = 32  # keys whose search waits for memory at the same time
_MOST_AHEAD: Final = 512  # bytes of a value that are asked for


class RecordCopier(Protocol):
    """The method `copy_records` of a store that has one: it copies records, where a reader does not
    need each as bytes.
    """

    def __call__(
        self, known: int, heads: Sequence[bytes], keys: U8, ends: I64, none: I64, out: I64, at: int
    ) -> tuple[int, list[bytes | None] | None, int | None]:
        """Get the values of `heads` and copy those of some keys, all of one snapshot; keys, ends,
        none, out and at as of `LmdbPages.copy`.

        Args:
            known: the number of a snapshot, 0 or above, whose values of `heads` the caller knows.

        Returns the number of this snapshot, -1 where that does not help; the values of `heads`,
        None if it is the known one; and what `LmdbPages.copy` returns.

        Raises:
            StoreError: the store cannot be read.
        """
        ...


class LmdbPages:
    """The pages of an LMDB file in a folder, as a map that grows with it. Safe to use from several
    threads.

    Args:
        folder: of the file.
        file: the device and number of the file that py-lmdb has open. One that was put in its
            place, as by a restored backup, has snapshots of equal numbers and other contents; it is
            never mapped.
    """

    def __init__(self, folder: Path, file: tuple[int, int]) -> None:
        self._path, self._file = folder / "data.mdb", file
        self._map = self._mapped()

    def copy(self, snapshot: int, keys: U8, ends: I64, none: I64, out: I64, at: int) -> int | None:
        """Copy the values of some keys, one after the other, into an array; the word after the last
        one, FULL, or None where the values have to be got from py-lmdb.

        Args:
            snapshot: the number of an open read transaction.
            keys: uint8, one after the other. ends: int64, where each ends.
            none: int64, the marker of a key without a value.
            out: int64, the array, from word `at` on. Its last words are overwritten too.
        """
        mapped = self._map  # held until the loop is done
        _, size, address = mapped
        end = int(copied(address, size, snapshot, keys, ends, none, out, at))
        if end == _BEYOND:
            self._map = mapped = self._mapped()
            _, size, address = mapped
            end = int(copied(address, size, snapshot, keys, ends, none, out, at))
        return end if end >= 0 or end == FULL else None

    def _mapped(self) -> tuple[I64 | None, int, int]:
        """A map of the file, its size in bytes, and its address; the size is 0 where the file is of
        another format.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) != self._file:
                    return None, 0, 0
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None, 0, 0
        is_supported = (
            sys.byteorder == "little" and struct.calcsize("P") == 8 and len(mapped) >= 1 << 13
        )
        if not is_supported or _META.unpack_from(mapped)[:2] != (_MAGIC, _VERSION):
            return None, 0, 0
        words = np.frombuffer(mapped, np.int64, len(mapped) // 8)
        return words, len(mapped), words.ctypes.data


@nb.njit(nogil=True, cache=True)
def copied(pages, size, snapshot, keys, ends, none, out, at):  # type: ignore[no-untyped-def]
    """See `LmdbPages.copy`; `pages`: the address of the map, `size`: its bytes.

    A record is seldom in the processor's cache. So each step is made for some keys together, and
    asks for the memory of the next one.
    """
    if size == 0:
        return _UNKNOWN
    letters = keys.ctypes.data
    page_size = integer(pages, _PAGE_SIZE)
    meta, other_meta = pages + (snapshot & 1) * page_size, pages + (1 - (snapshot & 1)) * page_size
    depth, root = acquired(meta, _TREE) >> 48 & 0xFFFF, acquired(meta, _ROOT)
    # Only the next commit but one writes this meta page again, and only after the next one is in
    # the other.
    if acquired(meta, _SNAPSHOT) != snapshot or acquired(other_meta, _SNAPSHOT) >= snapshot:
        return _UNKNOWN
    last = len(out) - _TOGETHER
    if last < 0:
        return FULL
    nodes = out[last:]
    for begin in range(0, len(ends), _TOGETHER):
        count = min(_TOGETHER, len(ends) - begin)
        for k in range(count):
            nodes[k] = _leaf(
                pages,
                size,
                page_size,
                depth,
                root,
                letters,
                ends[begin + k - 1] if begin + k else 0,
                ends[begin + k],
            )
            if nodes[k] < 0:
                return nodes[k]
            if nodes[k]:
                prefetch(nodes[k])
        for k in range(count):
            if nodes[k]:
                _ahead(nodes[k], page_size)
        for k in range(count):
            if nodes[k]:
                nodes[k] = _node(
                    nodes[k],
                    page_size,
                    letters,
                    ends[begin + k - 1] if begin + k else 0,
                    ends[begin + k],
                )
                if nodes[k] < 0:
                    return nodes[k]
                if nodes[k]:
                    for line in range(
                        64, _NODE + short(nodes[k], 6) + min(short(nodes[k], 0), _MOST_AHEAD), 64
                    ):
                        prefetch(nodes[k] + line)
        for k in range(count):
            at = _value(pages, size, page_size, nodes[k], none, out[:last], at)
            if at < 0:
                return at
    return at


@nb.njit(nogil=True, cache=True)
def _leaf(pages, size, page_size, depth, root, keys, first, last):  # type: ignore[no-untyped-def]
    """The address of the leaf page that would hold the key keys[first:last]; 0 where there is none,
    or _UNKNOWN or _BEYOND.
    """
    number = root
    for level in range(1, _DEEPEST):
        if number == -1:
            return 0
        begin = number * page_size
        if number < 0 or begin + page_size > size:
            return _BEYOND
        page = pages + begin
        if level >= depth:  # a look at the page would wait for it
            return page
        count = (short(page, _LOWER) - _HEAD) >> 1
        if short(page, _FLAGS) & _KINDS != _BRANCH or count < 1 or _HEAD + 2 * count > page_size:
            return _UNKNOWN
        low, high = 1, count  # the first node of a branch has no key: it is below all others
        while low < high:
            middle = (low + high) >> 1
            at = short(page, _HEAD + 2 * middle)
            if at + _NODE + short(page + at, 6) > page_size:
                return _UNKNOWN
            if _compared(page + at + _NODE, short(page + at, 6), keys, first, last) <= 0:
                low = middle + 1
            else:
                high = middle
        at = short(page, _HEAD + 2 * (low - 1))
        if at + _NODE > page_size:
            return _UNKNOWN
        number = short(page + at, 0) | short(page + at, 2) << 16 | short(page + at, 4) << 32
    return _UNKNOWN


@nb.njit(nogil=True, cache=True)
def _ahead(page, page_size):  # type: ignore[no-untyped-def]
    """Ask for the nodes of a leaf page that a search compares first."""
    count = (short(page, _LOWER) - _HEAD) >> 1
    if _HEAD + 2 * count > page_size:
        return
    for path in range(4):  # the first two comparisons go left or right
        low, high = 0, count
        for turn in (path >> 1, path & 1, 0):
            middle = (low + high) >> 1
            prefetch(page + min(short(page, _HEAD + 2 * middle), page_size - 1))
            if turn:
                low = middle + 1
            else:
                high = middle


@nb.njit(nogil=True, cache=True)
def _node(page, page_size, keys, first, last):  # type: ignore[no-untyped-def]
    """The address of the node of the key keys[first:last] in a leaf page; 0 where there is none, or
    _UNKNOWN.
    """
    low, high = 0, (short(page, _LOWER) - _HEAD) >> 1
    if short(page, _FLAGS) & _KINDS != _LEAF or high < 0 or _HEAD + 2 * high > page_size:
        return _UNKNOWN
    while low < high:
        middle = (low + high) >> 1
        at = short(page, _HEAD + 2 * middle)
        if at + _NODE + short(page + at, 6) > page_size:
            return _UNKNOWN
        order = _compared(page + at + _NODE, short(page + at, 6), keys, first, last)
        if order == 0:
            return page + at
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return 0


@nb.njit(nogil=True, cache=True)
def _value(pages, size, page_size, node, none, out, at):  # type: ignore[no-untyped-def]
    """Copy the value of a node, or `none` where that is 0; the word after it, or _UNKNOWN, _BEYOND
    or FULL.
    """
    if node == 0:
        if at + len(none) > len(out):
            return FULL
        for i in range(len(none)):
            out[at + i] = none[i]
        return at + len(none)
    length, flags = short(node, 0) | short(node, 2) << 16, short(node, 4)
    value = node + _NODE + short(node, 6)
    if flags == _BIG:
        begin = word(value, 0) * page_size
        if begin < 0 or begin + _HEAD + length > size:
            return _BEYOND
        value = pages + begin + _HEAD
    elif flags != 0 or value + length > pages + size:
        return _UNKNOWN
    if length & 7:
        return _UNKNOWN
    if at + length // 8 > len(out):
        return FULL
    for i in range(length // 8):
        out[at + i] = word(value, 8 * i)
    return at + length // 8


@nb.njit(nogil=True, cache=True)
def _compared(address, length, keys, first, last):  # type: ignore[no-untyped-def]
    """Compare the key of a node with keys[first:last]: below 0, 0 or above 0 if it is before, equal
    to or after it.
    """
    shorter, i = min(length, last - first), 0
    while i + 8 <= shorter and word(address, i) == word(keys, first + i):
        i += 8
    while i < shorter:
        a, b = byte(address, i), byte(keys, first + i)
        if a != b:
            return a - b
        i += 1
    return length - (last - first)
