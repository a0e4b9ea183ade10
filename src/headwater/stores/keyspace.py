"""The keyspace of an online store: the first byte of a key is its space."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from headwater.errors import UsageError

FORMAT_KEY = b"mformat"
FORMAT = b"3"
"""The format of a store; another one is refused."""
OWNER, SHARED, STREAM = b"mowner", b"mshared", b"mstream"
"""The project that the store belongs to; other projects that keep data in it; by source, where its
first stream came from.
"""
IDENTITY = b"midentity"
"""A name that no other store has; a backup that is restored gets another one."""

NOWHERE = b"n"
"""A key that never holds anything."""

RECORD, OFFSET, IDS, HELD, ARCHIVE, DEAD, FILTERED, PROGRESS, STATE = (
    b"t",
    b"o",
    b"i",
    b"h",
    b"a",
    b"d",
    b"f",
    b"p",
    b"b",
)
STATE_OF_SOURCE = STATE + b"source"
STREAM_STATE = b"s"
"""The states of streaming views."""
GENERATIONS = b"g"
"""By streaming view, which generation of its records is read."""
ORIGIN, FILLING, REPLAYED = b"y", b"z", b"r"
COUNT = b"c"
"""By source, the number of its stream's partitions, where each has a writer although events have
ids.
"""
LOG, REDO = b"w", b"x"
"""In a store that is log first, by writer: its last commit, and what of it is not applied yet."""
EPOCH = REDO + b"epoch"  # hidden in scans, as logs are
"""In a state of ingestion whose records are in another place: the identity that both have."""
IMAGE, EVENT, DUE = b"v", b"l", b"e"
"""For events that can be retracted: their last images by id, their keys in a view by key and time,
and when they are dropped.
"""
_LONGEST = 400
_LONGEST_WRITER = 450
"""Bytes of the names of a source and a partition: a store's keys have at most 500, and DynamoDB
takes 512.
"""


def name(text: str) -> bytes:
    """A name that no other begins with."""
    return text.encode() + b"\0"


def record(group: str, key: bytes, partition: str | None = None) -> bytes:
    """The store's key of the record of a key; `group` is the `FeatureView.record_group` of the
    views that have a section there.
    """
    return places(group, [key], partition)[0]


def places(group: str, keys: Sequence[bytes], partition: str | None = None) -> list[bytes]:
    """The store's keys of the records of some keys."""
    begin, end = records(group), b"" if partition is None else b"\0" + partition.encode()
    keys = shortened(keys)
    return [begin + key + end for key in keys] if end else [begin + key for key in keys]


def shortened(keys: Sequence[bytes]) -> Sequence[bytes]:
    """Keys of a view as part of the store's keys: a key that is too long is replaced by its
    beginning and a hash.
    """
    if not keys or max(map(len, keys)) <= _LONGEST:
        return keys
    return [
        key if len(key) <= _LONGEST else key[:64] + b"\0" + hashlib.sha256(key).digest()
        for key in keys
    ]


def records(group: str) -> bytes:
    """The prefix of the keys of all records of a group."""
    return RECORD + bytes.fromhex(group)


def state(tiles: str) -> bytes:
    """The key of a batch view's stored state."""
    return STATE + bytes.fromhex(tiles)


def stream_state(tiles: str, partition: str | None = None) -> bytes:
    """The key of a streaming view's stored state; of a partition's part of it, where that has a
    writer.
    """
    return (
        STREAM_STATE
        + bytes.fromhex(tiles)
        + (b"" if partition is None else b"\0" + partition.encode())
    )


def generations(tiles: str) -> bytes:
    """The key of the generations of a streaming view; `tiles` is the first one's fingerprint."""
    return GENERATIONS + bytes.fromhex(tiles)


def begun(source: str) -> bytes:
    """The key of the start of a source's stream."""
    return STATE_OF_SOURCE + name(source)


def broker_clock(source: str) -> bytes:
    """The key of the flag that the wall clock is compared with the clock of a source's broker."""
    return b"mbroker clock" + name(source)


def receiver(source: str) -> tuple[bytes, bytes]:
    """The keys of where the pushed events of a source are received.

    The first one holds the address of the process that writes the source; the second one the secret
    with which a process that forwards events proves that it can read the store.
    """
    return b"mreceiver" + name(source), b"mreceiver secret" + name(source)


def offset(source: str, partition: str) -> bytes:
    """The key of the position from which a partition is read on.

    Raises:
        UsageError: the names are too long for keys of a store.
    """
    key = OFFSET + name(source) + partition.encode()
    if len(key) > _LONGEST_WRITER:
        raise UsageError(
            f"source {source!r}: its partition "
            f"{partition[:100]!r}{'...' * (len(partition) > 100)} has a name of "
            f"{len(partition.encode()):,} bytes, and keys of a store take "
            f"{_LONGEST_WRITER - len(name(source)) - 1}. Give files a shorter path, or the query "
            "or shard a shorter name"
        )
    return key


def origin(source: str, partition: str) -> bytes:
    """The key of the identity of what a partition's position counts in (Kafka: the topic's id); see
    `RecordBatch.origins`.
    """
    return ORIGIN + name(source) + partition.encode()


def replayed(source: str) -> bytes:
    """Prefix of the keys that say which refused records were replayed; `source` as in `block`."""
    return REPLAYED + name(source)


def filling(source: str, partition: str | None) -> bytes:
    """Key of the token of the process that fills a writer's views with their past, or was the last
    that did.
    """
    return FILLING + name(source) + (partition or "").encode()


def events(tiles: str, partition: str | None = None) -> bytes:
    """The prefix of the keys of a view's events (of one partition, where that has a writer)."""
    return (
        EVENT
        + bytes.fromhex(tiles)
        + (b"" if partition is None else hashlib.sha256(partition.encode()).digest()[:8])
    )


def block(space: bytes, source: str, sequence: int) -> bytes:
    """The key of a commit's block in `space`."""
    return space + name(source) + struct.pack(">Q", sequence)


def end_of(prefix: bytes) -> bytes | None:
    """The least key that is above all that begin with a prefix; None where there is none."""
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1]) if short else None


def sequence_of(key: bytes) -> int:
    """The sequence that a key made by `block` ends with."""
    return int(struct.unpack(">Q", key[-8:])[0])


def complete_through(record: bytes) -> int:
    """The commit that the value of a record is complete through: its second word."""
    return int(struct.unpack_from("<q", record, 8)[0]) if len(record) >= 16 else -1


def number(value: int) -> bytes:
    """An integer as the value of a key."""
    return struct.pack("<q", value)


def as_number(value: bytes | None, otherwise: int = 0) -> int:
    """Decode the bytes of `number`."""
    return otherwise if value is None else int(struct.unpack("<q", value)[0])
