"""The format of journal files: what serving takes in and gives out, appended record by record.

All numbers are little-endian. A file is

    MAGIC       8 bytes: "HWJRN", the letter of the kind of its records, and the version of the
                format in two bytes
    RECORD...

and a record is

    MARK        4 bytes, the same in each record
    LENGTH      of the body, 4 bytes
    CHECKSUM    CRC-32 of the body, 4 bytes
    BODY        bytes; those of the first record are the header, which all others share

A file may end in the middle of a record if its process was killed: readers ignore that record.
After damaged bytes, readers go on at the next MARK of a whole record. A file of another version is
refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from headwater.errors import StoreError

VERSION: Final = 1
MARK: Final = b"\xe9HWj"
PREFIX: Final = struct.Struct("<4sII")
_BEGIN: Final = b"HWJRN"
_MAGIC: Final = len(_BEGIN) + 3
_PACK: Final = PREFIX.pack


@dataclass(frozen=True)
class RecordKind:
    """A kind of records.

    name: in messages. letter: in the magic bytes. files: the glob of its files in a data directory,
    without their suffix. most: bytes at which a file is closed. every: seconds after which it is,
    however small.
    """

    name: str
    letter: bytes
    files: str
    most: int = 32 << 20
    every: float = 600.0

    @property
    def magic(self) -> bytes:
        """The first bytes of a file."""
        return _BEGIN + self.letter + VERSION.to_bytes(2, "little")

    def begin(self, header: bytes) -> bytes:
        """The beginning of a file, up to its first record."""
        return self.magic + record(header)


SERVED_ROWS: Final = RecordKind("the serving log", b"S", "served/segments/*/*", every=60.0)
EXPOSURES: Final = RecordKind("exposures", b"E", "exposures/*/*/*")
OUTCOMES: Final = RecordKind("outcomes", b"O", "outcomes/*/*")
RESPONSES: Final = RecordKind("third-party responses", b"R", "answers/segments/*/*", every=60.0)
KINDS: Final = (SERVED_ROWS, EXPOSURES, OUTCOMES, RESPONSES)


class ScannedFile(NamedTuple):
    """The records of a file.

    header: the body of the first record; None where that is damaged. spans: begin and end of the
    body of each other whole record. damaged: how many bytes belong to none.
    """

    header: bytes | None
    spans: list[tuple[int, int]]
    damaged: int


def record(body: bytes) -> bytes:
    """A body as a record."""
    return _PACK(MARK, len(body), crc32(body)) + body


def scan(data: bytes, kind: RecordKind, name: str) -> ScannedFile:
    """The records of a file of that name.

    Raises:
        StoreError: the file has records of another kind, or is of another version.
    """
    magic = data[:_MAGIC]
    if magic != kind.magic[: len(magic)]:
        version = int.from_bytes(magic[-2:], "little")
        if magic.startswith(kind.magic[:-2]):
            why = f"is of version {version} of the journal's format; this headwater reads {VERSION}"
        else:
            why = f"does not begin as a file of {kind.name} does"
        raise StoreError(
            f"{name} {why}: use the headwater that wrote it, or move the file elsewhere"
        )
    spans, at, damaged, size, view = list[tuple[int, int]](), _MAGIC, 0, len(data), memoryview(data)
    unpack, prefix, last = PREFIX.unpack_from, PREFIX.size, len(data) - PREFIX.size
    while at < size:
        if at <= last:
            mark, length, checksum = unpack(data, at)
            begin = at + prefix
            end = begin + length
            if mark == MARK and end <= size and crc32(view[begin:end]) == checksum:
                spans.append((begin, end))
                at = end
                continue
        following = data.find(MARK, at + 1)
        following = size if following < 0 else following
        damaged += following - at
        at = following
    if spans and spans[0][0] == _MAGIC + prefix:
        return ScannedFile(data[slice(*spans[0])], spans[1:], damaged)
    return ScannedFile(None, spans, damaged)
