"""Records that nothing will ask for any more, dropped; and how large those of a view are."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.errors import FencedError
from headwater.kernel.arrays import NOTHING
from headwater.online_stores import OnlineStore, keyspace
from headwater.state.partial_state import Tiles
from headwater.state.tile_codec import Records

_AT_ONCE = 1000


@dataclass(frozen=True)
class Size:
    """The size of some records; in a partitioned store a key has one for each partition.

    >>> Size(records=4, bytes=1000, tiles=10)
    Size(records=4, bytes=1000, tiles=10)
    >>> Size(records=4, bytes=1000, tiles=10).mean_bytes, Size().mean_tiles
    (250.0, 0.0)
    """

    records: int = 0
    bytes: int = 0
    tiles: int = 0

    @property
    def mean_bytes(self) -> float:
        """Bytes a record, its key included."""
        return self.bytes / max(self.records, 1)

    @property
    def mean_tiles(self) -> float:
        """Tiles a record."""
        return self.tiles / max(self.records, 1)

    def __add__(self, other: Size) -> Size:
        return Size(self.records + other.records, self.bytes + other.bytes, self.tiles + other.tiles)


@dataclass(frozen=True)
class Compaction:
    """The sizes before and after a compaction; busy: records that were skipped because they were written meanwhile."""

    before: Size
    after: Size
    busy: int


def size_of(store: OnlineStore, tiles: str) -> Size:
    """The size of the records of a view, by its tiles fingerprint."""
    return _size(store.scan(keyspace.records(tiles)))


def compact(store: OnlineStore, tiles: str, records: Records, T: int) -> Compaction:
    """Drop the records of a stream's view without a live tile as of T, and write the others with their live tiles.

    Safe while events are ingested: a record changes only if it is as it was read, and one that is written meanwhile is left alone. Values
    as of T or later stay as they are. The keys of all records are held in memory.

    Args:
        store: where they are.
        tiles: the view's tiles fingerprint.
        records: how it is written.
        T: int64 microseconds; nothing is asked for, or ingested, as of an earlier time afterwards.
    """
    before, after, busy = Size(), Size(), 0
    keys = iter([key for key, _ in store.scan(keyspace.records(tiles))])
    while batch := list(itertools.islice(keys, _AT_ONCE)):
        old = {key: value for key, value in zip(batch, store.get(batch), strict=True) if value is not None}
        new = dict(zip(old, shrunk(records, list(old.values()), T), strict=True))
        before += _size(old.items())
        left = _replace(store, old, {key: value or None for key, value in new.items() if len(value) < len(old[key])})
        busy += len(left)
        after += _size((key, old[key] if key in left or len(new[key]) >= len(old[key]) else new[key]) for key in old)
    return Compaction(before, after, busy)


def shrunk(records: Records, old: Sequence[bytes], T: int) -> list[bytes]:
    """The records as of T; empty where nothing is left."""
    held, through, words = records.load(old)
    nothing = Tiles(NOTHING, NOTHING, tuple(tuple(array[:0] for array in state) for state in held.states))
    return records.dump(records.stored.merge(held, nothing, T), through, words)


def _replace(store: OnlineStore, old: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> set[bytes]:
    """Make changes to records that are still as they were; the keys of the others."""
    busy: set[bytes] = set()
    while changes:
        try:
            store.commit(changes, {key: old[key] for key in changes})
        except FencedError:
            current = dict(zip(changes, store.get(list(changes)), strict=True))
            same = {key: value for key, value in changes.items() if current[key] == old[key]}
            if len(same) == len(changes):
                raise  # it is not the records
            busy |= {key for key, value in changes.items() if current[key] not in {old[key], value}}
            changes = same
        else:
            break
    return busy


def _size(pairs: Iterable[tuple[bytes, bytes]]) -> Size:
    total = Size()
    for key, value in pairs:
        if value:
            total += Size(1, len(key) + len(value), struct.unpack_from("<q", value, 16)[0])
    return total
