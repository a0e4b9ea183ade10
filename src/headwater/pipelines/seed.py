"""Seeding: a streaming view that is new in a store begins with the past, so that its first values are whole.

From headwater's own archive: every event that was accepted up to a commit, and the stream from there on. From a history that headwater did
not write: its events, and of the stream what was received from `id_horizon` before its last event on, with the ids of that stretch, so
that what both hold counts once. Without ids that cannot be told, and values are called approximate until the longest window has passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import msgspec
import polars as pl

from headwater.definitions.durations import micros
from headwater.definitions.source import Source
from headwater.engines.events import IDENT, Notes, Reach, read_events
from headwater.engines.reading import TIME
from headwater.engines.tiles import ViewTiles
from headwater.errors import FencedError
from headwater.logs.rolling import Roller
from headwater.online_stores import Changes, spaces
from headwater.online_stores.states import State, decoded, encoded, schema_bytes
from headwater.pipelines.shard import Progress, Shard

FAR = 2**60
_ROWS = 500_000  # of the past that are added in one commit


def new_views(shard: Shard) -> list[ViewTiles]:
    """The views of which a shard's part does not begin with its past."""
    places = [spaces.filled(tiles.view.tiles_fingerprint, shard.partition) for tiles in shard.acceptance.tiles]
    return [tiles for tiles, found in zip(shard.acceptance.tiles, shard.store.get(places), strict=True) if found is None]


def seed(shard: Shard, archive: Roller, now: int, *, replayed: bool = False) -> dict[str, int]:
    """Fill the views that are new with their past, as of `now`, microseconds; how many events each was given.

    replayed: the stream is the history's own continuation, so that nothing can be in both.

    In a store of several writers each fills its own part, and the first one adds the history. What a killed run left of a part is removed
    first. Nothing else may write to the shard meanwhile.

    Raises:
        FencedError: another writer did.
    """
    counts: dict[str, int] = {}
    fresh = new_views(shard)
    begun = {tiles.view.name: _begun(shard, tiles, now, replayed=replayed) for tiles in fresh}
    if fresh and not shard.progress.sequence:
        shared = overlap(shard.source, begun[fresh[0].view.name].from_history or now)
        if shared is not None:
            shard.begin(*shared, now)
    for tiles in fresh:
        state = begun[tiles.view.name]
        _clear(shard, tiles)
        T = max(now, shard.progress.at)
        parts = [_archived(shard, archive)]
        if state.from_history and state.by == (shard.partition or ""):
            parts.append(_history(shard.source, tiles, state.from_history))
        counts[tiles.view.name] = sum(_add(shard, tiles, events, T) for part in parts for events in part)
        shard.store.commit({spaces.filled(tiles.view.tiles_fingerprint, shard.partition): b"1"}, _unmoved(shard))
        _finish(shard, tiles)
    return counts


def _begun(shard: Shard, tiles: ViewTiles, now: int, *, replayed: bool) -> State:
    """What the first writer that comes upon a new view says of it; the others keep to that."""
    place = spaces.state(tiles.view.tiles_fingerprint)
    while (found := decoded(shard.store.get([place])[0])) is None:
        known = shard.source.history is not None and not any(p.sequence > 1 for p in _progress(shard).values())
        exact = 0
        if (shard.source.id_field is None and not replayed and known) or (shard.source.history is not None and not known):
            reaches = [w.reach for w in tiles.records.stored.ladder.windows]
            exact = FAR if None in reaches else now + max(r for r in reaches if r is not None)
        T = max(now, shard.progress.at) if known else 0
        made = State(tiles.view.name, schema_bytes(tiles.schema), from_history=T, exact_from=exact, by=shard.partition or "")
        with suppress(FencedError):
            shard.store.commit({place: encoded(made)}, {place: None})
    return found


def _finish(shard: Shard, tiles: ViewTiles) -> None:
    """Say that the view is whole, if every part of it that has a past is."""
    fingerprint = tiles.view.tiles_fingerprint
    place = spaces.state(fingerprint)
    partitions = list(_progress(shard)) if shard.partition is not None else [None]
    if None in shard.store.get([spaces.filled(fingerprint, partition) for partition in partitions]):
        return
    value = shard.store.get([place])[0]
    state = decoded(value)
    if state is not None and state.seeded is None:
        with suppress(FencedError):  # another one has said it
            whole = msgspec.structs.replace(state, seeded=shard.progress.sequence)
            shard.store.commit({place: encoded(whole)}, {place: value})


def _progress(shard: Shard) -> dict[str | None, Progress]:
    """How far each part of the source's stream has been read."""
    own = spaces.PROGRESS + spaces.name(shard.source.name)
    found = {key[len(own) :].rstrip(b"\0").decode() or None: value for key, value in shard.store.scan(own)}
    return {partition: msgspec.msgpack.decode(value, type=Progress) for partition, value in found.items()}


def _unmoved(shard: Shard) -> Changes:
    """What the store holds as long as nobody else writes to the shard's partition."""
    if shard.partition is None:
        return {}
    end = shard.ends.get(shard.partition)
    return {spaces.offset(shard.source.name, shard.partition): None if end is None else spaces.number(end)}


def overlap(source: Source, now: int) -> tuple[int, pl.Series] | None:
    """Of a history that headwater did not write: from when on the stream is to be read, microseconds, and the ids that both may hold."""
    if source.history is None or source.id_field is None:
        return None
    events = read_events(source, [], [], Reach(None, now, now), [], Notes())
    if not events.height:
        return None
    last, horizon = int(events[TIME].max()), micros(source.id_horizon, "id_horizon")  # type: ignore[arg-type]
    return last - horizon, events.filter(pl.col(TIME) >= last - 2 * horizon)[IDENT]


def _archived(shard: Shard, archive: Roller) -> Iterator[pl.DataFrame]:
    rows = archive.rows()
    if rows is None:
        return
    total = rows.select(pl.len()).collect().item()
    for first in range(0, total, _ROWS):
        yield shard.acceptance.events_of(rows.slice(first, _ROWS).select(list(shard.acceptance.schema)).collect())


def _history(source: Source, tiles: ViewTiles, T: int) -> Iterator[pl.DataFrame]:
    if source.history is None:
        return
    reaches = [w.reach for w in tiles.records.stored.ladder.windows]
    first = None if None in reaches else T - max(r for r in reaches if r is not None)
    columns = sorted(tiles.view.read_columns - set(tiles.view.keys))
    events = read_events(source, tiles.view.keys, columns, Reach(first, T, T), [], Notes())
    for place in range(0, events.height, _ROWS):
        yield events.slice(place, _ROWS)


def _add(shard: Shard, tiles: ViewTiles, events: pl.DataFrame, T: int) -> int:
    events = events.filter(pl.col(TIME) < T)
    if not events.height:
        return 0
    place = partial(spaces.record, tiles.view.tiles_fingerprint, partition=shard.partition)
    through = shard.ends.get(shard.partition, 0) if shard.partition is not None else shard.progress.sequence
    store = shard.store
    made = tiles.update(events, T, through, lambda keys: [found or b"" for found in store.get([place(key) for key in keys])])
    store.commit({place(key): record or None for key, record in made.items()}, _unmoved(shard))
    return events.height


def _clear(shard: Shard, tiles: ViewTiles) -> None:
    """Remove the records of the shard's part."""
    keys = [key for key, _ in shard.store.scan(spaces.records(tiles.view.tiles_fingerprint))]
    if shard.partition is not None:
        keys = [key for key in keys if key.rpartition(b"\0")[2] == shard.partition.encode()]
    for first in range(0, len(keys), 10_000):
        shard.store.commit(dict.fromkeys(keys[first : first + 10_000]), _unmoved(shard))
