"""Files of Debezium's envelopes as history, decoded as a stream of them is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

from polars.io.plugins import register_io_source

from headwater.connectors import files
from headwater.definitions.connectors import (
    AppendedFiles,
    Connector,
    JsonLinesFiles,
    Schema,
    Timestamps,
    appended,
)
from headwater.definitions.definition import stack_level
from headwater.definitions.source import Source
from headwater.errors import HeadwaterWarning
from headwater.ingestion.sources.stream_reader import declared, decoder

if TYPE_CHECKING:
    import polars as pl

_LINES = 50_000  # that are decoded together
_LINE = "line"


@dataclass(frozen=True, eq=False, init=False)
class DebeziumFiles(Connector, called="debezium"):
    """Envelopes of Debezium in files of JSON lines, as history: the rows that a stream with
    `format="debezium"` gives.

    Each envelope is a change image of a row: the row after an insert, update or snapshot read, and
    the row before a delete. Besides the columns of `schema` there are `__deleted` (for `changes=`),
    `__op`, `__source_ts`, `__ts` (for `known_at_field=`) and `__lsn`.

    Args:
        path: one file, a glob or a folder of `.jsonl` files, as of `json_lines`.
        schema: the columns of the row and their types, as of `kafka`.
        timestamps: the unit of numbers where records do not carry their schema, "ms" or "us".
        storage_options: as of `parquet`.

    Raises:
        DefinitionError: a type that does not exist, or an unknown scheme.

    >>> debezium("orders/*.jsonl", schema={"order_id": int, "customer": str})
    DebeziumFiles(envelopes in orders/*.jsonl)
    """

    files: JsonLinesFiles
    stream: AppendedFiles

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        schema: Schema,
        timestamps: Timestamps = "iso",
        storage_options: Mapping[str, object] | None = None,
    ) -> None:
        stream = appended(path, format="debezium", schema=schema, timestamps=timestamps)
        self._set(files=JsonLinesFiles(path, storage_options=storage_options), stream=stream)

    @property
    def is_remote(self) -> bool:  # type: ignore[override] # of these files
        """Whether the files are on an object store."""
        return self.files.is_remote

    def __str__(self) -> str:
        return f"envelopes in {self.files.path}"

    def scan(self) -> pl.LazyFrame:
        """The rows, one for each envelope that is a change of a row.

        Warns:
            HeadwaterWarning: lines that are none: how many, and why the first is not.

        Raises:
            DataError: the files are missing or empty.
            ConnectError: an object store does not answer, or refuses.
        """
        schema = declared(self.stream)
        assert schema is not None, "debezium() asks for one"
        lines = files.lines(self.files, _LINE)

        def read(
            columns: list[str] | None,
            predicate: pl.Expr | None,
            rows: int | None,
            _size: int | None,
        ) -> Iterator[pl.DataFrame]:
            remaining = rows
            for frame in self._decoded(lines, schema):
                chosen = frame if predicate is None else frame.filter(predicate)
                chosen = chosen if columns is None else chosen.select(columns)
                chosen = chosen if remaining is None else chosen.head(remaining)
                yield chosen
                remaining = None if remaining is None else remaining - chosen.height
                if remaining == 0:
                    return

        return register_io_source(read, schema=schema, is_pure=True)

    def contents(self) -> dict[str, object]:
        """A hash of each file."""
        return files.contents(self.files)

    def state(self) -> list[object]:
        """A digest of each file."""
        return files.state(self.files) or [self.contents()]

    def _decoded(
        self, lines: pl.LazyFrame, schema: Mapping[str, pl.DataType]
    ) -> Iterator[pl.DataFrame]:
        naive = self.stream.with_fields(schema=dict(self.stream.schema or {}))
        decode = decoder(
            Source("envelopes", timestamp_field=next(iter(schema)), timezone="UTC", stream=naive)
        )
        refused, first = 0, ""
        for batch in lines.collect_batches(chunk_size=_LINES, maintain_order=True):
            decoded = decode([line.encode() if line else None for line in batch[_LINE].to_list()])
            refused += len(decoded.refused)
            first = first or (decoded.refused[0][1] if decoded.refused else "")
            yield decoded.frame
        if refused:
            warnings.warn(
                f"{self}: {refused:,} lines are left out; the first since {first}",
                HeadwaterWarning,
                stacklevel=stack_level(),
            )


debezium = DebeziumFiles
