"""Files that are being appended to: a record a line, its offset the byte at which the line begins."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Final

import numpy as np

from headwater import clock
from headwater.connectors.files import named
from headwater.definitions.source import Source
from headwater.definitions.streams import AppendedFiles
from headwater.errors import DataError
from headwater.ingestion.sources.stream_reader import Assigned, OriginOf, Position, RecordBatch, Revoked, between, offset_at
from headwater.settings import in_project

_LOG = logging.getLogger(__name__)

_STEP: Final = 0.02  # seconds between two looks at files that have nothing new
_CHUNK: Final = 4_000_000  # bytes per read


def open_feed(source: Source, assigned: Assigned, revoked: Revoked, origin_of: OriginOf) -> FileFeed:  # noqa: ARG001 (as `feeds.open_feed`)
    """See `feeds.open_feed`; the callbacks are called inside `poll` and `close`."""
    return FileFeed(source, assigned, revoked)


class FileFeed:
    """The files that a path names, in the order of their names; every feed reads all of them."""

    def __init__(self, source: Source, assigned: Assigned, revoked: Revoked) -> None:
        spec = source.stream
        assert isinstance(spec, AppendedFiles)
        self._spec, self._assigned, self._revoked = spec, assigned, revoked
        self._ends: dict[str, int] = {}
        self._heads: dict[str, bytes] = {}  # of CSV: the header, which goes before each line
        self._nodes: dict[str, tuple[int, int]] = {}
        self._unfinished: dict[str, int] = {}  # bytes behind the last newline, where nothing else is left
        self._turn = 0
        self._find()

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""
        since = clock.stopwatch()
        while True:
            self._find()
            records = self._read(most)
            if records is not None or clock.stopwatch() - since >= timeout:
                return records
            time.sleep(min(_STEP, timeout))

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; in bytes, of complete lines: bytes after the last newline do not count."""
        return {path: self._left(path) for path in self._ends}

    def elsewhere(self) -> int:
        """See `Feed`; files are read by one process."""
        return 0

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; does nothing for files."""

    def close(self) -> None:
        """See `Feed`."""
        for path, size in self._unfinished.items():
            if size and path in self._ends:
                _LOG.warning(
                    "%s ends with %d bytes without a newline: they are no record yet, and read once the line is complete", path, size
                )
        if self._ends:
            self._revoked(sorted(self._ends))
        self._ends.clear()

    def _left(self, path: str) -> int:
        """Bytes to read, but for the beginning of a line that was not complete when it was last looked at."""
        try:
            left = max(0, in_project(path).stat().st_size - self._ends[path])
        except FileNotFoundError as error:
            raise _gone(path, self._ends[path]) from error
        return 0 if left == self._unfinished.get(path) else left

    def _find(self) -> None:
        """Take up files that are new."""
        new = [path for path in named(self._spec.path) if path not in self._ends and in_project(path).is_file()]
        if not new:
            return
        known = self._assigned(new)
        for path in new:
            self._ends[path] = offset_at(known[path]) if path in known else 0
            self._check_beginning(path, self._ends[path])

    def _read(self, most: int) -> RecordBatch | None:
        """The complete lines that come next in one file; the files take turns, so that none waits for another."""
        paths = sorted(self._ends)
        for n in range(len(paths)):
            path = paths[(self._turn + n) % len(paths)]
            lines, starts, end = self._lines(path, most)
            if end > self._ends[path]:
                self._turn = (self._turn + n + 1) % len(paths)
                positions = {path: between(self._ends[path], end)}
                self._ends[path] = end
                at = round(clock.now().timestamp() * 1e6)
                nought = np.zeros(len(lines), np.int64)
                return RecordBatch([path], nought, np.array(starts, dtype=np.int64), nought + at, positions, lines)
        return None

    def _lines(self, path: str, most: int) -> tuple[list[bytes | None], list[int], int]:
        """Complete lines from where one left off, where each begins, and where to read on."""
        begin = self._ends[path]
        data = self._bytes(path, begin)
        if self._spec.format == "csv" and path not in self._heads:
            head = data if begin == 0 else self._bytes(path, 0)
            if b"\n" not in head:
                self._unfinished[path] = len(head) - begin
                return [], [], begin
            self._heads[path] = head[: head.index(b"\n") + 1]
            if begin == 0:
                return [], [], len(self._heads[path])
        head = self._heads.get(path, b"")
        lines: list[bytes | None] = []
        starts: list[int] = []
        at = 0
        while len(lines) < most and (stop := data.find(b"\n", at)) >= 0:
            line = data[at:stop]
            if line.strip():  # empty lines are skipped
                lines.append(head + line)
                starts.append(begin + at)
            at = stop + 1
        self._unfinished[path] = 0 if at else len(data)
        return lines, starts, begin + at

    def _bytes(self, path: str, begin: int) -> bytes:
        """Some of the file from there on: as much as holds a complete line, if there is one.

        Raises:
            DataError: the file is shorter than what was read of it, or is another one.
        """
        try:
            with in_project(path).open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_size < begin or self._nodes.setdefault(path, (stat.st_dev, stat.st_ino)) != (stat.st_dev, stat.st_ino):
                    raise _rewritten(path, begin, stat.st_size)
                file.seek(begin)
                data = file.read(_CHUNK)
                while data and b"\n" not in data and (more := file.read(_CHUNK)):
                    data += more
                return data
        except FileNotFoundError as error:
            raise _gone(path, begin) from error

    def _check_beginning(self, path: str, begin: int) -> None:
        """Refuse to read on where no line ends."""
        if begin and self._bytes(path, begin - 1)[:1] != b"\n":
            raise _rewritten(path, begin, in_project(path).stat().st_size)


def _gone(path: str, begin: int) -> DataError:
    return DataError(f"{path} is gone, and had been read up to byte {begin}; leave files that are read in place")


def _rewritten(path: str, begin: int, size: int) -> DataError:
    return DataError(
        f"{path} had been read up to byte {begin}, and now has {size} bytes, is another file, or has no end of a line there: it was truncated, "
        "rotated or rewritten. Let new lines go to a file of another name (the path may be a glob), or rebuild the view"
    )
