"""The online store of one machine: LMDB, a file that any number of processes read without locks
while one writes.

Recent records of a large LMDB store: sorted runs, merged into the tree in key order.

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

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

import lmdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater import clock, disk
from headwater.definitions.checks import in_bytes
from headwater.definitions.definition import cut
from headwater.errors import FencedError, NoStoreError, StoreError
from headwater.stores import Capabilities, Changes, HeldError
from headwater.stores.keyspace import RECORD, check_format

_SIZE = 1 << 36  # 64 GB of addresses; the file is as large as what it holds

_LEASE_POLL = 0.05

# of a scan: keys and bytes, but for the last value, that are copied while other threads wait
_PAGE, _PAGE_BYTES = 2_000, 1_000_000

_T = TypeVar("_T")


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> LmdbStore:  # noqa: ARG001 (no server is waited for)
    """The store in the folder of `lmdb:FOLDER?size=`; with `runs=off`, for comparison, it appends
    no sorted runs.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    size = options.get("size", [""])[0]
    store = LmdbStore(
        Path(parts.netloc + parts.path),
        size=in_bytes(size, "size") if size else _SIZE,
        readonly=readonly,
    )
    store.appends_runs = options.get("runs") != ["off"]
    return store


class LmdbStore:
    """See `OnlineStore`; commits are synchronous: each is on the disk before `commit` returns.

    That commits outlive the process is tested, by killing it. That they outlive the machine's power
    is what LMDB's authors say of its files where the disk keeps what it was told to; it was not
    tested here.
    """

    capabilities = Capabilities(atomic=True, multi_process=False, remote=False)
    namespace = ""

    def __init__(self, folder: Path, *, size: int = _SIZE, readonly: bool = False) -> None:
        self.folder = folder
        self.appends_runs = True
        self._runs = SortedRuns()
        if readonly and not (folder / "data.mdb").exists():
            raise NoStoreError(
                f"there is no online store in {folder}; `headwater ingest` and `headwater "
                "materialize` create one"
            )
        try:
            if not readonly:
                disk.own_folder(folder)
            self._unlocked = readonly and not _lockable(folder)
            self._env = _open_environment(folder, size, readonly=readonly, lock=not self._unlocked)
            # lets go of the pages that processes which were killed were reading
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise StoreError(
                f"the online store in {folder} cannot be opened: {error}. {_remedy(error)}"
            ) from error
        try:
            check_format(self, str(folder), readonly=readonly)
        except StoreError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"LmdbStore({cut(str(self.folder), 80)!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        values = None
        try:  # not `_reading`: a generator costs as much as a get
            while values is None:
                with self._env.begin() as transaction:
                    try:
                        values = self._runs.get(transaction, keys)
                    except lmdb.Error:
                        if not self._written_over(transaction):
                            raise
                    if self._written_over(transaction):
                        values = None
        except lmdb.Error as error:
            raise self._unreadable(error) from error
        return values

    def _written_over(self, transaction: lmdb.Transaction[Any]) -> bool:
        """Whether the pages of a snapshot read without a lock may have been written over; it is
        then read again.

        LMDB's writer writes over the pages of a snapshot in the third commit after it, unless a
        reader holds them by a lock. A reader finds other values there, or LMDB says that a page is
        missing.
        """
        return self._unlocked and int(self._env.info()["last_txnid"]) > transaction.id() + 1

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; an open transaction would keep the pages that commits replace, and the
        file would grow.
        """
        return self._paged(prefix, bytes)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`."""
        return self._paged(prefix, len)

    def _paged(
        self, prefix: bytes, decode: Callable[[memoryview], _T]
    ) -> Iterator[tuple[bytes, _T]]:
        begin: bytes | None = prefix
        while begin is not None:
            page_and_next = self._page(prefix, begin, decode)
            if page_and_next is not None:
                page, begin = page_and_next
                yield from page

    def _page(
        self, prefix: bytes, begin: bytes, decode: Callable[[memoryview], _T]
    ) -> tuple[list[tuple[bytes, _T]], bytes | None] | None:
        """Some keys from `begin` on, and where to go on, None at the end; None where they must be
        read again.
        """
        page: list[tuple[bytes, _T]] = []
        taken, next_key = 0, None
        try:
            with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                try:
                    for key, value in pairs(transaction, cursor, prefix, begin):
                        if len(page) >= _PAGE or taken > _PAGE_BYTES:
                            next_key = key
                            break
                        page.append((key, decode(value)))
                        taken += len(value)
                except lmdb.Error:
                    if not self._written_over(transaction):
                        raise
                return None if self._written_over(transaction) else (page, next_key)
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def commit(self, changes: Changes, expect: Changes) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                for key, stored in zip(
                    expect, self._runs.get(transaction, list(expect)) or (), strict=True
                ):
                    if stored != expect[key]:
                        raise FencedError(
                            f"the online store in {self.folder} was written by another process "
                            f"meanwhile ({key[:40]!r}); nothing was written. Only one process may "
                            "ingest into a store"
                        )
                self._write(transaction, changes, expect)
        except (lmdb.Error, OSError) as error:
            raise StoreError(
                f"the online store in {self.folder} cannot be written: {error}. Nothing was "
                f"written. {_remedy(error)}"
            ) from error

    def _write(
        self, transaction: lmdb.Transaction[bytes], changes: Changes, expect: Changes
    ) -> None:
        pages = self._env.stat()["leaf_pages"] if self.appends_runs else -1
        recent = self._runs.chosen(transaction, changes, expect, pages)
        if recent:
            appended = {key for key, _ in recent}
            changes = {key: value for key, value in changes.items() if key not in appended}
        self._runs.remove(transaction, (key for key in changes if key.startswith(RECORD)))
        put, values = (
            sorted([key for key, value in changes.items() if value is not None]),
            cast("Mapping[bytes, bytes]", changes),
        )
        with transaction.cursor() as cursor:
            # a list of pairs would start the garbage collector
            cursor.putmulti(zip(put, map(values.__getitem__, put), strict=True))
        if len(put) < len(changes):
            for key, value in changes.items():
                if value is None:
                    transaction.delete(key)
        if recent:
            self._runs.append(transaction, recent, pages)

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; there is never half of a commit."""

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """See `OnlineStore`; records and state change together."""
        del dry_run
        return False

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        until = clock.stopwatch() + wait
        with self._lease_file(name) as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if clock.stopwatch() >= until:
                        raise HeldError(
                            f"another process holds the lease {name!r} of the online store in "
                            f"{self.folder}{self._holder(name)}; stop it, or wait longer"
                        ) from None
                    clock.wait(_LEASE_POLL)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            self._show_last_commit()
            yield

    def _show_last_commit(self) -> None:
        """Have readers see the last commit of a process that was killed in it.

        LMDB writes a commit to the disk, and then shows it to readers; the next writing
        transaction completes that for a process that was killed between the two.
        """
        if not self._env.flags()["readonly"]:
            try:
                self._env.begin(write=True).abort()
            except lmdb.Error as error:
                raise self._unreadable(error) from error

    def server_time(self) -> None:
        """See `OnlineStore`; a file has no clock."""

    def size(self) -> int:
        return int(self._env.info()["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def free_pages(self) -> int:
        """How many pages of the file hold nothing now."""
        tree, held = self._env.stat(), 2  # pages that say where the tree is
        held += tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"]
        return max(int(self._env.info()["last_pgno"]) + 1 - int(held), 0)

    def backup(self, to: Path) -> None:
        if to.exists():
            raise StoreError(f"{to} is there already; give a folder that is not")
        disk.make_folder(to)
        try:
            self._env.copy(str(to), compact=True)
            disk.tighten(to)
        except (lmdb.Error, OSError) as error:
            shutil.rmtree(to, ignore_errors=True)
            raise StoreError(
                f"the online store in {self.folder} cannot be copied to {to}: {error}"
            ) from error

    def close(self) -> None:
        self._env.close()

    def _unreadable(self, error: lmdb.Error) -> StoreError:
        return StoreError(
            f"the online store in {self.folder} cannot be read: {error}. {_remedy(error)}"
        )

    def _lease_file(self, name: str) -> IO[Any]:
        try:
            return disk.open_private(self.folder / f"{name}.lease", "ab")
        except OSError as error:
            raise StoreError(
                f"the lease {name!r} in {self.folder} cannot be taken: {error}. {_remedy(error)}"
            ) from error

    def _holder(self, name: str) -> str:
        """The process that holds a lease, if its file names it."""
        try:
            number = (self.folder / f"{name}.lease").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return f": process {number}" if number.isdecimal() else ""


def _lockable(folder: Path) -> bool:
    """Whether this process may register as a reader: it writes its number into LMDB's lock file."""
    lock = folder / "lock.mdb"
    return os.access(lock if lock.exists() else folder, os.W_OK)


def _open_environment(folder: Path, size: int, *, readonly: bool, lock: bool) -> lmdb.Environment:
    """LMDB's environment. A reader takes room for a store that grows, or `size` where it may not
    have so much.
    """
    mode = disk.FILE

    def opened(room: int) -> lmdb.Environment:
        return lmdb.open(
            str(folder),
            map_size=room,
            readonly=readonly,
            lock=lock,
            max_readers=1024,
            create=not readonly,
            mode=mode,
        )

    if readonly and size < _SIZE:
        with suppress(lmdb.MemoryError):
            return opened(_SIZE)
    return opened(size)


def _remedy(error: Exception) -> str:
    if isinstance(error, lmdb.MemoryError):
        return (
            "This process may not have as much address space as the store reserves, 64 GB unless "
            "its URL says size=: raise the limit (ulimit -v), or give a smaller size=, such as "
            "lmdb:FOLDER?size=2GB"
        )
    if isinstance(error, lmdb.MapFullError):
        return (
            "It has reached its size= limit: give more, such as lmdb:FOLDER?size=200GB, or remove "
            "views and compact it"
        )
    if isinstance(error, lmdb.MapResizedError):
        return (
            "Another process has opened it with a larger size= and filled it: start this one "
            "again, with the same size="
        )
    if "already open in this process" in str(error):
        return (
            "A process opens a store once: share what open_store returned, from several threads too"
        )
    # the last: a write cut short
    if any(
        cause in str(error) for cause in ("No space", "File too large", "quota", "Input/output")
    ):
        return "Make room on the disk; ingestion goes on from the last commit"
    if (
        "Permission" in str(error)
        or "Read-only" in str(error)
        or isinstance(error, lmdb.ReadonlyError)
    ):
        return "Give the process the right to write there"
    return "See the message of LMDB above"


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
            count = len(self._hashes.get(number, ()))
            self._write(number, hashes[count:], keep=True)
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
    number, hashes_before = state.last, b""
    if state.last > state.first:
        last = _meta(transaction, state.last - 1).hashes
        if len(last) // 4 + len(records) <= _RUN:
            number, hashes_before = state.last - 1, last
    data = _data(number)
    with transaction.cursor() as cursor:
        cursor.putmulti([(data + key, value) for key, value in records], append=not hashes_before)
    transaction.put(
        _META + data[-4:],
        msgspec.msgpack.encode(_Meta(state.rounds, state.at, hashes_before + hashes)),
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
