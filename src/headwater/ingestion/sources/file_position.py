"""Where one left off in a file, with the identity of what was read: a digest of its first bytes and
of those before the position.

It shows that a file was replaced or rewritten under its name, and finds one that was renamed, with
any inode. To compare it, at most twice `WINDOW` bytes are read, however long the file is.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO, Final, NamedTuple

from headwater.ingestion.sources.stream_reader import Position

WINDOW: Final = 4_096
"""Bytes at the beginning of a file, and before a position, that its identity is made of."""
_LAYOUT: Final = "<qq16s"


class FilePosition(NamedTuple):
    """A byte of a file, and what lies before it.

    byte: to read on from. shift: the bytes of earlier files of this name, which offsets of records
    count on from. digest: of what was read.

    >>> FilePosition.of(START.encoded) == START
    True
    """

    byte: int
    shift: int
    digest: bytes

    @classmethod
    def of(cls, position: Position) -> FilePosition:
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
        """Whether a file still begins with what was read."""
        return (
            os.fstat(file.fileno()).st_size >= self.byte
            and _digest(*ends(file, self.byte)) == self.digest
        )


def ends(file: BinaryIO, byte: int) -> tuple[bytes, bytes]:
    """The first bytes of a file, and those before a byte: `WINDOW` of each, if there are so
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
    """A file as it was read so far.

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
