"""A commit: the writer that makes it, the pure function that builds it, and the state after it.

The writer of a source's stream, or of one partition of it: each commit is built from its state,
written, and becomes its next state.

A commit holds the records of views, the positions to read on from, the ids, the held events, the
accepted events for the archive, the rows that the source's filter leaves out, the dead letters with
their reasons, and the counts: all of it or nothing. It is made only if the store stands where this
writer left it.

One commit as a pure function: of a writer's state, some records and a time, the changes of the
store and the writer's next state.

Nothing here writes, reads a clock or changes its arguments. So the same arguments give the same
bytes, a commit that fails leaves the state as it was, and recovery is tested without a store.

The records of one commit, sorted by outcome: accepted, duplicate, held, filtered, rejected; and
held events that are due.

Which events and refused records of one commit came before: events by their ids, when they become
known; requests when they arrive.

What the writer of a partition has committed, as an immutable value: a commit makes the next one
of it.

Memory that commits free stays with the process, since the next commit needs as much.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater import clock
from headwater.definitions.checks import micros
from headwater.definitions.connectors import Pushed
from headwater.definitions.source import Source
from headwater.errors import FencedError, LostError
from headwater.events.read_events import BEFORE, IDENT, ROW, TIME
from headwater.ingestion.archive import FOLDERS, SEQUENCE, stamped
from headwater.ingestion.change_state import (
    ACCEPTED,
    DUPLICATE,
    FILTERED,
    HELD,
    REFUSED,
    ChangeState,
    ImageBatch,
    ImageMerge,
    StoredValues,
)
from headwater.ingestion.committed import Committed
from headwater.ingestion.ids import DedupIndex, IdBlocks
from headwater.ingestion.partition_count import count_key, incomplete_until
from headwater.ingestion.sources.stream_reader import Position, RecordBatch, joined
from headwater.ingestion.validate import (
    DEAD_SCHEMA,
    DUE,
    NONE,
    PAYLOAD,
    Acceptance,
    Arrived,
    HeldEvents,
    content_of,
    copies,
)
from headwater.state import record
from headwater.state.record import GroupedRecords
from headwater.state.view_state import Progress, ViewTiles, read_progress
from headwater.stores import Changes, OnlineStore, keyspace

_ATTEMPTS: Final = 20

_PAUSE: Final = 60.0  # seconds that a stream waits for a repair at most

_LOOK: Final = 0.05  # seconds between two looks whether it is done

_T = TypeVar("_T")

MoreChanges = Callable[[Committed], Changes]
"""What else a commit changes, by its result."""


class PartitionWriter:
    """Writes the part of a source's stream that one writer owns: all of it, or one partition.

    Args:
        acceptance: how records become events.
        store: the online store.
        partition: the partition's name; None for the whole stream.
        archive: whether accepted events are kept for training.
        filtered: whether rows that the source's filter leaves out are kept for `explain`.
        claim: see `load`.

    blocks: by space, how many bytes wait in the store to be moved into files.
    abandoned: set when the partition is another writer's. filling: what the store holds at
    `keyspace.filling` until others fill views.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        store: OnlineStore,
        partition: str | None = None,
        *,
        archive: bool = True,
        filtered: bool = True,
        claim: bool = True,
    ) -> None:
        self.acceptance, self.store, self.partition, self.archive = (
            acceptance,
            store,
            partition,
            archive,
        )
        self.rules = WriterRules(acceptance, partition, archive, filtered)
        self.source, self.name, self.progress_key = (
            self.rules.source,
            self.rules.name,
            self.rules.progress_key,
        )
        keep_freed_memory()
        self.abandoned, self.filling = threading.Event(), b""
        self._state: WriterState | None = None
        self.load(claim=claim)

    def load(self, *, claim: bool = True) -> None:
        """Read the store's state: at the start, and after another writer was here. `claim`: be the
        writer from here on.
        """
        if claim:
            self.store.mend(self.progress_key)
        self._state = WriterState.load(
            self.rules, self.store, None if self._state is None else self.progress
        )
        self.blocks = {
            space: sum(size for _, size in self.store.sizes(space + keyspace.name(self.name)))
            for space in FOLDERS
        }

    @property
    def state(self) -> WriterState:
        """The committed state."""
        assert self._state is not None
        return self._state

    @property
    def positions(self) -> Mapping[str, Position]:
        """By partition, from where to read on."""
        return self.state.positions

    @property
    def origins(self) -> Mapping[str, str]:
        """The origin of each partition's position, where known; see `RecordBatch.origins`."""
        return self.state.origins

    @property
    def progress(self) -> Progress:
        """How far the stream has been read."""
        return self.state.progress

    @property
    def corrections(self) -> ChangeState | None:
        """The events that can be retracted, of a source with `changes=`."""
        return self.state.changes

    def note(self, progress: Progress, changes: Changes, expect: Changes) -> None:
        """Commit progress and other changes without records, if the store also holds the expected
        values; raises as `apply` does.
        """
        if not progress.sequence:
            if changes:
                self.store.commit(changes, {self.progress_key: None, **expect})
            self._state = replace(self.state, progress=progress)  # the first commit stores it
            return
        encoded = msgspec.msgpack.encode(progress)
        self.store.commit(
            {**changes, self.progress_key: encoded},
            {**expect, self.progress_key: self.state.encoded},
        )
        self._state = replace(self.state, progress=progress, encoded=encoded)

    def hold_back(self, names: Collection[str]) -> None:
        """Have commits not maintain these views, by tiles fingerprint, and keep their sections of
        records, until they are to `maintain` each.
        """
        self._state = replace(
            self.state,
            views=self.state.views | set(names),
            unfilled=self.state.unfilled | set(names),
        )

    def maintain(self, name: str) -> None:
        """Have commits maintain a view, from the next one on."""
        self._state = replace(
            self.state,
            views=self.state.views | {name},
            unfilled=self.state.unfilled - {name},
        )

    def fill(self, changes: Changes) -> None:
        """Commit changes of records that are filled, and of what the store has of their events;
        raises as `apply` does.
        """
        self.store.commit(changes, self.unmoved())
        if self.corrections is not None:
            self._state = replace(self.state, changes=self.corrections.after(changes))

    def repair(self, step: Callable[[], _T]) -> _T:
        """Do a step of a repair, which commits what it makes of the state, next to the process that
        commits the stream. Where that was first, the step is done again while the stream waits.

        Raises:
            FencedError: the stream was committed in the middle of each attempt.
        """
        for left in reversed(range(_ATTEMPTS)):
            began = clock.stopwatch()
            try:
                done = step()
            except LostError:
                raise
            except FencedError as error:
                if not left:
                    raise FencedError(
                        f"the stream of source {self.source.name!r} is written too often for a "
                        "repair; stop `headwater ingest`, and run the same command again"
                    ) from error
                # the next attempt also reads the state, and the machine may be busier
                self._pause(min(1.0 + 4 * (clock.stopwatch() - began), _PAUSE))
            else:
                break
        if self.progress.paused:
            self._pause(0.0)
        return done

    def _pause(self, seconds: float) -> None:
        """Have the process that commits the stream wait so long at most, and read the state; with
        0.0, have it go on.
        """
        paused = clock.now_micros() + int(seconds * 1e6) if seconds else 0
        for left in reversed(range(_ATTEMPTS)):
            (encoded,) = self.store.get([self.progress_key])
            if encoded is None:
                break  # the stream was not committed yet
            progress = msgspec.structs.replace(read_progress(encoded), paused=paused)
            try:
                self.store.commit(
                    {self.progress_key: msgspec.msgpack.encode(progress)},
                    {self.progress_key: encoded},
                )
            except LostError:
                raise
            except FencedError:
                if not left:
                    raise
            else:
                break
        self.load()

    def wait_for_repair(self) -> None:
        """Wait while the stream is paused, and read the state that the repair has left.

        Raises:
            FencedError: the partition was given to another process, or ingestion is to end.
        """
        progress, since = self.progress, clock.stopwatch()
        # whatever the clock of the other machine says
        while progress.paused > clock.now_micros() and clock.stopwatch() - since < _PAUSE:
            clock.wait(_LOOK, self.abandoned)
            self.check_mine()
            before, progress = progress, read_progress(self.store.get([self.progress_key])[0])
            if progress != before:
                since = clock.stopwatch()
        if progress != self.progress:
            self.load()

    def retire(self, names: Collection[str]) -> None:
        """Have commits no longer maintain some views, by tiles fingerprint, and say so; their
        sections of records stay.

        Raises:
            FencedError: another writer has been here.
        """
        remaining = {
            name: coverage for name, coverage in self.progress.views.items() if name not in names
        }
        if remaining != self.progress.views:
            progress = msgspec.structs.replace(self.progress, views=remaining)
            self.note(progress, {}, self.unmoved())
        self._state = replace(self.state, unfilled=self.state.unfilled | set(names))

    def due(self) -> int | None:
        """When the first held event happens, microseconds; None where none is held."""
        return self.state.held.due

    def check_mine(self) -> None:
        """Raise FencedError where others are to go on."""
        if self.abandoned.is_set():
            raise FencedError(
                f"source {self.source.name!r}: partition {self.partition!r} was given to another "
                "process, or ingestion ends"
            )

    def unmoved(self) -> Changes:
        """The values that the store holds unless another process writes here, or fills the views.

        Raises:
            FencedError: the partition was given to another process, or ingestion is to end.
        """
        self.check_mine()
        filling = (
            {keyspace.filling(self.source.name, self.partition): self.filling}
            if self.filling
            else {}
        )
        return {self.progress_key: self.state.encoded, **filling}

    def begin(self, since: int, ids: pl.Series, now: int) -> None:
        """Before the first commit: read the stream from records received at `since` on, and treat
        events with these ids as duplicates.

        Of events that can be retracted, ids are not looked at.
        """
        changes = {
            self.progress_key: msgspec.msgpack.encode(
                msgspec.structs.replace(self.progress, sequence=1, at=now, since=since)
            )
        }
        if self.corrections is None:
            assert self.state.ids is not None
            block = self.state.ids.accept(ids, np.zeros(len(ids), np.int64), now).block
            changes |= {keyspace.block(keyspace.IDS, self.name, 0): block} if block else {}
        self.store.commit(changes, {self.progress_key: None})
        self.load()

    def apply(
        self,
        records: Sequence[RecordBatch],
        now: int,
        known: int | None = None,
        more: MoreChanges = lambda _: {},
    ) -> Committed:
        """Commit some records, the earlier first, and release the held events that are due at `now`
        (microseconds).

        known: with these, all that was received by then has been read, microseconds; None is `now`.
        more: changes of the same commit.

        Raises:
            FencedError: another writer has been here; nothing was written. Call `load`, and read on
                from `positions`.
            StoreError: nothing was written, and the same records can be committed again.
        """
        return self._commit(CommitBatch(records, known), now, more)

    def skip(self, skip: Skip, now: int) -> Committed:
        """Commit that a partition is read on behind lost records, and count these; raises as
        `apply` does.
        """
        return self._commit(CommitBatch(known=0, skip=skip), now)

    def adopt(self, adopt: Adopt, now: int) -> Committed:
        """Commit that the topic of a partition was created again; raises as `apply` does."""
        return self._commit(CommitBatch(known=0, adopt=adopt), now)

    def _commit(self, batch: CommitBatch, now: int, more: MoreChanges = lambda _: {}) -> Committed:
        since = clock.stopwatch()
        commit = build_commit(self.state, batch, now)
        self.store.commit({**commit.changes, **more(commit.result)}, commit.expect)
        self._state = commit.state
        for space in FOLDERS:
            self.blocks[space] += _block_size(commit, space)
        return replace(commit.result, seconds=clock.stopwatch() - since)


def _block_size(commit: Commit, space: bytes) -> int:
    """How many bytes of rows a commit adds to a space."""
    state = commit.state
    return len(
        commit.changes.get(keyspace.block(space, state.rules.name, state.progress.sequence)) or b""
    )


class Skip(NamedTuple):
    """Records of a partition that can no longer be read: how many at most, and from where to read
    on.
    """

    partition: str
    position: Position
    lost: int


class Adopt(NamedTuple):
    """The new origin of a partition's positions."""

    partition: str
    origin: str


@dataclass(frozen=True)
class CommitBatch:
    """The input of a commit: records, the earlier first; or a loss of records.

    known: with these records, all that was received by then has been read, microseconds; None is
    the time of the commit.
    skip: the position to read on from in a partition, since records before it are lost. adopt: what
    the positions of a partition count in from now on, since its topic was created again.
    """

    records: Sequence[RecordBatch] = ()
    known: int | None = None
    skip: Skip | None = None
    adopt: Adopt | None = None


@dataclass(frozen=True, eq=False)
class Commit:
    """The changes of the store, valid if the keys of `expect` hold these values; the state after
    them, and the outcomes.
    """

    changes: Changes
    expect: Changes
    state: WriterState
    result: Committed


def build_commit(state: WriterState, batch: CommitBatch, now: int) -> Commit:
    """The next commit of a writer, at `now`, microseconds.

    1. Release the held events that are due.
    2. Leave out records that do not follow the stored positions, and sort the others: rejected,
       filtered, duplicates, held, accepted.
    3. Add the accepted events to the records of views, and merge change images with the stored
       ones.
    4. Store with them: positions, ids, held events, rows for archive, filtered log and dead
       letters, and the progress.
    5. Expect that the store stands where `state` does.
    """
    # no two images of an event are known at one time
    later = 1 if state.changes is not None and batch.records else 0
    now = max(now, state.progress.at + later)
    records = SortedRecords(state, now)
    for poll in joined([records.unread(poll) for poll in batch.records]):
        records.add(poll)
    gap = _count_lost(state, records, batch)
    sequence = state.progress.sequence + 1
    changes: dict[bytes, bytes | None] = {}
    if state.changes is None:
        changes |= _records_of_views(state, records, sequence)
    else:
        changes |= _merged_images(state, records, sequence)
    known_by = max(now if batch.known is None else min(batch.known, now), state.progress.known)
    progress = _progress(records, known_by, gap)
    encoded = msgspec.msgpack.encode(progress)
    blocks, next_state = _blocks(records, progress)
    changes |= {**blocks, **_moved(records), state.rules.progress_key: encoded}
    next_state = replace(
        next_state,
        progress=progress,
        encoded=encoded,
        changes=None if state.changes is None else state.changes.after(changes),
    )
    rejected = pl.concat(records.rejected) if records.rejected else NONE
    result = Committed(
        sequence,
        now,
        dict(+records.counts),
        rejected,
        known_by,
        record_outcomes=records.outcomes,
        misplaced=frozenset(records.misplaced),
    )
    return Commit(changes, _expected(records), next_state, result)


def _count_lost(state: WriterState, records: SortedRecords, batch: CommitBatch) -> int:
    """Count records that can no longer be read, as events up to now; or later, if other records
    were early too. See `Progress.gap`.
    """
    count = 0
    if (
        batch.skip is not None
        and records.positions.get(batch.skip.partition) != batch.skip.position
    ):
        count = batch.skip.lost
        records.counts["lost"] += count
        records.positions[batch.skip.partition] = batch.skip.position
    if batch.adopt is not None:
        count = 1
        records.counts["recreated"] += count
        records.origins[batch.adopt.partition] = batch.adopt.origin
    early = state.rules.acceptance.future if state.progress.counts.get("held", 0) else 0
    return max(state.progress.gap, records.now + early) if count else state.progress.gap


def _records_of_views(
    state: WriterState, records: SortedRecords, sequence: int
) -> dict[bytes, bytes | None]:
    """The records of every view with the accepted events."""
    if not records.events:
        return {}
    events = pl.concat(records.events)
    _count_outside(state, records, events[TIME])
    grouped = GroupedRecords(state.stored.get, state.rules.partition)
    for tiles in _maintained(state):
        name, of_view = tiles.view.tiles_fingerprint, grouped.of_view(tiles.view)
        of_view.put(name, tiles.update(events, records.now, sequence, of_view.fetcher(name)))
    return grouped.changes(sequence, state.views)


def _maintained(state: WriterState) -> list[ViewTiles]:
    """The views whose records commits maintain."""
    return [
        tiles
        for tiles in state.rules.acceptance.tiles
        if tiles.view.tiles_fingerprint not in state.unfilled
    ]


def _merged_images(
    state: WriterState, records: SortedRecords, sequence: int
) -> dict[bytes, bytes | None]:
    """As `_records_of_views`, of change images, with these; rows, dead letters and counts of
    `records` are added to.
    """
    assert state.changes is not None
    if not records.images and not state.changes.is_due(records.now):
        return {}
    held = [int(rows[DUE].max()) for rows in records.to_hold]  # type: ignore[arg-type]
    until = max([records.now, records.held.latest, *held])
    came, tiles = state.changes.images_of(records.images), _maintained(state)
    merge = ImageMerge(state.changes, state.stored, came, tiles, records.now, until)
    merged = merge.settle(records.images, state.progress.sequence + 1)
    records.counts += merged.counts
    records.rows += [rows for rows in merged.rows if rows.height]
    records.dead_letters += merged.dead
    _count_outside(state, records, pl.concat([merged.added[TIME], merged.removed[TIME]]))
    records.follow(merged.added)
    return {**merged.changes, **merge.renewed(merged, sequence, state.views)}


def _count_outside(state: WriterState, records: SortedRecords, times: pl.Series) -> None:
    """Count the events that no window of any view reaches."""
    reached = min(
        int(tiles.records.stored.ladder.cuts(records.now)[-1])
        for tiles in state.rules.acceptance.tiles
    )
    records.counts["outside"] += int((times < reached).sum())


def _progress(records: SortedRecords, known_by: int, gap: int) -> Progress:
    old = records.state.progress
    return msgspec.structs.replace(
        old,
        sequence=old.sequence + 1,
        at=records.now,
        received=records.received,
        latest=records.latest,
        known=known_by,
        counts={name: n for name, n in (Counter(old.counts) + records.counts).items() if n},
        views=old.maintained(
            tiles.view.tiles_fingerprint for tiles in records.state.rules.acceptance.tiles
        ),
        lost=max(old.lost, gap),
        gap=gap,
        paused=0,
    )


def _blocks(
    records: SortedRecords, progress: Progress
) -> tuple[dict[bytes, bytes | None], WriterState]:
    """The blocks that this commit stores by key, and the state with its ids, held events and
    positions.
    """
    state, rules, now = records.state, records.state.rules, records.now
    block_key = partial(keyspace.block, source=rules.name, sequence=progress.sequence)
    held_changes, held = records.held.put(
        block_key(keyspace.HELD), pl.concat(records.to_hold) if records.to_hold else None
    )
    ids = b"".join(records.deduplication.blocks)
    id_changes, id_blocks = (
        ({}, state.id_blocks)
        if state.ids is None
        else state.id_blocks.put(block_key(keyspace.IDS), ids, now, state.stored.get)
    )
    changes = {**held_changes, **id_changes}
    if records.rows and rules.archive:
        changes[block_key(keyspace.ARCHIVE)] = record.frame_bytes(
            stamped(pl.concat(records.rows), progress.sequence, now)
        )
    if records.filtered:
        changes[block_key(keyspace.FILTERED)] = record.frame_bytes(
            stamped(pl.concat(records.filtered), progress.sequence, now)
        )
    if records.dead_letters:
        dead = stamped(pl.concat(records.dead_letters), progress.sequence, now)
        changes[block_key(keyspace.DEAD)] = record.frame_bytes(dead.select(*DEAD_SCHEMA, SEQUENCE))
    ids_after = records.deduplication.ids
    return changes, replace(
        state,
        ids=ids_after,
        id_blocks=id_blocks,
        held=held,
        positions=records.positions,
        origins=records.origins,
    )


def _moved(records: SortedRecords) -> dict[bytes, bytes | None]:
    """The positions and origins that change."""
    source, state = records.state.rules.source.name, records.state
    positions = records.positions.items() - state.positions.items()
    origins = records.origins.items() - state.origins.items()
    return {
        **{keyspace.offset(source, name): position for name, position in positions},
        **{keyspace.origin(source, name): origin.encode() for name, origin in origins},
    }


def _expected(records: SortedRecords) -> dict[bytes, bytes | None]:
    """The progress and the positions of the state, of every partition that has one or gets one; and
    how many partitions it knows of.
    """
    state = records.state
    source = state.rules.source.name
    positions = {
        keyspace.offset(source, name): state.positions.get(name) for name in records.positions
    }
    count = {count_key(source): state.partitions} if state.rules.promised else {}
    return {**positions, **count, state.rules.progress_key: state.encoded}


class SortedRecords:
    """The outcome of records in a commit at `now`, microseconds, after `state`.

    rows: of accepted events, for the archive; events: the same as views read them; images: those of
    a source with `changes=`.
    filtered: rows that the source's filter leaves out. rejected: every rejected record;
    dead_letters: those to store, and duplicates.
    to_hold: rows whose event time has not come. held: the held events without those released.
    positions, origins: see `WriterState`. misplaced: partitions of records that do not follow the
    position there; they are left out.
    outcomes: of the records of each batch, int8 (n). received, latest: see `Progress`.
    """

    def __init__(self, state: WriterState, now: int) -> None:
        self.state, self.now = state, now
        self.counts: Counter[str] = Counter()
        self.positions, self.origins = dict(state.positions), dict(state.origins)
        self.misplaced: set[str] = set()
        self.rows: list[pl.DataFrame] = []
        self.events: list[pl.DataFrame] = []
        self.images: list[ImageBatch] = []
        self.filtered: list[pl.DataFrame] = []
        self.rejected: list[pl.DataFrame] = []
        self.dead_letters: list[pl.DataFrame] = []
        self.to_hold: list[pl.DataFrame] = []
        self.outcomes: list[NDArray[np.int8]] = []
        self.deduplication = Deduplication(state.ids, now, self.counts)
        self.received, self.latest = state.progress.received, state.progress.latest
        released, self.held = state.held.release(now)
        for rows in released:
            self._release(rows)

    def unread(self, records: RecordBatch) -> RecordBatch:
        """The records that follow the positions of the state and of earlier calls; the partitions
        of others are `misplaced`.
        """
        misplaced = records.misplaced(self.positions)
        unread = records.unread(misplaced, self.state.progress.since)
        self.counts["read_before"] += len(records.offset) - len(unread.offset)
        self.misplaced |= misplaced
        moved = records.positions.keys() - misplaced
        self.positions |= {name: records.positions[name][1] for name in moved}
        self.origins |= {name: origin for name, origin in records.origins.items() if name in moved}
        return unread

    def add(self, records: RecordBatch) -> None:
        """Validate and sort more records."""
        arrived = self.state.rules.acceptance(records)
        outcomes = np.full(len(records.offset), REFUSED, np.int8)
        outcomes[arrived.kept] = FILTERED
        outcomes[arrived.refused] = REFUSED
        self.outcomes.append(outcomes)
        self.counts["records"] += len(records.offset)
        self.counts.update(arrived.unexpected or {})
        if len(records.at):
            self.received = max(self.received, int(records.at.max()))
        self._leave_out(records, arrived)
        if self.state.changes is None:
            outcomes[arrived.kept[arrived.events[ROW].to_numpy()]] = DUPLICATE
            events, duplicates = self.deduplication.requests(records, arrived)
            self.dead_letters += duplicates
            events = self._hold(records, arrived, events, events[TIME] >= self.now, outcomes)
            events = self._accept(records, arrived, events, "accepted")
            outcomes[arrived.kept[events[ROW].to_numpy()]] = ACCEPTED
        else:
            later = (arrived.events[TIME] >= self.now).fill_null(value=False) & ~arrived.events[
                BEFORE
            ]
            events = self._hold(records, arrived, arrived.events, later, outcomes)
            self.images.append(ImageBatch(records, replace(arrived, events=events), outcomes))

    def follow(self, events: pl.DataFrame) -> None:
        """Count the events that are late, and note the latest."""
        self.counts["late"] += int((events[TIME] < self.latest).sum())
        self.latest = max(self.latest, int(events[TIME].max() or 0))  # type: ignore[arg-type]

    def _accept(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame, outcome: str
    ) -> pl.DataFrame:
        """Accept the events of this commit that are no duplicates."""
        events, duplicates = self.deduplication.events(records, arrived, events)
        self.dead_letters += duplicates
        if events.height:
            self.counts[outcome] += events.height
            self.follow(events)
            self.rows.append(
                arrived.rows if events.height == arrived.rows.height else arrived.rows[events[ROW]]
            )
            self.events.append(events)
        return events

    def _release(self, held: pl.DataFrame) -> None:
        """Accept held rows that are due, by the rules of today; they are known now, so their ids
        are looked up and kept now.
        """
        records, arrived = self.state.rules.acceptance.released(held)
        outcomes = np.zeros(held.height, np.int8)
        self._leave_out(records, arrived)
        if self.state.changes is None:
            events = self._hold(
                records, arrived, arrived.events, arrived.events[TIME] >= self.now, outcomes
            )
            self._accept(records, arrived, events, "released")
        else:
            self.images.append(ImageBatch(records, arrived, outcomes, "released"))

    def _hold(
        self,
        records: RecordBatch,
        arrived: Arrived,
        events: pl.DataFrame,
        later: pl.Series,
        outcomes: NDArray[np.int8],
    ) -> pl.DataFrame:
        """The events without the later ones, which are held until their time."""
        if not later.any():
            return events
        rows = events[ROW].filter(later)
        held_numbers = arrived.kept[rows.to_numpy()]
        outcomes[held_numbers] = HELD
        payloads = (
            [records.payloads[n] for n in held_numbers.tolist()]
            if len(records.payloads)
            else [None] * len(held_numbers)
        )
        times = events[TIME].filter(later).alias(DUE)
        self.to_hold.append(
            arrived.rows[rows].with_columns(times, pl.Series(PAYLOAD, payloads, pl.Binary))
        )
        self.counts["held"] += len(held_numbers)
        return events.filter(~later)

    def _leave_out(self, records: RecordBatch, arrived: Arrived) -> None:
        """Keep the rows that the source's filter leaves out, and the rejected records."""
        self.counts["filtered"] += len(arrived.filtered)
        if self.state.rules.filtered and len(arrived.filtered):
            self.filtered.append(arrived.rows[arrived.filtered])
        if not arrived.dead.height:
            return
        self.rejected.append(arrived.dead)
        dead = self.deduplication.refused(records, arrived)
        if dead.height:
            self.counts["dead"] += dead.height
            self.dead_letters.append(dead)


@dataclass
class Deduplication:
    """The duplicates of one commit at `now`, microseconds.

    ids: those accepted so far, in earlier commits and in this one; None where events have no ids.
    counts: of duplicates, conflicts, and records refused again. blocks: the ids that the commit is
    to store.
    """

    ids: DedupIndex | None
    now: int
    counts: Counter[str]
    blocks: list[bytes] = field(default_factory=list)

    def events(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The events of this commit that are no duplicates; and the duplicates as refused rows."""
        return self._first(
            records, arrived, events, events[IDENT] if IDENT in events.columns else None
        )

    def requests(
        self, records: RecordBatch, arrived: Arrived
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The events without an id whose request arrives for the first time; and the others as
        refused rows.
        """
        events = arrived.events
        if IDENT in events.columns or records.ids is None:
            return events, []
        return self._first(
            records, arrived, events, records.ids.gather(arrived.kept[events[ROW].to_numpy()])
        )

    def _first(
        self, records: RecordBatch, arrived: Arrived, events: pl.DataFrame, idents: pl.Series | None
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        ids = self.ids
        if ids is None or idents is None or not events.height:
            return events, []
        has_id = idents.is_not_null().to_numpy()
        checked = ids.accept(idents.filter(has_id), content_of(events)[has_id], self.now)
        self.ids = checked.index
        accepted = ~has_id
        accepted[has_id] = checked.accepted
        self.blocks.append(checked.block)
        self.counts["copies"] += events.height - int(accepted.sum())
        self.counts["conflicts"] += checked.conflicts
        if accepted.all():
            return events, []
        return events.filter(accepted), [
            copies(records, arrived, events[ROW].filter(~accepted).to_list())
        ]

    def refused(self, records: RecordBatch, arrived: Arrived) -> pl.DataFrame:
        """The refused rows to keep: a record that may be sent again is kept once."""
        dead = arrived.dead
        if not dead.height or records.ids is None or self.ids is None:
            return dead
        idents = records.ids.gather(arrived.refused).fill_null("")
        names = [
            f"refused\0{key}\0{sha256(payload or b'').hexdigest()}"
            for key, payload in zip(idents, dead["payload"], strict=True)
        ]
        checked = self.ids.accept(
            pl.Series(names, dtype=pl.String), np.zeros(len(names), np.int64), self.now
        )
        self.ids = checked.index
        self.blocks.append(checked.block)
        self.counts["refused_again"] += len(names) - int(checked.accepted.sum())
        return dead.filter(checked.accepted)


@dataclass(frozen=True)
class WriterRules:
    """The constants of a running writer.

    acceptance: how records become events. partition: the partition's name; None for the whole
    stream.
    archive: whether accepted events are kept for training. filtered: whether rows that the source's
    filter leaves out are kept.
    """

    acceptance: Acceptance
    partition: str | None = None
    archive: bool = True
    filtered: bool = True

    @property
    def source(self) -> Source:
        """The source whose stream is written."""
        return self.acceptance.source

    @property
    def name(self) -> str:
        """The writer's name in keys of the store."""
        return (
            self.source.name if self.partition is None else f"{self.source.name}\0{self.partition}"
        )

    @property
    def promised(self) -> bool:
        """Whether ids are exact only if equal ones share a partition, as `writers="partition"`
        promises.
        """
        return self.partition is not None and self.source.id_field is not None

    @property
    def progress_key(self) -> bytes:
        """The key of the progress."""
        return keyspace.PROGRESS + keyspace.name(self.name)


@dataclass(frozen=True, eq=False)
class WriterState:
    """The state after a commit.

    stored: the values that the store holds then, such as the records of views. progress: how far
    the stream has been read; encoded, as it stands in the store, None where nothing does.
    positions: by partition, from where to read on. origins: by partition, what its position counts
    in; see `RecordBatch.origins`.
    ids: of accepted events, None where events have none; id_blocks: where these are stored. held:
    events of the future.
    changes: the events that can be retracted, of a source with `changes=`.
    partitions: the encoded `PartitionCount`, as the store holds it, where each partition has a
    writer although events have ids.
    views: the tiles fingerprints of all streaming views that the store has a state of; the sections
    of others are dropped from records.
    unfilled: those of views whose records commits do not maintain.
    """

    rules: WriterRules
    stored: StoredValues
    progress: Progress
    encoded: bytes | None
    positions: Mapping[str, Position]
    origins: Mapping[str, str]
    ids: DedupIndex | None
    id_blocks: IdBlocks
    held: HeldEvents
    changes: ChangeState | None
    partitions: bytes | None = None
    views: frozenset[str] = frozenset()
    unfilled: frozenset[str] = frozenset()

    @classmethod
    def load(
        cls, rules: WriterRules, stored: StoredValues, noted: Progress | None = None
    ) -> WriterState:
        """As the store has it; noted: the progress where the store has none yet."""
        source, writer = rules.source, keyspace.name(rules.name)
        encoded = stored.get([rules.progress_key])[0]
        progress = noted if encoded is None and noted is not None else read_progress(encoded)
        (partitions,) = stored.get([count_key(source.name)]) if rules.promised else (None,)
        if partitions is not None:
            growth = incomplete_until(
                partitions, micros(source.id_horizon, "id_horizon") + rules.acceptance.future
            )
            progress = msgspec.structs.replace(progress, growth=growth)
        positions = _positions(rules, stored)
        origins = stored.get([keyspace.origin(source.name, name) for name in positions])
        changes = (
            None
            if source.changes is None
            else ChangeState.load(rules.acceptance, stored, rules.name, rules.partition)
        )
        horizon = micros(source.id_horizon, "id_horizon")
        ids, id_blocks = None, IdBlocks(horizon)
        if (source.id_field is not None and changes is None) or isinstance(source.stream, Pushed):
            size = sum(size for _, size in stored.sizes(keyspace.IDS + writer))
            ids = DedupIndex.for_blocks(horizon, size, progress.at)
            for key, value in stored.scan(keyspace.IDS + writer):
                ids, id_blocks = ids.load(value, progress.at), id_blocks.load(key, value)
        return cls(
            rules,
            stored,
            progress,
            encoded,
            positions,
            {
                name: origin.decode()
                for name, origin in zip(positions, origins, strict=True)
                if origin is not None
            },
            ids,
            id_blocks,
            HeldEvents.load(dict(stored.scan(keyspace.HELD + writer)), progress.at),
            changes,
            partitions,
            frozenset(key[1:9].hex() for key, _ in stored.scan(keyspace.STREAM_STATE)),
        )


def _positions(rules: WriterRules, stored: StoredValues) -> dict[str, Position]:
    """By partition, from where to read on: of the writer's own, or of all."""
    if rules.partition is not None:
        (position,) = stored.get([keyspace.offset(rules.source.name, rules.partition)])
        return {} if position is None else {rules.partition: position}
    begin = keyspace.offset(rules.source.name, "")
    return {key[len(begin) :].decode(): position for key, position in stored.scan(begin)}


_LARGEST = (32 << 20) - (16 << 10)  # bytes: a little below glibc's DEFAULT_MMAP_THRESHOLD_MAX


def keep_freed_memory() -> None:
    """Let glibc keep up to 64 MB of freed memory, in this process from here on; elsewhere, this
    does nothing.

    glibc returns the end of the heap to the system when more is free there than twice the largest
    block that was ever mapped and freed (mallopt(3), M_MMAP_THRESHOLD). If a process frees no block
    that is larger than the arrays of a small commit, each commit returns its memory, and the next
    one gets it back page by page, with a page fault and a page of zeros each. So a block of the
    largest size that counts is mapped and freed; it is never touched. MALLOC_TRIM_THRESHOLD_ and
    the like are respected where they are set.
    """
    np.empty(_LARGEST, np.uint8)
