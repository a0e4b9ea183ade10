"""The tasks of a Spark worker on the rows of one partition: read events, find duplicates, compute
features, make states.

A task is pickled by the engine and called by `run_task` on a worker. It holds one chunk of rows in
memory at a time; a partition that is larger lies on the worker's disk.

What a worker of Spark does with rows that travel: read them, deal them by the keys of a stage,
answer them, and finish them.

What a worker of Spark does with rows that have a list of keys: each element goes to the events
of its key, and back to its row.

    rows --DealElements--> rows by id, elements by key --AnswerElements--> rows and answered
    elements by id --GatherLists--> rows

An id is a hash of what a row asks for. So it stays as it is when Spark repeats a task, and rows
that share one have the same answers.
"""

from __future__ import annotations

import importlib.metadata
import pickle
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors.files import ParquetPart
from headwater.connectors.spark import of_spark
from headwater.definitions.connectors import CsvFiles, Frame, JsonLinesFiles, ParquetFiles, Table
from headwater.definitions.source import Source
from headwater.engine.local.local_engine import counted_now, fresh
from headwater.engine.local.spill import answer_files, hash_of
from headwater.engine.query import AsOf, EngineRun, FeatureValues, Query, RequestSet, StateQuery
from headwater.engine.row_work import RowWork, answer_columns, answers_of
from headwater.engine.spark.blobs import (
    ANSWERS,
    BLOB_BYTES,
    CHUNK_BYTES,
    COUNT,
    ELEMENTS,
    ELEMENTS_BUCKET,
    ERROR,
    EVENTS,
    NOTES,
    PIECE,
    ROWS,
    ROWS_BUCKET,
    STATES,
    VERSIONS,
    Blob,
    answer_frame,
    arrow_of,
    batches_of,
    blobs_of,
    error_blob,
    frame_blobs,
    frame_of,
    note_blob,
    pass_on,
    request_frame,
    requests_of,
    spill_folder,
)
from headwater.errors import DataError, HeadwaterError, UsageError, read_error
from headwater.events.read_events import IDENT, TIE, TIME, Notes, Reach, Scan, collect, scan_events

if TYPE_CHECKING:
    import pyarrow as pa

_BUCKET = "__bucket"

FilesTable = ParquetFiles | CsvFiles | JsonLinesFiles | ParquetPart


class Task(Protocol):
    """The work on the rows of a partition."""

    @property
    def modules(self) -> Sequence[ModuleType]:
        """Modules that workers lack; they travel with the task."""
        return ()

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """The blobs that come of the batches of a partition."""
        ...


def versions() -> list[str]:
    """The versions that the driver and its workers must share: hashes and pickles are the same in
    one version.
    """
    return [f"{name} {importlib.metadata.version(name)}" for name in ("headwater", "polars")]


def check_versions(expected: list[str]) -> None:
    """Refuse blobs of a process with other versions."""
    if versions() != expected:
        raise UsageError(
            f"the Spark workers have {' and '.join(versions())}, and this process "
            f"{' and '.join(expected)}; install the same versions in the workers' Python"
        )


def run_task(
    expected: list[str], pickled: bytes, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Run a task on a partition, on a worker. An error of headwater becomes a row, so that Spark
    does not try again.
    """
    return batches_of(_checked(expected, pickled, batches))


def _checked(
    expected: list[str], pickled: bytes, batches: Iterable[pa.RecordBatch]
) -> Iterator[Blob]:
    try:
        check_versions(expected)
        task: Task = pickle.loads(pickled)  # noqa: S301 (of the engine, which sent this function too)
        yield from task.run(batches)
    except HeadwaterError as error:
        yield error_blob(error)


@dataclass(frozen=True)
class TellVersions(Task):
    """Send the versions that a worker has."""

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        for _ in batches:
            pass
        yield Blob(
            0, VERSIONS, f"Python {platform.python_version()}, {' and '.join(versions())}".encode()
        )


@dataclass(frozen=True)
class Deal:
    """How events are dealt into buckets: by a hash of columns compared in these types.

    key_hashes: the hashes of the keys that are asked for; None: all.
    """

    columns: Mapping[str, pl.DataType]
    buckets: int
    key_hashes: pl.Series | None = None

    def blobs(
        self, rows: pl.DataFrame, kind: int = EVENTS, *, by: pl.DataFrame | None = None
    ) -> Iterator[Blob]:
        """The rows, by bucket. by: a frame of as many rows with the columns; None: the rows have
        them.
        """
        hashed = rows.with_columns(
            (rows if by is None else by).with_columns(hash_of(self.columns).alias(_BUCKET))[_BUCKET]
        )
        if self.key_hashes is not None:
            hashed = hashed.filter(pl.col(_BUCKET).is_in(self.key_hashes.implode()))
        dealt = hashed.with_columns((pl.col(_BUCKET) % self.buckets).cast(pl.Int32))
        for (bucket,), bucket_rows in dealt.partition_by(
            _BUCKET, as_dict=True, include_key=False
        ).items():
            yield from frame_blobs(int(bucket), kind, bucket_rows)


@dataclass(frozen=True)
class Reading:
    """Which events of a source's table are read.

    source: its history is an empty frame with the columns of the table. near: frames of keys whose
    range is that of the requests.
    number: of this reading in its process; a source that is read twice has two.
    """

    source: Source
    keys: Sequence[str]
    columns: Sequence[str]
    reach: Reach
    near: Sequence[pl.DataFrame] = ()
    number: int = 0

    def scan(self, table: Table | None = None) -> Scan:
        """The rows of a table, or of none, that are in reach."""
        source = self.source if table is None else replace(self.source, history=table)
        return scan_events(source, self.keys, self.columns, self.reach, self.near)

    def events(self, table: Table, left_out: Counter[str]) -> Iterator[pl.DataFrame]:
        """Events in chunks; of a source with ids, all rows, with the columns that decide which of
        them count.
        """
        scan = self.scan(table)
        rows = scan.frame if scan.whole is None else scan.whole
        for chunk in (
            [collect(rows, scan.subject)]
            if isinstance(table, Frame)
            else _chunks(rows, scan.subject)
        ):
            if self.source.id_field is None:
                notes = Notes()
                yield scan.counting(chunk, notes)
                left_out.update(notes.left_out)
            else:
                yield chunk


@dataclass(frozen=True)
class ReadEvents(Task):
    """Read events, and deal them: by key, or by id where it must be told first which of them count.

    raw: the names of the columns, where batches hold rows of the table; None: they hold its pieces,
    or rows with features.
    newest: keep of each key the last event alone.
    """

    reading: Reading
    deal: Deal
    raw: Sequence[str] | None = None
    newest: bool = False

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        left_out: Counter[str] = Counter()
        events: Counter[str] = Counter()
        passed: list[Blob] = []
        for table in (
            self._pieces(batches, passed) if self.raw is None else self._raw(batches, self.raw)
        ):
            for chunk in self.reading.events(table, left_out):
                rows = self._last(chunk) if self.newest else chunk
                if self.reading.source.id_field is None:
                    events[self.reading.source.name] += rows.height
                yield from self.deal.blobs(rows)
        yield note_blob(left_out, events, self.reading.number)
        yield from passed

    def _raw(self, batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[Table]:
        schema = self._schema()
        return (Frame(_filled(rows, schema)) for rows in chunks_of(batches, names))

    def _pieces(self, batches: Iterable[pa.RecordBatch], passed: list[Blob]) -> Iterator[Table]:
        for blob in blobs_of(batches):
            if blob.kind in (EVENTS, ROWS):
                yield Frame(_filled(frame_of(blob), self._schema()))
            elif blob.kind in (NOTES, ERROR):
                passed.append(blob)
            else:
                assert blob.kind == PIECE
                piece: FilesTable = pickle.loads(blob.payload)  # noqa: S301 (of the engine)
                if (
                    not piece.is_remote
                    and not any(c in piece.path for c in "*?[")
                    and not Path(piece.path).exists()
                ):
                    raise DataError(
                        f"a Spark worker finds no file at {piece.path}; put the files where every "
                        "worker sees them under the same path, such as an object store, or give "
                        "headwater_spark.spark_table"
                    )
                yield piece

    def _schema(self) -> pl.Schema:
        empty = self.reading.source.table
        assert isinstance(empty, Frame)
        return pl.DataFrame(empty.data).schema

    def _last(self, events: pl.DataFrame) -> pl.DataFrame:
        reading = self.reading
        counted = counted_now(events.lazy(), reading.source, reading.keys, reading.reach)
        return counted.group_by(reading.keys).agg(pl.col(TIME).max()).collect()


@dataclass(frozen=True)
class CountEvents(Task):
    """Decide which rows with an id of several rows count, and deal those by key. A partition holds
    all rows of an id.
    """

    reading: Reading
    deal: Deal
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        name = self.reading.source.name
        with spill_folder() as spilled:
            yield from spilled.read(batches)
            scan = self.reading.scan()
            for rows in spilled.parts(pl.col(IDENT).hash() // self.deal.buckets, self.memory):
                notes = Notes()
                events = scan.counting(rows, notes)
                yield from self.deal.blobs(
                    events.drop([c for c in events.columns if c.startswith(TIE)])
                )
                yield note_blob(dict(notes.left_out), {name: events.height}, self.reading.number)


@dataclass(frozen=True)
class AnswerRequests(Task):
    """The features of the requests of a partition, with the local engine.

    sets: an empty frame of each request set. nothing: an empty frame of events.
    """

    query: Query
    sets: Sequence[pl.DataFrame]
    nothing: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches, self.nothing)
            if not spilled.requests:
                return
            frames = [
                pl.concat([empty, *spilled.requests.get(number, [])])
                for number, empty in enumerate(self.sets)
            ]
            sets = [requests_of(frame, self.query.keys) for frame in frames]
            run = EngineRun(threads=1, memory=self.memory)
            answers = answer_files(
                self.query,
                spilled.files(),
                [requests for _, requests in sets],
                run,
                spilled.folder / "work",
            )
            for number, ((rows, _), by_level) in enumerate(zip(sets, answers, strict=True)):
                for level, values in enumerate(by_level):
                    if rows.len():
                        yield from frame_blobs(
                            0, ANSWERS, answer_frame(rows, values, number, level)
                        )


@dataclass(frozen=True)
class MakeStates(Task):
    """The partial states of the events of a partition, a stream of pickles for each bucket."""

    query: StateQuery[Any]
    deal: Deal
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        key = hash_of(self.deal.columns)
        with spill_folder(apart=True) as spilled:
            yield from spilled.read(batches)
            for bucket in sorted(spilled.buckets):
                count = 0
                for rows in spilled.parts(key // self.deal.buckets, self.memory, bucket):
                    events = self.query.without_erased(fresh(self.query, rows.lazy()).collect())
                    count += events.height
                    for states in self.query.make(events) if events.height else ():
                        pickled = pickle.dumps(states)
                        for first in range(0, len(pickled), BLOB_BYTES):
                            yield Blob(bucket, STATES, pickled[first : first + BLOB_BYTES])
                if count:
                    yield Blob(bucket, COUNT, str(count).encode())


def chunks_of(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of a table in chunks, with these names of its columns."""
    held: list[pl.DataFrame] = []
    size = 0
    for batch in batches:
        frame = of_spark(batch.rename_columns(names))
        held.append(frame)
        size += int(frame.estimated_size())
        if size >= CHUNK_BYTES:
            yield pl.concat(held)
            held, size = [], 0
    if held:
        yield pl.concat(held)


def _filled(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The rows with nulls in the columns of the table that were not read."""
    return rows.with_columns(
        pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
        if name not in rows.columns
    )


def _chunks(rows: pl.LazyFrame, subject: str) -> Iterator[pl.DataFrame]:
    try:
        yield from rows.collect_batches(chunk_size=500_000, maintain_order=False)
    except (OSError, PolarsError) as error:
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error


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
            rows, ROWS, by=self.work.stage_requests(rows, self.stage).keys
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
                request_set = self.work.stage_requests(rows, self.stage)
                (answers,) = answer_files(
                    self.query,
                    spilled.files(),
                    [request_set],
                    run,
                    spilled.folder / "work" / str(number),
                )
                yield from frame_blobs(
                    0, ROWS, self.work.answered(rows, self.stage, request_set, answers)
                )


@dataclass(frozen=True)
class FinishRows(RowTask):
    """Turn rows with all answers into the rows to write. as_spark: in types that Spark has."""

    as_spark: bool = True

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        passed: list[Blob] = []
        left_out: Counter[str] = Counter()
        for rows in pass_on(blobs_of(batches), passed):
            done, missing = self.work.to_write(self.work.finished(rows))
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
    """Turn finished rows into the rows to write, in types that Spark has."""

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
                    written, missing = self.work.to_write(rows)
                    left_out.update(missing)
                    yield from frame_blobs(0, ROWS, plain(written))
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


_ID: Final = ("__id0", "__id1")  # of 128 bits

_POSITION = "__position"

_ELEMENT: Final = (*_ID, _POSITION)

_SEEDS: Final = (0, 1 << 16)


@dataclass(frozen=True)
class DealElements(DealRows):
    """Deal rows by their ids, and the elements of their lists by the keys of a stage, compared in
    these types.
    """

    def dealt(self, rows: pl.DataFrame) -> Iterator[Blob]:
        """Rows and elements, by bucket."""
        request_set = self.work.stage_requests(rows, self.stage)
        ids = _row_ids(request_set, self.types)
        yield from _by_id(self.buckets).blobs(rows.hstack(ids), ROWS)
        elements = _elements(request_set, ids).hstack(
            request_frame(0, request_set, list(self.types))
        )
        yield from Deal(self.types, self.buckets).blobs(elements, ELEMENTS)


@dataclass(frozen=True)
class AnswerElements(RowTask):
    """Answer the elements of a partition with its events, with the local engine, and deal them by
    the ids of their rows.

    nothing: an empty frame of events.
    """

    query: Query
    buckets: int
    nothing: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches, self.nothing, (NOTES, ERROR, ROWS))
            run = EngineRun(threads=1, memory=self.memory)
            for number, elements in enumerate(
                spilled.frames(ELEMENTS_BUCKET, self.memory // ROWS_SHARE)
            ):
                _, request_set = requests_of(elements, self.query.keys)
                (answers,) = answer_files(
                    self.query,
                    spilled.files(),
                    [request_set],
                    run,
                    spilled.folder / "work" / str(number),
                )
                yield from _by_id(self.buckets).blobs(
                    elements.select(_ELEMENT).hstack(answer_columns(answers)), ELEMENTS
                )


@dataclass(frozen=True)
class GatherLists(RowTask):
    """Give rows the answers of their elements, in the order of their lists. none: no answered
    element.
    """

    stage: int
    none: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches)
            parts = spilled.parts_in(self.memory // ROWS_SHARE)
            for rows, elements in spilled.together(
                pl.col(_ID[0]), parts, ROWS_BUCKET, ELEMENTS_BUCKET
            ):
                if rows is not None:
                    yield from frame_blobs(0, ROWS, self._gathered(rows, elements))

    def _gathered(self, rows: pl.DataFrame, elements: pl.DataFrame | None) -> pl.DataFrame:
        plain_rows = rows.drop(_ID)
        request_set = self.work.stage_requests(plain_rows, self.stage)
        list_elements = _elements(request_set, [rows[name] for name in _ID])
        answered = self.none if elements is None else elements.unique(_ELEMENT)
        joined = list_elements.join(answered, on=_ELEMENT, how="inner", maintain_order="left")
        assert joined.height == list_elements.height, "an element has no answer"
        return self.work.answered(
            plain_rows, self.stage, request_set, answers_of(joined, len(request_set.as_of))
        )


def no_elements(answers: Sequence[FeatureValues]) -> pl.DataFrame:
    """No answered element, with the types of these answers."""
    places = pl.DataFrame(schema={**dict.fromkeys(_ID, pl.UInt64), _POSITION: pl.Int64})
    return places.hstack(pl.DataFrame(answer_columns(answers)).clear())


def _by_id(buckets: int) -> Deal:
    return Deal({_ID[0]: pl.UInt64()}, buckets)


def _row_ids(request_set: RequestSet, types: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """The id of each row with a list, of two hashes: of when it asks, and of its elements and their
    places.
    """
    assert request_set.list_rows is not None
    lists, times = (
        request_set.list_rows.lists,
        _times(request_set.list_rows.t, request_set.list_rows.as_of),
    )
    placed = request_set.keys.select(list(types)).with_columns(_positions(request_set))
    ids = []
    for name, seed in zip(_ID, _SEEDS, strict=True):
        hashed = times.select(hash_of(times.schema, seed)).to_series().to_numpy().copy()
        elements = (
            placed.select(hash_of({**types, _POSITION: pl.Int64()}, seed)).to_series().to_numpy()
        )
        np.add.at(hashed, lists.rows, elements)  # modulo 2**64
        ids.append(pl.Series(name, hashed))
    return ids


def _elements(request_set: RequestSet, ids: list[pl.Series]) -> pl.DataFrame:
    """The id of its row and the position of each element."""
    assert request_set.list_rows is not None
    rows = request_set.list_rows.lists.rows
    return pl.DataFrame([*(series.gather(rows) for series in ids), _positions(request_set)])


def _positions(request_set: RequestSet) -> pl.Series:
    assert request_set.list_rows is not None
    sizes = request_set.list_rows.lists.sizes
    return pl.Series(_POSITION, np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def _times(t: np.ndarray, as_of: tuple[AsOf, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        {"t": t}
        | {
            f"{name}{n}": array
            for n, a in enumerate(as_of)
            for name, array in (("T", a.T), ("K", a.K))
        }
    )
