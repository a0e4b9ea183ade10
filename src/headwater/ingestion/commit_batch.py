"""Commits of micro batches of Spark Structured Streaming: the same as of every other stream, with
the batch id as the position.

foreachBatch calls at least once: after a failure, Spark gives the last batch again. A commit is
made only if the store stands at the position before it, so each batch counts once. The position is
the batch's number and, of a large batch, the piece of it; its origin is the id of the query, which
lies in the checkpoint of Spark. A batch that does not follow is refused, and the query fails.
"""

from __future__ import annotations

import logging
import pickle
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import numpy as np

from headwater import clock, settings
from headwater.definitions.checks import micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.source import Source
from headwater.definitions.spark_stream import SparkStream
from headwater.engine.spark.worker_tasks import check_versions, versions
from headwater.errors import ClockError, DataError, FencedError, LostError, UsageError
from headwater.ingestion.clock_check import ClockCheck
from headwater.ingestion.commit import Adopt, PartitionWriter, Skip
from headwater.ingestion.source_ingestor import IngestLimits, SourceIngestor
from headwater.ingestion.sources.spark_batch import BatchPosition, Piece, SparkBatch
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.stores import OnlineStore, ingest_lease
from headwater.stores.keyspace import from_production, opened_for

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

PARTITION: Final = "spark"
"""The one partition of the stream."""
_NEW = BatchPosition()


@dataclass(frozen=True)
class BatchTarget:
    """Where batches go, as it travels to the process that Spark calls foreachBatch in.

    project: its name. source: whose stream is a `SparkStream`. views: those that it feeds. store: a
    URL. data_dir: for archive and refused rows. shared: as of `scoped`. reads, archive_url: the
    settings of the process that made it.
    """

    project: str
    source: Source
    views: tuple[FeatureView, ...]
    store: str
    data_dir: Path
    limits: IngestLimits
    shared: bool = False
    reads: str | None = None
    archive_url: str | None = None


class BatchCommitter:
    """Commits each batch that foreachBatch gives it; made by `commit_batches`."""

    def __init__(self, target: BatchTarget) -> None:
        self.target = target
        self._lock, self._open = threading.Lock(), ExitStack()
        self._store: OnlineStore | None = None
        self._ingestor: SourceIngestor | None = None
        self._begun = False  # whether a batch has been committed here

    def __repr__(self) -> str:
        return (
            f"commit_batches(project={self.target.project!r}, source={self.target.source.name!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Open resources stay in their process."""
        return _restored, (versions(), pickle.dumps(self.target))

    def __call__(self, frame: DataFrame, batch_id: int) -> None:
        """Commit a batch of the query; nothing, where it has been committed.

        Raises:
            DataError: the batch does not follow the one that the store has, or lacks a column.
            StoreError: the store cannot be written; Spark gives the batch again when the query is
                started again.
            ClockError: the wall clock cannot be right.
        """
        self.commit(
            SparkBatch.from_frame(
                frame, batch_id, cast("SparkStream", self.target.source.stream).query
            )
        )

    def commit(self, batch: SparkBatch) -> None:
        """See `__call__`."""
        with self._lock:
            try:
                self._commit(batch)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the store; the next batch opens it."""
        self._store, self._ingestor = None, None
        self._open.close()

    def _commit(self, batch: SparkBatch) -> None:
        store, began = self._opened(), clock.now_micros()
        with ingest_lease(store, wait=self.target.limits.wait):
            if self._ingestor is None or self._next(self._ingestor, batch) is None:
                self._load(store)
            while True:
                ingestor = cast("SourceIngestor", self._ingestor)
                start = self._next(ingestor, batch) or self._settled(ingestor, batch)
                if start is None:
                    _LOG.info(
                        "source %s: batch %d is committed already",
                        ingestor.source.name,
                        batch.number,
                    )
                    return
                try:
                    self._commit_from(start, batch, ingestor, began)
                except LostError:
                    raise
                except FencedError as error:
                    _LOG.warning("%s; going on from what the store holds", error)
                    self._load(store)
                else:
                    return

    def _commit_from(
        self, start: BatchPosition, batch: SparkBatch, ingestor: SourceIngestor, began: int
    ) -> None:
        """Commit the pieces of a batch."""
        limits = self.target.limits
        check = ClockCheck(
            micros(limits.max_clock_jump, "max_clock_jump"), ingestor.store.server_time
        )
        for piece in batch.pieces(start, limits.batch, ingestor.acceptance.schema):
            why = check.refusal(ingestor.committed())
            if why is not None:
                raise ClockError(why)
            whole = piece.end.piece == 0
            ingestor.commit(
                [(_records(piece, batch, self._writer(ingestor)), {})],
                clock.now_micros(),
                began if whole else 0,
            )
            self._begun = True
            ingestor.roll(least=limits.roll)

    def _opened(self) -> OnlineStore:
        if self._store is None:
            target = self.target
            settings.read_production(target.reads)
            if target.archive_url is not None:
                settings.use_archive_url(target.archive_url)
            parts = urlsplit(target.store)
            if parts.scheme == "lmdb" and not Path(parts.netloc + parts.path).exists():
                raise UsageError(
                    f"the online store {target.store} is a folder, and the machine of Spark's "
                    "driver, where batches are committed, has none there. Give a store with a "
                    "server, such as redis://HOST:PORT/DB or postgresql://HOST:PORT/DATABASE"
                )
            self._store = self._open.enter_context(
                opened_for(target.project, target.store, write=True, shared=target.shared)
            )
        return self._store

    def _load(self, store: OnlineStore) -> None:
        """Read where the store stands; views that are new in it are filled with their past."""
        target = self.target
        views = [view for view in target.views if not from_production(store, view)]
        if not views:
            raise UsageError(
                f"every streaming view of source {target.source.name!r} is read from production; "
                "there is nothing to commit"
            )
        self._ingestor = SourceIngestor(
            target.source, views, store, target.data_dir, target.limits, filled=False
        )

    @staticmethod
    def _writer(ingestor: SourceIngestor) -> PartitionWriter:
        return ingestor.writer(PARTITION)

    def _next(self, ingestor: SourceIngestor, batch: SparkBatch) -> BatchPosition | None:
        """The place in the batch to go on from; None where it does not follow the committed
        state.
        """
        writer = self._writer(ingestor)
        position = writer.positions.get(PARTITION)
        if position is None:
            return _NEW if batch.number == 0 else None
        stored = BatchPosition.decoded(position)
        return (
            stored
            if writer.origins.get(PARTITION) == batch.query and stored.batch == batch.number
            else None
        )

    def _settled(self, ingestor: SourceIngestor, batch: SparkBatch) -> BatchPosition | None:
        """The position of a batch that does not follow; None where it is the last committed one,
        which Spark repeats.

        Raises:
            DataError: it is another one, unless losses are accepted and this is the first batch
                here.
        """
        writer = self._writer(ingestor)
        position, query = writer.positions.get(PARTITION), writer.origins.get(PARTITION)
        stored = _NEW if position is None else BatchPosition.decoded(position)
        if query == batch.query and not stored.piece and stored.batch == batch.number + 1:
            return None
        why = f"source {ingestor.source.name!r}: {_refusal(stored, query, batch)}"
        if not ingestor.limits.accept_loss or self._begun:
            raise DataError(why)
        _LOG.warning("%s; going on from there (accept_loss)", why)
        start = BatchPosition(batch.number, rows=stored.rows)
        writer.skip(Skip(PARTITION, start.encoded, 1), clock.now_micros())
        writer.adopt(Adopt(PARTITION, batch.query), clock.now_micros())
        return start


def _restored(expected: list[str], target: bytes) -> BatchCommitter:
    check_versions(expected)
    return BatchCommitter(pickle.loads(target))  # noqa: S301 (of the process that started the query)


def _records(piece: Piece, batch: SparkBatch, writer: PartitionWriter) -> RecordBatch:
    n, first = piece.rows.height, piece.end.rows - piece.rows.height
    before = writer.positions.get(PARTITION, _NEW.encoded)
    return RecordBatch(
        [PARTITION],
        np.zeros(n, np.int64),
        np.arange(first, first + n),
        np.full(n, clock.now_micros()),
        {PARTITION: (before, piece.end.encoded)},
        frame=piece.rows,
        origins={PARTITION: batch.query},
    )


def _refusal(stored: BatchPosition, query: str | None, batch: SparkBatch) -> str:
    """The error of a refused batch, with its remedy."""
    another = (
        "To go on with this checkpoint, give the query another name in queryName() and "
        "headwater_spark.spark_stream(), which begins a new stream; or commit with "
        "IngestLimits(accept_loss=True): rows may be missing or counted twice, and views are "
        "incomplete until their windows have passed"
    )
    if query is None:
        return (
            f"batch {batch.number} of the Spark query {batch.query} is the first one that comes, "
            "and the online store has none of the batches before it. Start the query with a new "
            f"checkpointLocation, so that it begins with batch 0. {another}"
        )
    last = f"batch {stored.batch - 1}" if stored.batch else "no whole batch"
    if query != batch.query:
        return (
            f"batch {batch.number} is of the Spark query {batch.query}, and the online store has "
            f"the batches of the query {query} up to {last}: this query runs from another "
            f"checkpoint. Start it with the checkpointLocation of the other one. {another}"
        )
    if batch.number > stored.batch:
        return (
            f"batch {batch.number} of the Spark query {batch.query} does not follow: the online "
            f"store has its batches up to {last}. The store has lost its last commits, or an "
            f"older copy of it was restored. {another}"
        )
    return (
        f"batch {batch.number} of the Spark query {batch.query} comes again, and the online store "
        f"has its batches up to {last}: the checkpoint is an older copy. Restore the latest one. "
        f"{another}"
    )
