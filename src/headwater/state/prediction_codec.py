"""The stored form of precomputed predictions: a record for each key, and the cuts that are
complete.

A record: two words of eight bytes, little-endian, FORMAT and the number of the run that wrote it;
then the scores, eight bytes each, or of a ranking the items and their scores as MessagePack. Each
key has room for the records of two runs, so that those of one can be written while the other's are
read; a record counts for a cut only if it has the number of the cut's run.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from headwater.errors import StoreError
from headwater.kernel.arrays import F64
from headwater.state import tiles
from headwater.state.view_state import dtypes_of
from headwater.stores import OnlineStore, keyspace

if TYPE_CHECKING:
    import polars as pl

SLOTS = (b"\0000", b"\0001")
"""The suffixes of the store's keys of a key's two records."""

CUT_COLUMNS = ("cut", "known_until", "published_at", "model_version")
"""The columns that a table of scores has besides the keys and the scores."""

Items = tuple[list[str | int], list[float]]
"""A ranked list: its items, and the score of each."""

_HEAD = struct.Struct("<qq")
_FORMAT = struct.pack("<q", tiles.FORMAT)
_VALUES = [struct.Struct(f"<{count}d") for count in range(9)]
_LISTS = msgspec.msgpack.Decoder(Items)


class PrecomputedCut(msgspec.Struct, frozen=True):
    """A cut whose records are whole.

    number: of the run that wrote them. T, K, published_at: microseconds. version: of the model.
    keys: how many have a record. names: of the scores of a record; none where it is a list.
    """

    number: int
    T: int
    K: int
    published_at: int
    version: str
    keys: int
    names: list[str]


class PrecomputedState(msgspec.Struct, frozen=True):
    """The predictions of a model at a level.

    schema: the key columns, as an empty Arrow stream.
    cuts: those that are whole, rising; the last two at most. making: the number of the run that is
    writing; None where none is.
    """

    model: str
    level: str
    schema: bytes
    cuts: list[PrecomputedCut] = []
    making: int | None = None

    def cut(self, due: int) -> PrecomputedCut | None:
        """The cut to read where `due` is due: the last whole cut up to it; None where there is
        none.

        A run that is writing takes the room of the cut before last, which is not due to be read any
        more. A reader whose clock is behind gets the next cut.
        """
        if not self.cuts:
            return None
        if self.making is not None:
            return self.cuts[-1]
        return next((cut for cut in reversed(self.cuts) if due >= cut.T), self.cuts[0])

    @property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        """The key columns by name."""
        return dtypes_of(self.schema)


def state_key(fingerprint: str) -> bytes:
    """The key of the stored state of predictions."""
    return keyspace.STATE + b"scores" + bytes.fromhex(fingerprint)


def read_precomputed(store: OnlineStore, fingerprint: str) -> PrecomputedState | None:
    """The stored state of predictions; None where there is none."""
    return decoded(store.get([state_key(fingerprint)])[0])


def decoded(value: bytes | None) -> PrecomputedState | None:
    """Decode the bytes of `encoded`."""
    return None if value is None else msgspec.msgpack.decode(value, type=PrecomputedState)


def encoded(scores: PrecomputedState) -> bytes:
    """The same as the value of its key."""
    return msgspec.msgpack.encode(scores)


def slot(number: int) -> bytes:
    """The suffix of the store's keys of a run's records."""
    return SLOTS[number % 2]


def number_of(record: bytes) -> int:
    """The run that wrote a record."""
    return int.from_bytes(record[8:16], "little", signed=True)


def packed(scores: F64, number: int) -> list[bytes]:
    """Records of scores: float64 (keys, scores)."""
    words = np.empty((len(scores), 2 + scores.shape[1]), np.int64)
    words[:, 0], words[:, 1] = tiles.FORMAT, number
    words[:, 2:] = np.ascontiguousarray(scores).view(np.int64)
    data, size = words.tobytes(), 8 * words.shape[1]
    return [data[i : i + size] for i in range(0, len(data), size)]


def packed_lists(lists: Sequence[Items], number: int) -> list[bytes]:
    """Records of lists."""
    head = _HEAD.pack(tiles.FORMAT, number)
    return [head + msgspec.msgpack.encode(items) for items in lists]


def unpacked(record: bytes, count: int) -> tuple[float, ...]:
    """The scores of a record, so many."""
    if record[:8] != _FORMAT or len(record) != 16 + 8 * count:
        raise _strange()
    return (
        _VALUES[count].unpack_from(record, 16)
        if count < len(_VALUES)
        else struct.unpack_from(f"<{count}d", record, 16)
    )


def unpacked_list(record: bytes) -> Items:
    """The list of a record."""
    if record[:8] != _FORMAT:
        raise _strange()
    return cast("Items", _LISTS.decode(record[16:]))


def _strange() -> StoreError:
    return StoreError(
        "the store holds a record of a format that this version does not read; it reads "
        f"{tiles.FORMAT}"
    )
