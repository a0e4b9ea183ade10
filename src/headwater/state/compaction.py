"""Compaction: drop the sections of records that nothing reads any more, and measure the sections of
a view.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headwater.definitions.feature_view import FeatureView
from headwater.errors import FencedError
from headwater.state.record import sections, stored_sections, with_section
from headwater.state.tiles import Records
from headwater.stores import OnlineStore

_AT_ONCE = 1000


@dataclass(frozen=True)
class Size:
    """The size of a view's sections of some records; where each partition has a writer, a key has a
    record for each partition.

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
        """Bytes of a section, the record's key included."""
        return self.bytes / max(self.records, 1)

    @property
    def mean_tiles(self) -> float:
        """Tiles a record."""
        return self.tiles / max(self.records, 1)

    def __add__(self, other: Size) -> Size:
        return Size(
            self.records + other.records, self.bytes + other.bytes, self.tiles + other.tiles
        )


@dataclass(frozen=True)
class Compaction:
    """The sizes before and after a compaction; busy: records that were skipped because they were
    written meanwhile.
    """

    before: Size
    after: Size
    busy: int


def size_of(store: OnlineStore, view: FeatureView) -> Size:
    """The size of a view's sections."""
    return _size(stored_sections(store, view))


def compact(store: OnlineStore, view: FeatureView, records: Records, T: int) -> Compaction:
    """Drop a streaming view's sections without a live tile as of T, and write the others with their
    live tiles.

    Safe while events are ingested: a record changes only if it is as it was read, and one that is
    written meanwhile is left alone. Values as of T or later stay as they are. The keys of all
    records are held in memory.

    Args:
        store: where they are.
        view: the view, as it is placed in the store.
        records: how it is written.
        T: int64 microseconds; nothing is asked for, or ingested, as of an earlier time afterwards.
    """
    before, after, busy = Size(), Size(), 0
    tiles = view.tiles_fingerprint
    keys = iter([key for key, _ in stored_sections(store, view)])
    while batch := list(itertools.islice(keys, _AT_ONCE)):
        stored = {
            key: value
            for key, value in zip(batch, store.get(batch), strict=True)
            if value is not None
        }
        old = dict(zip(stored, sections(list(stored.values()), tiles), strict=True))
        new = dict(zip(old, shrunk(records, list(old.values()), T), strict=True))
        before += _size(old.items())
        shorter = [key for key in old if len(new[key]) < len(old[key])]
        unchanged = _replace(
            store,
            stored,
            {key: with_section(stored[key], tiles, new[key]) or None for key in shorter},
        )
        busy += len(unchanged)
        after += _size(
            (key, old[key] if key in unchanged or len(new[key]) >= len(old[key]) else new[key])
            for key in old
        )
    return Compaction(before, after, busy)


def shrunk(records: Records, old: Sequence[bytes], T: int) -> list[bytes]:
    """The sections as of T; empty where nothing is left."""
    held, through, words = records.load(old)
    return list(records.dump(records.stored.moved(held, T), through, words))


def drop_sections(store: OnlineStore, places: Sequence[bytes], tiles: str) -> int:
    """Drop a view's section from some records. Records that another process writes meanwhile keep
    it; returns their number.
    """
    stored = {
        key: value
        for key, value in zip(places, store.get(places), strict=True)
        if value is not None
    }
    return len(
        _replace(
            store,
            stored,
            {key: with_section(value, tiles, b"") or None for key, value in stored.items()},
        )
    )


def _replace(
    store: OnlineStore, old: dict[bytes, bytes], changes: dict[bytes, bytes | None]
) -> set[bytes]:
    """Change the records that are unchanged since they were read; return the keys of the others."""
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


def section_size(key: bytes, section: bytes) -> Size:
    """The size of one section, by the key of its record."""
    return Size(1, len(key) + len(section), struct.unpack_from("<q", section, 16)[0])


def _size(pairs: Iterable[tuple[bytes, bytes]]) -> Size:
    return sum((section_size(key, section) for key, section in pairs if section), Size())
