"""Seeding: a streaming view that is new in a store begins with the past, so that its first values are whole.

From headwater's own archive: every event that was accepted up to a commit, and the stream from there on. From a history that headwater did
not write: its events, and of the stream what was received from `id_horizon` before its last event on, with the ids of that stretch, so
that what both hold counts once. Without ids that cannot be told, and values are called approximate until the longest window has passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import polars as pl

from headwater.definitions.durations import micros
from headwater.definitions.source import Source
from headwater.engines.events import IDENT, Notes, Reach, read_events
from headwater.engines.reading import TIME
from headwater.engines.tiles import ViewTiles
from headwater.logs.rolling import Roller
from headwater.online_stores import OnlineStore, spaces
from headwater.online_stores.states import State, encoded, read_state, schema_bytes
from headwater.pipelines.shard import Shard

FAR = 2**60
_ROWS = 500_000  # of the past that are added in one commit


def new_views(shard: Shard) -> list[ViewTiles]:
    """The views of a shard whose records are not whole."""
    found = []
    for tiles in shard.acceptance.tiles:
        state = read_state(shard.store, tiles.view.tiles_fingerprint)
        if state is None or state.seeded is None:
            found.append(tiles)
    return found


def seed(shard: Shard, archive: Roller, now: int, *, replayed: bool = False) -> dict[str, int]:
    """Fill the views that are new with their past, as of `now`, microseconds; how many events each was given.

    replayed: the stream is the history's own continuation, so that nothing can be in both.

    What a killed run left of it is removed first. Nothing else may write to the shard meanwhile.
    """
    counts: dict[str, int] = {}
    fresh = new_views(shard)
    if fresh and not shard.progress.sequence:
        shared = overlap(shard.source, now)
        if shared is not None:
            shard.begin(*shared, now)
    foreign = shard.progress.sequence <= 1 and archive.rows() is None
    for tiles in fresh:
        _clear(shard.store, tiles)
        state = State(tiles.view.name, schema_bytes(tiles.schema))
        shard.store.commit({spaces.state(tiles.view.tiles_fingerprint): encoded(state)}, {})
        T = max(now, shard.progress.at)
        parts = _history(shard.source, tiles, T) if foreign else _archived(shard, archive)
        counts[tiles.view.name] = sum(_add(shard, tiles, part, T) for part in parts)
        done = _whole(state, shard, tiles, T, foreign=foreign and shard.source.history is not None, replayed=replayed)
        shard.store.commit({spaces.state(tiles.view.tiles_fingerprint): encoded(done)}, {})
    return counts


def _whole(state: State, shard: Shard, tiles: ViewTiles, T: int, *, foreign: bool, replayed: bool) -> State:
    """The state of a view whose records are whole now."""
    exact = 0
    if foreign and shard.source.id_field is None and not replayed:
        reaches = [w.reach for w in tiles.records.stored.ladder.windows]
        exact = FAR if None in reaches else T + max(r for r in reaches if r is not None)
    return State(state.view, state.schema, [], shard.progress.sequence, T if foreign else 0, exact)


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
    store.commit({place(key): record or None for key, record in made.items()}, {})
    return events.height


def _clear(store: OnlineStore, tiles: ViewTiles) -> None:
    keys = [key for key, _ in store.scan(spaces.records(tiles.view.tiles_fingerprint))]
    for first in range(0, len(keys), 10_000):
        store.commit(dict.fromkeys(keys[first : first + 10_000]), {})
