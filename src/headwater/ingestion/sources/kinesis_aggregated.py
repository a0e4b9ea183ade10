"""Records that the Kinesis Producer Library has aggregated: many records of users in one of the
stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

_MAGIC: Final = b"\xf3\x89\x9a\xc2"
_DIGEST: Final = 16  # bytes
_KEYS, _HASHES, _RECORDS = 1, 2, 3  # fields of an AggregatedRecord
_KEY_INDEX, _HASH_INDEX, _DATA = 1, 2, 3  # fields of its Record


def payloads_of(data: bytes, first_hash: int, last_hash: int) -> list[bytes]:
    """The payloads in a record of the stream: itself, or those of the users' records whose hash
    keys are of the shard.

    An aggregate may have been made for the shard as it was before a split. Its producer sends the
    records of other shards again, so they are left out here.

    Args:
        data: of the record. first_hash, last_hash: of the hash keys that the shard gets.

    Source: the message `AggregatedRecord` of the Kinesis Producer Library: four magic bytes,
    Protobuf, an MD5 digest of the Protobuf.

    >>> payloads_of(b'{"user": 7}', 0, 2**128 - 1)
    [b'{"user": 7}']
    """
    body = data[len(_MAGIC) : -_DIGEST]
    if (
        not data.startswith(_MAGIC)
        or hashlib.md5(body, usedforsecurity=False).digest() != data[-_DIGEST:]
    ):
        return [data]
    keys, hashes, records = list[bytes](), list[bytes](), list[bytes]()
    for number, value in _fields(body):
        if isinstance(value, bytes):
            {_KEYS: keys, _HASHES: hashes, _RECORDS: records}.get(number, []).append(value)
    payloads = []
    for record in records:
        fields = dict(_fields(record))
        key, explicit, payload = (
            fields.get(_KEY_INDEX, 0),
            fields.get(_HASH_INDEX),
            fields.get(_DATA, b""),
        )
        digest = hashlib.md5(keys[int(key)], usedforsecurity=False).digest()
        hashed = int(hashes[explicit]) if isinstance(explicit, int) else int.from_bytes(digest)
        if first_hash <= hashed <= last_hash:
            payloads.append(bytes(payload))
    return payloads


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a Protobuf message that are numbers or bytes, in their order."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        if tag & 7 == 2:
            size, at = _number(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif tag & 7 == 0:
            value, at = _number(message, at)
            yield tag >> 3, value
        else:
            at += {1: 8, 5: 4}[tag & 7]


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
