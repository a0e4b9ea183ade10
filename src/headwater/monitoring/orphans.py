"""Records of keys that no event names: what an online store holds without a reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

import polars as pl

from headwater.online.feature_reader import OnlineView
from headwater.online.read_versions import SLOTS, newest
from headwater.online_stores import keyspace
from headwater.state.view_tiles import key_bytes

Stray = tuple[Mapping[str, object], list[bytes]]
"""A key, and its records as they are read."""


def strays(online: OnlineView, named: pl.DataFrame, T: int, most: int) -> list[Stray]:
    """The keys that a view has records of and that are not among those named, and their records; so many at most.

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
    known = {keyspace.record(view.tiles_fingerprint, key) for key in keys}
    found = ((stem, records) for stem, records in _stored(online, T) if stem not in known)
    dtypes = {name: online.state.dtypes[name] for name in names}
    begin = len(keyspace.records(view.tiles_fingerprint))
    return [(spelt(stem[begin:], dtypes), records) for stem, records in islice(found, most)]


def _stored(online: OnlineView, T: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """Where the records of each key stand, without slots and partitions, and those that are read."""
    view, prefix = online.view.root, keyspace.records(online.view.root.tiles_fingerprint)
    if view.freshness.scheduled:
        for stem, places in groupby(online.store.scan(prefix), key=lambda found: found[0][:-2]):
            held = {place[-1:].decode(): record for place, record in places}
            yield stem, [newest([held.get(slot) for slot in SLOTS], T) or b""]
    elif not online.store.partitioned:
        yield from ((place, [record]) for place, record in online.store.scan(prefix))
    else:
        ends = online.heads.look()[1]
        for stem, places in groupby(online.store.scan(prefix), key=lambda found: _without(found[0], ends)):
            yield stem, [record for _, record in places]


def _without(place: bytes, ends: Sequence[bytes]) -> bytes:
    return next((place[: -len(end)] for end in ends if place.endswith(end)), place)


def spelt(key: bytes, dtypes: Mapping[str, pl.DataType]) -> dict[str, object]:
    """The values that `key_bytes` encoded; of a key that was too long to be stored whole, the stored rest."""
    found: dict[str, object] = {}
    for place, (name, dtype) in enumerate(dtypes.items()):
        size = len(key) if place == len(dtypes) - 1 else 4 + int.from_bytes(key[:4], "big")
        part, key = key[:size] if size == len(key) else key[4:size], key[size:]
        found[name] = _value(part, dtype)
    return found


def _value(part: bytes, dtype: pl.DataType) -> object:
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return part.decode(errors="replace")
    if len(part) == 9:
        return int.from_bytes(part[1:], "big")
    whole = int.from_bytes(part, "big", signed=True)
    return whole if dtype.is_integer() else pl.Series([whole]).cast(dtype, strict=False)[0]
