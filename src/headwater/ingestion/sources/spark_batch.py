"""A micro batch of Spark Structured Streaming: its rows in pieces that are the same however often
Spark repeats the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors.spark import DIALECT, of_spark, query_id, spark_errors
from headwater.errors import DataError, nearest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_FILLED: Final = 0.8  # of `most`: pieces by hash are not of one size


class BatchPosition(msgspec.Struct, frozen=True, array_like=True):
    """The place in a query's batches from which to go on; see `encoded`.

    batch: the batch to commit next. piece, pieces: of that batch, the piece to commit next, and how
    many it has; both 0 where nothing of it is committed. rows: how many were committed before.
    """

    batch: int = 0
    piece: int = 0
    pieces: int = 0
    rows: int = 0

    @property
    def encoded(self) -> bytes:
        """As a `Position`."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decoded(cls, position: bytes) -> BatchPosition:
        """The one that was encoded.

        >>> BatchPosition.decoded(BatchPosition(7, rows=12).encoded)
        BatchPosition(batch=7, piece=0, pieces=0, rows=12)
        """
        return msgspec.msgpack.decode(position, type=cls)


@dataclass(frozen=True)
class Piece:
    """Some rows of a batch, by the columns of the stream; and the position behind them."""

    rows: pl.DataFrame
    end: BatchPosition


@dataclass(frozen=True)
class SparkBatch:
    """A batch as foreachBatch gets it: the DataFrame, its number, and the id of the query, which
    its checkpoint keeps.
    """

    frame: DataFrame
    number: int
    query: str

    @classmethod
    def from_frame(cls, frame: DataFrame, number: int, name: str) -> SparkBatch:
        """The batch that a query of this name is at."""
        return cls(frame, number, query_id(frame, name))

    def pieces(
        self, start: BatchPosition, most: int, schema: Mapping[str, pl.DataType]
    ) -> Iterator[Piece]:
        """The rows from `start` on, about `most` together, as the columns of `schema`.

        A batch of more rows is split by a hash of the row. Spark repeats a batch with the same
        rows, in any order, so each row is in the same piece again.

        Raises:
            DataError: a column is missing, or of a type that does not fit.
            ConnectError: Spark cannot read the batch.
        """
        subject = f"batch {self.number} of the Spark query {self.query}"
        with spark_errors(f"{subject} cannot be read"):
            frame = self._selected(schema, subject)
            pieces = start.pieces
            if not pieces:
                rows = _typed(of_spark(frame.limit(most + 1).toArrow()), schema, subject)
                if rows.height <= most:
                    yield Piece(rows, BatchPosition(self.number + 1, rows=start.rows + rows.height))
                    return
                del rows
            with _persisted(frame):
                pieces = pieces or math.ceil(frame.count() / (most * _FILLED))
                columns, end = ", ".join(map(DIALECT.quoted, schema)), start
                for piece in range(start.piece, pieces):
                    piece_frame = frame.where(f"pmod(xxhash64({columns}), {pieces}) = {piece}")
                    rows = _typed(of_spark(piece_frame.toArrow()), schema, subject)
                    total = end.rows + rows.height
                    last = piece + 1 == pieces
                    end = (
                        BatchPosition(self.number + 1, rows=total)
                        if last
                        else BatchPosition(self.number, piece + 1, pieces, total)
                    )
                    yield Piece(rows, end)

    def _selected(self, schema: Mapping[str, pl.DataType], subject: str) -> DataFrame:
        columns = self.frame.columns
        for name in schema:
            if name not in columns:
                raise DataError(
                    f"{subject} has no column {name!r}, which the stream has; "
                    f"{nearest(name, columns)}"
                )
        return self.frame.select(*map(DIALECT.quoted, schema))


@contextmanager
def _persisted(frame: DataFrame) -> Iterator[None]:
    """Keep the rows on the executors, since each piece reads them all."""
    frame.persist()
    try:
        yield
    finally:
        frame.unpersist()


def _typed(rows: pl.DataFrame, schema: Mapping[str, pl.DataType], subject: str) -> pl.DataFrame:
    """The rows with the very types of the stream's columns."""
    for name, dtype in schema.items():
        if not _fits(rows.schema[name], dtype):
            raise DataError(
                f"{subject}: column {name!r} is {rows.schema[name]}, and the stream has {dtype}; "
                "cast it in the query, or give headwater_spark.spark_stream() another schema"
            )
    try:
        return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    except PolarsError as error:
        raise DataError(
            f"{subject}: a value does not fit the type of its column: {error}"
        ) from error


def _fits(dtype: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether a column may be cast without a loss; integers are checked value by value.

    >>> (
    ...     _fits(pl.Int32(), pl.Int64()),
    ...     _fits(pl.Int64(), pl.Float64()),
    ...     _fits(pl.String(), pl.Int64()),
    ... )
    (True, False, False)
    """
    if dtype == wanted or dtype == pl.Null():
        return True
    if dtype.is_integer():
        return wanted.is_integer() or (
            wanted == pl.Float64() and dtype in (pl.Int8(), pl.Int16(), pl.Int32())
        )
    if isinstance(dtype, pl.Datetime) and isinstance(wanted, pl.Datetime):
        return (dtype.time_zone is None) == (wanted.time_zone is None)
    if dtype == pl.String():
        return wanted == pl.Categorical() or isinstance(wanted, pl.Enum)
    return dtype == pl.Float32() and wanted == pl.Float64()
