"""Fill: the records of views that are new in a store, or no longer whole, are made of the past, so
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
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureView
from headwater.errors import FencedError, LostError
from headwater.events.change_images import folded
from headwater.events.read_events import IDENT, ROW, TIME
from headwater.ingestion.archive import Roller
from headwater.ingestion.change_state import ChangeState, entries_of, latest_of, tokens_of
from headwater.ingestion.judge_again import judge_again
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.past_events import (
    ROWS,
    Accepted,
    Logs,
    first_ids,
    history_before,
    images_before,
    overlap,
)
from headwater.state.record import KeyRecords, stored_sections, with_section
from headwater.state.view_state import (
    Filling,
    State,
    StreamStart,
    ViewTiles,
    encoded,
    out_of_reach,
    reach,
    read_part,
    schema_bytes,
)
from headwater.stores import Changes, keyspace
from headwater.stores.keyspace import has_moved
from headwater.stores.log_first import REBUILD

_LOG = logging.getLogger(__name__)
_EVENTS = 100_000  # with their images
_RECORDS = 10_000  # of one commit
_TURN = 0.005  # seconds for commits of the stream between two parts
_REWIND = (
    "Nothing was written. `headwater store rewind --dry-run` says what is lost, and without "
    "--dry-run it sets archive and store right"
)


def remedy(writer: PartitionWriter) -> str:
    """What to do about a store that has lost commits of a writer."""
    return _REWIND if writer.progress.sequence else REBUILD


def new_views(writer: PartitionWriter) -> list[ViewTiles]:
    """The views of a writer whose records are not whole, miss a commit, or are made of columns of
    other types.
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


class Fill:
    """The fill of those views of a writer whose records are not whole, as of `now`, microseconds.

    logs: what was kept of the stream. Where rules of the source have changed, it is judged again
    first.
    replayed: the stream is the history's own continuation, so that nothing can be in both.
    replaced: tiles fingerprints of generations that others take the place of. They are maintained
    where they are whole, and not filled.
    views: those to be filled; all others are whole. counts: how many events each was given, by
    tiles fingerprint.

    Raises:
        FencedError: another process writes to the partition.
        LostError: the archive holds commits that the store has not made.
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
        _check_whole(writer, logs.archive)
        self.T = max(now, writer.progress.at)
        # what came by the stream before is not in this one
        if not writer.progress.sequence and has_moved(writer.source):
            writer.note(msgspec.structs.replace(writer.progress, lost=self.T), {}, writer.unmoved())
        accepted = judge_again(writer, logs, self.T, first_ids(writer.store, writer.source))
        if accepted:
            _LOG.info(
                "source %s: %s rows that were refused or left out are accepted by its rules of "
                "today",
                writer.source.name,
                f"{accepted:,}",
            )
        missing = new_views(writer)
        _keep(writer, [tiles for tiles in writer.acceptance.tiles if tiles not in missing])
        # a partition without commits has nothing that could not be filled at once
        left = set(replaced) if writer.progress.sequence else set[str]()
        names = {tiles.view.tiles_fingerprint for tiles in missing}
        writer.hold_back(names & left)
        self.views = [tiles for tiles in missing if tiles.view.tiles_fingerprint not in left]
        if not self.views:
            return
        if not writer.progress.sequence:
            shared = overlap(writer.source, now)
            if shared is not None:
                writer.begin(*shared, now)
        _take_over(writer, self.views)
        self._past = _Past(writer, logs, _begun(writer, logs.archive, self.T), replayed)

    def run(self, alone: AbstractContextManager[object] | None = None) -> dict[str, int]:
        """Fill all views, one after the other; the counts.

        alone: held while the store is written. The stream may go on meanwhile, if its commits hold
        it too.
        """
        self.alone, self.turn = (nullcontext(), 0.0) if alone is None else (alone, _TURN)
        for tiles in self.views:
            self.counts[tiles.view.tiles_fingerprint] = self._fill(tiles)
        if self.views and self.writer.corrections is not None:
            self.writer.load()
        return self.counts

    def _fill(self, tiles: ViewTiles) -> int:
        """Make the records of a view, part by part, until what came meanwhile is one part at most:
        its commit makes the view whole.
        """
        writer, name, past = self.writer, tiles.view.tiles_fingerprint, self._past
        place = keyspace.stream_state(name, writer.partition)
        begun = State(tiles.view.name, schema_bytes(tiles.schema))
        parts, filling = self._begin(tiles, place, begun)
        while True:
            for events, also in islice(parts.read(), filling.done, None):
                with self.alone:
                    filling, records = _with_part(writer, tiles, events, filling)
                    state = msgspec.structs.replace(begun, filling=filling)
                    writer.store.commit(
                        {**records, **also, place: encoded(state)}, writer.unmoved()
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
                    whole = past.state(tiles, filling.T)
                    progress = msgspec.structs.replace(
                        writer.progress, views={**writer.progress.views, name: whole.coverage}
                    )
                    writer.note(progress, {**changes, place: encoded(whole)}, writer.unmoved())
                    writer.filled(name)
                    return filling.events

    def _begin(self, tiles: ViewTiles, place: bytes, begun: State) -> tuple[_FillParts, Filling]:
        """What is to be done: the parts that a fill that was stopped has left, or all of them, and
        then nothing is there of the view.
        """
        writer = self.writer
        state = read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition)
        filling = None if state is None else state.filling
        if filling is not None and filling.token == writer.filling:
            parts = self._past.parts(tiles, filling.T, filling.since, filling.upto)
            if filling.made_of == parts.digest:
                return parts, filling
        with self.alone:
            writer.store.commit({place: encoded(begun)}, writer.unmoved())
        _clear(writer, tiles.view, self.alone)
        with self.alone:
            parts = self._past.parts(
                tiles, max(self.T, writer.progress.at), -1, writer.progress.sequence
            )
        return parts, parts.begun(writer.filling)


def _check_whole(writer: PartitionWriter, archive: Roller) -> None:
    if archive.last > writer.progress.sequence:
        raise LostError(
            f"the archive in {archive.where} holds events up to commit {archive.last}, and the "
            f"online store has made {writer.progress.sequence}: a server without the last commits "
            "took over, an older copy was restored, or the archive is another store's (then give "
            f"another --data-dir). {remedy(writer)}"
        )


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


def _take_over(writer: PartitionWriter, fresh: Sequence[ViewTiles]) -> None:
    """Be the one process that fills views of the partition; what the process before has done stays,
    unless something was erased since.
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
    key = keyspace.begun(writer.source.name)
    stored = writer.store.get([key])[0]
    if (
        stored is None
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
        stored = writer.store.get([key])[0]
    return None if stored is None else msgspec.msgpack.decode(stored, type=StreamStart)


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
    state goes last, so that a process that is killed goes on.
    """
    place = keyspace.stream_state(view.tiles_fingerprint, writer.partition)
    if writer.store.get([place])[0] is not None:
        _clear(writer, view, alone)
        with alone:
            writer.store.commit({place: None}, writer.unmoved())


# ---------------------------------------------------------------- parts


@dataclass(frozen=True)
class _FillParts:
    """What commits after `since` and up to `upto` have accepted, as of T; of the first ones, with
    the history before them.

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
class _Past:
    """All that a writer's source had before its views are filled. begun: the history that the
    stream goes on from; None for none.
    """

    writer: PartitionWriter
    logs: Logs
    begun: StreamStart | None
    replayed: bool

    def parts(self, tiles: ViewTiles, T: int, since: int, upto: int) -> _FillParts:
        """What a view is filled with."""
        if since == upto:
            return _FillParts(T, since, upto, 0, b"", lambda: iter(()))
        corrections = self.writer.corrections
        if corrections is None:
            return self._events(tiles, T, since, upto)
        images = self._images(corrections, since, upto)
        past = ChangeHistory(corrections, images, T)
        digest = self._digest(tiles, T, since, upto, images)
        return _FillParts(
            T, since, upto, -(-len(past) // _EVENTS), digest, partial(past.parts, tiles, _EVENTS)
        )

    def _events(self, tiles: ViewTiles, T: int, since: int, upto: int) -> _FillParts:
        """The events of the history, then those of the archive."""
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
        return _FillParts(T, since, upto, count, self._digest(tiles, T, since, upto, history), read)

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
        ]
        digest = hashlib.sha256(msgspec.msgpack.encode(fixed))
        digest.update(read.hash_rows(seed=0).to_numpy().tobytes() if read.width else b"")
        return digest.digest()

    def state(self, tiles: ViewTiles, T: int) -> State:
        """The state of a view whose records are whole now."""
        until = 0 if self.begun is None else self.begun.until
        sequence = self.writer.progress.sequence
        doubtful = until and self.writer.source.id_field is None and not self.replayed
        lost = max(T if self._is_missing else 0, self.writer.progress.lost)
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
    def _is_missing(self) -> bool:
        """Whether more was accepted than the archive holds."""
        return self.writer.progress.accepted > self.logs.count(self.logs.archive)

    def _archived(self, since: int, upto: int) -> Iterator[tuple[pl.DataFrame, int]]:
        """The events of the archive, and how many of its rows they are among, some at a time."""
        first = first_ids(self.writer.store, self.writer.source) if since < 0 else None
        parts = self.logs.archive.lazy_parts(since, upto)
        for events, rows in Accepted(
            self.writer.acceptance, parts, first, distinct=since >= 0
        ).parts():
            yield events, rows.height

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
            tiles.view, None if furthest is None else T - furthest, self.begun.until
        )

    def _images_before(self, corrections: ChangeState) -> list[pl.DataFrame]:
        """Those of the history that were known when the stream began."""
        if self.begun is None or self.writer.source.history is None:
            return []
        images = images_before(corrections.acceptance, self.begun.until)
        return [
            images.select(pl.col(name).cast(dtype) for name, dtype in corrections.schema.items())
        ]


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
        """The events that hold, `most` in a part, and what the store is to keep of them and where
        they stand in a view.
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
