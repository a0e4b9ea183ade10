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
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice

import msgspec
import polars as pl

from headwater import clock
from headwater.definitions.feature_view import FeatureView
from headwater.errors import FencedError, LostError
from headwater.events.read_events import TIME
from headwater.ingestion.archive import Roller
from headwater.ingestion.change_state import ChangeState, ImageMerge
from headwater.ingestion.commit import PartitionWriter
from headwater.ingestion.judge_again import judge_again
from headwater.ingestion.past_events import FillParts, Logs, Past, overlap, stream_start
from headwater.ingestion.tombstones import read_erased
from headwater.ingestion.validate import (
    rules_of,
)
from headwater.state.record import KeyRecords, stored_sections, with_section
from headwater.state.view_state import (
    Filling,
    State,
    StreamStart,
    ViewTiles,
    encoded,
    read_part,
    schema_bytes,
)
from headwater.stores import Changes, keyspace
from headwater.stores.keyspace import has_moved
from headwater.stores.log_first import REBUILD

_LOG = logging.getLogger(__name__)

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
    """Whether events can be added to the records of a view, although these lack some. Where events
    can be taken back, it is not certain which ones they hold.
    """
    state = read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition)
    return (
        writer.corrections is None
        and state is not None
        and state.seeded is not None
        and tiles.reads_alike(state.dtypes)
    )


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
    accepted = apply_rules(writer, logs, T)
    if accepted:
        _LOG.info(
            "source %s: %s rows that were refused or left out are accepted by its rules of today",
            writer.source.name,
            f"{accepted:,}",
        )


def apply_rules(writer: PartitionWriter, logs: Logs, T: int) -> int:
    """Have a writer go on by the rules of its definitions; returns how many rows that were not
    accepted before are in the archive now.
    """
    rules, progress = rules_of(writer.acceptance), writer.progress
    if progress.rules == rules:
        return 0
    if not progress.sequence:
        writer.note(msgspec.structs.replace(progress, rules=rules), {}, writer.unmoved())
        return 0
    return judge_again(writer, logs, T)


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
        kept = [tiles for tiles in writer.acceptance.tiles if tiles not in missing]
        followed = [tiles for tiles in self.views if _is_followed(writer, tiles)]
        _keep(writer, [*kept, *followed], read)
        writer.hold_back(
            [tiles.view.tiles_fingerprint for tiles in read if not _can_go_on(writer, tiles)]
        )
        # what is committed meanwhile is found in the archive; images in the store, where some view
        # is whole: otherwise those of the archive may be others, and decide what is a copy
        self.goes_on = (
            writer.archive
            if writer.corrections is None
            else len(missing) < len(writer.acceptance.tiles)
        )
        if not self.views:
            return
        if not writer.progress.sequence:
            shared = overlap(writer.source, now, read_erased(writer.store, writer.source))
            if shared is not None:
                writer.begin(*shared, now)
        _take_over(writer, self.views, followed)
        self._past = Past(writer, logs, _begun(writer, logs.archive, self.T), replayed)

    def run(self, alone: AbstractContextManager[object] | None = None) -> dict[str, int]:
        """Fill all views, one after the other; the counts.

        alone: held while the store is written. The stream may go on meanwhile, if its commits hold
        it too.
        """
        self.alone, self.turn = (nullcontext(), 0.0) if alone is None else (alone, _TURN)
        for tiles in self.views:
            self.counts[tiles.view.tiles_fingerprint] = self._fill(tiles)
        return self.counts

    def begin_next_to_stream(self) -> None:
        """Before the stream is committed: have commits keep the sections of the views."""
        writer, names = self.writer, [tiles.view.tiles_fingerprint for tiles in self.views]
        states = {name: read_part(writer.store, name, writer.partition) for name in names}
        followed = {name for name, state in states.items() if state is not None and state.coverage}
        writer.hold_back(states.keys() - followed)
        for name in followed:
            writer.maintain(name)

    def _fill(self, tiles: ViewTiles) -> int:
        """Make the records of a view, part by part, until the events that arrived meanwhile are one
        part at most: its commit makes the view whole.

        Of change images, commits of the stream maintain the view meanwhile, so that none are left
        after the parts. An image of the past counts here only if no later one has come.
        """
        writer, name, past = self.writer, tiles.view.tiles_fingerprint, self._past
        state_key = keyspace.stream_state(name, writer.partition)
        parts, state, filling = self._begin(tiles, state_key)
        while True:
            for part in islice(parts.read(), filling.done, None):
                with self.alone:
                    filling, records = _with_part(writer, tiles, part, filling)
                    begun = msgspec.structs.replace(state, filling=filling)
                    writer.fill({**records, state_key: encoded(begun)})
                clock.wait(self.turn)
            if writer.corrections is not None:
                filling = self._add_stored(tiles, filling)
            with self.alone:
                parts = past.parts(
                    tiles,
                    max(filling.T, writer.progress.at),
                    filling.upto if writer.corrections is None else writer.progress.sequence,
                    writer.progress.sequence,
                )
                filling = parts.begun(writer.filling, filling.events)
                if parts.count <= 1:
                    changes: dict[bytes, bytes | None] = {}
                    for part in parts.read():
                        filling, records = _with_part(writer, tiles, part, filling)
                        changes |= records
                    self._make_whole(tiles, filling.T, filling.events, changes)
                    return filling.events

    def _add_stored(self, tiles: ViewTiles, filling: Filling) -> Filling:
        """Add the events of stored images that the archive lacks."""
        writer, corrections = self.writer, self.writer.corrections
        if corrections is None or not self._past.is_missing:
            return filling
        tokens = [key[len(corrections.image) :] for key, _ in writer.store.sizes(corrections.image)]
        for first in range(0, len(tokens), self._past.logs.part):
            with self.alone:
                filling, records = _with_images(
                    writer,
                    corrections,
                    tiles,
                    corrections.none,
                    filling,
                    tokens[first : first + self._past.logs.part],
                )
                writer.fill(records)
            clock.wait(self.turn)
        return filling

    def _make_whole(self, tiles: ViewTiles, T: int, events: int, changes: Changes) -> None:
        """Commit that a view's records are whole, with the last changes of them."""
        writer, name = self.writer, tiles.view.tiles_fingerprint
        whole = msgspec.structs.replace(self._past.state(tiles, T), filled=events)
        state_key = keyspace.stream_state(name, writer.partition)
        progress = msgspec.structs.replace(
            writer.progress, views={**writer.progress.views, name: whole.coverage}
        )
        writer.note(progress, {**changes, state_key: encoded(whole)}, writer.unmoved())
        writer.maintain(name)

    def _begin(self, tiles: ViewTiles, state_key: bytes) -> tuple[FillParts, State, Filling]:
        """The work to do: the remaining parts of a stopped fill; or all parts, after the view's
        records are removed.
        """
        writer, name, past = self.writer, tiles.view.tiles_fingerprint, self._past
        state = read_part(writer.store, name, writer.partition)
        filling = None if state is None else state.filling
        if state is not None and filling is not None and filling.token == writer.filling:
            parts = past.parts(tiles, filling.T, filling.since, filling.upto)
            if filling.made_of == parts.digest:
                return parts, state, filling
        state = State(tiles.view.name, schema_bytes(tiles.schema))
        with self.alone:
            writer.fill({state_key: encoded(state)})
            writer.hold_back([name])
        _clear(writer, tiles.view, self.alone)
        with self.alone:
            T, upto = max(self.T, writer.progress.at), writer.progress.sequence
            if writer.corrections is not None:
                state = self._follow(tiles, state_key, state)
        parts = past.parts(tiles, T, -1, upto)
        return parts, state, parts.begun(writer.filling)

    def _follow(self, tiles: ViewTiles, state_key: bytes, state: State) -> State:
        """Have commits maintain a view that holds nothing yet, and say so."""
        writer, name = self.writer, tiles.view.tiles_fingerprint
        coverage = f"{writer.progress.sequence}-{secrets.token_hex(4)}"
        state = msgspec.structs.replace(state, coverage=coverage)
        views = {**writer.progress.views, name: coverage}
        progress = msgspec.structs.replace(writer.progress, views=views)
        writer.note(progress, {state_key: encoded(state)}, writer.unmoved())
        writer.maintain(name)
        return state


def _is_followed(writer: PartitionWriter, tiles: ViewTiles) -> bool:
    """Whether a fill of change images may go on: every commit since it began has maintained the
    view.
    """
    state = read_part(writer.store, tiles.view.tiles_fingerprint, writer.partition)
    if state is None or state.seeded is not None or not state.coverage:
        return False
    views, sequence = writer.progress.views, writer.progress.sequence
    return not sequence or views.get(tiles.view.tiles_fingerprint) == state.coverage


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


def _take_over(
    writer: PartitionWriter, fresh: Sequence[ViewTiles], followed: Sequence[ViewTiles]
) -> None:
    """Become the one process that fills views of the partition; the work of the process before
    stays, unless something was erased since, or it is of change images and is not `followed`.
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
        goes_on = writer.corrections is None or tiles in followed
        if goes_on and state and state.filling is not None and state.filling.token == before:
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
    """How far a fill is with one more part, and the changes of the store."""
    if writer.corrections is not None:
        return _with_images(writer, writer.corrections, tiles, events, filling)
    added = events.filter(pl.col(TIME) < filling.T)
    return msgspec.structs.replace(
        filling, done=filling.done + 1, events=filling.events + added.height
    ), _added(writer, tiles, added, filling.T)


def _with_images(
    writer: PartitionWriter,
    corrections: ChangeState,
    tiles: ViewTiles,
    images: pl.DataFrame,
    filling: Filling,
    tokens: Sequence[bytes] = (),
) -> tuple[Filling, Changes]:
    """As `_with_part`, of change images: those of some events, which are merged with what the store
    has of these and of other events.
    """
    view, sequence, T = tiles.view, writer.progress.sequence, max(filling.T, writer.progress.at)
    merge = ImageMerge(corrections, writer.store, images, [tiles], T, 0, tokens)
    merged = merge.fill(secrets.randbits(63))
    added = merged.added.filter(pl.col(TIME) < filling.T)
    filling = msgspec.structs.replace(
        filling, done=filling.done + 1, events=filling.events + added.height
    )
    if not added.height and not merged.removed.height:
        return filling, merged.changes
    records = KeyRecords(writer.store.get, view.record_group, writer.partition)
    fetch = records.fetcher(view.tiles_fingerprint)
    standing = partial(merge.standing, tiles)
    records.put(
        view.tiles_fingerprint, tiles.renew(added, merged.removed, T, sequence, fetch, standing)
    )
    return filling, {**merged.changes, **records.changes(sequence)}


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
