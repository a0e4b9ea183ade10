"""What one writer owns of a source's stream, and how records are added to its views: one commit at a time, exactly once.

A commit holds the tiles, the offsets to read on from, the ids, the events held for their time, the accepted events for the archive, the
rows that the source's filter leaves out, the refused records with their reasons, and what was counted; all of it or nothing. It is made
only if the store stands where this writer left it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater import clock
from headwater.definitions.durations import micros
from headwater.definitions.streams import Pushed
from headwater.errors import FencedError
from headwater.events.read_events import BEFORE
from headwater.events.selection import ROW, TIME
from headwater.ingestion.archive import FOLDERS, KNOWN_AT, stamped
from headwater.ingestion.change_state import ChangeState, ImageBatch, ImageMerge, of_rows
from headwater.ingestion.committed import Committed
from headwater.ingestion.dedup_blocks import IdBlocks
from headwater.ingestion.dedup_index import DedupIndex
from headwater.ingestion.deduplicate import Deduplication
from headwater.ingestion.held_events import DUE, HeldEvents
from headwater.ingestion.record_outcomes import ACCEPTED, COPY, FILTERED, HELD, REFUSED
from headwater.ingestion.sources.stream_reader import RecordBatch, joined
from headwater.ingestion.validate import DEAD_SCHEMA, NONE, UTC, Acceptance, Arrived
from headwater.online_stores import Changes, OnlineStore, keyspace
from headwater.state import frame_codec
from headwater.state.view_state import Progress, read_progress
from headwater.state.view_tiles import RecordFetcher

Also = Callable[[Sequence[NDArray[np.int8]]], Changes]  # what became of each record -> what else the commit is to change


@dataclass
class _CommittedState:
    """What a writer knows of what it has committed."""

    progress: Progress
    ends: dict[str, int]
    origins: dict[str, str]  # by partition, what its offset counts in, where that is known
    ids: DedupIndex | None
    blocks: IdBlocks
    held: HeldEvents
    encoded_progress: bytes | None  # the progress, as it stands in the store


class PartitionWriter:
    """The part of a source's stream that one writer owns: all of it, or one partition in a store of several writers.

    Args:
        acceptance: how records become events.
        store: the online store.
        partition: the partition's name; None for the whole stream.
        archive: whether accepted events are kept for training.
        filtered: whether rows that the source's filter leaves out are kept for `explain`.

    blocks: by space, how many bytes wait in the store to be moved into files.
    abandoned: set when the partition is another writer's. filling: what the store holds at `spaces.filling` until others fill views.
    """

    def __init__(
        self, acceptance: Acceptance, store: OnlineStore, partition: str | None = None, *, archive: bool = True, filtered: bool = True
    ) -> None:
        self.acceptance, self.store, self.partition, self.archive, self.filtered = acceptance, store, partition, archive, filtered
        self.source = acceptance.source
        self.name = self.source.name if partition is None else f"{self.source.name}\0{partition}"
        self.place = keyspace.PROGRESS + keyspace.name(self.name)
        self.corrections = None if self.source.changes is None else ChangeState(acceptance, store, self.name, partition)
        self.abandoned, self.filling = threading.Event(), b""
        self.load()

    def load(self, *, own: bool = True) -> None:
        """Read where the store stands: at the start, and after another writer was here; `own` makes the partition this writer's."""
        if own and self.partition is not None:
            self.store.mend(keyspace.offset(self.source.name, self.partition))
        stored = self.store.get([self.place])[0]
        progress = read_progress(stored) if stored or not hasattr(self, "_memory") else self.progress
        begin = keyspace.offset(self.source.name, "")
        offsets = ((key[len(begin) :].decode(), value) for key, value in self.store.scan(begin + (self.partition or "").encode()))
        ends = {name: keyspace.as_number(value) for name, value in offsets if self.partition in (None, name)}
        found_origins = self.store.get([keyspace.origin(self.source.name, name) for name in ends])
        origins = {name: origin.decode() for name, origin in zip(ends, found_origins, strict=True) if origin is not None}
        horizon = micros(self.source.id_horizon, "id_horizon")
        ids, blocks = None, IdBlocks(horizon, self.store.get)
        if (self.source.id_field is not None and self.corrections is None) or isinstance(self.source.stream, Pushed):
            ids = DedupIndex(horizon)
            for key, value in self.store.scan(keyspace.IDS + keyspace.name(self.name)):
                ids.load(value, progress.at)
                blocks.load(key, value)
        if self.corrections is not None:
            self.corrections.load()
        held = HeldEvents(dict(self.store.scan(keyspace.HELD + keyspace.name(self.name))), progress.at)
        self.blocks = {space: sum(size for _, size in self.store.sizes(space + keyspace.name(self.name))) for space in FOLDERS}
        self._memory = _CommittedState(progress, ends, origins, ids, blocks, held, stored)

    @property
    def ends(self) -> Mapping[str, int]:
        """By partition, the offset from which to read on."""
        return self._memory.ends

    @property
    def origins(self) -> Mapping[str, str]:
        """By partition, what its offset counts in, where that is known; see `RecordBatch.origins`."""
        return self._memory.origins

    @property
    def progress(self) -> Progress:
        """How far the stream has been read."""
        return self._memory.progress

    def note(self, progress: Progress, changes: Changes, expect: Changes) -> None:
        """Commit progress and other changes without records, if the store holds the expected values; raises as `apply` does."""
        if not progress.sequence:
            if changes:
                self.store.commit(changes, {self.place: None, **expect})
            self._memory.progress = progress  # the first commit says it
            return
        encoded = msgspec.msgpack.encode(progress)
        self.store.commit({**changes, self.place: encoded}, {self.place: self._memory.encoded_progress, **expect})
        self._memory.progress, self._memory.encoded_progress = progress, encoded

    def due(self) -> int | None:
        """When the first held event happens, microseconds; None where none is held."""
        return self._memory.held.due

    def check_mine(self) -> None:
        """Raise FencedError where others are to go on."""
        if self.abandoned.is_set():
            raise FencedError(f"source {self.source.name!r}: partition {self.partition!r} was given to another process, or ingestion ends")

    def begin(self, since: int, ids: pl.Series, now: int) -> None:
        """Read the stream from what was received at `since` on, and take events with these ids for copies; before the first commit.

        Of events that can be taken back, ids are not looked at.
        """
        changes = {self.place: msgspec.msgpack.encode(msgspec.structs.replace(self.progress, sequence=1, at=now, since=since))}
        if self.corrections is None:
            assert self._memory.ids is not None
            block = self._memory.ids.accept(ids, np.zeros(len(ids), np.int64), now).block
            changes |= {keyspace.block(keyspace.IDS, self.name, 0): block} if block else {}
        self.store.commit(changes, {self.place: None})
        self.load()

    def apply(self, records: Sequence[RecordBatch], now: int, known: int | None = None, also: Also = lambda _: {}) -> Committed:
        """Commit some records, the earlier first, and release the held events that are due at `now` (microseconds).

        known: with these, all that was received by then has been read, microseconds; None is `now`. also: changes of the same commit.

        Raises:
            FencedError: another writer has been here; nothing was written. Call `load`, and read on from `ends`.
            StoreError: nothing was written.
        """
        later = 1 if self.corrections is not None and records else 0  # no two images of an event are known at one moment
        now = max(now, self._memory.progress.at + later)
        with self._drafted(now, now if known is None else min(known, now), also) as draft:
            for poll in joined([draft.unread(poll) for poll in records]):
                draft.add(poll)
            return draft.commit()

    def skip(self, partition: str, to: int, now: int) -> Committed:
        """Commit that a partition is read on from the offset `to`, and count what lies between as lost; raises as `apply` does."""
        with self._drafted(now, 0) as draft:
            end = draft.ends.get(partition, 0)
            draft.lose(max(0, to - end), "lost")
            draft.ends[partition] = max(to, end)
            return draft.commit()

    def adopt(self, partition: str, origin: str, now: int) -> Committed:
        """Commit that the offsets of a partition count in `origin` from now on: its topic was created again; raises as `apply` does."""
        with self._drafted(now, 0) as draft:
            draft.lose(1, "recreated")
            draft.origins[partition] = origin
            return draft.commit()

    @contextmanager
    def _drafted(self, now: int, known: int, also: Also = lambda _: {}) -> Iterator[_CommitBuilder]:
        """A commit with the held events that are due. If it fails, the state in memory is loaded again."""
        try:
            draft = _CommitBuilder(self, max(now, self._memory.progress.at), known, also)
            draft.release()
            yield draft
        except BaseException:
            self.load(own=False)
            raise


class _CommitBuilder:
    """A commit in the making."""

    def __init__(self, writer: PartitionWriter, now: int, known: int, also: Also = lambda _: {}) -> None:
        self.since, self.also = clock.stopwatch(), also
        self.writer, self.now, self.memory = writer, now, writer._memory  # noqa: SLF001 (one class in two)
        self.known = max(known, self.memory.progress.known)
        self.counts: Counter[str] = Counter()
        self.rows: list[pl.DataFrame] = []
        self.events: list[pl.DataFrame] = []
        self.brought: list[ImageBatch] = []
        self.filtered: list[pl.DataFrame] = []
        self.dead: list[pl.DataFrame] = []  # new dead letters
        self.refused: list[pl.DataFrame] = []
        self.record_outcomes: list[NDArray[np.int8]] = []
        self.duplicates = Deduplication(self.memory.ids, now, self.counts)
        self.waiting: list[pl.DataFrame] = []
        self.ends, self.origins = dict(self.memory.ends), dict(self.memory.origins)
        self.received, self.latest = self.memory.progress.received, self.memory.progress.latest
        self.gap = self.memory.progress.gap

    def lose(self, count: int, outcome: str) -> None:
        """Count records that can no longer be read, as events up to now; or later, if other records were early too."""
        self.counts[outcome] += count
        early = self.writer.acceptance.future if self.memory.progress.counts.get("held", 0) else 0
        self.gap = max(self.gap, self.now + early) if count else self.gap

    def release(self) -> None:
        """Take in the held events that are due."""
        for due in self.memory.held.release(self.now):
            events = self.writer.acceptance.events_of(due)
            if self.writer.corrections is None:
                self._add(due, events, "released")
            else:
                self.brought.append(of_rows(due, events, "released"))

    def unread(self, records: RecordBatch) -> RecordBatch:
        """The records without those that were read before, also in what this was called with earlier."""
        unread = records.unread(self.ends, self.memory.progress.since)
        self.counts["read_before"] += len(records.offset) - len(unread.offset)
        self.ends |= {name: max(end, self.ends.get(name, end)) for name, end in records.ends.items()}
        self.origins |= {name: origin for name, origin in records.origins.items() if name in records.ends}
        return unread

    def add(self, records: RecordBatch) -> None:
        """Take in records."""
        arrived = self.writer.acceptance(records)
        record_outcomes = np.full(len(records.offset), REFUSED, np.int8)
        record_outcomes[arrived.kept] = FILTERED
        record_outcomes[arrived.refused] = REFUSED
        self.record_outcomes.append(record_outcomes)
        self.counts["records"] += len(records.offset)
        self.counts["filtered"] += len(arrived.filtered)
        if self.writer.filtered and len(arrived.filtered):
            self.filtered.append(arrived.rows[arrived.filtered])
        if len(records.at):
            self.received = max(self.received, int(records.at.max()))
        self._refuse(records, arrived)
        if self.writer.corrections is not None:
            stated = (arrived.events[TIME] >= self.now).fill_null(value=False) & ~arrived.events[BEFORE]
            events = self._hold(arrived, arrived.events, stated, record_outcomes)
            self.brought.append(ImageBatch(records, replace(arrived, events=events), record_outcomes))
            return
        events = arrived.events
        record_outcomes[arrived.kept[events[ROW].to_numpy()]] = COPY
        events, again = self.duplicates.events(records, arrived)
        self.dead += again
        record_outcomes[arrived.kept[events[ROW].to_numpy()]] = ACCEPTED
        events = self._hold(arrived, events, events[TIME] >= self.now, record_outcomes)
        rows = arrived.rows if events.height == arrived.rows.height else arrived.rows[events[ROW]]
        self._add(rows, events, "accepted")

    def _hold(self, arrived: Arrived, events: pl.DataFrame, later: pl.Series, record_outcomes: NDArray[np.int8]) -> pl.DataFrame:
        """The events but for those that are later, which wait for their time."""
        if not later.any():
            return events
        record_outcomes[arrived.kept[events[ROW].filter(later).to_numpy()]] = HELD
        self.waiting.append(arrived.rows[events[ROW].filter(later)].with_columns(events[TIME].filter(later).alias(DUE)))
        self.counts["held"] += int(later.sum())
        return events.filter(~later)

    def commit(self) -> Committed:
        """Write everything, if the store stands where this writer left it."""
        writer, store = self.writer, self.writer.store
        before = store.get([keyspace.SEQUENCE])[0] if writer.partition is None else None
        sequence = keyspace.as_number(before) + 1 if writer.partition is None else self.ends.get(writer.partition, 0)
        expect: dict[bytes, bytes | None] = (
            {keyspace.SEQUENCE: before} if writer.partition is None else {writer.place: self.memory.encoded_progress}
        )
        changes: dict[bytes, bytes | None] = {} if writer.partition is not None else {keyspace.SEQUENCE: keyspace.number(sequence)}
        for name, end in self.ends.items():
            was = self.memory.ends.get(name)
            expect[keyspace.offset(writer.source.name, name)] = None if was is None else keyspace.number(was)
            if was != end:
                changes[keyspace.offset(writer.source.name, name)] = keyspace.number(end)
        fresh = self.origins.items() - self.memory.origins.items()
        changes |= {keyspace.origin(writer.source.name, name): origin.encode() for name, origin in fresh}
        changes |= self._tiles(sequence) if writer.corrections is None else self._corrected(writer.corrections, sequence)
        progress = self._progress()
        own = partial(keyspace.block, source=writer.name, sequence=progress.sequence)
        changes[writer.place] = encoded = msgspec.msgpack.encode(progress)
        changes |= self.memory.held.put(own(keyspace.HELD), pl.concat(self.waiting) if self.waiting else None)
        changes |= self.memory.blocks.put(own(keyspace.IDS), b"".join(self.duplicates.blocks), self.now)
        if self.rows and writer.archive:
            changes[own(keyspace.ARCHIVE)] = frame_codec.encoded(stamped(pl.concat(self.rows), progress.sequence, self.now))
        if self.filtered:
            changes[own(keyspace.FILTERED)] = frame_codec.encoded(stamped(pl.concat(self.filtered), progress.sequence, self.now))
        if self.dead:
            refused = pl.concat(self.dead).with_columns(pl.lit(self.now).cast(UTC).alias(KNOWN_AT))
            changes[own(keyspace.DEAD)] = frame_codec.encoded(refused.select(*DEAD_SCHEMA))
        store.commit({**changes, **self.also(self.record_outcomes)}, expect)
        for space in FOLDERS:
            writer.blocks[space] += len(changes.get(own(space)) or b"")
        if writer.corrections is not None:
            writer.corrections.committed(changes)
        writer._memory = replace(self.memory, progress=progress, ends=self.ends, origins=self.origins, encoded_progress=encoded)  # noqa: SLF001 (one class in two)
        refused = pl.concat(self.refused) if self.refused else NONE
        return Committed(sequence, self.now, dict(+self.counts), refused, self.known, clock.stopwatch() - self.since, self.record_outcomes)

    def _refuse(self, records: RecordBatch, arrived: Arrived) -> None:
        """Keep what was refused."""
        if not arrived.dead.height:
            return
        self.refused.append(arrived.dead)
        dead = self.duplicates.refused(records, arrived)
        if dead.height:
            self.counts["dead"] += dead.height
            self.dead.append(dead)

    def _add(self, rows: pl.DataFrame, events: pl.DataFrame, outcome: str) -> None:
        if not events.height:
            return
        self.counts[outcome] += events.height
        self._follow(events)
        self.rows.append(rows)
        self.events.append(events)

    def _progress(self) -> Progress:
        old = self.memory.progress
        counts = {name: n for name, n in (Counter(old.counts) + self.counts).items() if n}
        return msgspec.structs.replace(
            old,
            sequence=old.sequence + 1,
            at=self.now,
            received=self.received,
            latest=self.latest,
            known=self.known,
            counts=counts,
            views=old.maintained(tiles.view.tiles_fingerprint for tiles in self.writer.acceptance.tiles),
            lost=max(old.lost, self.gap),
            gap=self.gap,
        )

    def _tiles(self, sequence: int) -> dict[bytes, bytes | None]:
        if not self.events:
            return {}
        events = pl.concat(self.events)
        self._count(events[TIME])
        changes: dict[bytes, bytes | None] = {}
        for tiles in self.writer.acceptance.tiles:
            fetch = RecordFetcher(self.writer.store, tiles.view, self.writer.partition)
            updated = tiles.update(events, self.now, sequence, fetch)
            changes.update(zip(fetch.places, [record or None for record in updated.values()], strict=True))
        return changes

    def _corrected(self, corrections: ChangeState, sequence: int) -> dict[bytes, bytes | None]:
        """As `_tiles`, of images; `rows` and `dead` are added to."""
        if not self.brought and not corrections.is_due(self.now):
            return {}
        until = max([self.memory.held.latest, *(int(rows[DUE].max()) for rows in self.waiting)])  # type: ignore[arg-type]
        change = ImageMerge(corrections, self.brought, self.now, until)
        outcome = change.settle(self.memory.progress.sequence + 1)
        self.counts += outcome.counts
        self.rows += [rows for rows in outcome.rows if rows.height]
        self.dead += outcome.dead
        self._count(pl.concat([outcome.come[TIME], outcome.gone[TIME]]))
        self._follow(outcome.come)
        return {**outcome.changes, **change.renewed(outcome, sequence)}

    def _follow(self, events: pl.DataFrame) -> None:
        """Count those that are late, and remember the latest."""
        self.counts["late"] += int((events[TIME] < self.latest).sum())
        self.latest = max(self.latest, int(events[TIME].max() or 0))  # type: ignore[arg-type]

    def _count(self, times: pl.Series) -> None:
        """Count the events that no window of any view reaches."""
        reached = min(int(tiles.records.stored.ladder.cuts(self.now)[-1]) for tiles in self.writer.acceptance.tiles)
        self.counts["outside"] += int((times < reached).sum())
