"""What the keys of an online store mean: the first byte says which space a key is of."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

FORMAT_KEY = b"mformat"
FORMAT, OLDER = b"2", b"1"
"""What this version writes, and what it reads besides: there no view is known to be whole, so ingestion fills each again."""
OWNER, SHARED, STREAM = b"mowner", b"mshared", b"mstream"
"""The project that the store belongs to; other projects that keep data in it; by source, where its first stream came from."""
SEQUENCE = b"msequence"
"""How many commits have been made."""
RECEIVER = b"mreceiver"
"""The address at which the process that ingests receives pushed events."""
RECEIVER_SECRET = b"mreceiver secret"
"""What a process that forwards events proves to have read the store with."""

NOWHERE = b"n"
"""A key that never holds anything."""

RECORD, OFFSET, IDS, HELD, ARCHIVE, DEAD, FILTERED, PROGRESS, STATE = b"t", b"o", b"i", b"h", b"a", b"d", b"f", b"p", b"b"
ORIGIN, FILLING, REPLAYED = b"y", b"z", b"r"
IMAGE, EVENT, DUE = b"v", b"l", b"e"
"""Of events that can be taken back: their last images by id, where they stand in a view by key and time, and when they are let go."""
_LONGEST = 400


def name(text: str) -> bytes:
    """A name that no other begins with."""
    return text.encode() + b"\0"


def record(tiles: str, key: bytes, partition: str | None = None) -> bytes:
    """Where the record of a key stands; `tiles` is the fingerprint of what is stored."""
    return places(tiles, [key], partition)[0]


def places(tiles: str, keys: Sequence[bytes], partition: str | None = None) -> list[bytes]:
    """Where the records of some keys stand."""
    begin, end = records(tiles), b"" if partition is None else b"\0" + partition.encode()
    keys = shortened(keys)
    return [begin + key + end for key in keys] if end else [begin + key for key in keys]


def shortened(keys: Sequence[bytes]) -> Sequence[bytes]:
    """Keys of a view as they stand in those of the store: those that are too long by their hash."""
    if not keys or max(map(len, keys)) <= _LONGEST:
        return keys
    return [key if len(key) <= _LONGEST else key[:64] + b"\0" + hashlib.sha256(key).digest() for key in keys]


def records(tiles: str) -> bytes:
    """What the keys of all records of one view begin with."""
    return RECORD + bytes.fromhex(tiles)


def state(tiles: str, partition: str | None = None) -> bytes:
    """Where it stands what is stored of a view; in a store of several writers, what is stored of a partition's part of it."""
    return STATE + bytes.fromhex(tiles) + (b"" if partition is None else b"\0" + partition.encode())


def begun(source: str) -> bytes:
    """Where it stands what a source's stream began with."""
    return STATE + b"source" + name(source)


def broker_clock(source: str) -> bytes:
    """Where it stands whether the wall clock is compared with that of the broker that a source's stream is read from."""
    return b"mbroker clock" + name(source)


def offset(source: str, partition: str) -> bytes:
    """Where the offset stands from which a partition is to be read on."""
    return OFFSET + name(source) + partition.encode()


def origin(source: str, partition: str) -> bytes:
    """Key of what the offset of a partition counts in (Kafka: the topic's id); see `Records.origins`."""
    return ORIGIN + name(source) + partition.encode()


def replayed(source: str) -> bytes:
    """Prefix of the keys that say which refused records were replayed; `source` as in `block`."""
    return REPLAYED + name(source)


def filling(source: str, partition: str) -> bytes:
    """Key of the token of the process that fills a partition's views with their past, or was the last that did."""
    return FILLING + name(source) + partition.encode()


def events(tiles: str, partition: str | None = None) -> bytes:
    """What begins the places of a view's events (of one partition, in a store of several writers)."""
    return EVENT + bytes.fromhex(tiles) + (b"" if partition is None else hashlib.sha256(partition.encode()).digest()[:8])


def block(space: bytes, source: str, sequence: int) -> bytes:
    """Where what a commit left in `space` stands."""
    return space + name(source) + struct.pack(">Q", sequence)


def sequence_of(key: bytes) -> int:
    """The sequence that a key made by `block` ends with."""
    return int(struct.unpack(">Q", key[-8:])[0])


def number(value: int) -> bytes:
    """A whole number as the value of a key."""
    return struct.pack("<q", value)


def as_number(value: bytes | None, otherwise: int = 0) -> int:
    """What `number` wrote."""
    return otherwise if value is None else int(struct.unpack("<q", value)[0])
