"""Seeding: a streaming view that is new in a store begins with the past, so that its first values are whole.

From headwater's own archive: every event that was accepted up to a commit, and the stream from there on. From a history that headwater did
not write, which is what was there before the stream's first commit: its events, and of the stream what was received from `id_horizon`
before its last event on, with the ids of that stretch, so that what both hold counts once. Without ids that cannot be told, and values
are called approximate until the longest window has passed; so they are where the archive does not hold all that was accepted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count
from types import MappingProxyType
from typing import cast

import msgspec
import polars as pl

from headwater.definitions.durations import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.engines.events import Notes, Reach, read_events
from headwater.engines.reading import IDENT, KNOWN, ROW, TIME
from headwater.engines.tiles import ViewTiles
from headwater.errors import DefinitionError, FencedError, LostError, StoreError
from headwater.logs.rolling import Roller
from headwater.online_stores import Changes, spaces
from headwater.online_stores.states import Begun, State, encoded, read_state, schema_bytes
from headwater.pipelines.accept import Acceptance
from headwater.pipelines.corrections import Corrections
from headwater.pipelines.past_images import Past, images_before
from headwater.pipelines.shard import Shard

FAR = 2**60
_ROWS = 500_000  # of the past that are added in one commit
_EVENTS = 100_000  # with their images


def new_views(shard: Shard) -> list[ViewTiles]:
    """The views of a shard whose records are not whole."""
    states = [read_state(shard.store, tiles.view.tiles_fingerprint, shard.partition) for tiles in shard.acceptance.tiles]
    return [tiles for tiles, state in zip(shard.acceptance.tiles, states, strict=True) if state is None or state.seeded is None]


def seed(shard: Shard, archive: Roller, now: int, *, replayed: bool = False) -> dict[str, int]:
    """Fill the views that are new with their past, as of `now`, microseconds; how many events each was given.

    replayed: the stream is the history's own continuation, so that nothing can be in both.

    What a killed run left of it is removed first.

    Raises:
        FencedError: another process writes to the shard.
        StoreError: the archive holds commits that the store has not made.
    """
    if archive.last > shard.progress.sequence:
        raise StoreError(
            f"the archive in {archive.place} holds events up to commit {archive.last}, and the online store has made {shard.progress.sequence}: it "
            "was restored or lost, or the archive is another store's. Put the files aside whose names end with a greater number, or name "
            "another folder; see the page on operations"
        )
    fresh = new_views(shard)
    if not fresh:
        return {}
    if not shard.progress.sequence:
        shared = overlap(shard.source, now)
        if shared is not None:
            shard.begin(*shared, now)
    if shard.partition is not None:
        token = secrets.token_bytes(16)
        shard.store.commit({spaces.filling(shard.source.name, shard.partition): token}, _unmoved(shard))
        shard.filling = token
    T = max(now, shard.progress.at)
    counts, past = {}, _Past(shard, archive, _begun(shard, archive, T), T, replayed=replayed)
    for tiles in fresh:
        _clear(shard, tiles)
        place = spaces.state(tiles.view.tiles_fingerprint, shard.partition)
        shard.store.commit({place: encoded(State(tiles.view.name, schema_bytes(tiles.schema)))}, _unmoved(shard))
        counts[tiles.view.name] = past.fill(tiles) if shard.corrections is None else past.fill_with_images(tiles, shard.corrections)
        shard.store.commit({place: encoded(past.state(tiles))}, _unmoved(shard))
    if shard.corrections is not None:
        shard.load()
    return counts


def _begun(shard: Shard, archive: Roller, T: int) -> Begun | None:
    """The history that the stream goes on from: settled before the first commit, for all partitions and all views to come."""
    place = spaces.begun(shard.source.name)
    found = shard.store.get([place])[0]
    if found is None and shard.source.history is not None and shard.progress.sequence <= 1 and archive.rows() is None:
        try:
            shard.store.commit({place: msgspec.msgpack.encode(Begun(T, shard.partition))}, {place: None})
        except LostError:
            raise
        except FencedError:
            pass  # another partition came first
        found = shard.store.get([place])[0]
    return None if found is None else msgspec.msgpack.decode(found, type=Begun)


@dataclass(frozen=True)
class _Past:
    """What is known of the time before a view, as of T."""

    shard: Shard
    archive: Roller
    begun: Begun | None
    T: int
    replayed: bool

    def fill(self, tiles: ViewTiles) -> int:
        """Add the past to the records of a view; how many events."""
        parts = [*self._history(tiles), *self._archived()]
        through = self._through
        return sum(
            _add(self.shard, tiles, part(), self.T, through - left) for left, part in zip(count(len(parts) - 1, -1), parts, strict=False)
        )

    def fill_with_images(self, tiles: ViewTiles, corrections: Corrections) -> int:
        """As `fill`, of events that can be taken back: those that hold are added, and the images of all are kept."""
        images = pl.concat([corrections.none, *self._images(corrections), *(part().drop(ROW) for part in self._archived())])
        past = Past(corrections, images, self.T)
        return sum(
            _add(self.shard, tiles, events, self.T, self._through - left, changes)
            for left, (events, changes) in zip(count(len(past) // _EVENTS, -1), past.parts(tiles, _EVENTS), strict=False)
        )

    def _images(self, corrections: Corrections) -> list[pl.DataFrame]:
        """Those of the history that were known when the stream began.

        Raises:
            DefinitionError: another partition has been given them.
        """
        if self.begun is None or self.shard.source.history is None:
            return []
        images = images_before(corrections.acceptance, self.begun.until)
        if images.height and self.begun.partition != self.shard.partition:
            raise DefinitionError(
                f"source {self.shard.source.name!r} has changes= and a history, and its stream several partitions in a store of several writers: "
                "a change of an event of the history may come in any of them, and only one holds it. Leave history out, and have the stream "
                "begin with all events that there are; or ingest into lmdb:"
            )
        return [images.select(pl.col(name).cast(dtype) for name, dtype in corrections.schema.items())]

    @property
    def _through(self) -> int:
        """What records are complete through: in a partition, one makes way only for one that is complete through more."""
        return self.shard.progress.sequence if self.shard.partition is None else self.shard.ends.get(self.shard.partition, 0)

    def state(self, tiles: ViewTiles) -> State:
        """The state of a view whose records are whole now."""
        until = 0 if self.begun is None else self.begun.until
        doubtful = [until] if until and self.shard.source.id_field is None and not self.replayed else []
        if self._missing:
            doubtful.append(self.T)
        reach = _reach(tiles)
        exact = 0 if not doubtful else FAR if reach is None else max(doubtful) + reach
        return State(tiles.view.name, schema_bytes(tiles.schema), [], self.shard.progress.sequence, until, exact)

    @cached_property
    def _missing(self) -> bool:
        """Whether more was accepted than the archive holds."""
        said = self.shard.progress.counts
        return said.get("accepted", 0) + said.get("released", 0) - said.get("erased", 0) > self._count

    @cached_property
    def _count(self) -> int:
        rows = self.archive.rows()
        return 0 if rows is None else int(rows.select(pl.len()).collect().item())

    def _archived(self) -> list[Callable[[], pl.DataFrame]]:
        def part(first: int) -> pl.DataFrame:
            rows = cast("pl.LazyFrame", self.archive.rows()).slice(first, _ROWS)
            return self.shard.acceptance.events_of(rows.select(list(self.shard.acceptance.schema)).collect())

        return [partial(part, first) for first in range(0, self._count, _ROWS)]

    def _history(self, tiles: ViewTiles) -> list[Callable[[], pl.DataFrame]]:
        if self.begun is None or self.begun.partition != self.shard.partition or self.shard.source.history is None:
            return []
        reach = _reach(tiles)
        events = history_before(tiles.view, None if reach is None else self.T - reach, self.begun.until)
        return [partial(events.slice, place, _ROWS) for place in range(0, events.height, _ROWS)]


def history_before(view: FeatureView, first: int | None, until: int, also: frozenset[str] = frozenset()) -> pl.DataFrame:
    """The events of a view's history that had happened and were known by `until`, when its stream began; from `first` on at least.

    also: further columns of the source to read.
    """
    return _known_by(view.source, view.keys, sorted((view.read_columns | also) - set(view.keys)), first, until)


def _known_by(source: Source, keys: Sequence[str], columns: Sequence[str], first: int | None, until: int) -> pl.DataFrame:
    events = read_events(source, keys, columns, Reach(first, until, until), [], Notes())
    late = source.delay if KNOWN not in events.columns and source.window_on == "timestamp" else 0
    return events.filter(pl.col(TIME) + late <= until)


def _reach(tiles: ViewTiles) -> int | None:
    """How far back the longest window of a view sees; None is without end."""
    reaches = [w.reach for w in tiles.records.stored.ladder.windows]
    return None if None in reaches else max(r for r in reaches if r is not None)


def overlap(source: Source, now: int) -> tuple[int, pl.Series] | None:
    """Of a history that headwater did not write: from when on the stream is to be read, microseconds, and the ids that both may hold."""
    if source.history is None or source.id_field is None:
        return None
    horizon = micros(source.id_horizon, "id_horizon")
    if source.changes is not None:
        known = images_before(Acceptance(source, (), 0), now)[KNOWN]
        return (int(known.max()) - horizon, pl.Series(dtype=pl.Int64)) if len(known) else None  # type: ignore[arg-type]
    events = _known_by(source, [], [], None, now)
    if not events.height:
        return None
    last = int(events[TIME].max())  # type: ignore[arg-type]
    return last - horizon, events.filter(pl.col(TIME) >= last - 2 * horizon)[IDENT]


def _add(shard: Shard, tiles: ViewTiles, events: pl.DataFrame, T: int, through: int, also: Changes = MappingProxyType({})) -> int:
    events = events.filter(pl.col(TIME) < T)
    if not events.height and not also:
        return 0
    place = partial(spaces.record, tiles.view.tiles_fingerprint, partition=shard.partition)
    store = shard.store
    made = tiles.update(events, T, through, lambda keys: [found or b"" for found in store.get([place(key) for key in keys])])
    store.commit({**{place(key): record or None for key, record in made.items()}, **also}, _unmoved(shard))
    return events.height


def _clear(shard: Shard, tiles: ViewTiles) -> None:
    end = b"" if shard.partition is None else b"\0" + shard.partition.encode()
    keys = [key for key, _ in shard.store.scan(spaces.records(tiles.view.tiles_fingerprint)) if key.endswith(end)]
    keys += [key for key, _ in shard.store.scan(spaces.events(tiles.view.tiles_fingerprint, shard.partition))]
    for first in range(0, len(keys), 10_000):
        shard.store.commit(dict.fromkeys(keys[first : first + 10_000]), _unmoved(shard))


def _unmoved(shard: Shard) -> Changes:
    """What the store holds as long as nobody else writes to the shard's partition, or fills its views.

    Raises:
        FencedError: the partition was given to another process.
    """
    if shard.partition is None:
        return {}
    shard.check_mine()
    end = shard.ends.get(shard.partition)
    token = {spaces.filling(shard.source.name, shard.partition): shard.filling} if shard.filling else {}
    return {spaces.offset(shard.source.name, shard.partition): None if end is None else spaces.number(end), **token}
