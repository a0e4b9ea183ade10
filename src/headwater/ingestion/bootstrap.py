"""Seeding: a streaming view that is new in a store begins with the past, so that its first values are whole.

From headwater's own archive: every event that was accepted up to a commit, and the stream from there on. From a history that headwater did
not write, which is what was there before the stream's first commit: its events, and of the stream what was received from `id_horizon`
before its last event on, with the ids of that stretch, so that what both hold counts once. Without ids that cannot be told, and values
are called approximate until the longest window has passed; so they are where the archive does not hold all that was accepted.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType

import msgspec
import polars as pl

from headwater.definitions.durations import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.errors import FencedError, LostError
from headwater.events.read_events import Reach
from headwater.events.selection import IDENT, KNOWN, ROW, TIME
from headwater.ingestion import revalidate as rejudging
from headwater.ingestion.archive import Roller
from headwater.ingestion.change_bootstrap import ChangeHistory, images_before
from headwater.ingestion.change_state import ChangeState
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.revalidate import Accepted, First, Logs, rejudge
from headwater.ingestion.validate import Acceptance
from headwater.online_stores import Changes, OnlineStore, keyspace
from headwater.online_stores.log_first import REBUILD
from headwater.online_stores.ownership import has_moved
from headwater.state.key_record import KeyRecords, stored_sections, with_section
from headwater.state.view_state import State, StreamStart, encoded, read_part, schema_bytes
from headwater.state.view_tiles import ViewTiles
from headwater.state.window_reach import out_of_reach, reach

_LOG = logging.getLogger(__name__)
_EVENTS = 100_000  # with their images
_RECORDS = 10_000  # of one commit
_REPAIR = (
    "Nothing was written. `headwater store repair-loss --dry-run` says what is lost, and without --dry-run it repairs archive and store"
)


def remedy(writer: PartitionWriter) -> str:
    """What to do about a store that has lost commits of a writer."""
    return _REPAIR if writer.progress.sequence else REBUILD


def new_views(writer: PartitionWriter) -> list[ViewTiles]:
    """The views of a writer whose records are not whole, miss a commit, or are made of columns of other types."""
    return [tiles for tiles in writer.acceptance.tiles if not _is_kept(writer, tiles)]


def _is_kept(writer: PartitionWriter, tiles: ViewTiles) -> bool:
    name = tiles.view.tiles_fingerprint
    state = read_part(writer.store, name, writer.partition)
    return state is not None and writer.progress.covers(name, state) and tiles.reads_alike(state.dtypes)


def seed(writer: PartitionWriter, logs: Logs, now: int, *, replayed: bool = False) -> dict[str, int]:
    """Fill the views whose records are not whole with their past, as of `now`, microseconds; how many events each was given.

    logs: what was kept of the stream. Where rules of the source have changed, it is judged again first.
    replayed: the stream is the history's own continuation, so that nothing can be in both.

    What a killed run left of it is removed first.

    Raises:
        FencedError: another process writes to the partition.
        LostError: the archive holds commits that the store has not made.
    """
    archive = logs.archive
    if archive.last > writer.progress.sequence:
        raise LostError(
            f"the archive in {archive.where} holds events up to commit {archive.last}, and the online store has made {writer.progress.sequence}: a "
            "server without the last commits took over, an older copy was restored, or the archive is another store's (then give another "
            f"--data-dir). {remedy(writer)}"
        )
    T = max(now, writer.progress.at)
    if not writer.progress.sequence and has_moved(writer.source):  # what came by the stream before is not in this one
        writer.note(msgspec.structs.replace(writer.progress, lost=T), {}, writer.unmoved())
    rejudged = rejudge(writer, logs, T, first_ids(writer.store, writer.source))
    if rejudged:
        _LOG.info(
            "source %s: %s records that were refused or left out are accepted by its rules of today", writer.source.name, f"{rejudged:,}"
        )
    fresh = new_views(writer)
    _keep(writer, [tiles for tiles in writer.acceptance.tiles if tiles not in fresh])
    if not fresh:
        return {}
    if not writer.progress.sequence:
        shared = overlap(writer.source, now)
        if shared is not None:
            writer.begin(*shared, now)
    token = secrets.token_bytes(16)
    writer.store.commit({keyspace.filling(writer.source.name, writer.partition): token}, writer.unmoved())
    writer.filling = token
    counts, past = {}, _ViewHistory(writer, logs, _begun(writer, archive, T), T, replayed=replayed)
    for tiles in fresh:
        name = tiles.view.tiles_fingerprint
        state_key = keyspace.stream_state(name, writer.partition)
        writer.store.commit({state_key: encoded(State(tiles.view.name, schema_bytes(tiles.schema)))}, writer.unmoved())
        _clear(writer, tiles)
        counts[tiles.view.name] = past.fill(tiles) if writer.corrections is None else past.fill_with_images(tiles, writer.corrections)
        state = past.state(tiles)
        progress = msgspec.structs.replace(writer.progress, views={**writer.progress.views, name: state.coverage})
        writer.note(progress, {state_key: encoded(state)}, writer.unmoved())
    if writer.corrections is not None:
        writer.load()
    return counts


def _keep(writer: PartitionWriter, kept: Sequence[ViewTiles]) -> None:
    """Have only these views count as maintained, before anything of the others is touched."""
    names = [tiles.view.tiles_fingerprint for tiles in kept]
    if not writer.progress.sequence:
        states = {name: read_part(writer.store, name, writer.partition) for name in names}
        views = {name: state.coverage for name, state in states.items() if state is not None}
    else:
        views = writer.progress.maintained(names)
    if views != writer.progress.views:
        writer.note(msgspec.structs.replace(writer.progress, views=views), {}, writer.unmoved())


def first_ids(store: OnlineStore, source: Source) -> First:
    """The ids of the history that a source's stream goes on from, and when they were known; None where there are none."""
    value = store.get([keyspace.begun(source.name)])[0]
    if value is None or source.id_field is None or source.changes is not None:
        return None
    until = msgspec.msgpack.decode(value, type=StreamStart).until
    shared = overlap(source, until)
    return None if shared is None else (shared[1], until)


def _begun(writer: PartitionWriter, archive: Roller, T: int) -> StreamStart | None:
    """The history that the stream goes on from: settled before the first commit, for all partitions and all views to come."""
    key = keyspace.begun(writer.source.name)
    stored = writer.store.get([key])[0]
    if stored is None and writer.source.history is not None and writer.progress.sequence <= 1 and archive.rows() is None:
        try:
            writer.store.commit({key: msgspec.msgpack.encode(StreamStart(T, writer.partition))}, {key: None})
        except LostError:
            raise
        except FencedError:
            pass  # another partition came first
        stored = writer.store.get([key])[0]
    return None if stored is None else msgspec.msgpack.decode(stored, type=StreamStart)


@dataclass(frozen=True)
class _ViewHistory:
    """The history before a view starts, as of T."""

    writer: PartitionWriter
    logs: Logs
    begun: StreamStart | None
    T: int
    replayed: bool

    def fill(self, tiles: ViewTiles) -> int:
        """Add the past to the records of a view; how many events."""
        chunks = chain((rows() for rows in self._history(tiles)), self._archived())
        return sum(_add(self.writer, tiles, rows, self.T) for rows in chunks)

    def fill_with_images(self, tiles: ViewTiles, corrections: ChangeState) -> int:
        """As `fill`, of events that can be taken back: those that hold are added, and the images of all are kept."""
        images = pl.concat([corrections.none, *self._images(corrections), *(archived.drop(ROW) for archived in self._archived())])
        past = ChangeHistory(corrections, images, self.T)
        return sum(_add(self.writer, tiles, events, self.T, changes) for events, changes in past.parts(tiles, _EVENTS))

    def _images(self, corrections: ChangeState) -> list[pl.DataFrame]:
        """Those of the history that were known when the stream began."""
        if self.begun is None or self.writer.source.history is None:
            return []
        images = images_before(corrections.acceptance, self.begun.until)
        return [images.select(pl.col(name).cast(dtype) for name, dtype in corrections.schema.items())]

    def state(self, tiles: ViewTiles) -> State:
        """The state of a view whose records are whole now."""
        until = 0 if self.begun is None else self.begun.until
        sequence = self.writer.progress.sequence
        doubtful = until and self.writer.source.id_field is None and not self.replayed
        lost = max(self.T if self._missing else 0, self.writer.progress.lost)
        return State(
            tiles.view.name,
            schema_bytes(tiles.schema),
            seeded=sequence,
            from_history=until,
            exact_from=out_of_reach(tiles.view, until if doubtful else 0),
            complete_from=out_of_reach(tiles.view, lost),
            coverage=f"{sequence}-{secrets.token_hex(4)}",
        )

    @cached_property
    def _missing(self) -> bool:
        """Whether more was accepted than the archive holds."""
        counts = Counter(self.writer.progress.counts)
        accepted = sum(counts[name] for name in ("accepted", "released", "rejudged"))
        return accepted - counts["erased"] > self.logs.count(self.logs.archive)

    def _archived(self) -> Iterator[pl.DataFrame]:
        first = first_ids(self.writer.store, self.writer.source)
        return (events for events, _ in Accepted(self.writer.acceptance, self.logs.archive.lazy_parts(), first).parts())

    def _history(self, tiles: ViewTiles) -> list[Callable[[], pl.DataFrame]]:
        if self.begun is None or self.begun.partition != self.writer.partition or self.writer.source.history is None:
            return []
        furthest = reach(tiles.view)
        events = history_before(tiles.view, None if furthest is None else self.T - furthest, self.begun.until)
        return [partial(events.slice, first_row, rejudging.ROWS) for first_row in range(0, events.height, rejudging.ROWS)]


def history_before(view: FeatureView, first: int | None, until: int, also: frozenset[str] = frozenset()) -> pl.DataFrame:
    """The events of a view's history that had happened and were known by `until`, when its stream began; from `first` on at least.

    also: further columns of the source to read.
    """
    return _known_by(view.source, view.keys, sorted((view.read_columns | also) - set(view.keys)), first, until)


def _known_by(source: Source, keys: Sequence[str], columns: Sequence[str], first: int | None, until: int) -> pl.DataFrame:
    events = open_engine().events(EventQuery(source, keys, columns, Reach(first, until, until)), EngineRun())
    late = source.delay if KNOWN not in events.columns and source.window_on == "timestamp" else 0
    return events.filter(pl.col(TIME) + late <= until)


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


def _add(writer: PartitionWriter, tiles: ViewTiles, events: pl.DataFrame, T: int, also: Changes = MappingProxyType({})) -> int:
    events = events.filter(pl.col(TIME) < T)
    if not events.height and not also:
        return 0
    view, sequence = tiles.view, writer.progress.sequence
    records = KeyRecords(writer.store.get, view.record_group, writer.partition)
    records.put(view.tiles_fingerprint, tiles.update(events, T, sequence, records.fetcher(view.tiles_fingerprint)))
    writer.store.commit({**records.changes(sequence), **also}, writer.unmoved())
    return events.height


def _clear(writer: PartitionWriter, tiles: ViewTiles) -> None:
    """Remove the sections of a view that a killed run, or a definition of old, has left; other views keep theirs."""
    view, end = tiles.view, b"" if writer.partition is None else b"\0" + writer.partition.encode()
    places = [key for key, _ in stored_sections(writer.store, view) if key.endswith(end)]
    for first in range(0, len(places), _RECORDS):
        batch = places[first : first + _RECORDS]
        records = zip(batch, writer.store.get(batch), strict=True)
        changes = {key: with_section(record, view.tiles_fingerprint, b"") or None for key, record in records}
        writer.store.commit(changes, writer.unmoved())
    keys = [key for key, _ in writer.store.scan(keyspace.events(view.tiles_fingerprint, writer.partition))]
    for first in range(0, len(keys), _RECORDS):
        writer.store.commit(dict.fromkeys(keys[first : first + _RECORDS]), writer.unmoved())
