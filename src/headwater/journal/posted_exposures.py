"""Exposures that callers post: each is on disk before the caller is answered.

A file is locked while a record is appended, and not between two records: any process may then close it, and the next record begins another.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from headwater import permissions
from headwater.disk import sync
from headwater.errors import StoreError
from headwater.journal.exposure_log import EXPOSURES, all_segments
from headwater.journal.exposure_rows import Exposure, header_of, record_of
from headwater.journal.segment_locks import close_abandoned
from headwater.journal.segment_writer import CLOSED, OPEN

_SEGMENT: Final = 32 << 20  # bytes


class PostedExposures:
    """Segment files of posted exposures, one for each version of an experiment. Threads may share one; each process makes its own.

    Segments of exposures that killed processes have left open are closed.

    Args:
        folder: the files stand in its subfolder `exposures`.

    >>> import tempfile
    >>> from headwater.journal.exposure_log import read_exposures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posted = PostedExposures(folder)
    ...     posted.add("checkout", 1, [Exposure("u1", "daily", 1714521600000000, source="external")])
    ...     posted.close()
    ...     read_exposures(folder, "checkout")["source"].to_list()
    ['external']
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._worker = Path(folder) / EXPOSURES, f"posted-{os.getpid():x}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], tuple[Path, int]] = {}  # path and size
        self._number = self._files = 0
        close_abandoned(all_segments(folder))

    def add(self, experiment: str, version: int, exposures: Sequence[Exposure]) -> None:
        """Write exposures, and sync them.

        Raises:
            StoreError: they cannot be written; none of them is kept.
        """
        with self._lock:
            records = record_of([(self._number + n, *exposure) for n, exposure in enumerate(exposures)])
            self._number += len(exposures)
            try:
                self._append((experiment, version), records)
            except OSError as error:
                raise StoreError(
                    f"exposures of experiment {experiment!r} cannot be written to {self._folder}: {error.strerror or error}"
                ) from error

    def close(self) -> None:
        """Complete the files."""
        with self._lock:
            for path, _ in self._open.values():
                with suppress(OSError):
                    path.rename(path.with_suffix(CLOSED))
            self._open.clear()

    def _append(self, of: tuple[str, int], records: bytes) -> None:
        while not self._written(of, records):  # the file was closed by another process, or removed as too old
            del self._open[of]
        path, size = self._open[of]
        self._open[of] = path, size + len(records)
        if size + len(records) >= _SEGMENT:
            del self._open[of]
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(CLOSED))

    def _written(self, of: tuple[str, int], records: bytes) -> bool:
        """Append records to the open file, or to a new one, and sync it; False where it is not open any more."""
        path, size = self._open.get(of) or self._new(of)
        try:
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists():
                return False
            try:
                rest = memoryview(records)
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        return True

    def _new(self, of: tuple[str, int]) -> tuple[Path, int]:
        experiment, version = of
        permissions.own_folder(self._folder)
        folder = permissions.make_folder(self._folder / experiment / str(version))
        self._files += 1
        path, header = folder / f"{self._worker}-{self._files:06d}{OPEN}", header_of(experiment, version, self._worker)
        with permissions.open_private(path.with_suffix(".new"), "wb") as file:
            file.write(header)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".new").rename(path)
        sync(folder)
        self._open[of] = path, len(header)
        return self._open[of]
