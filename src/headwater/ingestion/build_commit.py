"""One commit as a pure function: of a writer's state, some records and a time, the changes of the
store and the writer's next state.

Nothing here writes, reads a clock or changes its arguments. So the same arguments give the same
bytes, a commit that fails leaves the state as it was, and recovery is tested without a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import msgspec
import polars as pl

from headwater.events.read_events import TIME
from headwater.ingestion.archive import SEQUENCE, stamped
from headwater.ingestion.change_state import ImageMerge
from headwater.ingestion.committed import Committed
from headwater.ingestion.held_events import DUE
from headwater.ingestion.partition_count import count_key
from headwater.ingestion.sort_records import SortedRecords
from headwater.ingestion.sources.stream_reader import Position, RecordBatch, joined
from headwater.ingestion.validate import DEAD_SCHEMA, NONE
from headwater.ingestion.writer_state import WriterState
from headwater.state import record
from headwater.state.record import GroupedRecords
from headwater.state.view_state import Progress
from headwater.stores import Changes, keyspace


class Skip(NamedTuple):
    """Records of a partition that can no longer be read: how many at most, and from where to read
    on.
    """

    partition: str
    position: Position
    lost: int


class Adopt(NamedTuple):
    """What the positions of a partition count in from now on."""

    partition: str
    origin: str


@dataclass(frozen=True)
class CommitBatch:
    """What a commit takes in: records, the earlier first; or that records are lost.

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
    them, and what they are.
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
    gap = _lose(state, records, batch)
    sequence = state.progress.sequence + 1
    changes: dict[bytes, bytes | None] = {}
    if state.changes is None:
        changes |= _records_of_views(state, records, sequence)
    else:
        changes |= _merged_images(state, records, sequence)
    known = max(now if batch.known is None else min(batch.known, now), state.progress.known)
    progress = _progress(records, known, gap)
    encoded = msgspec.msgpack.encode(progress)
    blocks, next_state = _blocks(records, progress)
    changes |= {**blocks, **_moved(records), state.rules.place: encoded}
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
        known,
        record_outcomes=records.outcomes,
        misplaced=frozenset(records.misplaced),
    )
    return Commit(changes, _expected(records), next_state, result)


def _lose(state: WriterState, records: SortedRecords, batch: CommitBatch) -> int:
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
    for tiles in state.rules.acceptance.tiles:
        name, of_view = tiles.view.tiles_fingerprint, grouped.of(tiles.view)
        if name not in state.unfilled:
            of_view.put(name, tiles.update(events, records.now, sequence, of_view.fetcher(name)))
    return grouped.changes(sequence, state.views)


def _merged_images(
    state: WriterState, records: SortedRecords, sequence: int
) -> dict[bytes, bytes | None]:
    """As `_records_of_views`, of change images, with these; rows, dead letters and counts of
    `records` are added to.
    """
    assert state.changes is not None
    if not records.images and not state.changes.is_due(records.now):
        return {}
    until = max([records.held.latest, *(int(rows[DUE].max()) for rows in records.to_hold)])  # type: ignore[arg-type]
    merge = ImageMerge(state.changes, state.stored, records.images, records.now, until)
    merged = merge.settle(state.progress.sequence + 1)
    records.counts += merged.counts
    records.rows += [rows for rows in merged.rows if rows.height]
    records.dead_letters += merged.dead
    _count_outside(state, records, pl.concat([merged.come[TIME], merged.gone[TIME]]))
    records.follow(merged.come)
    return {**merged.changes, **merge.renewed(merged, sequence, state.views)}


def _count_outside(state: WriterState, records: SortedRecords, times: pl.Series) -> None:
    """Count the events that no window of any view reaches."""
    reached = min(
        int(tiles.records.stored.ladder.cuts(records.now)[-1])
        for tiles in state.rules.acceptance.tiles
    )
    records.counts["outside"] += int((times < reached).sum())


def _progress(records: SortedRecords, known: int, gap: int) -> Progress:
    old = records.state.progress
    return msgspec.structs.replace(
        old,
        sequence=old.sequence + 1,
        at=records.now,
        received=records.received,
        latest=records.latest,
        known=known,
        counts={name: n for name, n in (Counter(old.counts) + records.counts).items() if n},
        views=old.maintained(
            tiles.view.tiles_fingerprint for tiles in records.state.rules.acceptance.tiles
        ),
        lost=max(old.lost, gap),
        gap=gap,
    )


def _blocks(
    records: SortedRecords, progress: Progress
) -> tuple[dict[bytes, bytes | None], WriterState]:
    """The blocks that this commit stores by key, and the state with its ids, held events and
    positions.
    """
    state, rules, now = records.state, records.state.rules, records.now
    own = partial(keyspace.block, source=rules.name, sequence=progress.sequence)
    held_changes, held = records.held.put(
        own(keyspace.HELD), pl.concat(records.to_hold) if records.to_hold else None
    )
    ids = b"".join(records.deduplication.blocks)
    id_changes, id_blocks = state.id_blocks.put(own(keyspace.IDS), ids, now, state.stored.get)
    changes = {**held_changes, **id_changes}
    if records.rows and rules.archive:
        changes[own(keyspace.ARCHIVE)] = record.frame_bytes(
            stamped(pl.concat(records.rows), progress.sequence, now)
        )
    if records.filtered:
        changes[own(keyspace.FILTERED)] = record.frame_bytes(
            stamped(pl.concat(records.filtered), progress.sequence, now)
        )
    if records.dead_letters:
        dead = stamped(pl.concat(records.dead_letters), progress.sequence, now)
        changes[own(keyspace.DEAD)] = record.frame_bytes(dead.select(*DEAD_SCHEMA, SEQUENCE))
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
    return {**positions, **count, state.rules.place: state.encoded}
