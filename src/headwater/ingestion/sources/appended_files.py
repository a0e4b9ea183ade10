"""Files that are appended to: a record is a line, and its offset the byte at which the line begins.

A position goes with what was read, not with a name (see `appended_files`). A file that was renamed
within the path is read on under its new name, and the next file of the old name from its beginning.
A file that is not what was read, and is found under no other name, was replaced or rewritten: lines
that were not read may be lost, so it is an error.

Where one left off in a file, with the identity of what was read: a digest of its first bytes and
of those before the position.

It shows that a file was replaced or rewritten under its name, and finds one that was renamed, with
any inode. To compare it, at most twice `WINDOW` bytes are read, however long the file is.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from headwater import clock
from headwater.connectors import named
from headwater.definitions.connectors import AppendedFiles
from headwater.definitions.source import Source
from headwater.errors import DataError, RetentionError
from headwater.ingestion.sources.stream_reader import (
    Assigned,
    OriginOf,
    Position,
    RecordBatch,
    Revoked,
    StoredStream,
)
from headwater.kernel.arrays import NOTHING
from headwater.settings import in_project

_LOG = logging.getLogger(__name__)

_STEP: Final = 0.02  # seconds between two looks at files that have nothing new

_CHUNK: Final = 4_000_000  # bytes per read

_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


class _ReplacedError(Exception):
    """A file no longer begins with the bytes that were read."""


def open_feed(
    source: Source,
    assigned: Assigned,
    revoked: Revoked,
    origin_of: OriginOf,  # noqa: ARG001 (as `feeds.open_feed`)
    stored: StoredStream | None = None,
) -> FileFeed:
    """See `feeds.open_feed`; the callbacks are called inside `poll` and `close`."""
    return FileFeed(source, assigned, revoked, stored)


class FileFeed:
    """The files that a path names, in the order of their names; every feed reads all of them.

    stored: knows the positions of files that are no longer there; without it, renamed files are
    told only among those read here.
    """

    def __init__(
        self,
        source: Source,
        assigned: Assigned,
        revoked: Revoked,
        stored: StoredStream | None = None,
    ) -> None:
        spec = source.stream
        assert isinstance(spec, AppendedFiles)
        self._spec, self._assigned, self._revoked, self._stored = spec, assigned, revoked, stored
        self._files: dict[str, ReadFile] = {}
        self._partitions: set[str] = set()
        self._moves: dict[str, tuple[Position, Position]] = {}
        # where the next file begins under the name of a renamed one
        self._left_names: dict[str, FilePosition] = {}
        self._turn = 0
        self._find()

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""
        since = clock.stopwatch()
        while True:
            self._find()
            records = self._moved() or self._read(most)
            if records is not None or clock.stopwatch() - since >= timeout:
                return records
            clock.wait(min(_STEP, timeout))

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; in bytes, of complete lines: bytes after the last newline do not count."""
        if not all(in_project(path).exists() for path in self._files):
            self._find()
        return {path: self._left(path) for path in self._files}

    def elsewhere(self) -> int:
        """See `Feed`; files are read by one process."""
        return 0

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; does nothing for files."""

    def close(self) -> None:
        """See `Feed`."""
        for path, file in self._files.items():
            if file.unfinished:
                _LOG.warning(
                    "%s ends with %d bytes without a newline: they are no record yet, and read "
                    "once the line is complete",
                    path,
                    file.unfinished,
                )
        if self._partitions:
            self._revoked(sorted(self._partitions))
        self._files.clear()
        self._partitions.clear()

    def _left(self, path: str) -> int:
        """Bytes to read, but for the beginning of a line that was not complete when it was last
        looked at.
        """
        file = self._files[path]
        try:
            unread_bytes = max(0, in_project(path).stat().st_size - file.position.byte)
        except FileNotFoundError as error:
            raise _missing(path, file.position.byte) from error
        return 0 if unread_bytes == file.unfinished else unread_bytes

    # ------------------------------------------------------------ which file is which

    def _find(self) -> None:
        """Take up files that are new; a name becomes new where its file was renamed."""
        while new := [
            path
            for path in named(self._spec.path)
            if path not in self._files and in_project(path).is_file()
        ]:
            self._take_up(new)

    def _take_up(self, paths: Sequence[str]) -> None:
        """Read new files, and replaced files under known names, from where their contents were read
        to.

        Raises:
            RetentionError: a file is not what was read under its name, and that is under no new
                name.
            DataError: a file is compressed.
        """
        positions = self._known(paths)
        unread = [path for path in paths if path not in positions or not positions[path].byte]
        others = [
            path for path in paths if path not in unread and not _is_of(path, positions[path])
        ]
        renamed = self._renamed(paths, unread, others, positions)
        for path in paths:
            at = positions.get(path, START)
            if path in others and path not in renamed.values():
                raise self._replaced(path, at)
            if path in renamed:
                _LOG.info(
                    "%s is what was read as %s, and is read on from there", path, renamed[path]
                )
                at = positions[renamed[path]].moved(at)
            elif path in others:
                at = at.restarted()
            self._files[path] = _read_up_to(path, at)
        nodes = {self._files[path].node for path in paths}
        for name in [
            name
            for name, file in self._files.items()
            if not file.position.byte and file.node in nodes
        ]:
            # nothing was read of it, so its node says that it was renamed
            if not in_project(name).exists():
                del self._files[name]
        for name in dict.fromkeys([*renamed, *renamed.values()]):
            if name not in paths:
                self._files.pop(name, None)
                self._assign([name])
                self._left_names[name] = positions[name].restarted()
            at = self._files[name].position if name in paths else self._left_names[name]
            before, _ = self._moves.get(name, (positions.get(name, at).encoded, b""))
            self._moves[name] = (before, at.encoded)

    def _known(self, paths: Sequence[str]) -> dict[str, FilePosition]:
        """By path, from where to read on: of these, and of all others that were ever read."""
        stored = {
            **({} if self._stored is None else self._stored.positions()),
            **self._assign(paths),
        }
        # not all of it is committed yet
        here = self._left_names | {path: file.position for path, file in self._files.items()}
        return {path: FilePosition.decoded(at) for path, at in stored.items()} | here

    def _assign(self, paths: Sequence[str]) -> Mapping[str, Position]:
        new = [path for path in paths if path not in self._partitions]
        self._partitions.update(new)
        return self._assigned(new) if new else {}

    @staticmethod
    def _renamed(
        paths: Sequence[str],
        unread: Sequence[str],
        others: Sequence[str],
        positions: Mapping[str, FilePosition],
    ) -> dict[str, str]:
        """By new name, the name that its content was read under, where that name is another file's
        now, or no file's.

        unread: those of `paths` that nothing was read of. others: those that are not what was read.
        So a name that got another file is new once its former one was found. Each path comes before
        the one that its position is taken from: existing lines are never lost.
        """
        free = list(unread)
        candidates = {
            name: at
            for name, at in (positions if free else {}).items()
            if at.byte
            and (
                name in others
                or (name not in paths and not (in_project(name).is_file() and _is_of(name, at)))
            )
        }
        renamed: dict[str, str] = {}
        while free:
            path = free.pop(0)
            was = next(
                (name for name, at in candidates.items() if name != path and _is_of(path, at)), None
            )
            if was is not None:
                renamed[path] = was
                del candidates[was]
                free += [was] if was in others else []
        return renamed

    def _moved(self) -> RecordBatch | None:
        """No records, where positions go with files to other names."""
        moves, self._moves = self._moves, {}
        return RecordBatch(list(moves), NOTHING, NOTHING, NOTHING, moves) if moves else None

    def _replaced(self, path: str, before: FilePosition) -> RetentionError:
        why = (
            f"the file was replaced, truncated or rewritten: up to byte {before.byte} it is no "
            "longer what was read, and lines that were not read may be lost. With a path that "
            f"also matches the names of rotated files, such as {self._spec.path}*, these are read "
            "to their end"
        )
        position = before.restarted()
        return RetentionError(
            str(self._spec),
            path,
            wanted=before.offset,
            first=position.offset,
            position=position.encoded,
            lost=1,
            why=why,
        )

    # ------------------------------------------------------------ lines

    def _read(self, most: int) -> RecordBatch | None:
        """The next complete lines of one file; the files take turns, so that none waits for
        another.
        """
        paths = sorted(self._files)
        for n in range(len(paths)):
            path = paths[(self._turn + n) % len(paths)]
            file = self._files[path]
            try:
                data = _next_bytes(path, file)
                lines, starts, count = self._lines(path, file, data, most)
            except (_ReplacedError, FileNotFoundError):
                self._find()
                if path in self._files:  # it has no other name
                    self._take_up([path])
                return self._moved()
            if count:
                self._turn = (self._turn + n + 1) % len(paths)
                offsets = np.array(starts, np.int64) + file.position.offset
                at = round(clock.now().timestamp() * 1e6)
                nought = np.zeros(len(lines), np.int64)
                return RecordBatch(
                    [path], nought, offsets, nought + at, {path: file.advance(data, count)}, lines
                )
        return None

    def _lines(
        self, path: str, file: ReadFile, data: bytes, most: int
    ) -> tuple[list[bytes | None], list[int], int]:
        """Complete lines of the bytes that come next, where each begins in these, and how many
        bytes are read with them.
        """
        if self._spec.format == "csv" and not file.header:
            head = _from_beginning(path) if file.position.byte else data
            if b"\n" not in head:
                file.unfinished = len(head)
                return [], [], 0
            file.header = head[: head.index(b"\n") + 1]
            if not file.position.byte:
                return [], [], len(file.header)
        lines: list[bytes | None] = []
        starts: list[int] = []
        at = 0
        while len(lines) < most and (stop := data.find(b"\n", at)) >= 0:
            line = data[at:stop]
            if line.strip():  # empty lines are skipped
                lines.append(file.header + line)
                starts.append(at)
            at = stop + 1
        file.unfinished = 0 if at else len(data)
        return lines, starts, at


def _is_of(path: str, at: FilePosition) -> bool:
    """Whether a file begins with the bytes that were read.

    Raises:
        DataError: it is gone.
    """
    with _opened(path, at.byte) as file:
        return at.is_of(file)


def _read_up_to(path: str, at: FilePosition) -> ReadFile:
    """A file that was read up to a position.

    Raises:
        DataError: it is compressed.
    """
    with _opened(path, at.byte) as file:
        head, tail = ends(file, at.byte)
        if not at.byte:
            begin = file.read(6)
            if kind := next(
                (kind for magic, kind in _COMPRESSED.items() if begin.startswith(magic)), None
            ):
                raise DataError(
                    f"{path} is compressed ({kind}), and lines are read from files of plain text "
                    "that grow. Unpack it, or give a path that leaves such files out"
                )
        return ReadFile(at, head, tail, _node(file))


def _next_bytes(path: str, read: ReadFile) -> bytes:
    """The next bytes of a file: as many as hold a complete line, if there is one.

    Raises:
        _ReplacedError: it is not what was read of it.
        FileNotFoundError: it is gone.
    """
    begin = read.position.byte
    with in_project(path).open("rb") as file:
        if (node := _node(file)) != read.node and not read.position.is_of(file):
            raise _ReplacedError
        read.node = node
        size = os.fstat(file.fileno()).st_size
        if size == begin:
            return b""
        file.seek(begin - len(read.tail))
        if size < begin or file.read(len(read.tail)) != read.tail:
            raise _ReplacedError
        return _to_newline(file)


def _from_beginning(path: str) -> bytes:
    with _opened(path, 0) as file:
        return _to_newline(file)


def _to_newline(file: BinaryIO) -> bytes:
    data = file.read(_CHUNK)
    while data and b"\n" not in data and (more := file.read(_CHUNK)):
        data += more
    return data


def _opened(path: str, begin: int) -> BinaryIO:
    try:
        return in_project(path).open("rb")
    except FileNotFoundError as error:
        raise _missing(path, begin) from error


def _node(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino


def _missing(path: str, begin: int) -> DataError:
    return DataError(
        f"{path} is gone, and had been read up to byte {begin}; leave files that are read in place"
    )


WINDOW: Final = 4_096
"""Bytes at the beginning of a file, and before a position, that its identity is made of."""

_LAYOUT: Final = "<qq16s"


class FilePosition(NamedTuple):
    """A byte of a file, and a digest of the bytes before it.

    byte: to read on from. shift: the bytes of earlier files of this name, which offsets of records
    count on from. digest: of what was read.

    >>> FilePosition.decoded(START.encoded) == START
    True
    """

    byte: int
    shift: int
    digest: bytes

    @classmethod
    def decoded(cls, position: Position) -> FilePosition:
        """As `encoded` wrote it."""
        return cls(*struct.unpack(_LAYOUT, position))

    @property
    def encoded(self) -> Position:
        """For the store."""
        return struct.pack(_LAYOUT, *self)

    @property
    def offset(self) -> int:
        """That of the next record."""
        return self.byte + self.shift

    def restarted(self) -> FilePosition:
        """The beginning of another file of this name."""
        return START._replace(shift=self.offset)

    def moved(self, before: FilePosition) -> FilePosition:
        """The same place for a name whose files had been read up to `before`: its offsets never
        decrease.
        """
        return self._replace(shift=max(0, before.offset - self.byte))

    def is_of(self, file: BinaryIO) -> bool:
        """Whether a file still begins with the bytes that were read."""
        return (
            os.fstat(file.fileno()).st_size >= self.byte
            and _digest(*ends(file, self.byte)) == self.digest
        )


def ends(file: BinaryIO, byte: int) -> tuple[bytes, bytes]:
    """The first bytes of a file, and the last ones before a byte: `WINDOW` of each, if there are so
    many.
    """
    length = min(byte, WINDOW)
    file.seek(0)
    head = file.read(length)
    file.seek(byte - length)
    return head, file.read(length)


def _digest(head: bytes, tail: bytes) -> bytes:
    return blake2b(head + tail, digest_size=16).digest()


START: Final = FilePosition(0, 0, _digest(b"", b""))
"""The beginning of a file."""


@dataclass
class ReadFile:
    """A file, as far as it was read.

    position: to read on from. head, tail: as of `ends`. node: of the file system, when it was
    looked at last. header: of CSV, the line that goes before each other. unfinished: bytes behind
    the last newline, where nothing else is left.
    """

    position: FilePosition
    head: bytes = b""
    tail: bytes = b""
    node: tuple[int, int] = (0, 0)
    header: bytes = b""
    unfinished: int = 0

    def advance(self, data: bytes, count: int) -> tuple[Position, Position]:
        """Take the first `count` bytes of `data`, which follow the position, as read; the positions
        before and after.
        """
        before = self.position
        self.head += data[: min(count, WINDOW - len(self.head))]
        self.tail = (
            data[count - WINDOW : count]
            if count >= WINDOW
            else (self.tail + data[:count])[-WINDOW:]
        )
        self.position = FilePosition(
            before.byte + count, before.shift, _digest(self.head, self.tail)
        )
        return before.encoded, self.position.encoded
