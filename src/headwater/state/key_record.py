"""A record of an online store: the states of one key in all views that share its source and keys,
each in a section of its own.

Words of eight bytes, little-endian: FORMAT, the number of sections and that of words (see
`record_kernels.head_of`); through; the
directory: of each section, in rising order, the tiles fingerprint of its view as an integer, and
the word at which it begins; then the sections, each as `tile_codec` has it, with a `through` of 0.
The record is complete through `through`: the commit sequence of its partition, or T of a cut.

A view is filled, rebuilt or dropped by its own sections; `view_state.State` has the first commit
that they are complete from.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, cast

import numpy as np

from headwater.definitions.feature_view import FeatureView
from headwater.errors import StoreError
from headwater.kernel.arrays import I64, NOTHING
from headwater.state import record_kernels
from headwater.state.packed_records import KeyedRecords, PackedRecords
from headwater.state.record_kernels import FORMAT, HEAD, count_of, head_of, size_of
from headwater.stores import OnlineStore, keyspace

_WORD = struct.Struct("<q")
EMPTY: Final = struct.pack("<2q", head_of(0, HEAD), -1)
"""A record without sections."""
Get = Callable[[Sequence[bytes]], Sequence[bytes | None]]


def number_of(tiles: str) -> int:
    """A tiles fingerprint as the directory has it.

    >>> number_of("00000000000000ff"), number_of("ffffffffffffffff")
    (255, -1)
    """
    return int.from_bytes(bytes.fromhex(tiles), "big", signed=True)


def section(record: bytes | None, tiles: str) -> bytes:
    """A view's section of a record; empty where there is none.

    Raises:
        StoreError: a record of another format.
    """
    return _sections_of(record).get(number_of(tiles), b"") if record else b""


def with_section(record: bytes | None, tiles: str, section: bytes) -> bytes:
    """A record with a view's section replaced and its `through` unchanged; empty if no section is
    left.

    >>> new = bytes(16) + bytes(range(48))
    >>> record = with_section(alone(bytes(64), "01" * 8), "02" * 8, new)
    >>> section(record, "02" * 8) == new, fingerprints(with_section(record, "01" * 8, b""))
    (True, ['0202020202020202'])
    """
    held = _sections_of(record) if record else {}
    held = {**held, number_of(tiles): _without_through(section)}
    kept = sorted((number, data) for number, data in held.items() if data)
    if not kept:
        return b""
    directory, begin = list[int](), HEAD + 2 * len(kept)
    for number, data in kept:
        directory += [number, begin]
        begin += len(data) // 8
    head = struct.pack(
        f"<{HEAD + len(directory)}q",
        head_of(len(kept), begin),
        through_of(record or section),
        *directory,
    )
    return b"".join([head, *(data for _, data in kept)])


def _sections_of(record: bytes) -> dict[int, bytes]:
    """The sections of a record by number."""
    (head,) = _WORD.unpack_from(record)
    if size_of(head) < 0:
        raise other_format()
    entries = struct.unpack_from(f"<{2 * count_of(head)}q", record, 8 * HEAD)
    bounds = itertools.pairwise((*entries[1::2], size_of(head)))
    return {
        number: record[8 * a : 8 * b] for number, (a, b) in zip(entries[::2], bounds, strict=True)
    }


def fingerprints(record: bytes) -> list[str]:
    """The tiles fingerprints of the views that have a section in a record.

    >>> fingerprints(alone(bytes(64), "00ff00ff00ff00ff"))
    ['00ff00ff00ff00ff']
    """
    return [number.to_bytes(8, "big", signed=True).hex() for number in _sections_of(record)]


def stored_sections(store: OnlineStore, view: FeatureView) -> Iterator[tuple[bytes, bytes]]:
    """Every record that has a section of a view: its key in the store, and the section."""
    tiles = view.tiles_fingerprint
    pairs = (
        (key, section(record, tiles))
        for key, record in store.scan(keyspace.records(view.record_group))
    )
    return ((key, stored) for key, stored in pairs if stored)


def sections(records: Sequence[bytes], tiles: str) -> list[bytes]:
    """As `section`, of several records; empty bytes are no record."""
    return list(_packed_sections(_packed(records), np.arange(len(records)), tiles))


def _packed_sections(records: PackedRecords, rows: I64, tiles: str) -> PackedRecords:
    """The sections of a view of some records, by their positions."""
    first, last = np.empty((2, len(rows)), np.int64)
    record_kernels.spans(
        records.words, records.first, records.last, rows, number_of(tiles), first, last
    )
    return PackedRecords(records.words, first, last)


def alone(section: bytes, tiles: str) -> bytes:
    """A record with only this section; empty if the section is.

    >>> section(alone(bytes(64), "00ff00ff00ff00ff"), "00ff00ff00ff00ff") == bytes(64)
    True
    """
    if not section:
        return b""
    through = int.from_bytes(section[8:16], "little", signed=True)
    return struct.pack(
        "<4q", head_of(1, HEAD + 2 + len(section) // 8), through, number_of(tiles), HEAD + 2
    ) + _without_through(section)


def _without_through(section: bytes) -> bytes:
    return section and section[:8] + bytes(8) + section[16:]


def through_of(record: bytes) -> int:
    """The commit sequence, or the T of a cut, that a record is complete through."""
    return int.from_bytes(record[8:16], "little", signed=True)


class KeyRecords:
    """The records of some keys, read once, for replacing sections of several views.

    Args:
        get: reads of the store.
        group: `FeatureView.record_group` of the views.
        partition: whose part of the keys' events they hold.
    """

    def __init__(self, get: Get, group: str, partition: str | None) -> None:
        self._get, self._group, self._partition = get, group, partition
        self._keys: list[bytes] = []
        self._row: dict[bytes, int] | None = {}  # of each key; None until it is needed
        self._places: list[bytes] = []
        self._records = PackedRecords.of([])
        # by view: the rows, and the section of each
        self._new: dict[str, tuple[I64, PackedRecords]] = {}

    def fetcher(self, tiles: str) -> Callable[[list[bytes]], PackedRecords]:
        """A `view_tiles.Fetch` that reads the sections of a view."""

        def fetch(keys: list[bytes]) -> PackedRecords:
            rows = self._rows(keys)
            return _packed_sections(self._records, rows, tiles)

        return fetch

    def put(self, tiles: str, new: Mapping[bytes, bytes]) -> None:
        """Replace the sections of a view, by key; empty ones are removed."""
        own = KeyedRecords.of(new)
        self._new[tiles] = self._rows(own.order), own.packed

    def changes(self, through: int, kept: Collection[str] = ()) -> dict[bytes, bytes | None]:
        """The records to store, complete through `through`.

        kept: the tiles fingerprints of the other views whose sections stay; those of all where
        there are none.
        """
        count = len(self._keys)
        names = sorted(self._new, key=number_of)
        replaced = np.zeros((len(names), count), np.bool_)
        first, last = np.zeros((2, len(names), count), np.int64)
        parts, begin = [], 0
        for v, name in enumerate(names):
            rows, new = self._new[name]
            replaced[v, rows] = True
            first[v, rows], last[v, rows] = begin + new.first, begin + new.last
            parts.append(new.words)
            begin += len(new.words)
        flat = parts[0] if len(parts) == 1 else np.concatenate([NOTHING, *parts])
        old = self._records
        out = np.empty(len(old.words) + len(flat) + count * (HEAD + 2 * len(names)), np.int64)
        out_at = np.empty(count + 1, np.int64)
        fingerprints, others = (
            np.array(list(map(number_of, of)), np.int64) for of in (names, kept)
        )
        record_kernels.assembled(
            old.words,
            old.first,
            old.last,
            fingerprints,
            replaced,
            flat,
            first,
            last,
            others,
            through,
            out,
            out_at,
        )
        assembled = PackedRecords.between(out[: out_at[-1]], out_at)
        return dict(zip(self._places, assembled.cut(None), strict=True))

    def _rows(self, keys: list[bytes]) -> I64:
        """The positions of some keys among those that were read; the others are read now."""
        if keys == self._keys:
            return np.arange(len(keys))
        if not self._keys:
            self._keys, self._row = keys, None
            self._records = self._stored(keys)
            return np.arange(len(keys))
        if self._row is None:
            self._row = {key: row for row, key in enumerate(self._keys)}
        row_of = self._row
        fresh = [key for key in keys if key not in row_of]
        if fresh:
            self._records = self._records.followed_by(self._stored(fresh))
            row_of |= {key: row for row, key in enumerate(fresh, len(self._keys))}
            self._keys = [*self._keys, *fresh]
        return np.fromiter(map(row_of.__getitem__, keys), np.int64, len(keys))

    def _stored(self, keys: list[bytes]) -> PackedRecords:
        places = keyspace.places(self._group, keys, self._partition)
        self._places += places
        stored = self._get(places)
        return _packed(
            [record or b"" for record in stored]
            if None in stored
            else cast("Sequence[bytes]", stored)
        )


class GroupedRecords:
    """`KeyRecords` of several groups, in one partition."""

    def __init__(self, get: Get, partition: str | None) -> None:
        self._get, self._partition = get, partition
        self._groups: dict[str, KeyRecords] = {}

    def of(self, view: FeatureView) -> KeyRecords:
        """Those that a view has its sections in."""
        group = view.record_group
        return self._groups.setdefault(group, KeyRecords(self._get, group, self._partition))

    def changes(self, through: int, kept: Collection[str] = ()) -> dict[bytes, bytes | None]:
        """As `KeyRecords.changes`, of all groups."""
        changes: dict[bytes, bytes | None] = {}
        for records in self._groups.values():
            changes |= records.changes(through, kept)
        return changes


def _packed(records: Sequence[bytes]) -> PackedRecords:
    """Records one after the other.

    Raises:
        StoreError: a record of another format.
    """
    packed = PackedRecords.of(records)
    if not (packed.heads & 255 == FORMAT).all():
        raise other_format()
    return packed


def other_format() -> StoreError:
    """The error for a record of an unknown format."""
    return StoreError(
        f"the store holds a record of a format that this version does not read; it reads {FORMAT}"
    )
