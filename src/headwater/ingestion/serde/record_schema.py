"""The columns of a stream, and their types."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Final

import polars as pl

from headwater.connectors import scan
from headwater.definitions.connectors import DEBEZIUM_COLUMNS, Stream, as_table
from headwater.definitions.source import Source, bottom_of, root_columns
from headwater.errors import DataError, DefinitionError, nearest

_OF_PYTHON: Final = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    bytes: pl.Binary(),
    datetime: pl.Datetime("us", "UTC"),
    date: pl.Date(),
}


_UTC: Final = pl.Datetime("us", "UTC")
_ENVELOPE: Final[dict[str, pl.DataType]] = dict(
    zip(DEBEZIUM_COLUMNS, (pl.Boolean(), pl.String(), _UTC, _UTC, pl.Int64()), strict=True)
)


def stream_schema(source: Source, also: Collection[str] = ()) -> dict[str, pl.DataType]:
    """The columns that records of the source's stream are decoded to, with their dtypes.

    They are those of the stream's own schema, else those columns of the history that the source
    reads: what `select` and `filter` are made of, its own times and ids, and `also` (all, where
    nothing is selected), each with the very dtype it has there, so that expressions say the same of
    both. Of an enriched source, they are those of the events below it.

    Raises:
        DefinitionError: the source has no stream, nothing says its columns, or a timestamp is naive
            and the source has no time zone.
        DataError: the history cannot be read, or lacks a column.

    >>> from headwater.definitions.connectors import push
    >>> stream_schema(
    ...     Source(
    ...         "visits", timestamp_field="at", stream=push(schema={"user": int, "at": datetime})
    ...     )
    ... )
    {'user': Int64, 'at': Datetime(time_unit='us', time_zone='UTC')}
    """
    source = bottom_of(source)
    subject = f"source {source.name!r}"
    if source.stream is None:
        raise DefinitionError(
            f"{subject} has no stream: give stream=hw.kafka(topic), hw.push() or hw.appended(path)"
        )
    own = declared(source.stream)
    columns = _history(source, also) if own is None else own
    for name in needed_columns(source, also):
        if name not in columns:
            raise DataError(
                f"{subject}: the schema of {source.stream} has no column {name!r}, which the "
                f"source reads; {nearest(name, columns)}"
            )
    for name, dtype in columns.items():
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and source.timezone is None:
            raise DefinitionError(
                f"{subject}: the timestamp {name!r} has no time zone; give the source a "
                "timezone=, or the column pl.Datetime('us', 'UTC')"
            )
    return columns


def declared(stream: Stream) -> dict[str, pl.DataType] | None:
    """The columns of the stream's own schema; None where it has none."""
    if stream.schema is None:
        return None
    return {name: _polars(dtype) for name, dtype in stream.schema.items()} | (
        _ENVELOPE if stream.format == "debezium" else {}
    )


def _history(source: Source, also: Collection[str]) -> dict[str, pl.DataType]:
    subject = f"source {source.name!r}"
    if source.history is None:
        raise DefinitionError(
            f"{subject}: the columns of {source.stream} are not known; give it a schema=, or the "
            "source a history"
        )
    try:
        schema = scan(as_table(source.history, subject)).collect_schema()
    except DataError as error:
        raise DataError(
            f"{subject}: the columns of {source.stream} are those of its history, and {error}; or "
            "give the stream a schema="
        ) from error
    needed = set(needed_columns(source, also))
    return {
        name: dtype for name, dtype in schema.items() if source.select is None or name in needed
    }


def needed_columns(source: Source, also: Collection[str] = ()) -> list[str]:
    """The columns of a record that the source reads, where it names them."""
    computed = {
        item.meta.output_name() for item in source.select or () if not isinstance(item, str)
    }
    own = [
        c
        for c in (source.timestamp_field, source.known_at_field, source.id_field, source.changes)
        if c and c not in computed
    ]
    expressions = [*(source.select or ()), *([] if source.filter is None else [source.filter])]
    return list(
        dict.fromkeys(
            [*(c for item in expressions for c in sorted(root_columns(item))), *own, *also]
        )
    )


def _polars(dtype: pl.DataType | type) -> pl.DataType:
    if isinstance(dtype, pl.DataType):
        return dtype
    polars_dtype: pl.DataType = _OF_PYTHON[dtype] if dtype in _OF_PYTHON else dtype()
    return polars_dtype
