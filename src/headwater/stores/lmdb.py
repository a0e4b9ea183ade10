"""The online store of one machine: LMDB, a file that any number of processes read without locks
while one writes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import lmdb

from headwater import clock, permissions
from headwater.definitions.memory_sizes import in_bytes
from headwater.definitions.readable import cut
from headwater.errors import FencedError, NoStoreError, StoreError
from headwater.stores import Capabilities, Changes, HeldError
from headwater.stores.formats import check_format
from headwater.stores.keyspace import RECORD
from headwater.stores.sorted_runs import SortedRuns, pairs

if TYPE_CHECKING:
    from headwater.kernel.arrays import I64
    from headwater.stores.lmdb_pages import U8, LmdbPages

_SIZE = 1 << 36  # 64 GB of addresses; the file is as large as what it holds
_LEASE_POLL = 0.05
# of a scan: keys and bytes, but for the last value, that are copied while other threads wait
_PAGE, _PAGE_BYTES = 2_000, 1_000_000
_T = TypeVar("_T")


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> LmdbStore:  # noqa: ARG001 (no server is waited for)
    """The store in the folder that `lmdb:FOLDER?size=` names; with `runs=off`, it appends no sorted
    runs, which is for comparison.
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


def file_identity(path: Path) -> tuple[int, int]:
    """The device and number of a file: another file that takes its place has others."""
    found = path.stat()
    return found.st_dev, found.st_ino


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
                permissions.own_folder(folder)
            self._unlocked = readonly and not _lockable(folder)
            self._env = _open_environment(folder, size, readonly=readonly, lock=not self._unlocked)
            self._file = file_identity(folder / "data.mdb")
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
        """Whether the pages of a snapshot that is read without a lock may have been written over,
        so that it is read again.

        LMDB's writer writes over the pages of a snapshot in the third commit after it, unless a
        reader holds them by a lock. A reader finds other values there, or LMDB says that a page is
        missing.
        """
        return self._unlocked and int(self._env.info()["last_txnid"]) > transaction.id() + 1

    def copy_records(
        self, known: int, heads: Sequence[bytes], keys: U8, ends: I64, none: I64, out: I64, at: int
    ) -> tuple[int, list[bytes | None] | None, int | None]:
        """See `lmdb_pages.RecordCopier`."""
        values = None
        try:
            transaction = self._env.begin()
            try:
                snapshot = transaction.id()
                if self._unlocked:
                    return -1, None, None
                if snapshot != known:
                    values = list(map(transaction.get, heads))
                    if not self._runs.absent(transaction):
                        return -1, values, None
                return snapshot, values, self._pages.copy(snapshot, keys, ends, none, out, at)
            finally:
                transaction.abort()  # `with` would take twice as long
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    @cached_property
    def _pages(self) -> LmdbPages:
        from headwater.stores.lmdb_pages import LmdbPages

        return LmdbPages(self.folder, self._file)

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
            found = self._page(prefix, begin, decode)
            if found is not None:
                page, begin = found
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
                    time.sleep(_LEASE_POLL)
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield

    def server_time(self) -> None:
        """See `OnlineStore`; a file has no clock."""

    def size(self) -> int:
        return int(self._env.info()["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def backup(self, to: Path) -> None:
        if to.exists():
            raise StoreError(f"{to} is there already; give a folder that is not")
        permissions.make_folder(to)
        try:
            self._env.copy(str(to), compact=True)
            permissions.tighten(to)
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
            return permissions.open_private(self.folder / f"{name}.lease", "ab")
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
    mode = permissions.FILE

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
