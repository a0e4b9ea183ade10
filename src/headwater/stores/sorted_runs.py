"""Recent records of a large LMDB store: sorted runs, merged into the tree in key order.

An update of a random key rewrites a page of the tree: 4 KB for a record of 200 bytes, at a random
place of the disk. So the records of a commit to a large store are appended as a sorted run, and a
sweep goes round through the keys: with each commit it merges the next keys of all runs into the
tree. A rewritten page takes several keys then, and its neighbours are rewritten with it. A run is
deleted when the sweep has passed all keys since the run was last written. How far a commit moves
the sweep is proportional to its records, so no commit waits for a long merge.

A record is in few runs, if any. Each process keeps Bloom filters of all runs in memory, side by
side in the bits of one table, so a read looks only into the tree and into runs that hold the key.
Runs, hashes of their keys and the sweep change in the commit's transaction.

As in log-structured merge trees (O'Neil et al., 1996); bit-sliced filters as in BitFunnel (Goodwin
et al., 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.stores import Changes
from headwater.stores.keyspace import RECORD

if TYPE_CHECKING:
    import lmdb

RUNS = b"~"
"""The prefix of all keys of this module. It is above every other, so runs are appended to LMDB's
tree.
"""
LARGE = 16_384
"""Pages of a tree (64 MB) from which on it has runs; before, random pages are few and in the
cache.
"""
_STATE, _META, _DATA = RUNS, RUNS + b"m", RUNS + b"r"
_HEAD = len(_DATA) + 4  # bytes before the record's key in the key of a run's record

_SLOTS = 320  # runs that the filters can hold: run n has the bit n modulo this
# commits in which the sweep goes round: so many, by the size of the tree
_MOST, _PAGES_A_RUN, _FEWEST = 280, 2_000, 4
_RUN = 16_384  # records of a run, at most
_SLICE = 1_000  # records that are merged together, at least
# times faster is the sweep when a round takes long: new keys that are above all others keep its end
# away
_HURRY = 6
# bytes of a value that goes through a run; a longer one fills much of a page anyway
_LONGEST = 1_024
_DROPPED = 2  # runs that one commit deletes, at most, while there is room
# of the filters: 5 % of them are set by a run of 10,000 records, so 1 in 8,000 other keys seems to
# be in it
_ROWS = 1 << 19
_WORDS, _BYTES = _SLOTS // 64, _SLOTS // 8
_BATCH = 16  # keys from which on the filter is read by numpy

Records = Sequence[tuple[bytes, bytes]]
_Value = TypeVar("_Value", bytes, memoryview)


class _State(msgspec.Struct, frozen=True, array_like=True):
    """The existing runs, and the position of the sweep.

    version: the number of changes. first, last: the runs have the numbers first:last. rounds, at:
    the sweep's finished rounds, and the key before which it has merged everything. owed: records to
    merge before it pauses.
    """

    version: int = 0
    first: int = 0
    last: int = 0
    rounds: int = 0
    at: bytes = b""
    owed: int = 0


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    """Metadata of a run: the position of the sweep at the last write to it, and the hashes of its
    keys (uint32).
    """

    rounds: int
    at: bytes
    hashes: bytes


class SortedRuns:
    """The runs of one store, in one process. Safe to use from several threads; each call sees the
    runs of its transaction.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._filter = _Filter()

    def get(
        self, transaction: lmdb.Transaction[bytes], keys: Sequence[bytes]
    ) -> list[bytes | None] | None:
        """The values of some keys; None if the transaction is older than one of another thread:
        begin another one.
        """
        state = transaction.get(_STATE)
        if state is None:
            return list(map(transaction.get, keys))
        with self._lock:
            if not self._filter.follow(transaction, state):
                return None
            runs = self._filter.runs(keys)
        return [
            _newest(transaction, key, numbers) if numbers else transaction.get(key)
            for key, numbers in zip(keys, runs, strict=True)
        ]

    @staticmethod
    def absent(transaction: lmdb.Transaction[bytes]) -> bool:
        """Whether the tree holds all records."""
        return transaction.get(_STATE) is None

    def chosen(
        self, transaction: lmdb.Transaction[bytes], changes: Changes, expect: Changes, pages: int
    ) -> list[tuple[bytes, bytes]]:
        """The changes that are to be appended as a run, sorted; `pages` is the size of the tree.

        Compared keys are left out: jobs compare records that they rewrite or erase, and the old
        ones should not stay in the tree. Nothing is appended if all keys sort after those of the
        tree and there are no runs yet, as in a restore.
        """
        has_runs = transaction.get(_STATE) is not None
        if not has_runs and pages < LARGE:
            return []
        records = sorted(
            (key, value)
            for key, value in changes.items()
            if value is not None
            and key.startswith(RECORD)
            and len(value) <= _LONGEST
            and key not in expect
        )
        return (
            records if records and (has_runs or _last_record(transaction) >= records[0][0]) else []
        )

    def remove(self, transaction: lmdb.Transaction[bytes], keys: Iterable[bytes]) -> None:
        """Delete some keys from all runs, because the commit changes them in the tree."""
        state = transaction.get(_STATE)
        if state is None or not (keys := list(keys)):
            return
        with self._lock:
            self._filter.follow(transaction, state)
            runs = self._filter.runs(keys)
        for key, numbers in zip(keys, runs, strict=True):
            for number in numbers:
                transaction.delete(_data(number) + key)

    def append(self, transaction: lmdb.Transaction[bytes], records: Records, pages: int) -> None:
        """Append sorted records as runs, and continue the sweep."""
        encoded = transaction.get(_STATE)
        state = _State() if encoded is None else msgspec.msgpack.decode(encoded, type=_State)
        commits = commits_a_round(pages)
        for start in range(0, len(records), _RUN):
            run = records[start : start + _RUN]
            while state.last - state.first >= _SLOTS - 1:  # not in practice: the sweep is faster
                state = _dropped(
                    transaction, _swept(transaction, msgspec.structs.replace(state, owed=_RUN))
                )
            state = _added(transaction, state, run)
            runs = state.last - state.first
            hurry = 1 if runs <= commits else _HURRY
            state = msgspec.structs.replace(
                state, owed=state.owed + len(run) * runs * hurry // commits
            )
            if state.owed >= _SLICE:
                state = _dropped(transaction, _swept(transaction, state))
        transaction.put(
            _STATE,
            msgspec.msgpack.encode(msgspec.structs.replace(state, version=state.version + 1)),
        )


def commits_a_round(pages: int) -> int:
    """The number of commits of a full round of the sweep through a tree of so many pages; that many
    runs exist then.
    """
    return min(_MOST, pages // _PAGES_A_RUN + _FEWEST)


def pairs(
    transaction: lmdb.Transaction[memoryview],
    cursor: lmdb.Cursor[memoryview],
    prefix: bytes,
    begin: bytes,
) -> Iterator[tuple[bytes, memoryview]]:
    """The keys with a prefix from `begin` on, with their newest values, in ascending order; the
    transaction uses buffers.
    """
    tree = _entries(cursor, prefix, begin)
    encoded = (
        transaction.get(_STATE) if RECORD.startswith(prefix) or prefix.startswith(RECORD) else None
    )
    if encoded is None:
        yield from tree
        return
    state = msgspec.msgpack.decode(encoded, type=_State)
    streams: list[Iterator[tuple[bytes, int, memoryview]]] = [
        ((key, 0, value) for key, value in tree)
    ]
    streams += [
        _run_entries(transaction, number, prefix, begin)
        for number in range(state.first, state.last)
    ]
    for key, versions in groupby(merge(*streams), key=itemgetter(0)):
        yield key, next(versions)[2]


def _entries(
    cursor: lmdb.Cursor[memoryview], prefix: bytes, begin: bytes
) -> Iterator[tuple[bytes, memoryview]]:
    if cursor.set_range(begin):
        for raw_key, value in iter(cursor):
            key = bytes(raw_key)
            if not key.startswith(prefix) or key.startswith(RUNS):
                return
            yield key, value


def _run_entries(
    transaction: lmdb.Transaction[_Value], number: int, prefix: bytes, begin: bytes
) -> Iterator[tuple[bytes, int, _Value]]:
    """As `_entries`, for one run, with the run's number after the key: newer runs sort first."""
    data = _data(number)
    with transaction.cursor() as cursor:
        if cursor.set_range(data + begin):
            for raw_key, value in iter(cursor):
                key = bytes(raw_key)
                if not key.startswith(data + prefix):
                    return
                yield key[_HEAD:], -number - 1, value


class _Filter:
    """Bloom filters of the runs: a table with a bit for each run in each row. A key's hash selects
    three rows.
    """

    def __init__(self) -> None:
        self._encoded: bytes | None = None
        self._state = _State()
        self._hashes: dict[int, NDArray[np.uint32]] = {}
        self._table: NDArray[np.uint64] = np.zeros((0, _WORDS), np.uint64)
        self._bytes = memoryview(b"")

    def follow(self, transaction: lmdb.Transaction[bytes], encoded: bytes) -> bool:
        """Load the runs that are new in a transaction; False if the filter is newer than the
        transaction.
        """
        if encoded == self._encoded:
            return True
        state = msgspec.msgpack.decode(encoded, type=_State)
        if state.version < self._state.version:
            return False
        if not len(self._table):
            self._table = np.zeros((_ROWS, _WORDS), np.uint64)
            self._bytes = self._table.data.cast("B")
        for number in [number for number in self._hashes if number < state.first]:
            self._write(number, self._hashes.pop(number), keep=False)
        for number in range(max(state.first, self._state.last - 1), state.last):
            hashes = np.frombuffer(_meta(transaction, number).hashes, np.uint32)
            known = len(self._hashes.get(number, ()))
            self._write(number, hashes[known:], keep=True)
            self._hashes[number] = hashes
        self._encoded, self._state = encoded, state
        return True

    def _write(self, number: int, hashes: NDArray[np.uint32], *, keep: bool) -> None:
        word, bit = divmod(number % _SLOTS, 64)
        column, mask = self._table[:, word], np.uint64(1 << bit)
        for rows in _rows(hashes):
            if keep:
                column[rows] |= mask
            else:
                column[rows] &= ~mask

    def runs(self, keys: Sequence[bytes]) -> list[Sequence[int]]:
        """For each key, the numbers of the runs that it may be in, the newest first."""
        if len(keys) < _BATCH:
            return [self._numbers(bits) if (bits := self._bits(key)) else () for key in keys]
        hashes = np.fromiter(map(crc32, keys), np.uint32, len(keys))
        first, second, third = (self._table[rows] for rows in _rows(hashes))
        bits_of = first & second & third
        numbers_of: list[Sequence[int]] = [()] * len(keys)
        raw = bits_of.tobytes()
        for n in np.flatnonzero(bits_of.any(axis=1)).tolist():
            numbers_of[n] = self._numbers(
                int.from_bytes(raw[n * _BYTES : (n + 1) * _BYTES], "little")
            )
        return numbers_of

    def _bits(self, key: bytes) -> int:
        """The common bits of a key's rows, as `_rows`, in plain Python."""
        table, code = self._bytes, crc32(key)
        a, b, c = (
            (code & 0x7FFFF) * _BYTES,
            (code >> 13) * _BYTES,
            ((code * 0x9E3779B1 & 0xFFFFFFFF) >> 13) * _BYTES,
        )
        both = int.from_bytes(table[a : a + _BYTES], "little") & int.from_bytes(
            table[b : b + _BYTES], "little"
        )
        return both and both & int.from_bytes(table[c : c + _BYTES], "little")

    def _numbers(self, bits: int) -> Sequence[int]:
        first = self._state.first
        if not bits & (bits - 1):
            return (first + (bits.bit_length() - 1 - first) % _SLOTS,)
        numbers = []
        while bits:
            numbers.append(first + (bits.bit_length() - 1 - first) % _SLOTS)
            bits ^= 1 << bits.bit_length() - 1
        return sorted(numbers, reverse=True)


def _rows(hashes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], ...]:
    """Three rows of the filters for each hash."""
    return (
        hashes & np.uint32(0x7FFFF),
        hashes >> np.uint32(13),
        (hashes * np.uint32(0x9E3779B1)) >> np.uint32(13),
    )


def _data(number: int) -> bytes:
    """The prefix of a run's records."""
    return _DATA + number.to_bytes(4, "big")


def _meta(transaction: lmdb.Transaction[bytes], number: int) -> _Meta:
    encoded = transaction.get(_META + number.to_bytes(4, "big"))
    assert encoded is not None, f"run {number} has no record of its keys"
    return msgspec.msgpack.decode(encoded, type=_Meta)


def _newest(
    transaction: lmdb.Transaction[bytes], key: bytes, numbers: Sequence[int]
) -> bytes | None:
    for number in numbers:
        value = transaction.get(_data(number) + key)
        if value is not None:
            return value
    return transaction.get(key)


def _last_record(transaction: lmdb.Transaction[bytes]) -> bytes:
    """The greatest key of a record in the tree; empty if there is none."""
    with transaction.cursor() as cursor:
        there = cursor.prev() if cursor.set_range(RECORD + b"\xff" * 510) else cursor.last()
        return cursor.key() if there and cursor.key().startswith(RECORD) else b""


def _added(transaction: lmdb.Transaction[bytes], state: _State, records: Records) -> _State:
    """Append records to the last run, or to a new one if they do not fit."""
    hashes = np.fromiter((crc32(key) for key, _ in records), np.uint32, len(records)).tobytes()
    number, known = state.last, b""
    if state.last > state.first:
        last = _meta(transaction, state.last - 1).hashes
        if len(last) // 4 + len(records) <= _RUN:
            number, known = state.last - 1, last
    data = _data(number)
    with transaction.cursor() as cursor:
        cursor.putmulti([(data + key, value) for key, value in records], append=not known)
    transaction.put(
        _META + data[-4:], msgspec.msgpack.encode(_Meta(state.rounds, state.at, known + hashes))
    )
    return msgspec.structs.replace(state, last=number + 1)


def _swept(transaction: lmdb.Transaction[bytes], state: _State) -> _State:
    """Merge the records that are owed, or all up to the end of the round."""
    count, end = 0, None
    newest: list[tuple[bytes, bytes]] = []
    streams = [
        _run_entries(transaction, number, b"", state.at)
        for number in range(state.first, state.last)
    ]
    for key, versions in groupby(merge(*streams), key=itemgetter(0)):
        if count >= state.owed:
            end = key
            break
        values = [value for _, _, value in versions]
        newest.append((key, values[0]))
        count += len(values)
    with transaction.cursor() as cursor:
        cursor.putmulti(newest)
    if end is None:
        return msgspec.structs.replace(state, rounds=state.rounds + 1, at=b"", owed=0)
    return msgspec.structs.replace(state, at=end, owed=0)


def _dropped(transaction: lmdb.Transaction[bytes], state: _State) -> _State:
    """Delete the oldest runs whose records are all merged, except the last run."""
    first = state.first
    for _ in range(_DROPPED):
        if first == state.last - 1:
            break
        meta = _meta(transaction, first)
        if (state.rounds, state.at) < (meta.rounds + 1, meta.at):
            break
        data = _data(first)
        with transaction.cursor() as cursor:
            more = cursor.set_range(data)
            while more and cursor.key().startswith(data):
                more = cursor.delete() and bool(cursor.key())
        transaction.delete(_META + data[-4:])
        first += 1
    return msgspec.structs.replace(state, first=first)
