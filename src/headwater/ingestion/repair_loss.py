"""Repair what a store that has lost its last commits left behind: files of the archive, and pushed events that nobody sends again.

A standby without the last commits took over, or an older copy was restored: the store is in an earlier state as a whole. A stream that can
be read again is read on from there, so the files of the archive are cut back to the store's last commit. Pushed events of lost commits are
committed again from the archive. Those that no file has are lost: views are incomplete until their windows have passed.

Where records and state of ingestion lie on several servers, one of them may have lost commits that others have. The state is whole in
itself, so the above holds of it; all records are removed, and views are filled again from the archive, the stream and histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, permissions, settings
from headwater.definitions.durations import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project
from headwater.definitions.served_views import stored
from headwater.definitions.source import Source
from headwater.definitions.spark_stream import SparkStream
from headwater.errors import LostError
from headwater.ingestion.acknowledged_commits import AcknowledgedCommits
from headwater.ingestion.archive import FOLDERS, SEQUENCE, Roller, every_part, repeatable
from headwater.ingestion.archive_files import durable
from headwater.ingestion.build_commit import Skip
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.source_ingestor import IngestLimits, streamed
from headwater.ingestion.sources.http_inbox import PARTITION as PUSHED
from headwater.ingestion.sources.stream_reader import RecordBatch, between, integer_position, offset_at
from headwater.ingestion.validate import AT, OFFSET, Acceptance
from headwater.online_stores import OnlineStore, ingest_lease, keyspace
from headwater.online_stores.log_first import REBUILD
from headwater.online_stores.ownership import opened_for, placed, placed_source
from headwater.state.view_state import progresses

_ROWS = 100_000  # of one commit
_RESCUED = "lost-commits"  # a file beside the archive, while its rows are in no other


@dataclass(frozen=True)
class LostCommits:
    """Commits that a source, or one partition of it, has lost.

    made: the last commit of the store. archived: the last one in a file. acknowledged: the last one that senders were told of, 0 for none.
    read_again: events in files that the stream is read again for. committed_again: pushed events in files. lost: pushed records that are in
    no file, at most.
    """

    source: str
    partition: str | None
    made: int
    archived: int
    acknowledged: int
    read_again: int
    committed_again: int
    lost: int


@dataclass(frozen=True)
class LossRepair:
    """What a store has lost.

    lost: by source and partition. emptied: whether all records of the store are removed, of every project; views are filled again.
    """

    lost: tuple[LostCommits, ...]
    emptied: bool

    def __bool__(self) -> bool:
        """Whether something is lost."""
        return self.emptied or bool(self.lost)


def repair_loss(
    project: Project, *, store: OnlineStore | str | None = None, data_dir: Path | None = None, dry_run: bool = False
) -> LossRepair:
    """Repair the streams of a project whose store has lost its last commits. Ingestion must not run.

    Args:
        project: whose streams.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        data_dir: where ingestion keeps the archive; None is headwater's home.
        dry_run: change nothing.

    Raises:
        LostError: the store is to be built again: it has lost every commit of a stream, or commits of one that Spark does not repeat.
        StoreError: the store or a file cannot be written, or a process ingests into the store.
    """
    home = settings.home() if data_dir is None else data_dir
    by_source = streamed([stored_view.view for stored_view in stored(project)])
    by_spark = {source.name for source in by_source if isinstance(source.stream, SparkStream)}
    with opened_for(project.name, store) as mine, ingest_lease(mine, wait=0.0):

        def repairs(*, own: bool) -> list[_LossRepair]:
            return [repair for source, views in by_source.items() for repair in _of_source(mine, source, views, home, own=own)]

        lost = [repair.found for repair in repairs(own=False)]
        found = LossRepair(tuple(lost), mine.reconcile(dry_run=True))
        if dry_run:
            return found
        for commits in lost:
            if not commits.made:
                raise _all_lost(commits.source)
            if commits.source in by_spark:
                raise LostError(
                    f"Spark does not repeat the lost batches of source {commits.source!r}; only the archive has them. {REBUILD}"
                )
        mine.reconcile()
        with repeatable(home):
            for repair in repairs(own=True):
                repair.run()
        return found


def _of_source(store: OnlineStore, source: Source, views: Sequence[FeatureView], home: Path, *, own: bool) -> Iterator[_LossRepair]:
    held = placed_source(store, source)
    acceptance = Acceptance(held, tuple(placed(store, view) for view in views), micros(IngestLimits.max_future_skew, "max_future_skew"))
    told = AcknowledgedCommits.of(held, home / FOLDERS[keyspace.ARCHIVE])
    known = {name.decode() or None: progress for name, progress in progresses(store, held.name).items()}
    if not known and every_part(home / FOLDERS[keyspace.ARCHIVE], held.name):
        raise _all_lost(held.name)
    for partition in dict.fromkeys([*known, *([None] if told is not None else [])]):
        repair = _LossRepair(store, PartitionWriter(acceptance, store, partition, own=own), home, told)
        if repair.found.archived > repair.found.made or repair.found.acknowledged > repair.found.made or repair.rescued.exists():
            yield repair


def _all_lost(source: str) -> LostError:
    return LostError(f"the store holds no commit of source {source!r}, and its archive does: all are lost. {REBUILD}")


class _LossRepair:
    """Of one partition's writer."""

    def __init__(self, store: OnlineStore, writer: PartitionWriter, home: Path, told: AcknowledgedCommits | None) -> None:
        self.writer, self.told = writer, told
        source, partition, made = writer.acceptance.source.name, writer.partition, writer.progress.sequence
        self.rollers = {space: Roller(store, space, home / name, source, partition) for space, name in FOLDERS.items()}
        archive = self.rollers[keyspace.ARCHIVE]
        self.rescued = archive.place / _RESCUED
        rows = [pl.read_parquet(self.rescued)] if self.rescued.exists() else []
        rows += [] if (files := archive.lost(made)) is None else [files]
        self.kept = pl.concat(rows, how="diagonal_relaxed") if rows else pl.DataFrame(schema={OFFSET: pl.Int64})
        self.rows = self.kept
        last_kept = 0
        if told is not None and self.kept.height:
            self.kept = self.kept.unique([SEQUENCE, OFFSET], maintain_order=True)  # a run was stopped between two steps
            last_kept = int(self.kept[SEQUENCE].max())  # type: ignore[arg-type]
            self.rows = self.kept.filter(pl.col(OFFSET) >= self._at()).sort(OFFSET)  # a run that was stopped has committed those before
        last = max(roller.last for roller in self.rollers.values())
        events, pushed = self.rows.height, told is not None
        lost = 0 if told is None or told.commit <= max(made, archive.last, last_kept) else max(told.offset - self._end(), 0)
        acknowledged = 0 if told is None else told.commit
        self.found = LostCommits(source, partition, made, last, acknowledged, 0 if pushed else events, events if pushed else 0, lost)

    def run(self) -> None:
        """Keep the rows in a file, cut the archive, commit the rows; a run that is stopped is gone on from."""
        progress = self.writer.progress
        if self.told is not None and self.kept.height:
            permissions.make_folder(self.rescued.parent)
            durable(self.kept, self.rescued)
        for roller in self.rollers.values():
            roller.cut(progress.sequence, progress.at)
        if self.told is None:
            return
        for first in range(0, self.rows.height, _ROWS):
            self.writer.apply([self._batch(self.rows[first : first + _ROWS])], clock.now_micros(), 0)
        if self.found.lost:
            skip = Skip(PUSHED, integer_position(self.told.offset), self.found.lost)
            self.writer.skip(skip, clock.now_micros())
        self.told.note(self.writer.progress.sequence, self._at())
        self.rescued.unlink(missing_ok=True)

    def _batch(self, rows: pl.DataFrame) -> RecordBatch:
        """Rows as records that come once, however often they are given."""
        n, at = rows.height, rows[AT].dt.epoch("us").to_numpy()
        ids = rows.select(pl.format("lost {} {}", SEQUENCE, OFFSET)).to_series()
        own = self.writer.acceptance.schema
        lacking = [pl.lit(None, dtype).alias(name) for name, dtype in own.items() if name not in rows.columns]
        frame = rows.with_columns(lacking).select(pl.col(name).cast(dtype) for name, dtype in own.items())
        moved = {PUSHED: between(self._at(), max(self._at(), int(rows[OFFSET].max()) + 1))}  # type: ignore[arg-type]
        return RecordBatch([PUSHED], np.zeros(n, np.int64), rows[OFFSET].to_numpy(), at, moved, frame=frame, ids=ids)

    def _at(self) -> int:
        return offset_at(self.writer.positions[PUSHED]) if PUSHED in self.writer.positions else 0

    def _end(self) -> int:
        """The offset after the last record that store and files have."""
        return max(self._at(), int(self.rows[OFFSET].max() or -1) + 1)  # type: ignore[arg-type]
