"""The online store of one machine: LMDB, a file that any number of processes read without locks while one writes."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import lmdb

from headwater import clock, permissions
from headwater.definitions.memory_sizes import in_bytes
from headwater.definitions.readable import cut
from headwater.errors import FencedError, StoreError
from headwater.online_stores import Changes
from headwater.online_stores.keyspace import FORMAT, FORMAT_KEY, OLDER

_SIZE = 1 << 36  # 64 GB of addresses; the file is as large as what it holds
_LEASE_POLL = 0.05
_PAGE, _PAGE_BYTES = 2_000, 16_000_000  # keys and bytes of one page of a scan, at most, except for the last value
_T = TypeVar("_T")


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> LmdbStore:  # noqa: ARG001 (no server is waited for)
    """The store in the folder that `lmdb:FOLDER?size=` names."""
    parts = urlsplit(url)
    size = parse_qs(parts.query).get("size", [""])[0]
    return LmdbStore(Path(parts.netloc + parts.path), size=in_bytes(size, "size") if size else _SIZE, readonly=readonly)


class LmdbStore:
    """See `OnlineStore`; commits are synchronous: each is on the disk before `commit` returns.

    That commits outlive the process is tested, by killing it. That they outlive the machine's power is what LMDB's authors say of its files
    where the disk keeps what it was told to; it was not tested here.
    """

    partitioned = False
    namespace = ""

    def __init__(self, folder: Path, *, size: int = _SIZE, readonly: bool = False) -> None:
        self.folder = folder
        if readonly and not (folder / "data.mdb").exists():
            raise StoreError(f"there is no online store in {folder}; `headwater ingest` and `headwater materialize` make one")
        try:
            if not readonly:
                permissions.own_folder(folder)
            room = max(size, _SIZE) if readonly else size  # only what writes is bounded
            self._env = lmdb.open(
                str(folder), map_size=room, readonly=readonly, max_readers=1024, create=not readonly, mode=permissions.FILE
            )
            self._env.reader_check()  # lets go of the pages that processes which were killed were reading
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"the online store in {folder} cannot be opened: {error}. {_remedy(error)}") from error
        self._check_format(readonly=readonly)

    def __repr__(self) -> str:
        return f"LmdbStore({cut(str(self.folder), 80)!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:  # not `_reading`: a generator costs as much as a get
            with self._env.begin() as transaction:
                return list(map(transaction.get, keys))
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; an open transaction would keep the pages that commits replace, and the file would grow."""
        return self._paged(prefix, bytes)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`."""
        return self._paged(prefix, len)

    def _paged(self, prefix: bytes, decode: Callable[[memoryview], _T]) -> Iterator[tuple[bytes, _T]]:
        begin: bytes | None = prefix
        while begin is not None:
            page, begin = self._page(prefix, begin, decode)
            yield from page

    def _page(self, prefix: bytes, begin: bytes, decode: Callable[[memoryview], _T]) -> tuple[list[tuple[bytes, _T]], bytes | None]:
        """Some keys from `begin` on, and where to go on; None at the end."""
        page: list[tuple[bytes, _T]] = []
        taken = 0
        try:
            with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                if not cursor.set_range(begin):
                    return page, None
                for raw_key, value in iter(cursor):
                    key = bytes(raw_key)
                    if not key.startswith(prefix):
                        return page, None
                    if len(page) >= _PAGE or taken > _PAGE_BYTES:
                        return page, key
                    page.append((key, decode(value)))
                    taken += len(value)
        except lmdb.Error as error:
            raise self._unreadable(error) from error
        return page, None

    def commit(self, changes: Changes, expect: Changes) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                for key, value in expect.items():
                    if transaction.get(key) != value:
                        raise FencedError(
                            f"the online store in {self.folder} was written by another process meanwhile ({key[:40]!r}); nothing was written. "
                            "Only one process may ingest into a store"
                        )
                with transaction.cursor() as cursor:
                    cursor.putmulti(sorted((key, value) for key, value in changes.items() if value is not None))
                for key, value in changes.items():
                    if value is None:
                        transaction.delete(key)
        except (lmdb.Error, OSError) as error:
            raise StoreError(
                f"the online store in {self.folder} cannot be written: {error}. Nothing was written. {_remedy(error)}"
            ) from error

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; there is never half of a commit."""

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
                        raise StoreError(
                            f"another process holds the lease {name!r} of the online store in {self.folder}{self._holder(name)}; stop it, or "
                            "wait longer"
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
            raise StoreError(f"the online store in {self.folder} cannot be copied to {to}: {error}") from error

    def close(self) -> None:
        self._env.close()

    def _unreadable(self, error: lmdb.Error) -> StoreError:
        return StoreError(f"the online store in {self.folder} cannot be read: {error}. {_remedy(error)}")

    def _lease_file(self, name: str) -> IO[Any]:
        try:
            return permissions.open_private(self.folder / f"{name}.lease", "ab")
        except OSError as error:
            raise StoreError(f"the lease {name!r} in {self.folder} cannot be taken: {error}. {_remedy(error)}") from error

    def _holder(self, name: str) -> str:
        """The process that holds a lease, if its file names it."""
        try:
            number = (self.folder / f"{name}.lease").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return f": process {number}" if number.isdecimal() else ""

    def _check_format(self, *, readonly: bool) -> None:
        stored_format = self.get([FORMAT_KEY])[0]
        if stored_format in (None, OLDER) and not readonly:
            self.commit({FORMAT_KEY: FORMAT}, {})
        elif stored_format not in (None, OLDER, FORMAT):
            self.close()
            raise StoreError(
                f"the online store in {self.folder} has format {stored_format!r}, and this version of headwater reads {FORMAT!r}; use the version that "
                "wrote it, or rebuild it from the archive (see `headwater materialize` and the page on operations)"
            )


def _remedy(error: Exception) -> str:
    if isinstance(error, lmdb.MapFullError):
        return "It has reached its size= limit: give more, such as lmdb:FOLDER?size=200GB, or remove views and compact it"
    if isinstance(error, lmdb.MapResizedError):
        return "Another process has opened it with a larger size= and filled it: start this one again, with the same size="
    if "already open in this process" in str(error):
        return "A process opens a store once: share what open_store returned, from several threads too"
    if any(cause in str(error) for cause in ("No space", "File too large", "quota", "Input/output")):  # the last: a write cut short
        return "Make room on the disk; ingestion goes on from the last commit"
    if "Permission" in str(error) or "Read-only" in str(error) or isinstance(error, lmdb.ReadonlyError):
        return "Give the process the right to write there"
    return "See the message of LMDB above"
