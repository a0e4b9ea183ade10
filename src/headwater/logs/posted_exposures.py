"""Exposures that callers post: each is on disk before the caller is answered."""

from __future__ import annotations

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
from headwater.logs.exposure_log import EXPOSURES
from headwater.logs.exposure_rows import Exposure, header_of, record_of
from headwater.logs.segment_writer import CLOSED, OPEN

_SEGMENT: Final = 32 << 20  # bytes


class PostedExposures:
    """Segment files of posted exposures, one for each version of an experiment. Threads may share one; each process makes its own.

    Args:
        folder: the files stand in its subfolder `exposures`.

    >>> import tempfile
    >>> from headwater.logs.exposure_log import read_exposures
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
        known = self._open.get(of)
        path, size = self._new(of) if known is None or not known[0].exists() else known  # it may have been removed as too old
        try:
            with permissions.open_private(path, "ab") as file:
                file.write(records)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(path, size)
            raise
        if size + len(records) < _SEGMENT:
            self._open[of] = path, size + len(records)
        else:
            del self._open[of]
            path.rename(path.with_suffix(CLOSED))

    def _new(self, of: tuple[str, int]) -> tuple[Path, int]:
        experiment, version = of
        permissions.own_folder(self._folder)
        folder = permissions.make_folder(self._folder / experiment / str(version))
        self._files += 1
        path, header = folder / f"{self._worker}-{self._files:06d}{OPEN}", header_of(experiment, version, self._worker)
        with permissions.open_private(path, "wb") as file:
            file.write(header)
        sync(folder)
        self._open[of] = path, len(header)
        return self._open[of]
