"""Records of keys that no event names: what an online store holds without a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

import polars as pl

from headwater.online.read_versions import SLOTS, newest
from headwater.online.view_reader import OnlineView
from headwater.state.record import decoded_keys, key_bytes, section, stored_sections
from headwater.stores import keyspace

OrphanedRecord = tuple[Mapping[str, object], list[bytes]]
"""A key, and its records as they are read."""


def orphaned_records(
    online: OnlineView, named: pl.DataFrame, T: int, most: int
) -> list[OrphanedRecord]:
    """The keys that a view has records of and that are not among those named, and their records; so
    many at most.

    Args:
        online: the view in its store.
        named: the keys that events name, none null.
        T: of a batch view, the cut that is read.
        most: how many.
    """
    view = online.view.root
    names = list(view.keys)
    typed = named.select(pl.col(name).cast(online.state.dtypes[name]) for name in names)
    keys = key_bytes(typed) if names else [b""]
    known = {keyspace.record(view.record_group, key) for key in keys}
    orphans = ((stem, records) for stem, records in _stored(online, T) if stem not in known)
    dtypes = {name: online.state.dtypes[name] for name in names}
    begin = len(keyspace.records(view.record_group))
    return [(spelt(stem[begin:], dtypes), records) for stem, records in islice(orphans, most)]


def _stored(online: OnlineView, T: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """Where the records of each key stand, without slots and partitions, and the records that are
    read.
    """
    view = online.view.root
    prefix = keyspace.records(view.record_group)
    if view.freshness.scheduled:
        for stem, entries in groupby(online.store.scan(prefix), key=lambda entry: entry[0][:-2]):
            held = {key[-1:].decode(): record for key, record in entries}
            yield (
                stem,
                [section(newest([held.get(slot) for slot in SLOTS], T), view.tiles_fingerprint)],
            )
    else:
        ends = [end for end in online.version_reader.look()[1] if end]
        for stem, entries in groupby(
            stored_sections(online.store, view), key=lambda entry: _without(entry[0], ends)
        ):
            yield stem, [record for _, record in entries]


def _without(key: bytes, ends: Sequence[bytes]) -> bytes:
    return next((key[: -len(end)] for end in ends if key.endswith(end)), key)


def spelt(key: bytes, dtypes: Mapping[str, pl.DataType]) -> dict[str, object]:
    """The values that `key_bytes` encoded; of a key that was too long to be stored whole, the
    stored rest.
    """
    values: dict[str, object] = {}
    for index, (name, dtype) in enumerate(dtypes.items()):
        size = len(key) if index == len(dtypes) - 1 else 4 + int.from_bytes(key[:4], "big")
        encoded, key = key[:size] if size == len(key) else key[4:size], key[size:]
        values[name] = decoded_keys(encoded, dtype)
    return values
