"""Rows between Spark and its workers: a bucket, a kind, and a payload that Spark does not look
into.

Frames travel as Arrow IPC in one binary column. So every type of polars reaches the other side as
it was, and Spark moves a few large rows in place of many small ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Final

import polars as pl

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
    """Counts of rows: those left out, by reason, and those read, by source. reading: of several of
    one source; its bucket.
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

    left = batches_of(blobs)
    while some := list(islice(left, batches)):
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
