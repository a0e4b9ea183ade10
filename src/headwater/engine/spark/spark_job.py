"""One source on Spark: which rows of its table are read, and how its events are dealt to
workers.
"""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
from polars.io.plugins import register_io_source

from headwater import settings
from headwater.connectors import scan as scan_table
from headwater.connectors.files import ParquetPart, layout
from headwater.connectors.spark import (
    SparkTable,
    narrowed,
    numbered,
    open_session,
    pickled,
    spark_errors,
)
from headwater.definitions.connectors import Connector, Files, Frame, ParquetFiles, Table
from headwater.definitions.source import Source
from headwater.engine.query import EngineRun
from headwater.engine.spark.blobs import (
    ERROR,
    EVENTS,
    NOTES,
    PIECE,
    SCHEMA,
    Blob,
    frame_blobs,
    frame_of,
    raised,
    tables_of,
)
from headwater.engine.spark.worker_tasks import (
    CountEvents,
    Deal,
    ReadEvents,
    Reading,
    Task,
    run_task,
    versions,
)
from headwater.events.read_events import IDENT, TIE, Notes, Reach, collect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MEMORY = 1_000_000_000  # bytes of a task, where the call gives no memory
_BUCKETS = 2  # times as many as partitions of a shuffle: hashes of buckets do not split evenly
_PARTITIONS = 32  # of a shuffle, where the server does not tell
_readings = itertools.count(1)
_UPLOAD = 8  # batches of a relation that is sent to the server


@dataclass(frozen=True, eq=False)
class SparkRows(Connector):
    """Rows with features on the workers, for the time of a call: blobs, which are computed where
    they are read.
    """

    columns: Mapping[str, pl.DataType]
    blobs: DataFrame = field(repr=False, metadata={"fingerprint": False})

    is_remote = True

    def __str__(self) -> str:
        return "rows of Spark with features"

    def scan(self) -> pl.LazyFrame:
        """The rows, in this process."""
        return register_io_source(self._read, schema=self.columns)

    def _read(
        self,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        _rows: int | None,
        _size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for blob in collected(self.blobs, str(self), EngineRun()):
            rows = frame_of(blob).select(columns or list(self.columns))
            yield rows if predicate is None else rows.filter(predicate)


@dataclass(frozen=True)
class SparkJob:
    """Reading a source's events on Spark.

    read: the columns of the table that are read, and the condition that pushes down, as polars'
    optimizer finds them. nothing: no events.
    """

    session: SparkSession
    table: Table
    reading: Reading
    nothing: pl.DataFrame
    read: tuple[list[str], pl.Expr | None]
    run: EngineRun
    given: object

    @classmethod
    def for_source(
        cls,
        given: object,
        source: Source,
        keys: Sequence[str],
        columns: Sequence[str],
        reach: Reach,
        request_keys: Sequence[pl.DataFrame],
        run: EngineRun,
    ) -> SparkJob:
        """The job for events of a source in reach."""
        table = source.table
        schema = (
            table.schema(given)
            if isinstance(table, SparkTable)
            else scan_table(table).collect_schema()
        )
        near = _ends(keys, request_keys)
        probe = _Probe(schema)
        probing = Reading(replace(source, history=probe), keys, columns, reach, near).scan()
        collect(probing.frame if probing.whole is None else probing.whole, probing.subject)
        reading = Reading(
            replace(source, history=Frame(pl.DataFrame(schema=schema))),
            keys,
            columns,
            reach,
            near,
            next(_readings),
        )
        scan = reading.scan()
        nothing = scan.counting(
            collect(scan.frame if scan.whole is None else scan.whole, scan.subject), Notes()
        )
        nothing = nothing.drop([c for c in nothing.columns if c.startswith(TIE)])
        session = isinstance(table, SparkTable) and table.spark_frame(given).sparkSession
        return cls(
            session or open_session(given), table, reading, nothing, probe.read(), run, given
        )

    @property
    def subject(self) -> str:
        """The source's name in errors."""
        return f"source {self.reading.source.name!r}"

    @property
    def memory(self) -> int:
        """Bytes of a task."""
        return self.run.memory or MEMORY

    @property
    def buckets(self) -> int:
        """How many buckets keys are dealt into."""
        return buckets_of(self.session, self.subject)

    def events(self, deal: Deal, *, newest: bool = False) -> DataFrame:
        """The events that count, dealt; `newest`: of each key the last one."""
        counted = self.reading.source.id_field is None or newest
        first = deal if counted else Deal({IDENT: self.nothing.schema[IDENT]}, self.buckets)
        rows, names = self._rows()
        read = mapped(rows, ReadEvents(self.reading, first, names, newest))
        return (
            read
            if counted
            else mapped(read.repartition("bucket"), CountEvents(self.reading, deal, self.memory))
        )

    def blobs(self, frame: DataFrame) -> Iterator[Blob]:
        """As `collected`; the workers' notes are added to the notes of the run."""
        return collected(frame, self.subject, self.run)

    def relation(self, blobs: Iterable[Blob]) -> DataFrame:
        """Blobs of this process as rows of Spark."""
        return uploaded(self.session, blobs, self.subject)

    def _rows(self) -> tuple[DataFrame, list[str] | None]:
        """The rows of the table and the names of its columns; or its pieces."""
        columns, predicate = self.read
        if isinstance(self.table, SparkTable):
            doing = f"{self.subject}: {self.table} cannot be read"
            with spark_errors(doing):
                rows = narrowed(self.table.spark_frame(self.given), columns, predicate)
            return numbered(rows, doing)
        return self._sent(columns, predicate), None

    def _sent(self, columns: list[str], predicate: pl.Expr | None) -> DataFrame:
        if isinstance(self.table, SparkRows):
            return self.table.blobs
        if isinstance(self.table, Files):
            pieces = _pieces(self.table)
            rows = self.relation(
                Blob(number, PIECE, pickle.dumps(piece)) for number, piece in enumerate(pieces)
            )
            return rows.repartition(min(len(pieces), self.buckets), "bucket")
        frame = scan_table(self.table).select(columns)
        return self.relation(
            frame_blobs(
                0,
                EVENTS,
                collect(frame if predicate is None else frame.filter(predicate), self.subject),
            )
        )


def buckets_of(session: SparkSession, subject: str) -> int:
    """How many buckets rows are dealt into in a session."""
    with spark_errors(f"{subject}: Spark does not answer"):
        partitions = session.conf.get("spark.sql.shuffle.partitions", None)
    return _BUCKETS * (int(partitions) if partitions else _PARTITIONS)


def mapped(frame: DataFrame, task: Task) -> DataFrame:
    """The blobs that a task makes of each partition."""
    return frame.mapInArrow(partial(run_task, versions(), _light(task)), SCHEMA)


def collected(frame: DataFrame, subject: str, run: EngineRun) -> Iterator[Blob]:
    """Run the job and return its blobs; notes are not among them, but counted.

    Raises:
        DataError: of a worker.
        ConnectError: Spark cannot finish.
    """
    left_out: dict[int, Counter[str]] = {}
    with spark_errors(f"{subject}: Spark cannot compute it"):
        for bucket, kind, payload in frame.toLocalIterator():
            blob = Blob(bucket, kind, bytes(payload))
            if kind == ERROR:
                raise raised(blob)
            if kind == NOTES:
                rows, events = blob.counts
                left_out.setdefault(bucket, Counter()).update(rows)
                run.notes.events.update(events)
            else:
                yield blob
    for reason, number in itertools.chain.from_iterable(
        counts.items() for counts in left_out.values()
    ):
        run.notes.leave_out(reason, number)


def uploaded(session: SparkSession, blobs: Iterable[Blob], subject: str) -> DataFrame:
    """Blobs of this process as rows of Spark."""
    with spark_errors(f"{subject}: Spark does not take the rows of this process"):
        whole = None
        for table in tables_of(blobs, _UPLOAD):
            batch_frame = session.createDataFrame(table)
            whole = batch_frame if whole is None else whole.unionAll(batch_frame)
        return session.createDataFrame([], SCHEMA) if whole is None else whole


@dataclass(frozen=True, eq=False)
class _Probe(Connector):
    """A table without rows that records which columns and filters are read."""

    columns: Mapping[str, pl.DataType]
    reads: list[tuple[list[str], pl.Expr | None]] = field(
        default_factory=list, metadata={"fingerprint": False}
    )

    def scan(self) -> pl.LazyFrame:
        """No row."""
        return register_io_source(self._note, schema=self.columns)

    def read(self) -> tuple[list[str], pl.Expr | None]:
        """All columns that were read; and the condition of the last reading, where it was the only
        one.
        """
        names = list(dict.fromkeys(name for columns, _ in self.reads for name in columns))
        return names, self.reads[-1][1] if len(self.reads) == 1 else None

    def _note(
        self,
        columns: list[str] | None,
        predicate: pl.Expr | None,
        _rows: int | None,
        _size: int | None,
    ) -> Iterator[pl.DataFrame]:
        names = list(self.columns) if columns is None else columns
        self.reads.append((names, predicate))
        yield pl.DataFrame(schema={name: self.columns[name] for name in names})


def _light(task: Task) -> bytes:
    """A task without the rows of its frames; a worker gets the rows that it needs separately."""
    return pickled(
        task, {Frame: lambda value: (Frame, (pl.DataFrame(value.data).clear(),))}, task.modules
    )


def _pieces(table: Files) -> Sequence[Files | ParquetPart]:
    """Each parquet file of this machine; any other table in one piece."""
    if table.is_remote:
        return [table]
    whole = replace(table, path=str(settings.in_project(table.path).absolute()))
    return layout(whole).parts_of_files() if isinstance(whole, ParquetFiles) else [whole]


def _ends(keys: Sequence[str], request_keys: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The least and the greatest of one integer key that is asked for, in each frame."""
    if len(keys) != 1 or not all(frame.schema[keys[0]].is_integer() for frame in request_keys):
        return []
    ends = (pl.col(keys[0]).min(), pl.col(keys[0]).max())
    return [pl.concat([frame.select(end) for end in ends]) for frame in request_keys]
