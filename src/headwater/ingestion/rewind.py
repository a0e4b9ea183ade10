"""Rewind: make a source's state true again, after a failover, a restored backup or a wrong clock.

A store that has lost its last commits is in an earlier state as a whole: a standby without them
took over, or an older copy was restored. A stream that can be read again is read on from there, so
files are cut behind the store's last commit. Pushed events of lost commits, which nobody sends
again, are committed again from the archive. Those that no file has are lost: views are incomplete
until their windows passed.

A store that a wrong clock has put ahead has dropped tiles that no window reached any more, and
released held events early. Its times are set to the present, these events are held again, and views
are filled again.

Where records and state of ingestion lie on several servers, one of them may have lost commits that
others have. The state is whole in itself, so the above holds of it; all records are removed, and
views are filled again from the archive, the stream and histories.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from headwater import clock, disk, settings
from headwater.definitions.checks import micros
from headwater.definitions.definition import Readable
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, stored
from headwater.definitions.source import Source
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import LostError, UsageError, nearest
from headwater.events.read_events import IDENT, ROW, TIME
from headwater.ingestion.archive import (
    FOLDERS,
    KNOWN_AT,
    SEQUENCE,
    AcknowledgedCommits,
    Roller,
    durable,
    every_part,
    repeatable,
)
from headwater.ingestion.commit import PartitionWriter, Skip
from headwater.ingestion.fill_views import apply_rules
from headwater.ingestion.ids import WIDTH, words
from headwater.ingestion.past_events import Logs
from headwater.ingestion.source_ingestor import LEFT, IngestLimits, streamed, writer_lease
from headwater.ingestion.sources.http_inbox import PARTITION as PUSHED
from headwater.ingestion.sources.stream_reader import (
    RecordBatch,
    between,
    integer_position,
    offset_at,
)
from headwater.ingestion.tombstones import encoded_tombstone, read_tombstones
from headwater.ingestion.validate import AT, DUE, OFFSET, PARTITION, Acceptance, content_of, waiting
from headwater.kernel.arrays import I64
from headwater.state import record
from headwater.state.view_state import StreamStart, progresses, read_part
from headwater.stores import OnlineStore, ingest_lease, keyspace
from headwater.stores.keyspace import opened_for, placed_generations, placed_source
from headwater.stores.log_first import REBUILD

_ROWS = 100_000  # of one commit
_AT_ONCE = 100  # blocks in one commit
_LOGS = (keyspace.ARCHIVE, keyspace.FILTERED, keyspace.DEAD)
_RESCUED = "lost-commits"  # a file beside the archive, while its rows are in no other


@dataclass(frozen=True)
class RewoundSource(Readable):
    """The effect of a rewind on a source, or on one partition of it.

    made: the last commit of the store. archived: the last one in a file. acknowledged: the last one
    that senders were told of, 0 for none.
    read_again: events in files that the stream is read again for. committed_again: pushed events in
    files. lost: pushed records that are in no file, at most. ahead: by how many seconds the last
    commit is ahead of the clock. accepted: rows that were refused or left out, and that today's
    rules accept. filled_again: views that the next ingestion fills again. incomplete: views that
    cannot be, since the archive lacks events, until their windows have passed.
    """

    source: str
    partition: str | None
    made: int
    archived: int
    acknowledged: int = 0
    read_again: int = 0
    committed_again: int = 0
    lost: int = 0
    ahead: float = 0.0
    accepted: int = 0
    filled_again: Sequence[str] = ()
    incomplete: Sequence[str] = ()


@dataclass(frozen=True)
class Rewound(Readable):
    """The effects of a rewind. sources: the sources and partitions that it changes.

    emptied: whether all records of the store are removed, of every project; views are filled again.
    """

    sources: tuple[RewoundSource, ...]
    emptied: bool

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return self.emptied or bool(self.sources)


def rewind(
    project: Project,
    sources: Sequence[str] = (),
    *,
    store: OnlineStore | str | None = None,
    data_dir: Path | None = None,
    dry_run: bool = False,
) -> Rewound:
    """Make the state of a project's streams true again: after a failover, a restored backup, a
    wrong clock. Ingestion must not run.

    - Files of archive, filtered rows and dead letters are cut behind the store's last commit; the
      stream is read again from there.
    - Times that are later than now become now: of the last commit, of events, ids and refused
      records. Events that were released early are held again.
    - Pushed events of lost commits are committed again from the archive.
    - Rows that were refused or left out are judged again by the rules of today.

    The next `headwater ingest` fills views again where that is needed. A rewind that was stopped is
    run again.

    Args:
        project: whose streams.
        sources: names of those; none for all.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        dry_run: change nothing, and judge nothing again.

    Raises:
        UsageError: the project has no such source with a streaming view.
        LostError: the store is to be built again: it has lost every commit of a stream, or commits
            of one that Spark does not repeat.
        StoreError: the store or a file cannot be written, or a process ingests into the store.
    """
    home = settings.home() if data_dir is None else data_dir
    by_source = _wanted(project, sources)
    by_spark = {source.name for source in by_source if isinstance(source.stream, SparkStream)}
    with ExitStack() as stack:
        opened_store = stack.enter_context(opened_for(project.name, store))
        stack.enter_context(ingest_lease(opened_store, wait=0.0, instead="rewind"))
        for source in by_source:
            stack.enter_context(
                writer_lease(opened_store, placed_source(opened_store, source), LEFT)
            )

        def rewinds(*, claim: bool) -> list[_Rewind]:
            return [
                source_rewind
                for source, views in by_source.items()
                for source_rewind in _of_source(opened_store, source, views, home, claim=claim)
            ]

        results = [result.rewound for result in rewinds(claim=False)]
        emptied = opened_store.reconcile(dry_run=True)
        if dry_run:
            return Rewound(tuple(result for result in results if _does(result)), emptied)
        for result in results:
            if _has_lost(result) and not result.made:
                raise _all_lost(result.source)
            if _has_lost(result) and result.source in by_spark:
                raise LostError(
                    f"Spark does not repeat the lost batches of source {result.source!r}; only the "
                    f"archive has them. {REBUILD}"
                )
        if emptied:
            opened_store.reconcile()
        with repeatable(home):
            done = tuple(result.run() for result in rewinds(claim=True))
        return Rewound(tuple(result for result in done if _does(result)), emptied)


def _wanted(project: Project, names: Sequence[str]) -> dict[Source, tuple[FeatureView, ...]]:
    by_source = streamed([stored_view.view for stored_view in stored(project)])
    names_known = [source.name for source in by_source]
    for name in names:
        if name not in names_known:
            raise UsageError(
                f"project {project.name!r} has no source {name!r} with a streaming view; "
                f"{nearest(name, names_known)}"
            )
    return {
        source: views for source, views in by_source.items() if not names or source.name in names
    }


def _of_source(
    store: OnlineStore, source: Source, views: Sequence[FeatureView], home: Path, *, claim: bool
) -> Iterator[_Rewind]:
    held = placed_source(store, source)
    acceptance = Acceptance(
        held,
        tuple(
            generation for view in views for generation in placed_generations(store, view).written
        ),
        micros(IngestLimits.max_future_skew, "max_future_skew"),
    )
    acknowledged = AcknowledgedCommits.for_source(held, home / FOLDERS[keyspace.ARCHIVE])
    partitions = [name.decode() or None for name in progresses(store, held.name)]
    if not partitions and every_part(home / FOLDERS[keyspace.ARCHIVE], held.name):
        raise _all_lost(held.name)
    for partition in dict.fromkeys([*partitions, *([None] if acknowledged is not None else [])]):
        yield _Rewind(
            PartitionWriter(acceptance, store, partition, claim=claim), home, acknowledged
        )


def _all_lost(source: str) -> LostError:
    return LostError(
        f"the store holds no commit of source {source!r}, and its archive does: all are lost. "
        f"{REBUILD}"
    )


def _has_lost(rewound: RewoundSource) -> bool:
    """Whether archive or senders know of later commits than the store."""
    return max(rewound.archived, rewound.acknowledged) > rewound.made


def _does(rewound: RewoundSource) -> bool:
    """Whether anything is done to a source."""
    return _has_lost(rewound) or bool(rewound.ahead or rewound.accepted or rewound.committed_again)


class _Rewind:
    """A rewind of one partition's writer. rewound: the work, without the rows to judge again."""

    def __init__(
        self, writer: PartitionWriter, home: Path, acknowledged: AcknowledgedCommits | None
    ) -> None:
        self.writer, self.acknowledged, self.now = writer, acknowledged, clock.now_micros()
        source, progress = writer.acceptance.source, writer.progress
        self.rollers = {
            space: Roller(writer.store, space, home / name, source.name, writer.partition)
            for space, name in FOLDERS.items()
        }
        self.lost = _LostCommits(writer, self.rollers[keyspace.ARCHIVE], acknowledged)
        self.clock = _Ahead(writer, self.rollers, self.now)
        pushed, events, views = acknowledged is not None, self.lost.rows.height, self.clock.views
        self.rewound = RewoundSource(
            source.name,
            writer.partition,
            progress.sequence,
            max(roller.last for roller in self.rollers.values()),
            0 if acknowledged is None else acknowledged.commit,
            read_again=0 if pushed else events,
            committed_again=events if pushed else 0,
            lost=self.lost.nowhere,
            ahead=max(progress.at - self.now, 0) / 1e6,
            filled_again=views if self.clock.is_whole else [],
            incomplete=[] if self.clock.is_whole else views,
        )

    def run(self) -> RewoundSource:
        """Do the work, and judge rows again. Each step can be repeated, so a stopped rewind is run
        again.
        """
        progress, lost = self.writer.progress, self.lost.rescued.exists() or _has_lost(self.rewound)
        if lost and self.acknowledged is not None:
            self.lost.keep()
        if lost:
            for roller in self.rollers.values():
                roller.cut(progress.sequence)
        if self.rewound.ahead:
            self.clock.set_back()
            self.writer.load(claim=False)
        if lost and self.acknowledged is not None:
            self.lost.commit_again(self.acknowledged)
        archive, filtered, dead = (self.rollers[space] for space in _LOGS)
        logs, T = Logs(archive, filtered, dead), max(self.now, self.writer.progress.at)
        return replace(self.rewound, accepted=apply_rules(self.writer, logs, T))


class _LostCommits:
    """Commits that the archive or senders know of, and the store does not.

    rows: of files, that are to be committed again or read again. nowhere: how many pushed records
    no file has, at most.
    """

    def __init__(
        self, writer: PartitionWriter, archive: Roller, acknowledged: AcknowledgedCommits | None
    ) -> None:
        self.writer, made = writer, writer.progress.sequence
        self.rescued = archive.source_folder / _RESCUED
        frames = [pl.read_parquet(self.rescued)] if self.rescued.exists() else []
        frames += [] if (files := archive.lost(made)) is None else [files]
        self.kept = (
            pl.concat(frames, how="diagonal_relaxed")
            if frames
            else pl.DataFrame(schema={OFFSET: pl.Int64})
        )
        self.rows, self.nowhere, last_kept = self.kept, 0, 0
        if acknowledged is None:
            return
        if self.kept.height:
            # a run was stopped between two steps
            self.kept = self.kept.unique([SEQUENCE, OFFSET], maintain_order=True)
            last_kept = int(self.kept[SEQUENCE].max())  # type: ignore[arg-type]
            # a stopped run has committed earlier ones
            self.rows = self.kept.filter(pl.col(OFFSET) >= self._at()).sort(OFFSET)
        if acknowledged.commit > max(made, archive.last, last_kept):
            end = max(self._at(), int(self.rows[OFFSET].max() or -1) + 1)  # type: ignore[arg-type]
            self.nowhere = max(acknowledged.offset - end, 0)

    def keep(self) -> None:
        """Keep the rows of pushed events in a file, while the archive is cut and they are committed
        again.
        """
        if self.kept.height:
            disk.make_folder(self.rescued.parent)
            durable(self.kept, self.rescued)

    def commit_again(self, acknowledged: AcknowledgedCommits) -> None:
        """Commit the rows, and count the records in no file as lost."""
        for first in range(0, self.rows.height, _ROWS):
            self.writer.apply(
                [self._batch(self.rows[first : first + _ROWS])], clock.now_micros(), 0
            )
        if self.nowhere:
            self.writer.skip(
                Skip(PUSHED, integer_position(acknowledged.offset), self.nowhere),
                clock.now_micros(),
            )
        acknowledged.note(self.writer.progress.sequence, self._at())
        self.rescued.unlink(missing_ok=True)

    def _batch(self, rows: pl.DataFrame) -> RecordBatch:
        """Rows as records that come once, however often they are given."""
        n, at = rows.height, rows[AT].dt.epoch("us").to_numpy()
        ids = rows.select(pl.format("lost {} {}", SEQUENCE, OFFSET)).to_series()
        schema = self.writer.acceptance.schema
        lacking = [
            pl.lit(None, dtype).alias(name)
            for name, dtype in schema.items()
            if name not in rows.columns
        ]
        frame = rows.with_columns(lacking).select(
            pl.col(name).cast(dtype) for name, dtype in schema.items()
        )
        moved = {PUSHED: between(self._at(), max(self._at(), int(rows[OFFSET].max()) + 1))}  # type: ignore[arg-type]
        return RecordBatch(
            [PUSHED],
            np.zeros(n, np.int64),
            rows[OFFSET].to_numpy(),
            at,
            moved,
            frame=frame,
            ids=ids,
        )

    def _at(self) -> int:
        return offset_at(self.writer.positions[PUSHED]) if PUSHED in self.writer.positions else 0


class _Ahead:
    """Times of a store and of its files that are later than now, microseconds.

    views: the names of those that have records. is_whole: whether the archive holds all that was
    accepted, so that they can be filled.
    """

    def __init__(self, writer: PartitionWriter, rollers: Mapping[bytes, Roller], now: int) -> None:
        self.writer, self.store, self.now, self.progress = (
            writer,
            writer.store,
            now,
            writer.progress,
        )
        self.acceptance, self.source, self.rollers = (
            writer.acceptance,
            writer.acceptance.source,
            rollers,
        )
        self.views: list[str] = []
        if self.progress.at <= now:
            return
        tiles = {view.tiles_fingerprint: view.name for view in self.acceptance.views}
        states = {name: read_part(self.store, name, writer.partition) for name in tiles}
        self._states = {name: state for name, state in states.items() if state is not None}
        self.views = list(dict.fromkeys(tiles[name] for name in self._states))

    @cached_property
    def is_whole(self) -> bool:
        rows = self._made()
        archived = 0 if rows is None else int(rows.select(pl.len()).collect().item())
        again = self._held_again()
        if rows is not None and again.height:
            again = again.join(
                rows.select(PARTITION, OFFSET).collect(), on=[PARTITION, OFFSET], how="anti"
            )
        return archived + again.height >= self.progress.accepted

    def set_back(self) -> None:
        """Change blocks and files first, which can be repeated; then the rest together in one
        commit.
        """
        whole, now, at = self.is_whole, self.now, self.progress.at
        early, waits = self._hold_early()
        for batch in self._in_parts(self._blocks(waits)):
            self.store.commit(batch, self.writer.unmoved())
        for space, roller in self.rollers.items():
            for part in roller.archive.parts():
                rows = part.read()
                if self._is_ahead(rows):
                    roller.archive.rewrite(
                        part, self._clipped(rows, of_archive=space == keyspace.ARCHIVE)
                    )
        gap = 0 if whole else now
        progress = msgspec.structs.replace(
            self.progress,
            at=now,
            known=min(self.progress.known, now),
            received=min(self.progress.received, now),
            counts={
                **self.progress.counts,
                "released": self.progress.counts.get("released", 0) - early,
            },
            # servers notice that they are to be filled again
            views={} if whole else self.progress.views,
            lost=max(min(self.progress.lost, now), gap),
            gap=max(min(self.progress.gap, now), gap),
        )
        changes: dict[bytes, bytes | None] = {}
        for key, value in self.store.scan(keyspace.HELD + keyspace.name(self.writer.name)):
            remaining = waiting(value, at)
            if key != self._held:
                changes[key] = record.frame_bytes(remaining) if remaining.height else None
        changes |= self._ids()
        begun = keyspace.begun(self.source.name)
        stored_start = self.store.get([begun])[0]
        if stored_start is not None:
            start = msgspec.msgpack.decode(stored_start, type=StreamStart)
            changes[begun] = msgspec.msgpack.encode(
                StreamStart(min(start.until, now), start.partition)
            )
        # rows that were known later than an erasure, and are known now at the earliest, still count
        for tombstone in read_tombstones(self.store, self.source.name):
            earlier = msgspec.structs.replace(tombstone, until=min(tombstone.until, now - 1))
            changes[keyspace.tombstone(self.source.name, earlier.digest)] = encoded_tombstone(
                earlier
            )
        # fills begin again; records are served, as incomplete, until they are filled
        changes |= {
            keyspace.stream_state(name, self.writer.partition): None
            for name, state in self._states.items()
            if whole and state.seeded is None
        }
        self.writer.note(progress, changes, self.writer.unmoved())

    def _made(self) -> pl.LazyFrame | None:
        """The archive up to the last commit of the store."""
        rows = self.rollers[keyspace.ARCHIVE].rows()
        return None if rows is None else rows.filter(pl.col(SEQUENCE) <= self.progress.sequence)

    def _blocks(self, waits: Collection[tuple[int, int]]) -> Iterator[tuple[bytes, bytes | None]]:
        """The new values of the blocks that hold times later than now; waits: the ids of the events
        held again.
        """
        for key, value in self.store.scan(keyspace.IDS + keyspace.name(self.writer.name)):
            rows = np.frombuffer(value, np.int64).reshape(-1, WIDTH).copy()
            ahead = rows[:, 2] > self.now
            if ahead.any():
                is_committed = np.array(
                    [(first, second) not in waits for first, second in rows[:, :2].tolist()],
                    np.bool_,
                )
                rows[:, 2] = np.minimum(rows[:, 2], self.now)
                yield key, rows[is_committed | ~ahead].tobytes() or None
        for space in FOLDERS:
            for key, value in self.store.scan(space + keyspace.name(self.writer.name)):
                rows_of = pl.read_ipc_stream(io.BytesIO(value))
                if self._is_ahead(rows_of):
                    yield (
                        key,
                        record.frame_bytes(
                            self._clipped(rows_of, of_archive=space == keyspace.ARCHIVE)
                        ),
                    )

    def _ids(self) -> dict[bytes, bytes | None]:
        """The ids of the archive that are within the horizon: the commit in the future has dropped
        them.
        """
        rows = (
            self._made()
            if self.source.changes is None and self.source.id_field is not None
            else None
        )
        if rows is None:
            return {}
        first = clock.timestamp(self.now - micros(self.source.id_horizon, "id_horizon"))
        accepted = rows.filter(pl.col(KNOWN_AT) > first).collect()
        events = self.acceptance.events_of(accepted.select(list(self.acceptance.schema)))
        known_at = accepted[KNOWN_AT].dt.epoch("us")[events[ROW]].to_numpy()
        id_rows = np.column_stack(
            [*words(events[IDENT]), np.minimum(known_at, self.now), content_of(events)]
        )
        key = keyspace.block(keyspace.IDS, self.writer.name, 0)
        there = self.store.get([key])[0] or b""
        return {key: there + id_rows.tobytes()} if len(id_rows) else {}

    def _in_parts(
        self, blocks: Iterator[tuple[bytes, bytes | None]]
    ) -> Iterator[dict[bytes, bytes | None]]:
        while batch := dict(islice(blocks, _AT_ONCE)):
            yield batch

    def _is_ahead(self, rows: pl.DataFrame) -> bool:
        last = rows[KNOWN_AT].max()
        return isinstance(last, datetime) and last > clock.timestamp(self.now)

    def _clipped(self, rows: pl.DataFrame, *, of_archive: bool) -> pl.DataFrame:
        """Rows known by now; of the archive, without rows whose event time has not come."""
        if of_archive:
            rows = rows[np.setdiff1d(np.arange(rows.height), self._early(rows))]
        return rows.with_columns(
            pl.min_horizontal(KNOWN_AT, pl.lit(clock.timestamp(self.now))).cast(
                rows.schema[KNOWN_AT]
            )
        )

    def _early(self, rows: pl.DataFrame) -> I64:
        """The rows of the archive whose event time has not come, int64: the commit in the future
        has released them.
        """
        if self.source.changes is not None:
            return np.empty(0, np.int64)
        events = self.acceptance.events_of(rows.select(list(self.acceptance.schema)))
        return events.filter(pl.col(TIME) >= self.now)[ROW].cast(pl.Int64).to_numpy()

    def _held_again(self) -> pl.DataFrame:
        """The events that a stopped rewind has held again."""
        there = self.store.get([self._held])[0]
        return (
            pl.DataFrame()
            if there is None
            else record.frame_of(there).filter(
                pl.col(DUE).is_between(self.now, self.progress.at, "left")
            )
        )

    def _hold_early(self) -> tuple[int, set[tuple[int, int]]]:
        """Hold early events again, under a key that no commit uses, before they are taken out of
        the archive; returns their number and ids.
        """
        rows, there = self._made(), self.store.get([self._held])[0]
        frames = [] if there is None else [waiting(there, self.now)]
        if rows is not None and self.source.changes is None:
            ahead = rows.filter(pl.col(KNOWN_AT) > clock.timestamp(self.now)).collect()
            times = self.acceptance.events_of(ahead.select(list(self.acceptance.schema))).filter(
                pl.col(TIME) >= self.now
            )[TIME]
            frames.append(
                ahead[self._early(ahead)]
                .drop(KNOWN_AT, SEQUENCE)
                .with_columns(times.cast(pl.Int64).alias(DUE))
            )
        held = (
            pl.concat(frames, how="diagonal_relaxed").unique(
                [PARTITION, OFFSET], maintain_order=True
            )
            if frames
            else pl.DataFrame()
        )
        if not held.height:
            return 0, set()
        self.store.commit({self._held: record.frame_bytes(held)}, self.writer.unmoved())
        early = held.filter(pl.col(DUE) < self.progress.at)
        if self.source.id_field is None or not early.height:
            return early.height, set()
        ids = words(self.acceptance.events_of(early.select(list(self.acceptance.schema)))[IDENT])
        return early.height, set(zip(*(word.tolist() for word in ids), strict=True))

    @property
    def _held(self) -> bytes:
        return keyspace.block(keyspace.HELD, self.writer.name, 0)
