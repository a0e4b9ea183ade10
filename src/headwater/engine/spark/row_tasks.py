"""What a worker of Spark does with rows that travel: read them, deal them by the keys of a stage,
answer them, and finish them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast

import polars as pl
from polars.exceptions import PolarsError

from headwater.engine.local.partition import hash_of
from headwater.engine.local.spill import answer_files
from headwater.engine.query import EngineRun, Query
from headwater.engine.row_work import RowWork
from headwater.engine.spark.blobs import (
    ROWS,
    Blob,
    arrow_of,
    blobs_of,
    frame_blobs,
    frame_of,
    note_blob,
    pass_on,
)
from headwater.engine.spark.spilled import ROWS_BUCKET, spill_folder
from headwater.engine.spark.worker_tasks import Deal, Task, chunks_of
from headwater.errors import DataError, read_error

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHARE = 8  # of a task's memory, one part is for rows


@dataclass(frozen=True)
class RowTask(Task):
    """A task with rows that travel."""

    work: RowWork

    @property
    def modules(self) -> Sequence[ModuleType]:
        """As `Task`."""
        return self.work.modules


@dataclass(frozen=True)
class ReadRows(RowTask):
    """Read rows of a table.

    raw: the names of its columns, where batches hold its rows; None: they hold frames of rows or
    events.
    ends: give the earliest and the latest alone.
    """

    raw: Sequence[str] | None
    ends: bool = False

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        left_out: Counter[str] = Counter()
        passed: list[Blob] = []
        for table in (
            pass_on(blobs_of(batches), passed) if self.raw is None else chunks_of(batches, self.raw)
        ):
            rows, missing = self.work.read(table)
            left_out.update(missing)
            if rows.height or self.ends:
                yield from frame_blobs(0, ROWS, self.work.ends(rows) if self.ends else rows)
        if not self.ends:
            yield note_blob(left_out, {})
        yield from passed


@dataclass(frozen=True)
class DealRows(RowTask):
    """Deal rows by the keys of a stage, compared in these types."""

    stage: int
    types: Mapping[str, pl.DataType]
    buckets: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        passed: list[Blob] = []
        for rows in pass_on(blobs_of(batches), passed):
            yield from self.dealt(rows)
        yield from passed

    def dealt(self, rows: pl.DataFrame) -> Iterator[Blob]:
        """The rows, by bucket."""
        return Deal(self.types, self.buckets).blobs(
            rows, ROWS, by=self.work.asked(rows, self.stage).keys
        )


@dataclass(frozen=True)
class AnswerRows(RowTask):
    """Answer the rows of a partition with its events, with the local engine. nothing: an empty
    frame of events.
    """

    stage: int
    query: Query
    nothing: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches, self.nothing)
            run = EngineRun(threads=1, memory=self.memory)
            for number, rows in enumerate(spilled.frames(ROWS_BUCKET, self.memory // ROWS_SHARE)):
                asked = self.work.asked(rows, self.stage)
                (answers,) = answer_files(
                    self.query, spilled.files(), [asked], run, spilled.folder / "work" / str(number)
                )
                yield from frame_blobs(
                    0, ROWS, self.work.answered(rows, self.stage, asked, answers)
                )


@dataclass(frozen=True)
class FinishRows(RowTask):
    """Turn rows with all answers into those that are written. as_spark: in types that Spark has."""

    as_spark: bool = True

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        passed: list[Blob] = []
        left_out: Counter[str] = Counter()
        for rows in pass_on(blobs_of(batches), passed):
            done, missing = self.work.kept(self.work.finished(rows))
            left_out.update(missing)
            yield from frame_blobs(0, ROWS, plain(done) if self.as_spark else done)
        yield note_blob(left_out, {})
        yield from passed


@dataclass(frozen=True)
class DealFinished(RowTask):
    """Deal finished rows by the columns of these types, whose rows are kept together."""

    types: Mapping[str, pl.DataType]
    buckets: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        passed: list[Blob] = []
        for rows in pass_on(blobs_of(batches), passed):
            yield from Deal(self.types, self.buckets).blobs(self.work.finished(rows), ROWS)
        yield from passed


@dataclass(frozen=True)
class KeepRows(RowTask):
    """Keep of finished rows those that are written, in types that Spark has."""

    types: Mapping[str, pl.DataType]
    buckets: int
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        left_out: Counter[str] = Counter()
        with spill_folder() as spilled:
            yield from spilled.read(batches)
            for (rows,) in spilled.together(
                hash_of(self.types) // self.buckets,
                spilled.parts_in(self.memory // ROWS_SHARE),
                ROWS_BUCKET,
            ):
                if rows is not None:
                    kept, missing = self.work.kept(rows)
                    left_out.update(missing)
                    yield from frame_blobs(0, ROWS, plain(kept))
        yield note_blob(left_out, {})


def plain(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows in types that Spark has.

    Raises:
        DataError: a column has a type that it lacks, or an integer of 64 bits without a sign is too
            large.

    >>> plain(pl.DataFrame({"n": pl.Series([1], dtype=pl.UInt32)})).schema
    Schema([('n', Int64)])
    """
    types = pl.Schema({name: _plain(name, dtype) for name, dtype in rows.schema.items()})
    try:
        return rows.cast(types)
    except PolarsError as error:
        raise DataError(
            f"the rows do not fit into the types of Spark: {read_error(error)}"
        ) from error


_WIDER: Final[Mapping[pl.DataType, pl.DataType]] = {
    pl.UInt8(): pl.Int16(),
    pl.UInt16(): pl.Int32(),
    pl.UInt32(): pl.Int64(),
    pl.UInt64(): pl.Int64(),
}


def _plain(name: str, dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_plain(name, cast("pl.DataType", dtype.inner)))
    if dtype in (pl.Time, pl.Null, pl.Object):
        raise DataError(
            f"the column {name!r} is {dtype}, which Spark lacks; cast it in the select of its "
            "source or of the rows"
        )
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", dtype.time_zone)
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    return pl.String() if isinstance(dtype, pl.Categorical | pl.Enum) else _WIDER.get(dtype, dtype)


def unpacked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """On a worker: the rows of blobs."""
    for blob in blobs_of(batches):
        yield from arrow_of(frame_of(blob)).combine_chunks().to_batches()
