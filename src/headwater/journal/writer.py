"""Appends records to journal files, in a thread: requests wait for the disk only where they ask to.

`put` leaves a record to the thread, which writes it within 20 ms; a killed process loses at most
those. `append` returns when its record is on disk (fsync); records of requests that wait together
share one sync.

A write that failed is taken back. Records that were put stay in memory and are tried again, at the
system's limit of a file's size in a new file; those that were appended are refused with the error.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater import clock, disk
from headwater.disk import sync
from headwater.journal.journal_files import CLOSED, OPEN

# seconds until a record that was put is written; others pass before it is put (`after_response`)
LATEST: Final = 0.02
_AGAIN: Final = 0.2  # seconds until a failed write is tried again
_TICK: Final = 1.0  # seconds between two looks at open files
_IDLE: Final = 60.0
_TOGETHER: Final = 1 << 20  # bytes
_LAST_TRY: Final = 0.5  # seconds for which failing writes are tried again when the writer is closed


class _File:
    """An open file. Its process holds the lock on it as long as it lives."""

    def __init__(self, path: Path) -> None:
        self.path, self.size, self.since = path.with_suffix(OPEN), 0, clock.stopwatch()
        disk.make_folder(path.parent)
        new = path.with_suffix(".new")
        self.number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, disk.FILE)
        try:
            fcntl.flock(self.number, fcntl.LOCK_EX)
            new.rename(self.path)
        except OSError:
            os.close(self.number)
            new.unlink(missing_ok=True)
            raise

    def write(self, data: bytes, *, durable: bool) -> None:
        """Append all of the data, or nothing."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.number, rest) :]
            if durable:
                os.fsync(self.number)
                if not self.size:
                    sync(self.path.parent)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.number, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Sync the file, and rename it to its final name; one without records is removed."""
        with suppress(OSError):  # an unsynced file is a file too
            os.fsync(self.number)
        with suppress(OSError):  # another process has renamed or removed it
            if self.size:
                self.path.rename(self.path.with_suffix(CLOSED))
            else:
                self.path.unlink()
        os.close(self.number)


class _Append:
    """A record that a request waits for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.settled = data, False
        self.error: OSError | None = None


class RecordGroup:
    """The records of one folder and header, which go into the same files."""

    def __init__(self, folder: Path, begin: bytes) -> None:
        self.folder, self.begin = folder, begin
        self.put: list[bytes] = []
        self.appended: list[_Append] = []
        self.file: _File | None = None


class JournalWriter:
    """The journal files of one process and kind of records. Any thread may put and append.

    Args:
        most: bytes at which a file is closed. every: seconds after which it is, however small.
        on_turn: called by the thread after each turn: each second while files are open, else each
            minute; with the number of files closed.

    Attributes:
        worker: the beginning of the files' names. held: bytes in memory. written: records in files.
            error: of the last write, if it failed.
    """

    def __init__(
        self, most: int, every: float, on_turn: Callable[[int], object] = lambda _: None
    ) -> None:
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.held = self.written = 0
        self.error: str | None = None
        self._most, self._every, self._on_turn = most, every, on_turn
        self._lock = threading.Lock()
        self._work, self._done = threading.Condition(self._lock), threading.Condition(self._lock)
        self._groups: dict[bytes, RecordGroup] = {}
        self._since: float | None = None  # when the oldest record was put that is not written
        self._flush_requests = self._flushed = self._files = self._closed = self._written_bytes = 0
        self._urgent = self._rotating = self._ending = False
        self._thread: threading.Thread | None = None

    def group(self, folder: Path, begin: bytes) -> RecordGroup:
        """The records that go into files of a folder that begin alike."""
        with self._lock:
            return self._groups.setdefault(
                str(folder).encode() + b"\n" + begin, RecordGroup(folder, begin)
            )

    def start(self) -> None:
        """Start the thread, which else starts with the first record: for `on_turn`, each minute."""
        with self._lock:
            self._wake()

    @property
    def behind(self) -> float:
        """Seconds since the oldest record was put that is not in a file."""
        since = self._since
        return 0.0 if since is None else clock.stopwatch() - since

    def put(self, group: RecordGroup, record: bytes) -> None:
        """Write a record soon. It never waits for the disk."""
        with self._lock:
            group.put.append(record)
            self.held += len(record)
            if self._since is None:
                self._since = clock.stopwatch()
                self._wake()

    def append(self, group: RecordGroup, record: bytes) -> None:
        """Write a record; it is on disk when this returns.

        Raises:
            OSError: it cannot be written, and nothing of it was.
        """
        pending = _Append(record)
        with self._lock:
            if self._ending:
                raise OSError(errno.EBADF, "the journal is closed")
            group.appended.append(pending)
            self._hurry()
            while not pending.settled:
                self._done.wait()
        if pending.error is not None:
            raise pending.error

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all records so far; False after `timeout` seconds, or as soon as a write fails."""
        with self._lock:
            if self._thread is None:
                return True
            self._flush_requests += 1
            flush_number, until = self._flush_requests, clock.stopwatch() + timeout
            self._hurry()
            while self._flushed < flush_number:
                if self.error is not None or not self._done.wait(
                    max(0.0, until - clock.stopwatch())
                ):
                    return False
            return True

    def rotate(self, timeout: float = 30.0) -> bool:
        """Write all records so far and close the files; whether they are within `timeout`
        seconds.
        """
        with self._lock:
            self._rotating = True
        return self.flush(timeout)

    def close(self, timeout: float = 30.0) -> bool:
        """Write all records, close the files and end the thread; whether it ended in time. Failing
        writes are soon given up.
        """
        with self._lock:
            self._ending = True
            thread = self._thread
            if thread is not None:
                self._work.notify()
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
            self._thread.start()
        self._work.notify()

    def _hurry(self) -> None:
        self._urgent = True
        self._wake()

    def _run(self) -> None:
        failing: float | None = None
        while True:
            ending = self._wait()
            self._turn()
            failing = None if self.error is None else failing or clock.stopwatch()
            if ending and (failing is None or clock.stopwatch() - failing > _LAST_TRY):
                break
        for group in self._groups.values():
            self._close(group)
        self._on_turn(self._closed)

    def _wait(self) -> bool:
        """Wait until there is something to do; whether it is the last."""
        with self._lock:
            if not (self._urgent or self._ending or self._since is not None):
                busy = any(group.file is not None for group in self._groups.values())
                self._work.wait(_TICK if busy else _IDLE)
            if self.error is not None and not self._urgent:
                self._work.wait(_AGAIN)
            elif self._since is not None and not (self._urgent or self._ending):
                self._work.wait(max(0.0, self._since + LATEST - clock.stopwatch()))
            return self._ending

    def _turn(self) -> None:
        """Write all that waits, and close the files that are old or that another process has
        closed.
        """
        with self._lock:
            flush_number, rotating, self._urgent, self._rotating = (
                self._flush_requests,
                self._rotating,
                False,
                False,
            )
            since, groups = self._since, list(self._groups.values())
            waiting = [
                (group, group.put, group.appended)
                for group in groups
                if group.put or group.appended
            ]
            for group, _, _ in waiting:
                group.put, group.appended = [], []
            taken = clock.stopwatch()
        before, errors = self._written_bytes, [self._write_all(*group) for group in waiting]
        error = next((failure for failure in errors if failure is not None), None)
        now = clock.stopwatch()
        for group in groups:
            if group.file is not None and (
                rotating or now - group.file.since >= self._every or not group.file.path.exists()
            ):
                self._close(group)
        with self._lock:
            for group, put, _ in waiting:
                group.put[:0] = put  # what failed
            self.held -= self._written_bytes - before
            self._since = (
                since
                if error is not None
                else taken
                if any(group.put for group in groups)
                else None
            )
            self.error = None if error is None else f"{type(error).__name__}: {error}"
            if error is None:
                self._flushed = flush_number
            for _, _, appended in waiting:
                for record in appended:
                    record.settled = True
            self._done.notify_all()
        self._on_turn(self._closed)

    def _write_all(
        self, group: RecordGroup, put: list[bytes], appended: list[_Append]
    ) -> OSError | None:
        """Write the records of a group, and take the written ones out of `put`. Returns why the
        others were not written.
        """
        try:
            while put:
                count, size = _fitting(put)
                self._write(group, b"".join(put[:count]), durable=False)
                del put[:count]
                self.written += count
                self._written_bytes += size
            if appended:
                self._write(group, b"".join(pending.data for pending in appended), durable=True)
                self.written += len(appended)
        except Exception as raised:  # noqa: BLE001 (such as of memory: nobody may wait for ever)
            error = (
                raised
                if isinstance(raised, OSError)
                else OSError(f"{type(raised).__name__}: {raised}")
            )
            for pending in appended:
                pending.error = error
            return error
        return None

    def _write(self, group: RecordGroup, data: bytes, *, durable: bool) -> None:
        if group.file is not None and not group.file.path.exists():
            self._close(group)
        if group.file is None:
            self._files += 1
            group.file = _File(group.folder / f"{self.worker}-{self._files:06d}")
        file = group.file
        try:
            file.write(data if file.size else group.begin + data, durable=durable)
        except OSError as error:
            # after a failed sync, nobody knows what is on disk
            if durable or (error.errno == errno.EFBIG and file.size):
                self._close(group)
            if error.errno != errno.EFBIG or not file.size:
                raise
            self._write(group, data, durable=durable)
        if group.file is not None and group.file.size >= self._most:
            self._close(group)

    def _close(self, group: RecordGroup) -> None:
        file, group.file = group.file, None
        if file is not None:
            file.close()
            self._closed += 1


def _fitting(records: list[bytes]) -> tuple[int, int]:
    """How many records are written together, and their bytes."""
    size = 0
    for count, data in enumerate(records):
        if count and size + len(data) > _TOGETHER:
            return count, size
        size += len(data)
    return len(records), size
