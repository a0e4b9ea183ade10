"""Exposures: the columns of their log, and their records in a segment file.

All numbers are little-endian. A file is

    MAGIC      8 bytes, the version of the format in the last two
    RECORD...

and a record is the length of its body and the CRC-32 of its body, 4 bytes each, then its body: MARK, and msgpack. The body of the first
record is an `ExposureHeader`. That of each other one is a batch: of each exposure its number in its process, and the fields of `Exposure`.
After damaged bytes, readers go on at the next MARK of a whole record. An exposure may be in two files, after the process that writes has
died; it has the same process and number in both, and is read once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import polars as pl

from headwater.errors import StoreError

UNIT, ARM, AT = "unit", "arm", "at"
REQUEST, PROPENSITY, AGE, PROMISED = "request", "propensity", "age", "promised_age"
FALLBACK, OVERRIDE, CLUSTER, BUCKET = "fallback", "override", "cluster", "bucket"
MODEL, LEVEL, MODEL_VERSION, SCORE, FLAG, SOURCE = "model", "level", "model_version", "score", "flag", "source"

EXPOSURE_SCHEMA: Final = {
    UNIT: pl.String,
    ARM: pl.String,
    AT: pl.Datetime("us", "UTC"),
    REQUEST: pl.String,
    PROPENSITY: pl.Float64,
    AGE: pl.Float64,  # seconds, of the stalest feature
    PROMISED: pl.Float64,  # seconds
    FALLBACK: pl.Boolean,  # answered by the default, a previous cut, or features of which one is a fallback value
    OVERRIDE: pl.Boolean,  # a tester chose the arm
    CLUSTER: pl.String,
    BUCKET: pl.Int64,
}
"""What an analysis needs of an exposure."""

LOGGED_SCHEMA: Final = {
    **EXPOSURE_SCHEMA,
    MODEL: pl.String,
    LEVEL: pl.String,
    MODEL_VERSION: pl.String,
    SCORE: pl.Float64,  # null for rankings, and for scores that are not one number
    FLAG: pl.String,  # "", or why the row is no evidence of its arm, see below
    SOURCE: pl.String,  # "served", or who else has assigned
}
"""What is logged of an exposure."""

NO_ROOM, SHADOW, WASHOUT = "no room", "shadow", "washout"
"""Flags: the control was served since exposures could not be written; the other arms are scored and not served; the time after a change."""
SERVED: Final = "served"

VERSION: Final = 1
_BEGIN: Final = b"HWEXPO"
MAGIC: Final = _BEGIN + VERSION.to_bytes(2, "little")
MARK: Final = b"\xe9HWx"
_PREFIX: Final = struct.Struct("<II")  # length and checksum
_encode: Final = msgspec.msgpack.Encoder().encode


class ExposureHeader(msgspec.Struct, frozen=True):
    """The first record of a segment: of which experiment and version its exposures are, and the process that wrote them."""

    experiment: str
    version: int
    worker: str


class Exposure(NamedTuple):
    """An exposure as it is logged; the columns are those of `LOGGED_SCHEMA`.

    at: microseconds since 1970 UTC. items, teams: of an interleaved list, the best first, and which ranking (0 or 1) placed each.
    """

    unit: str
    arm: str
    at: int
    request: str | None = None
    propensity: float | None = None
    age: float | None = None
    promised_age: float | None = None
    fallback: bool = False
    override: bool = False
    cluster: str | None = None
    bucket: int | None = None
    model: str | None = None
    level: str | None = None
    model_version: str | None = None
    score: float | None = None
    flag: str = ""
    source: str = SERVED
    items: Sequence[Any] | None = None
    teams: Sequence[int] | None = None


def header_of(experiment: str, version: int, worker: str) -> bytes:
    """The beginning of a segment file."""
    return MAGIC + _record(MARK + _encode(ExposureHeader(experiment, version, worker)))


def record_of(exposures: Sequence[tuple[object, ...]]) -> bytes:
    """A batch of exposures as a record: of each its number in its process, and its fields.

    Raises:
        TypeError, OverflowError: a value that cannot be written.
    """
    body = MARK + _encode(exposures)
    return _PREFIX.pack(len(body), crc32(body)) + body


class ReadSegment(NamedTuple):
    """A segment that was read: its header (None where that is damaged), exposures by their number, and bytes that belong to none."""

    header: ExposureHeader | None
    exposures: dict[int, Exposure]
    damaged: int


def read_segment(data: bytes, name: str) -> ReadSegment:
    """The exposures of a segment file of that name; damaged bytes are skipped.

    Raises:
        StoreError: the file is not a segment of exposures, or has another version.
    """
    magic = data[: len(MAGIC)]
    if magic != MAGIC[: len(magic)]:
        version = int.from_bytes(magic[len(_BEGIN) :], "little")
        why = f"is of version {version}; this headwater reads {VERSION}" if magic.startswith(_BEGIN) else "does not begin as one does"
        raise StoreError(f"the segment {name} of exposures {why}: use the headwater that wrote it, or move the file elsewhere")
    bodies, at, damaged, size, view = list[memoryview](), len(MAGIC), 0, len(data), memoryview(data)
    while at < size:
        begin = at + _PREFIX.size
        length, checksum = _PREFIX.unpack_from(data, at) if begin <= size else (0, 0)
        end = begin + length
        if length > len(MARK) and end <= size and crc32(view[begin:end]) == checksum:
            bodies.append(view[begin + len(MARK) : end])
            at = end
            continue
        mark = data.find(MARK, begin + 1)
        following = mark - _PREFIX.size if mark >= 0 else size
        damaged += following - at
        at = following
    header, exposures = None, dict[int, Exposure]()
    for body in bodies:
        decoded = msgspec.msgpack.decode(body)
        if isinstance(decoded, dict):
            header = msgspec.convert(decoded, ExposureHeader)
        else:
            exposures |= {number: Exposure(*fields) for number, *fields in decoded}
    return ReadSegment(header, exposures, damaged)


def _record(body: bytes) -> bytes:
    return _PREFIX.pack(len(body), crc32(body)) + body
