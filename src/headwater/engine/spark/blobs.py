"""Rows between Spark and its workers: a bucket, a kind, and a payload that Spark does not look
into.

Frames travel as Arrow IPC in one binary column. So every type of polars reaches the other side as
it was, and Spark moves a few large rows in place of many small ones.

Requests and answers as frames, on their way to workers of Spark and back.

The rows of one partition of Spark on the disk of a worker.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import polars as pl

from headwater import settings
from headwater.engine.local.local_engine import EVENT_BYTES
from headwater.engine.local.spill import bucket_files, split
from headwater.engine.query import AsOf, FeatureValues, RequestSet
from headwater.errors import ConnectError, DataError, HeadwaterError, LeakError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA: Final = "bucket int, kind int, payload binary"

# of a payload, about: a message to a client of Spark Connect may have 128 MB
BLOB_BYTES: Final = 4_000_000

EVENTS, PIECE, REQUESTS, ANSWERS, STATES, COUNT, NOTES, ERROR, VERSIONS, ROWS, ELEMENTS = range(11)

_ERRORS: Final = {
    error.__name__: error for error in (ConnectError, DataError, LeakError, UsageError)
}


@dataclass(frozen=True)
class Blob:
    """A row. kind: EVENTS, a frame as `Engine.events` gives it; PIECE, a pickled table; REQUESTS,
    ANSWERS, frames; STATES, a part of a stream of pickles; COUNT, a number of events; NOTES, counts
    of rows; ERROR, an error of headwater; VERSIONS, those of a worker in words; ROWS, a frame of
    rows that take their answers with them; ELEMENTS, a frame of elements of their lists of keys,
    before and after they are answered.
    """

    bucket: int
    kind: int
    payload: bytes

    @property
    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """Of NOTES: the rows left out, by reason, and the events read, by source."""
        left_out, events = json.loads(self.payload)
        return left_out, events


def frame_blobs(bucket: int, kind: int, frame: pl.DataFrame) -> Iterator[Blob]:
    """The rows of a frame as blobs that are not too large; at least one."""
    rows = max(1, int(frame.height * BLOB_BYTES / max(frame.estimated_size(), 1)))
    for first in range(0, max(frame.height, 1), rows):
        buffer = BytesIO()
        frame.slice(first, rows).write_ipc_stream(
            buffer, compression="lz4", compat_level=pl.CompatLevel.oldest()
        )
        yield Blob(bucket, kind, buffer.getvalue())


def frame_of(blob: Blob) -> pl.DataFrame:
    """The frame of a blob.

    >>> (blob,) = frame_blobs(0, EVENTS, pl.DataFrame({"user": ["ann"]}))
    >>> frame_of(blob)["user"].to_list()
    ['ann']
    """
    return pl.read_ipc_stream(blob.payload)


def pass_on(blobs: Iterable[Blob], passed: list[Blob]) -> Iterator[pl.DataFrame]:
    """The frames of ROWS and EVENTS; notes and errors are put into `passed`."""
    for blob in blobs:
        if blob.kind in (ROWS, EVENTS):
            yield frame_of(blob)
        else:
            assert blob.kind in (NOTES, ERROR)
            passed.append(blob)


def note_blob(left_out: Mapping[str, int], events: Mapping[str, int], reading: int = 0) -> Blob:
    """Counts of rows: left out, by reason, and read, by source. reading: of several of one source;
    its bucket.
    """
    return Blob(reading, NOTES, json.dumps([left_out, events]).encode())


def error_blob(error: HeadwaterError) -> Blob:
    """An error, which `raised` raises on the other side."""
    return Blob(0, ERROR, json.dumps([type(error).__name__, str(error)]).encode())


def raised(blob: Blob) -> HeadwaterError:
    """The error of a blob."""
    name, message = json.loads(blob.payload)
    return _ERRORS.get(name, DataError)(message)


def arrow_of(rows: pl.DataFrame) -> pa.Table:
    """Rows in the Arrow types that Spark reads; they have none that it lacks.

    >>> arrow_of(pl.DataFrame({"user": ["ann"]})).schema.field("user").type
    DataType(string)
    """
    import pyarrow as pa

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(pa.schema([(column.name, _small(column.type)) for column in table.schema]))


def _small(dtype: pa.DataType) -> pa.DataType:
    """The type without offsets of 64 bits."""
    import pyarrow as pa

    if pa.types.is_large_string(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype):
        return pa.binary()
    return pa.list_(_small(dtype.value_type)) if pa.types.is_large_list(dtype) else dtype


def blobs_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
    """The blobs in batches from Spark."""
    for batch in batches:
        for row in range(batch.num_rows):
            bucket, kind, payload = (batch.column(column)[row].as_py() for column in range(3))
            yield Blob(bucket, kind, payload)


def batches_of(blobs: Iterable[Blob]) -> Iterator[pa.RecordBatch]:
    """Batches for Spark, of a few blobs each."""
    held: list[Blob] = []
    size = 0
    for blob in blobs:
        held.append(blob)
        size += len(blob.payload)
        if size >= BLOB_BYTES:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def tables_of(blobs: Iterable[Blob], batches: int) -> Iterator[pa.Table]:
    """Tables of so many batches of blobs each."""
    import pyarrow as pa

    batches_left = batches_of(blobs)
    while some := list(islice(batches_left, batches)):
        yield pa.Table.from_batches(some)


def _batch(blobs: list[Blob]) -> pa.RecordBatch:
    import pyarrow as pa

    numbers = (
        pa.array([blob.bucket for blob in blobs], pa.int32()),
        pa.array([blob.kind for blob in blobs], pa.int32()),
    )
    return pa.RecordBatch.from_arrays(
        [*numbers, pa.array([blob.payload for blob in blobs], pa.binary())],
        ["bucket", "kind", "payload"],
    )


SET = "__set"

LEVEL = "__level"

_ROW = "__row"

_KNOWN_AT = "__known_at"


def request_frame(number: int, requests: RequestSet, keys: Sequence[str]) -> pl.DataFrame:
    """The request set of a number as a frame, with the number of each row."""
    times = {
        f"__{name}{level}": array
        for level, a in enumerate(requests.as_of)
        for name, array in (("T", a.T), ("K", a.K))
    }
    numbers = {SET: pl.lit(number, pl.Int32), _ROW: pl.int_range(pl.len(), dtype=pl.Int64)}
    return (
        pl.DataFrame({"__t": requests.t, **times})
        .with_columns(**numbers)
        .hstack(requests.keys.select(keys).get_columns())
    )


def requests_of(frame: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.Series, RequestSet]:
    """The numbers of rows, and the request set of them."""
    levels = sum(name.startswith("__T") for name in frame.columns)
    as_of = tuple(
        AsOf(*(frame[f"__{name}{level}"].to_numpy() for name in "TK")) for level in range(levels)
    )
    columns = frame.select(keys) if keys else frame.select(pl.col(_ROW).alias(""))
    return frame[_ROW], RequestSet(columns, frame["__t"].to_numpy(), as_of)


def answer_frame(rows: pl.Series, values: FeatureValues, number: int, level: int) -> pl.DataFrame:
    """The values of rows by their numbers, of a request set at one of its freshnesses."""
    columns = [
        rows,
        *(s.alias(f"v{s.name}") for s in values.values),
        *(s.alias(f"s{s.name}") for s in values.statuses),
    ]
    known_columns = [] if values.known_at is None else [pl.Series(_KNOWN_AT, values.known_at)]
    return pl.DataFrame([*columns, *known_columns]).with_columns(
        pl.lit(number, pl.Int32).alias(SET), pl.lit(level, pl.Int32).alias(LEVEL)
    )


def values_of(frame: pl.DataFrame) -> FeatureValues:
    """The answers of a frame that a worker made, by the number of their rows."""
    frame = frame.sort(_ROW)
    values, statuses = (
        pl.DataFrame([frame[c].alias(c[1:]) for c in frame.columns if c.startswith(prefix)])
        for prefix in "vs"
    )
    known_at = frame[_KNOWN_AT].to_numpy() if _KNOWN_AT in frame.columns else None
    return FeatureValues(values, statuses, known_at)


CHUNK_BYTES = 64_000_000  # of rows that are held as one

ROWS_BUCKET, ELEMENTS_BUCKET = -1, -2

_BUCKETS: Final = {ROWS: ROWS_BUCKET, ELEMENTS: ELEMENTS_BUCKET}


@dataclass
class Spilled:
    """The frames of a partition in files, and its requests. apart: whether each bucket of events
    has files of its own.

    buckets, sizes: the rows and the bytes of each bucket.
    """

    folder: Path
    apart: bool
    requests: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    buckets: Counter[int] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    _held: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _size: int = 0
    _files: dict[int, list[Path]] = field(default_factory=dict)

    def read(
        self,
        batches: Iterable[pa.RecordBatch],
        nothing: pl.DataFrame | None = None,
        passes: Collection[int] = (NOTES, ERROR),
    ) -> Iterator[Blob]:
        """Take the rows of a partition; gives the blobs of the kinds that pass as they are.

        nothing: an empty frame, for a partition without events.
        """
        for blob in blobs_of(batches):
            if blob.kind in passes:
                yield blob
            elif blob.kind == REQUESTS:
                frame = frame_of(blob)
                self.requests.setdefault(int(frame[SET][0]), []).append(frame)
            else:
                assert blob.kind in (EVENTS, ROWS, ELEMENTS)
                self._add(blob)
        if nothing is not None and not self.buckets[0]:
            self._add(next(frame_blobs(0, EVENTS, nothing)))
        self._flush()

    def files(self, bucket: int = 0) -> list[Path]:
        """The files of a bucket."""
        return self._files.get(bucket, [])

    def parts_in(self, size: int) -> int:
        """How many parts of so many bytes all rows make."""
        return max(1, -(-sum(self.sizes.values()) // size))

    def frames(self, bucket: int, size: int) -> Iterator[pl.DataFrame]:
        """The rows of a bucket, so many bytes at a time or a little more."""
        held: list[pl.DataFrame] = []
        for file in self.files(bucket):
            held.append(pl.read_parquet(file))
            if sum(int(frame.estimated_size()) for frame in held) >= size:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def parts(self, hashed: pl.Expr, memory: int, bucket: int = 0) -> Iterator[pl.DataFrame]:
        """The rows of a bucket in parts that fit into memory; rows of one hash are together."""
        for (rows,) in self.together(
            hashed, -(-self.buckets[bucket] * EVENT_BYTES // memory), bucket
        ):
            if rows is not None:
                yield rows

    def together(
        self, hashed: pl.Expr, parts: int, *buckets: int
    ) -> Iterator[list[pl.DataFrame | None]]:
        """The rows of buckets in parts; rows of one hash, whichever their bucket, are in one part.
        None where a part has no row.
        """
        files = [self.files(bucket) for bucket in buckets]
        if parts <= 1:
            yield [
                pl.read_parquet(bucket_paths) if bucket_paths else None for bucket_paths in files
            ]
            return
        with TemporaryDirectory(dir=self.folder) as name:
            folders = [Path(name) / str(number) for number in range(len(files))]
            for folder, bucket_paths in zip(folders, files, strict=True):
                if bucket_paths:
                    split(pl.scan_parquet(bucket_paths), hashed % parts, folder, "the work folder")
            for part in range(parts):
                hash_files = [bucket_files([folder], part) for folder in folders]
                if any(hash_files):
                    yield [
                        pl.read_parquet(bucket_paths, hive_partitioning=False)
                        if bucket_paths
                        else None
                        for bucket_paths in hash_files
                    ]

    def _add(self, blob: Blob) -> None:
        """Hold the rows of a blob; once many are held, write them."""
        bucket, frame = _BUCKETS.get(blob.kind, blob.bucket if self.apart else 0), frame_of(blob)
        size = int(frame.estimated_size())
        self.buckets[bucket] += frame.height
        self.sizes[bucket] += size
        self._held.setdefault(bucket, []).append(frame)
        self._size += size
        if self._size >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the held rows."""
        for bucket, frames in self._held.items():
            files = self._files.setdefault(bucket, [])
            files.append(self.folder / f"{bucket}-{len(files)}.parquet")
            pl.concat(frames).write_parquet(
                files[-1], compression="uncompressed", row_group_size=1 << 18
            )
        self._held, self._size = {}, 0


@contextmanager
def spill_folder(*, apart: bool = False) -> Iterator[Spilled]:
    """A partition on disk until the context ends."""
    with TemporaryDirectory(prefix="headwater-", dir=settings.spark_local_folder()) as name:
        (Path(name) / "work").mkdir()
        yield Spilled(Path(name), apart)
