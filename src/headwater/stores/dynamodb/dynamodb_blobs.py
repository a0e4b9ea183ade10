"""Values that are too large for a transaction: items of their own, written before a commit refers
to them, in batches and unconditionally.

With P the store's prefix, an item has the partition key
    P 0 B ID NUMBER    a piece of a value
    P 0 T              with the sort key TOKEN: a, when a commit began; b, the values that are of no
                       use unless it is made
A commit that is made puts the values that it replaced in place of its own there, so what a crash
leaves is found and dropped.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater import clock
from headwater.stores.dynamodb.dynamodb_items import (
    NOWHERE,
    Items,
    Key,
    at,
    delete,
    key_of,
    number_of,
    put,
)

INLINE = 16_384
"""Bytes of a value that stands in its key's own item."""
_PIECE = 380_000
_ABANDONED = 24 * 3600 * 1_000_000
_REF = struct.Struct(">16sI")


class GoneError(Exception):
    """A value was dropped meanwhile: its key has another one now."""


class DynamoBlobs:
    """The large values of a store's state. A reference to one is 20 bytes."""

    def __init__(self, items: Items, prefix: bytes) -> None:
        self._items, self._prefix = items, prefix

    def refer(self, value: bytes) -> bytes:
        """A new reference for a value, which is not written yet."""
        return _REF.pack(secrets.token_bytes(16), -(-len(value) // _PIECE))

    def write(
        self, token: bytes, values: Mapping[bytes, bytes], *, earlier: Iterable[bytes] = ()
    ) -> None:
        """Write values, by their references, for the commit `token`, which may have written
        `earlier` ones.
        """
        self._items.put_all([self._trash(token, [*earlier, *values])])
        pieces = (
            {**at(place), "v": {"B": value[number * _PIECE : (number + 1) * _PIECE]}}
            for ref, value in values.items()
            for number, place in enumerate(self._places(ref))
        )
        self._items.put_all(pieces)

    def read(self, refs: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values by their references.

        Raises:
            GoneError: one was dropped.
        """
        places = {ref: self._places(ref) for ref in refs}
        found = (
            self._items.get([place for mine in places.values() for place in mine], "v")
            if places
            else {}
        )
        if any(place not in found for mine in places.values() for place in mine):
            raise GoneError
        return {
            ref: b"".join(found[place]["v"]["B"] for place in mine) for ref, mine in places.items()
        }

    def exchange(self, token: bytes, old: Sequence[bytes], *, wrote: bool) -> list[dict[str, Any]]:
        """What the transaction of the commit `token` does about values that it wrote, and about
        those that it replaces.
        """
        place, still = (self._prefix + b"T", token), "attribute_exists(a)"
        if old:
            return [put(self._trash(token, old), still if wrote else "")]
        return [delete(place, still)] if wrote else []

    def drop(self, token: bytes, refs: Iterable[bytes]) -> None:
        """Drop values that no key refers to, and what says so."""
        refs = list(refs)
        if refs:
            self._items.drop_all([place for ref in refs for place in self._places(ref)])
            self._items.drop_all([(self._prefix + b"T", token)])

    def sweep(self) -> None:
        """Drop what commits left behind that began more than a day ago."""
        for item in self._items.page(self._prefix + b"T", NOWHERE, b"\xff" * 16, 1000)[0]:
            if number_of(item, "a") < clock.now_micros() - _ABANDONED:
                self.drop(
                    key_of(item)[1],
                    (
                        item["b"]["B"][start : start + _REF.size]
                        for start in range(0, len(item["b"]["B"]), _REF.size)
                    ),
                )

    def _trash(self, token: bytes, refs: Iterable[bytes]) -> dict[str, Any]:
        return {
            **at((self._prefix + b"T", token)),
            "a": {"N": str(clock.now_micros())},
            "b": {"B": b"".join(refs)},
        }

    def _places(self, ref: bytes) -> list[Key]:
        name, pieces = _REF.unpack(ref)
        return [
            (self._prefix + b"B" + name + struct.pack(">I", number), NOWHERE)
            for number in range(pieces)
        ]


def digest(value: bytes) -> bytes:
    """What a large value is compared by."""
    return hashlib.sha256(value).digest()
