"""Fill: make the records of views that are new in a store, or no longer whole, from the past, so
that their first values are whole.

From headwater's own archive: every event that was accepted up to a commit, and the stream from
there on. From a history that headwater did not write, which is what was there before the stream's
first commit: its events, and of the stream what was received from `id_horizon` before its last
event on, with the ids of that stretch, so that what both hold counts once. Without ids that cannot
be told, and values are called approximate until the longest window has passed; so they are where
the archive does not hold all that was accepted.

A fill is made of parts, each of them one commit, which also says how many are done. A process that
is killed goes on behind the last one. The stream may go on meanwhile: what it brings is in the
archive too, and is filled in as well, until the commit that makes the view whole.

Rules of a source that changed: what was received before is judged again, so that views are
filled with what these rules accept.

Every record of a stream is stored: accepted rows in the archive, rows that the filter left out in
the filtered log, refused records in the dead letters. Those that today's rules accept are added to
the archive by a commit of its own, with the time at which they became known, and the ids of events
are found again. Where some of it was not kept, or cannot be judged again, the source's progress
says so, and views that are filled from here on are incomplete until their longest window has
passed. Change images are not judged again: the archive holds those that had an effect by the old
rules, and views are filled with them again.

The past of a source's stream: events of the history that it goes on from, and the records that
headwater kept of it.

Fills make records of it, parity and explanations compare with it, and erasure looks for a key in
it: all read the same.

Fill the records of some keys: they are made again of the past, while the stream goes on.

Each commit expects the progress of the source and the records as they were read. Where the stream
was committed meanwhile, what it brought is added from the archive, and the commit is tried again:
each try reads less than the one before.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import Final

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.checks import micros
from headwater.definitions.connectors import Pushed
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun, EventQuery
from headwater.errors import DataError, FencedError, LostError
from headwater.events.change_images import folded
from headwater.events.read_events import BEFORE, IDENT, KNOWN, ROW, TIME, Reach
from headwater.ingestion.archive import KNOWN_AT, Roller, stamped
from headwater.ingestion.change_state import ChangeState, entries_of, latest_of, tokens_of
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.ids import WIDTH, DedupIndex
from headwater.ingestion.partition_count import partition_count
from headwater.ingestion.tombstones import ErasedRows, read_erased
from headwater.ingestion.validate import (
    AT,
    COPY,
    DUE,
    OFFSET,
    PARTITION,
    PAYLOAD,
    Acceptance,
    altered,
    changed_of,
    conformed,
    content_of,
    rules_of,
    waiting,
)
from headwater.kernel.arrays import I64, Bool
from headwater.state import change_codec as kept_images
from headwater.state import record
from headwater.state.record import KeyRecords, stored_sections, with_section
from headwater.state.view_state import (
    Filling,
    State,
    StreamStart,
    ViewTiles,
    encoded,
    out_of_reach,
    progresses,
    reach,
    read_part,
    schema_bytes,
)
from headwater.stores import Changes, OnlineStore, keyspace
from headwater.stores.keyspace import has_moved
from headwater.stores.log_first import REBUILD

_LOG = logging.getLogger(__name__)

_WRITER, _LEFT_ROW = "headwater_writer", "headwater_more"  # columns

_EVENTS = 100_000  # with their images

_RECORDS = 10_000  # of one commit

_TURN = 0.005  # seconds for commits of the stream between two parts

_REWIND = (
    "Nothing was written. `headwater store rewind --dry-run` says what is lost, and without "
    "--dry-run it sets archive and store right"
)


def remedy(writer: PartitionWriter) -> str:
    """The remedy for a store that has lost commits of a writer."""
    return _REWIND if writer.progress.sequence else REBUILD


def new_views(writer: PartitionWriter) -> list[ViewTiles]:
    """The views of a writer to fill: their records are not whole, miss a commit, or are made of
    columns of other types.
    """
    return [tiles for tiles in writer.acceptance.tiles if not _is_kept(writer, tiles)]


def _is_kept(writer: PartitionWriter, tiles: ViewTiles) -> bool:
    name = tiles.view.tiles_fingerprint
    state = read_part(writer.store, name, writer.partition)
    return (
        state is not None
        and writer.progress.covers(name, state)
        and tiles.reads_alike(state.dtypes)
    )


def _can_go_on(writer: PartitionWriter, tiles: ViewTiles) -> bool:
    """Whether events can be added to the records of a view, although these lack some."""
    state = read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition)
    return state is not None and state.seeded is not None and tiles.reads_alike(state.dtypes)


def judge(writer: PartitionWriter, logs: Logs, now: int) -> None:
    """Have a writer go on by the rules that its source has today, as of `now`, microseconds.

    Raises:
        FencedError: another process writes to the partition.
        LostError: the archive holds commits that the store has not made.
    """
    _check_whole(writer, logs.archive)
    T = max(now, writer.progress.at)
    # this stream lacks the records of the stream before it
    if not writer.progress.sequence and has_moved(writer.source):
        writer.note(msgspec.structs.replace(writer.progress, lost=T), {}, writer.unmoved())
    accepted = judge_again(writer, logs, T, first_ids(writer.store, writer.source))
    if accepted:
        _LOG.info(
            "source %s: %s rows that were refused or left out are accepted by its rules of today",
            writer.source.name,
            f"{accepted:,}",
        )


class Fill:
    """A fill of a writer's views whose records are not whole, as of `now`, microseconds.

    logs: what was kept of the stream. The writer goes on by the rules of today; see `judge`.
    replayed: the stream is the history's own continuation, so that nothing can be in both.
    replaced: tiles fingerprints of generations that others take the place of. They are maintained,
    and not filled.
    views: those to be filled. counts: how many events each was given, by tiles fingerprint.
    goes_on: whether the stream may be committed meanwhile.

    Raises:
        FencedError: another process writes to the partition.
    """

    def __init__(
        self,
        writer: PartitionWriter,
        logs: Logs,
        now: int,
        *,
        replayed: bool = False,
        replaced: Collection[str] = (),
    ) -> None:
        self.writer, self.counts = writer, dict[str, int]()
        self.alone: AbstractContextManager[object] = nullcontext()
        self.turn = 0.0
        self.T = max(now, writer.progress.at)
        missing = new_views(writer)
        # a partition without commits has nothing that could not be filled at once
        replaced_names = set(replaced) if writer.progress.sequence else set[str]()
        self.views = [
            tiles for tiles in missing if tiles.view.tiles_fingerprint not in replaced_names
        ]
        read = [tiles for tiles in missing if tiles not in self.views]
        _keep(writer, [tiles for tiles in writer.acceptance.tiles if tiles not in missing], read)
        writer.hold_back(
            [tiles.view.tiles_fingerprint for tiles in read if not _can_go_on(writer, tiles)]
        )
        corrections = writer.corrections
        self.goes_on = corrections is None or _has_images(writer, corrections, missing, self.views)
        if not self.views:
            return
        if not writer.progress.sequence:
            shared = overlap(writer.source, now, read_erased(writer.store, writer.source))
            if shared is not None:
                writer.begin(*shared, now)
        _take_over(writer, self.views)
        self._past = Past(writer, logs, _begun(writer, logs.archive, self.T), replayed)

    def run(self, alone: AbstractContextManager[object] | None = None) -> dict[str, int]:
        """Fill all views, one after the other; the counts.

        alone: held while the store is written. The stream may go on meanwhile, if its commits hold
        it too.
        """
        self.alone, self.turn = (nullcontext(), 0.0) if alone is None else (alone, _TURN)
        with_images = self.writer.corrections is not None
        for tiles in self.views:
            fill = self._fill_from_images if with_images and alone is not None else self._fill
            self.counts[tiles.view.tiles_fingerprint] = fill(tiles)
        if self.views and with_images and alone is None:
            self.writer.load()
        return self.counts

    def begin_next_to_stream(self) -> None:
        """Before the stream is committed: have commits keep the sections of the views. Of change
        images, commits maintain the views already, so nothing may be there of them.
        """
        writer = self.writer
        if writer.corrections is not None:
            for tiles in self.views:
                begun = encoded(State(tiles.view.name, schema_bytes(tiles.schema)))
                state_key = keyspace.stream_state(tiles.view.tiles_fingerprint, writer.partition)
                writer.store.commit({state_key: begun}, writer.unmoved())
                _clear(writer, tiles.view, nullcontext())
        writer.hold_back([tiles.view.tiles_fingerprint for tiles in self.views])

    def _fill_from_images(self, tiles: ViewTiles) -> int:
        """Make the records of a view from the stored events that hold. Commits of the stream add
        and remove events of the view meanwhile; so an event is added here only where the view lacks
        it.
        """
        writer, name = self.writer, tiles.view.tiles_fingerprint
        state_key = keyspace.stream_state(name, writer.partition)
        prefix = keyspace.IMAGE + keyspace.name(writer.name)
        # later events are added by commits
        tokens = [key[len(prefix) :] for key, _ in writer.store.sizes(prefix)]
        begun, part = State(tiles.view.name, schema_bytes(tiles.schema)), self._past.logs.part
        progress, parts = writer.progress, -(-len(tokens) // part)
        filling = Filling(writer.filling, b"", progress.at, -1, progress.sequence, parts)
        for first in range(0, len(tokens), part):
            with self.alone:
                corrections = writer.corrections
                assert corrections is not None
                events, changes = _not_standing(
                    writer, corrections, tiles, tokens[first : first + part]
                )
                filling = msgspec.structs.replace(
                    filling, done=filling.done + 1, events=filling.events + events.height
                )
                state = encoded(msgspec.structs.replace(begun, filling=filling))
                records = _added(writer, tiles, events, writer.progress.at)
                writer.store.commit({**records, **changes, state_key: state}, writer.unmoved())
            time.sleep(self.turn)
        with self.alone:
            self._make_whole(tiles, writer.progress.at, filling.events, {})
        return filling.events

    def _fill(self, tiles: ViewTiles) -> int:
        """Make the records of a view, part by part, until the events that arrived meanwhile are one
        part at most: its commit makes the view whole.
        """
        writer, name, past = self.writer, tiles.view.tiles_fingerprint, self._past
        state_key = keyspace.stream_state(name, writer.partition)
        begun = State(tiles.view.name, schema_bytes(tiles.schema))
        parts, filling = self._begin(tiles, state_key, begun)
        while True:
            for events, also in islice(parts.read(), filling.done, None):
                with self.alone:
                    filling, records = _with_part(writer, tiles, events, filling)
                    state = msgspec.structs.replace(begun, filling=filling)
                    writer.store.commit(
                        {**records, **also, state_key: encoded(state)}, writer.unmoved()
                    )
                time.sleep(self.turn)
            with self.alone:
                parts = past.parts(
                    tiles,
                    max(filling.T, writer.progress.at),
                    filling.upto,
                    writer.progress.sequence,
                )
                filling = parts.begun(writer.filling, filling.events)
                if parts.count <= 1:
                    changes: dict[bytes, bytes | None] = {}
                    for events, also in parts.read():
                        filling, records = _with_part(writer, tiles, events, filling)
                        changes |= {**records, **also}
                    self._make_whole(tiles, filling.T, filling.events, changes)
                    return filling.events

    def _make_whole(self, tiles: ViewTiles, T: int, events: int, changes: Changes) -> None:
        """Commit that a view's records are whole, with the last changes of them."""
        writer, name = self.writer, tiles.view.tiles_fingerprint
        whole = msgspec.structs.replace(self._past.state(tiles, T), filled=events)
        state_key = keyspace.stream_state(name, writer.partition)
        progress = msgspec.structs.replace(
            writer.progress, views={**writer.progress.views, name: whole.coverage}
        )
        writer.note(progress, {**changes, state_key: encoded(whole)}, writer.unmoved())
        writer.filled(name)

    def _begin(self, tiles: ViewTiles, state_key: bytes, begun: State) -> tuple[FillParts, Filling]:
        """The work to do: the remaining parts of a stopped fill; or all parts, after the view's
        records are removed.
        """
        writer = self.writer
        state = read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition)
        filling = None if state is None else state.filling
        if filling is not None and filling.token == writer.filling:
            parts = self._past.parts(tiles, filling.T, filling.since, filling.upto)
            if filling.made_of == parts.digest:
                return parts, filling
        with self.alone:
            writer.store.commit({state_key: encoded(begun)}, writer.unmoved())
        _clear(writer, tiles.view, self.alone)
        with self.alone:
            parts = self._past.parts(
                tiles, max(self.T, writer.progress.at), -1, writer.progress.sequence
            )
        return parts, parts.begun(writer.filling)


def _has_images(
    writer: PartitionWriter,
    corrections: ChangeState,
    missing: Sequence[ViewTiles],
    views: Sequence[ViewTiles],
) -> bool:
    """Whether the store holds the images of all events that new views count: another view has
    counted them since its records were whole, for as long and by the same columns.
    """
    maintained = [tiles for tiles in writer.acceptance.tiles if tiles not in missing]
    names = [tiles.view.tiles_fingerprint for tiles in maintained]
    states = [read_part(writer.store, name, writer.partition) for name in names]
    # a requested fill needs events that the stored images lack
    new = all(tiles.view.tiles_fingerprint == tiles.view.first_generation for tiles in views)
    if (
        not maintained
        or not views
        or not new
        or any(state is None or state.complete_from for state in states)
    ):
        return False

    def needs(some: Sequence[ViewTiles]) -> tuple[float, frozenset[str]]:
        acceptance = replace(writer.acceptance, views=tuple(tiles.view for tiles in some))
        lasting = replace(corrections, acceptance=acceptance).lasting
        columns = frozenset[str]().union(*({*t.view.keys, *t.view.read_columns} for t in some))
        return math.inf if lasting is None else lasting, columns

    (had, columns), (needed, read) = needs(maintained), needs(views)
    return needed <= had and read <= columns


def _not_standing(
    writer: PartitionWriter, corrections: ChangeState, tiles: ViewTiles, tokens: Sequence[bytes]
) -> tuple[pl.DataFrame, Changes]:
    """The events, of some tokens, that hold and are missing from a view; and the changes of the
    store that add them.
    """
    entries = corrections.entries(writer.store, tokens)
    holding = {
        token: entry.images[entry.holds] for token, entry in entries.items() if entry.holds >= 0
    }
    events = kept_images.frame_of(list(holding.values()), corrections.schema)
    places = corrections.places(tiles, events, list(holding))
    missing = {
        key[-kept_images.TOKEN :]: key
        for key, value in zip(places, writer.store.get(places), strict=True)
        if value is None
    }
    mask = pl.Series([token in missing for token in holding], dtype=pl.Boolean)
    return events.filter(mask), dict.fromkeys(missing.values(), b"")


def _check_whole(writer: PartitionWriter, archive: Roller) -> None:
    if archive.last > writer.progress.sequence:
        raise LostError(
            f"the archive in {archive.location} holds events up to commit {archive.last}, and the "
            f"online store has made {writer.progress.sequence}: a server without the last commits "
            "took over, an older copy was restored, or the archive is another store's (then give "
            f"another --data-dir). {remedy(writer)}"
        )


def _keep(
    writer: PartitionWriter, maintained: Sequence[ViewTiles], read: Sequence[ViewTiles] = ()
) -> None:
    """Have only these views count as maintained, before anything of the others is touched.

    read: those that are read although they lack something. Readers see in the progress when that
    ends.
    """
    names = [tiles.view.tiles_fingerprint for tiles in maintained]
    if not writer.progress.sequence:
        states = {name: read_part(writer.store, name, writer.partition) for name in names}
        views = {name: state.coverage for name, state in states.items() if state is not None}
    else:
        views = writer.progress.maintained(names)
    views |= {tiles.view.tiles_fingerprint: "" for tiles in read}
    if views != writer.progress.views:
        writer.note(msgspec.structs.replace(writer.progress, views=views), {}, writer.unmoved())


def _take_over(writer: PartitionWriter, fresh: Sequence[ViewTiles]) -> None:
    """Become the one process that fills views of the partition; the work of the process before
    stays, unless something was erased since.
    """
    key, token = keyspace.filling(writer.source.name, writer.partition), secrets.token_bytes(16)
    before = writer.store.get([key])[0]
    changes: dict[bytes, bytes | None] = {key: token}
    for tiles in fresh:
        name = tiles.view.tiles_fingerprint
        state, begun = (
            read_part(writer.store, name, writer.partition),
            State(tiles.view.name, schema_bytes(tiles.schema)),
        )
        if state is not None and state.filling is not None and state.filling.token == before:
            begun = msgspec.structs.replace(
                state, filling=msgspec.structs.replace(state.filling, token=token)
            )
        changes[keyspace.stream_state(name, writer.partition)] = encoded(begun)
    writer.store.commit(changes, {**writer.unmoved(), key: before})
    writer.filling = token


def _begun(writer: PartitionWriter, archive: Roller, T: int) -> StreamStart | None:
    """The history that the stream goes on from: settled before the first commit, for all partitions
    and all views to come.
    """
    key, start = keyspace.begun(writer.source.name), stream_start(writer.store, writer.source.name)
    if (
        start is None
        and writer.source.history is not None
        and writer.progress.sequence <= 1
        and archive.rows() is None
    ):
        try:
            writer.store.commit(
                {key: msgspec.msgpack.encode(StreamStart(T, writer.partition))}, {key: None}
            )
        except LostError:
            raise
        except FencedError:
            pass  # another partition came first
        start = stream_start(writer.store, writer.source.name)
    return start


def _with_part(
    writer: PartitionWriter, tiles: ViewTiles, events: pl.DataFrame, filling: Filling
) -> tuple[Filling, Changes]:
    """How far a fill is with the events of one more part, and the records with these."""
    added = events.filter(pl.col(TIME) < filling.T)
    return msgspec.structs.replace(
        filling, done=filling.done + 1, events=filling.events + added.height
    ), _added(writer, tiles, added, filling.T)


def _added(writer: PartitionWriter, tiles: ViewTiles, events: pl.DataFrame, T: int) -> Changes:
    """The records of a view with further events."""
    if not events.height:
        return {}
    view, sequence = tiles.view, writer.progress.sequence
    records = KeyRecords(writer.store.get, view.record_group, writer.partition)
    records.put(
        view.tiles_fingerprint,
        tiles.update(events, T, sequence, records.fetcher(view.tiles_fingerprint)),
    )
    return records.changes(sequence)


def _clear(
    writer: PartitionWriter, view: FeatureView, alone: AbstractContextManager[object]
) -> None:
    """Remove the sections of a view that a fill of other parts, or a definition of old, has left;
    other views keep theirs.
    """
    end = b"" if writer.partition is None else b"\0" + writer.partition.encode()
    places = [key for key, _ in stored_sections(writer.store, view) if key.endswith(end)]
    for first in range(0, len(places), _RECORDS):
        batch = places[first : first + _RECORDS]
        with alone:
            records = zip(batch, writer.store.get(batch), strict=True)
            changes = {
                key: with_section(record, view.tiles_fingerprint, b"") or None
                for key, record in records
            }
            writer.store.commit(changes, writer.unmoved())
    keys = [
        key
        for key, _ in writer.store.scan(keyspace.events(view.tiles_fingerprint, writer.partition))
    ]
    for first in range(0, len(keys), _RECORDS):
        with alone:
            writer.store.commit(dict.fromkeys(keys[first : first + _RECORDS]), writer.unmoved())


def clear_generation(
    writer: PartitionWriter, view: FeatureView, alone: AbstractContextManager[object]
) -> None:
    """Remove the records of a generation that nobody reads any more, in a writer's partition; its
    state goes last, so that a killed process resumes.
    """
    state_key = keyspace.stream_state(view.tiles_fingerprint, writer.partition)
    if writer.store.get([state_key])[0] is not None:
        _clear(writer, view, alone)
        with alone:
            writer.store.commit({state_key: None}, writer.unmoved())


# ---------------------------------------------------------------- parts


@dataclass(frozen=True)
class FillParts:
    """The events that the commits after `since` up to `upto` accepted, as of T; for the first
    commits, with the history before them.

    digest: of all that decides what the parts hold. read: gives each part: events, and what else
    its commit changes.
    """

    T: int
    since: int
    upto: int
    count: int
    digest: bytes
    read: Callable[[], Iterator[tuple[pl.DataFrame, Changes]]]

    def begun(self, token: bytes, events: int = 0) -> Filling:
        """None of them is done; events: of the parts before these."""
        return Filling(token, self.digest, self.T, self.since, self.upto, self.count, events=events)


@dataclass(frozen=True)
class Past:
    """The past of a writer's source, before its views are filled. begun: the history that the
    stream continues; None for none.
    """

    writer: PartitionWriter
    logs: Logs
    begun: StreamStart | None
    replayed: bool

    @cached_property
    def erased(self) -> ErasedRows:
        """Which of its rows were erased, and are left out."""
        return read_erased(self.writer.store, self.writer.source)

    def parts(self, tiles: ViewTiles, T: int, since: int, upto: int) -> FillParts:
        """The parts that a view is filled with."""
        if since == upto:
            return FillParts(T, since, upto, 0, b"", lambda: iter(()))
        corrections = self.writer.corrections
        if corrections is None:
            return self._events(tiles, T, since, upto)
        images = self._images(corrections, since, upto)
        past = ChangeHistory(corrections, images, T)
        digest = self._digest(tiles, T, since, upto, images)
        return FillParts(
            T, since, upto, -(-len(past) // _EVENTS), digest, partial(past.parts, tiles, _EVENTS)
        )

    def _events(self, tiles: ViewTiles, T: int, since: int, upto: int) -> FillParts:
        """The events of the history, then the events of the archive."""
        history, archived = (
            self._history(tiles, T, since),
            self.logs.count(self.logs.archive, since, upto),
        )

        def read() -> Iterator[tuple[pl.DataFrame, Changes]]:
            for events, rows in chain([(history, history.height)], self._archived(since, upto)):
                for first in range(0, rows, self.logs.part):
                    yield events.slice(first, self.logs.part), {}

        chunks, rest = divmod(archived, ROWS)
        count = sum(-(-rows // self.logs.part) for rows in [history.height, rest, *chunks * [ROWS]])
        return FillParts(T, since, upto, count, self._digest(tiles, T, since, upto, history), read)

    def _images(self, corrections: ChangeState, since: int, upto: int) -> pl.DataFrame:
        """All images, of the history too."""
        archived = (events.drop(ROW) for events, _ in self._archived(since, upto))
        return pl.concat(
            [corrections.none, *(self._images_before(corrections) if since < 0 else []), *archived]
        )

    def _digest(self, tiles: ViewTiles, T: int, since: int, upto: int, read: pl.DataFrame) -> bytes:
        archived = self.logs.count(self.logs.archive, since, upto)
        fixed = [
            ROWS,
            self.logs.part,
            _EVENTS,
            T,
            since,
            upto,
            archived,
            self.writer.progress.rules,
            schema_bytes(tiles.schema),
            self._copies.rows(),
        ]
        digest = hashlib.sha256(msgspec.msgpack.encode(fixed))
        digest.update(read.hash_rows(seed=0).to_numpy().tobytes() if read.width else b"")
        return digest.digest()

    def state(self, tiles: ViewTiles, T: int) -> State:
        """The state of a view whose records have become whole."""
        until = 0 if self.begun is None else self.begun.until
        sequence = self.writer.progress.sequence
        doubtful = until and self.writer.source.id_field is None and not self.replayed
        lost = max(T if self.is_missing else 0, self.writer.progress.lost)
        return State(
            tiles.view.name,
            schema_bytes(tiles.schema),
            seeded=sequence,
            from_history=until,
            exact_from=out_of_reach(tiles.view, until if doubtful else 0),
            complete_from=out_of_reach(tiles.view, lost),
            coverage=f"{sequence}-{secrets.token_hex(4)}",
        )

    @property
    def is_missing(self) -> bool:
        """Whether more was accepted than the archive holds; erased rows that it still has do not
        count.
        """
        archived = self.logs.count(self.logs.archive)
        if self.erased.tombstones:
            parts = (read() for read in self.logs.archive.parts())
            acceptance = self.writer.acceptance
            archived -= sum(int(self.erased.of_rows(acceptance, rows).sum()) for rows in parts)
        return self.writer.progress.accepted > archived

    def _archived(self, since: int, upto: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """The events of the archive, and how many of its rows they are among, some at a time."""
        first = first_ids(self.writer.store, self.writer.source) if since < 0 else None
        parts = self.logs.archive.lazy_parts(since, upto)
        for events, rows in Accepted(
            self.writer.acceptance, parts, self.erased, first, distinct=since >= 0
        ).parts():
            yield _without(self._copies, events, rows), rows.height

    @cached_property
    def _copies(self) -> pl.DataFrame:
        """Where copies of other partitions' events stand in the archive: writers could not know
        them when partitions had been added.
        """
        writer, archive = self.writer, self.logs.archive
        count = partition_count(writer.state.partitions)
        none = pl.DataFrame(schema={PARTITION: pl.String, OFFSET: pl.Int64})
        if not count.grown:
            return none
        horizon = micros(writer.source.id_horizon, "id_horizon")
        since = clock.timestamp(count.first - 2 * horizon)
        until = clock.timestamp(count.grown + horizon + writer.acceptance.future)
        frames = [
            frame.filter(pl.col(KNOWN_AT).is_between(since, until)).with_columns(
                pl.lit(name.decode()).alias(_WRITER)
            )
            for name in sorted(progresses(writer.store, writer.source.name))
            for frame in replace(archive, partition=name.decode()).lazy_parts()
        ]
        judged = Accepted(writer.acceptance, frames, self.erased, also=[_WRITER]).judged()
        copies = (rows[copies[ROW]] for _, copies, rows in judged)
        return pl.concat(
            [
                none,
                *(
                    rows.filter(pl.col(_WRITER) == writer.partition).select(PARTITION, OFFSET)
                    for rows in copies
                ),
            ]
        )

    def _history(self, tiles: ViewTiles, T: int, since: int) -> pl.DataFrame:
        if (
            since >= 0
            or self.begun is None
            or self.begun.partition != self.writer.partition
            or self.writer.source.history is None
        ):
            return pl.DataFrame()
        furthest = reach(tiles.view)
        return history_before(
            tiles.view,
            None if furthest is None else T - furthest,
            self.begun.until,
            self.erased,
        )

    def _images_before(self, corrections: ChangeState) -> list[pl.DataFrame]:
        """The images of the history known when the stream began."""
        if self.begun is None or self.writer.source.history is None:
            return []
        images = images_before(corrections.acceptance, self.begun.until, self.erased)
        return [
            images.select(pl.col(name).cast(dtype) for name, dtype in corrections.schema.items())
        ]


def _without(copies: pl.DataFrame, events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Events without the events of some rows, which are given by partition and offset."""
    if not copies.height:
        return events
    remaining = rows.select(PARTITION, OFFSET).with_row_index(_LEFT_ROW)
    remaining = remaining.join(copies, on=[PARTITION, OFFSET], how="anti")
    return events.filter(
        pl.Series(np.isin(events[ROW].to_numpy(), remaining[_LEFT_ROW].to_numpy()))
    )


class ChangeHistory:
    """All images of the past, and the events that they state.

    T: events that no window reaches as of then are left out.
    """

    def __init__(self, corrections: ChangeState, images: pl.DataFrame, T: int) -> None:
        self.corrections, self.images = corrections, images
        source = corrections.acceptance.source
        self.merged = folded(images[:0], np.empty(0, np.bool_), images, source)
        self.tokens = dict(zip(self.merged.event.tolist(), tokens_of(images[IDENT]), strict=True))
        self.latest, lasting = latest_of(images, self.merged), corrections.lasting
        self.events = (
            np.flatnonzero(self.latest + lasting > T)
            if lasting is not None
            else np.arange(len(self.latest))
        )

    def __len__(self) -> int:
        return len(self.events)

    def parts(self, tiles: ViewTiles, most: int) -> Iterator[tuple[pl.DataFrame, Changes]]:
        """The events that hold, `most` in a part, and the store's changes for their entries and
        places in a view.
        """
        for first in range(0, len(self.events), most):
            chunk = self.events[first : first + most]
            entries = entries_of(self.images, self.merged, chunk, self.latest)
            changes = self.corrections.entry(
                (self.tokens[event], entry) for event, entry in entries.items()
            )
            changes |= self.corrections.schedule_expiry(
                [self.tokens[event] for event in chunk.tolist()],
                int(self.latest[chunk].max()),
                first,
            )
            live = chunk[self.merged.after[chunk] >= 0]
            events = self.images[self.merged.after[live]]
            changes |= dict.fromkeys(
                self.corrections.places(
                    tiles, events, [self.tokens[event] for event in live.tolist()]
                ),
                b"",
            )
            yield events, changes


_IN_COMMIT = 200_000  # rows that one commit adds to the archive

_AT_ONCE = 10_000  # keys that one commit takes out


def judge_again(writer: PartitionWriter, logs: Logs, T: int, first: First = None) -> int:
    """Have the writer go on by the rules of its definitions; how many rows that were not accepted
    before are in the archive now.
    """
    rules, progress = rules_of(writer.acceptance), writer.progress
    if progress.rules == rules:
        return 0
    if not progress.sequence:
        writer.note(msgspec.structs.replace(progress, rules=rules), {}, writer.unmoved())
        return 0
    changed = changed_of(progress.rules, rules)
    # a store of an older format does not say its rules
    lost = bool(progress.rules) and _is_lost(writer, logs, changed)
    candidates = (
        _Candidates(writer, logs, first, T)
        if writer.acceptance.source.changes is None and writer.archive and changed
        else None
    )
    changes: dict[bytes, bytes | None] = _held(writer) if changed & {"types", "select"} else {}
    views, counts = progress.views, dict(progress.counts)
    rows = pl.DataFrame()
    if candidates is not None:
        rows, lost = candidates.accepted, lost or candidates.lost
        if rows.height or "ids" in changed or (lost and "types" in changed):
            changes |= candidates.ids()
            views = {}
    elif writer.acceptance.source.changes is not None and progress.rules and changed - {"keys"}:
        views = {}
        _forget_images(writer)
    sequence = progress.sequence
    # rows in the archive are not found again
    for start in range(0, rows.height, _IN_COMMIT):
        chunk, sequence = rows.slice(start, _IN_COMMIT), sequence + 1
        known_at = chunk[KNOWN_AT]
        block = stamped(chunk.drop(KNOWN_AT), sequence, 0).with_columns(known_at)
        counts["rejudged"] = counts.get("rejudged", 0) + chunk.height
        stepped = msgspec.structs.replace(
            writer.progress, sequence=sequence, views={}, counts=dict(counts)
        )
        writer.note(
            stepped,
            {keyspace.block(keyspace.ARCHIVE, writer.name, sequence): record.frame_bytes(block)},
            writer.unmoved(),
        )
    done = msgspec.structs.replace(
        writer.progress, rules=rules, views=views, lost=max(T if lost else 0, progress.lost)
    )
    writer.note(done, changes, writer.unmoved())
    writer.load(claim=False)
    return rows.height


def _is_lost(writer: PartitionWriter, logs: Logs, changed: set[str]) -> bool:
    """Whether something that these rules might accept was not kept, or is not judged again."""
    counts = writer.progress.counts
    left_out = counts.get("filtered", 0) if changed & {"filter", "select", "types"} else 0
    refused = counts.get("dead", 0) + counts.get("copies", 0) if changed else 0
    if writer.acceptance.source.changes is not None:
        return (
            bool(left_out)
            or (
                changed - {"keys"}
                and any(counts.get(name, 0) for name in ("dead", "copies", "superseded"))
            )
            or ("types" in changed and altered(logs.accepted, writer.acceptance))
        )
    if not writer.archive:
        return bool(left_out or refused)
    if "types" in changed and altered(logs.accepted, writer.acceptance):
        return True
    if "ids" in changed and isinstance(writer.source.stream, Pushed) and counts.get("copies", 0):
        return True  # whether one was a copy by its id or by the key of its request is not known
    erased = counts.get("erased", 0)
    return left_out - erased > logs.count(logs.filtered) or refused - erased > logs.count(logs.dead)


@dataclass(frozen=True)
class _Candidates:
    """Rows that were left out or refused, judged again."""

    writer: PartitionWriter
    logs: Logs
    first: First
    T: int

    @cached_property
    def accepted(self) -> pl.DataFrame:
        """The accepted rows: the stream's columns, their origin, and when they became known."""
        return self._rows.filter(pl.Series(self._verdicts[0], dtype=pl.Boolean)).select(
            *self._columns
        )

    @property
    def lost(self) -> bool:
        """Whether some accepted rows would be of the future, for which only a stream's own records
        wait.
        """
        events = self.writer.acceptance.sound_events(self._all)
        return bool((events[TIME] >= self.T).any())

    def ids(self) -> dict[bytes, bytes | None]:
        """The changes of the store that replace its ids by the ids of the accepted events."""
        prefix = keyspace.IDS + keyspace.name(self.writer.name)
        changes: dict[bytes, bytes | None] = {
            key: None for key, _ in self.writer.store.scan(prefix)
        }
        block = self._verdicts[1]
        return (
            {**changes, keyspace.block(keyspace.IDS, self.writer.name, 0): block}
            if block
            else changes
        )

    @property
    def _columns(self) -> list[str]:
        return [*self.writer.acceptance.schema, PARTITION, OFFSET, AT, KNOWN_AT]

    @cached_property
    def _verdicts(self) -> tuple[Bool, bytes]:
        erased = read_erased(self.writer.store, self.writer.source)
        return Accepted(self.writer.acceptance, self.logs.accepted, erased, self.first).verdicts(
            self._rows, self.T
        )

    @cached_property
    def _rows(self) -> pl.DataFrame:
        events = self.writer.acceptance.sound_events(self._all)
        return self._all[events.filter(pl.col(TIME) < self.T)[ROW]]

    @cached_property
    def _all(self) -> pl.DataFrame:
        acceptance = self.writer.acceptance
        none = pl.DataFrame(
            schema={
                **acceptance.schema,
                PARTITION: pl.String,
                OFFSET: pl.Int64,
                AT: _UTC,
                KNOWN_AT: _UTC,
            }
        )
        conformed_frames = [
            conformed(frame, acceptance).select(none.columns).collect()
            for frame in self.logs.filtered.lazy_parts()
        ]
        dead = [self._decoded(frame.collect()) for frame in self.logs.dead.lazy_parts()]
        rows = pl.concat([none, *conformed_frames, *dead])
        there = [frame.select(PARTITION, OFFSET) for frame in self.logs.accepted]
        return (
            rows.join(
                pl.concat(there).collect(),
                on=[PARTITION, OFFSET],
                how="anti",
                maintain_order="left",
            )
            if there
            else rows
        )

    def _decoded(self, dead: pl.DataFrame) -> pl.DataFrame:
        source = self.writer.acceptance.source
        if isinstance(source.stream, Pushed):
            dead = dead.filter(pl.col("reason") != COPY)
        decoded = self.writer.acceptance.decode(dead["payload"].to_list())
        return pl.concat(
            [decoded.frame, dead.select(PARTITION, OFFSET, AT, KNOWN_AT)[decoded.rows]],
            how="horizontal",
        ).select(self._columns)


_UTC = pl.Datetime("us", "UTC")


def _forget_images(writer: PartitionWriter) -> None:
    """Delete the per-event state of the old rules. The mark that views are complete goes first, so
    a killed run refills them.
    """
    writer.note(msgspec.structs.replace(writer.progress, views={}), {}, writer.unmoved())
    keys = [
        key
        for space in (keyspace.IMAGE, keyspace.DUE)
        for key, _ in writer.store.sizes(space + keyspace.name(writer.name))
    ]
    for start in range(0, len(keys), _AT_ONCE):
        writer.store.commit(dict.fromkeys(keys[start : start + _AT_ONCE]), writer.unmoved())


def _held(writer: PartitionWriter) -> dict[bytes, bytes | None]:
    """The changes of the store that give held events today's columns of the stream, and times by
    today's rules.

    The rest of these rules judges them when they are released.
    """
    changes: dict[bytes, bytes | None] = {}
    for key, value in writer.store.scan(keyspace.HELD + keyspace.name(writer.name)):
        held = waiting(value, writer.progress.at)
        rows = conformed(held.lazy(), writer.acceptance, DUE, PAYLOAD).collect()
        events = writer.acceptance.events_of(rows.drop(DUE, PAYLOAD, strict=False)).drop_nulls(TIME)
        due = rows[DUE].to_numpy(writable=True)
        due[events[ROW].to_numpy()] = np.maximum(events[TIME].to_numpy(), writer.progress.at)
        changes[key] = (
            record.frame_bytes(rows.with_columns(pl.Series(DUE, due))) if rows.height else None
        )
    return changes


ROWS = 500_000  # of the archive that are read together

_MORE = "headwater_more"

First = tuple[pl.Series, int] | None
"""The ids of a history that a stream goes on from, and when they were known."""


def history_before(
    view: FeatureView,
    first: int | None,
    until: int,
    erased: ErasedRows,
    also: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    """The events of a view's history that had happened and were known by `until`, when its stream
    began, and were not erased; from `first` on at least.

    also: further columns of the source to read.
    """
    columns = sorted((view.read_columns | also) - set(view.keys))
    return known_by(view.source, view.keys, columns, first, until, erased)


def known_by(
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    first: int | None,
    until: int,
    erased: ErasedRows,
) -> pl.DataFrame:
    """As `history_before`, of these columns of a source."""
    also = sorted(erased.columns - {*keys, *columns})
    events = open_engine().events(
        EventQuery(source, keys, [*columns, *also], Reach(first, until, until)), EngineRun()
    )
    late = source.delay if KNOWN not in events.columns and source.window_on == "timestamp" else 0
    events = events.filter(pl.col(TIME) + late <= until)
    remains = pl.Series(~erased.of_events(events, source), dtype=pl.Boolean)
    return events.filter(remains).drop(also)


def overlap(source: Source, now: int, erased: ErasedRows) -> tuple[int, pl.Series] | None:
    """The overlap with a history that headwater did not write: the time to read the stream from,
    microseconds, and the ids that both may hold.
    """
    if source.history is None or source.id_field is None:
        return None
    horizon = micros(source.id_horizon, "id_horizon")
    if source.changes is not None:
        known_at = images_before(Acceptance(source, (), 0), now, erased)[KNOWN]
        return (int(known_at.max()) - horizon, pl.Series(dtype=pl.Int64)) if len(known_at) else None  # type: ignore[arg-type]
    events = known_by(source, [], [], None, now, erased)
    if not events.height:
        return None
    last = int(events[TIME].max())  # type: ignore[arg-type]
    return last - horizon, events.filter(pl.col(TIME) >= last - 2 * horizon)[IDENT]


def images_before(acceptance: Acceptance, until: int, erased: ErasedRows) -> pl.DataFrame:
    """The images of a source's history known by `until`, in the form of `Acceptance.events_in`,
    without later events and erased ones.

    Raises:
        DataError: an image without an id, or not said to be before or after a change.
    """
    source = acceptance.source
    images = acceptance.events_in(source).filter(
        pl.col(KNOWN) <= until,
        pl.col(BEFORE) | (pl.col(TIME) >= until).not_().fill_null(value=True),
    )
    for name, called in ((IDENT, source.id_field), (BEFORE, source.changes)):
        if images[name].null_count():
            raise DataError(
                f"source {source.name!r}: {images[name].null_count()} rows have no {called!r}; "
                "fill it in select, or filter them out"
            )
    return images.filter(pl.Series(~erased.of_events(images, source), dtype=pl.Boolean))


def first_ids(store: OnlineStore, source: Source) -> First:
    """The ids of the history that a source's stream goes on from, and when they were known; None
    where there are none.
    """
    start = stream_start(store, source.name)
    if start is None or source.id_field is None or source.changes is not None:
        return None
    shared = overlap(source, start.until, read_erased(store, source))
    return None if shared is None else (shared[1], start.until)


def stream_start(store: OnlineStore, source: str) -> StreamStart | None:
    """The history that a source's stream goes on from; None where it goes on from none."""
    value = store.get([keyspace.begun(source)])[0]
    return None if value is None else msgspec.msgpack.decode(value, type=StreamStart)


@dataclass(frozen=True)
class Logs:
    """The stored records of one writer of a stream: archive, filtered log and dead letters; a fill
    commits `part` of its rows together.
    """

    archive: Roller
    filtered: Roller
    dead: Roller
    part: int = ROWS

    @cached_property
    def accepted(self) -> list[pl.LazyFrame]:
        """The archive, by the columns that the stream had."""
        return self.archive.lazy_parts()

    def count(self, roller: Roller, since: int = -1, upto: int | None = None) -> int:
        """How many rows are there, of commits as of `Roller.lazy_parts`."""
        return sum(
            int(frame.select(pl.len()).collect().item()) for frame in roller.lazy_parts(since, upto)
        )


class Accepted:
    """The events of an archive that the rules accept, in the order in which they became known; a
    duplicate counts once.

    archive: of one partition or of several. erased: which rows were erased, and are not read.
    first: ids of a history, and when they were known, that
    copies in the archive are copies of.
    also: further columns of its rows that are read. distinct: it holds no copies by the rules of
    today.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        archive: Sequence[pl.LazyFrame],
        erased: ErasedRows,
        first: First = None,
        also: Sequence[str] = (),
        *,
        distinct: bool = False,
    ) -> None:
        self.acceptance, self.archive, self.first, self.also = acceptance, archive, first, also
        self.erased = erased
        source = acceptance.source
        self.ordered = source.id_field is not None and source.changes is None and not distinct

    def parts(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Events as of `Acceptance.events_of`, and the rows that they are among."""
        return ((events, rows) for events, _, rows in self.judged())

    def judged(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
        """As `parts`, with the events that are copies of others second."""
        ids = self._ids()
        for rows in self._rows(self.archive):
            events, known_at = self._sound(rows)
            copies = events.clear()
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known_at)
                accepted = pl.Series(checked.accepted)
                ids, events, copies = (
                    checked.index,
                    events.filter(accepted),
                    events.filter(~accepted),
                )
            yield events, copies, rows

    def verdicts(self, more: pl.DataFrame, T: int) -> tuple[Bool, bytes]:
        """Which further rows are accepted in addition to the archive's, bool (n); and the ids
        accepted within a horizon of T.
        """
        ids, blocks, accepted = self._ids(), [], np.zeros(more.height, np.bool_)
        for rows in self._rows(
            [*(self.archive if self.ordered else []), more.with_row_index(_MORE).lazy()],
            sort=self.ordered,
        ):
            events, known_at = self._sound(rows)
            fresh = np.ones(events.height, np.bool_)
            if self.ordered and events.height:
                checked = ids.accept(events[IDENT], content_of(events), known_at)
                ids, fresh = checked.index, checked.accepted
                block = np.frombuffer(checked.block, np.int64).reshape(-1, WIDTH)
                blocks.append(block[known_at[fresh] > T - ids.horizon].tobytes())
            accepted[
                rows[_MORE]
                .gather(events[ROW])
                .filter(pl.Series(fresh, dtype=pl.Boolean))
                .drop_nulls()
                .to_numpy()
            ] = True
        return accepted, b"".join(blocks)

    def _sound(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, I64]:
        """The events of some rows, and when each became known in microseconds."""
        own_rows = rows.select(*self.acceptance.schema, PARTITION, OFFSET, AT)
        events = (
            self.acceptance.sound_events(own_rows)
            if self.acceptance.source.changes is None
            else self.acceptance.events_of(own_rows)
        )
        erased = self.erased.of_rows(self.acceptance, rows)
        events = events.filter(pl.Series(~erased[events[ROW].to_numpy()], dtype=pl.Boolean))
        return events, rows[KNOWN_AT].dt.epoch("us").gather(events[ROW]).to_numpy()

    def _ids(self) -> DedupIndex:
        ids = DedupIndex(micros(self.acceptance.source.id_horizon, "id_horizon"))
        if self.first is not None and self.ordered:
            first_idents, known_at = self.first
            return ids.accept(first_idents, np.zeros(len(first_idents), np.int64), known_at).index
        return ids

    def _rows(
        self, frames: Sequence[pl.LazyFrame], *, sort: bool = False
    ) -> Iterator[pl.DataFrame]:
        if not frames:
            return
        rows = pl.concat(
            [conformed(frame, self.acceptance, _MORE, *self.also) for frame in frames],
            how="diagonal_relaxed",
        )
        if sort or (self.ordered and self._is_out_of_order()):
            rows = rows.sort(KNOWN_AT, PARTITION, OFFSET, maintain_order=True).collect().lazy()
        count = int(rows.select(pl.len()).collect().item())
        for first in range(0, count, ROWS):
            yield rows.slice(first, ROWS).collect()

    def _is_out_of_order(self) -> bool:
        """Whether rows were added to the archive that had become known before others in it."""
        last = None
        for frame in self.archive:
            low, high, rising = (
                frame.select(
                    pl.col(KNOWN_AT).min().alias("low"),
                    pl.col(KNOWN_AT).max().alias("high"),
                    (pl.col(KNOWN_AT).diff() >= 0).all().alias("up"),
                )
                .collect()
                .row(0)
            )
            if not rising or (last is not None and low is not None and low < last):
                return True
            last = high if high is not None else last
        return False


_KEYS: Final = 100_000  # of one reading of the past

_FILLED_AT_ONCE: Final = 10_000  # of one commit

_ATTEMPTS: Final = 20


def fill_keys(
    writer: PartitionWriter, logs: Logs, wanted: Sequence[tuple[ViewTiles, Sequence[bytes]]]
) -> None:
    """Make the records of some keys of views again, as of the last commit.

    Views that are not whole are left out: they are filled when ingestion starts. Where the archive
    lacks rows that were accepted, views are incomplete until their longest window has passed.

    Raises:
        FencedError: the stream was committed in the middle of each attempt.
        LostError: the store has lost commits.
    """
    past = Past(writer, logs, stream_start(writer.store, writer.source.name), replayed=False)
    for tiles, keys in wanted:
        if read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition) is None:
            continue
        for first in range(0, len(keys), _KEYS):
            _Sections(writer, past, tiles, keys[first : first + _KEYS]).fill()


class _Sections:
    """A view's sections of some keys, made of the events that commits up to `upto` accepted; -1 is
    nothing, not even the history.
    """

    def __init__(
        self, writer: PartitionWriter, past: Past, tiles: ViewTiles, keys: Sequence[bytes]
    ) -> None:
        self.writer, self.past, self.tiles, self.upto = writer, past, tiles, -1
        self.sections = dict.fromkeys(keys, b"")

    def fill(self) -> None:
        """Make them, and write them."""
        keys = list(self.sections)
        for first in range(0, len(keys), _FILLED_AT_ONCE):
            self._write(keys[first : first + _FILLED_AT_ONCE])

    def _write(self, keys: Sequence[bytes]) -> None:
        for _ in range(_ATTEMPTS):
            self._catch_up()
            try:
                self._commit(keys)
            except LostError:
                raise
            except FencedError:
                self.writer.load()
                continue
            return
        raise FencedError(
            f"the stream of source {self.writer.source.name!r} is written too often to be filled; "
            "stop `headwater ingest`, and run the same command again"
        )

    def _catch_up(self) -> None:
        """Add the events accepted since. Images take back earlier images, so their sections are
        made again from all.
        """
        progress = self.writer.progress
        if self.upto == progress.sequence:
            return
        if self.writer.corrections is not None:
            self.sections, self.upto = dict.fromkeys(self.sections, b""), -1
        self._add(self.past.parts(self.tiles, progress.at, self.upto, progress.sequence))
        self.upto = progress.sequence

    def _add(self, parts: FillParts) -> None:
        sections = self.sections

        def fetch(keys: list[bytes]) -> list[bytes]:
            return [sections[key] for key in keys]

        for events, _ in parts.read():
            keyed, number, keys = self.tiles.keyed(events.filter(pl.col(TIME) < parts.T))
            is_wanted = pl.Series([key in sections for key in keys], dtype=pl.Boolean)
            added = keyed.filter(is_wanted.gather(number))
            if added.height:
                sections |= self.tiles.update(added, parts.T, parts.upto, fetch)

    def _commit(self, keys: Sequence[bytes]) -> None:
        """Write some of them, with the records' other sections."""
        writer, view = self.writer, self.tiles.view
        places = keyspace.places(view.record_group, keys, writer.partition)
        records = dict(zip(places, writer.store.get(places), strict=True))
        changes: dict[bytes, bytes | None] = {
            record_key: with_section(
                records[record_key], view.tiles_fingerprint, self.sections[key]
            )
            or None
            for record_key, key in zip(places, keys, strict=True)
        }
        # another progress, so that a commit that has read the records of before is refused
        counts = Counter(writer.progress.counts) + Counter({"refills": 1})
        progress = msgspec.structs.replace(writer.progress, counts=dict(counts))
        writer.note(progress, {**changes, **self._incomplete()}, {**writer.unmoved(), **records})

    def _incomplete(self) -> Changes:
        """The view's state, where the archive lacks rows that were accepted."""
        writer, view = self.writer, self.tiles.view
        state = read_part(writer.store, view.tiles_fingerprint, writer.partition)
        if state is None or not self.past.is_missing:
            return {}
        lacking = out_of_reach(view, writer.progress.at)
        return {
            keyspace.stream_state(view.tiles_fingerprint, writer.partition): encoded(
                msgspec.structs.replace(state, complete_from=max(state.complete_from, lacking))
            )
        }
