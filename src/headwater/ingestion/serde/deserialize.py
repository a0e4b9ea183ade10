"""Records to rows: each payload becomes a row of the schema, or is refused with a reason; none
moves another.

What becomes of a payload does not depend on its neighbours, so a replay in other batches decides
alike. Flat JSON is read by compiled loops, and each record that these are not certain of by
msgspec, to the same row. Polars would read joined lines in parallel, but it turns numbers and
objects into strings, and keeps the first of two equal names where others keep the last.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.connectors import Stream
from headwater.definitions.source import Source, bottom_of
from headwater.errors import HeadwaterError
from headwater.ingestion.serde.json import (
    EXAMPLE,
    UNITS,
    Payloads,
    compiled_reader,
    in_schema,
    micros_of,
    taken,
)
from headwater.ingestion.serde.record_schema import stream_schema
from headwater.ingestion.serde.row_struct import row_type
from headwater.kernel.arrays import I64

Read = Callable[[bytes], msgspec.Struct | None]
"""Reads one record; None of one that says nothing, such as the tombstone after a delete of
Debezium.
"""

_READERS: Final[Mapping[str, str]] = {
    "json": "headwater.ingestion.serde.json",
    "csv": "headwater.ingestion.serde.csv_lines",
    "avro": "headwater.ingestion.serde.avro",
    "protobuf": "headwater.ingestion.serde.protobuf",
    "debezium": "headwater.ingestion.serde.debezium",
}
_CHUNK: Final = 16_384  # records whose objects stay in the processor's cache
FEW: Final = 1_000
"""Fewer records than this are decoded one by one: for these the compiled reader takes as long."""
_OTHER_TYPE: Final = re.compile(r"Expected `.+`, got `(?P<type>\w+)` - at `\$\.(?P<column>.+)`")
_JSON_TYPES: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number with a fraction",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}
_TYPED: Final = frozenset({"avro", "protobuf", "debezium"})  # these have timestamp types
# a record without a payload repeats the delete before it
_TOMBSTONES: Final = frozenset({"debezium"})


@dataclass(frozen=True)
class Decoded:
    """The rows that payloads hold, and the payloads that hold none.

    frame: (m) rows with exactly the schema's columns and dtypes. rows: int64 (m), the position of
    each among the payloads, rising.
    refused: position and reason of each of the others, rising.
    """

    frame: pl.DataFrame
    rows: I64
    refused: list[tuple[int, str]]

    def take(self, index: I64, count: int) -> Decoded:
        """The rows of a selection of `count` payloads. index: their positions, ascending."""
        position = np.full(count, -1)
        position[index] = np.arange(len(index))
        rows = position[self.rows]
        refused = [(int(position[n]), why) for n, why in self.refused if position[n] >= 0]
        return Decoded(self.frame.filter(rows >= 0), rows[rows >= 0], refused)


def decoder(
    source: Source, also: Collection[str] = (), described: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Sequence[bytes | None]], Decoded]:
    """The function that decodes payloads of the source's stream to rows.

    Args:
        source: with the stream.
        also: columns to read in addition to `stream_schema`.
        described: of some columns, what a value has to be, for reasons; timestamps are described
            anyway.

    Raises:
        DefinitionError: the source has no stream, or a column cannot be read from its format.
        MissingExtraError: the library of its format is not installed.

    >>> from headwater.definitions.connectors import push
    >>> visits = Source(
    ...     "visits",
    ...     timestamp_field="at",
    ...     timezone="UTC",
    ...     stream=push(schema={"user": int, "at": pl.Datetime("us", "UTC")}),
    ... )
    >>> decoded = decoder(visits)(
    ...     [b'{"user": 7, "at": "2024-05-01T08:00:00Z"}', b'{"user": "7"}', None]
    ... )
    >>> decoded.frame["user"].to_list(), decoded.rows.tolist()
    ([7], [0])
    >>> for position, reason in decoded.refused:
    ...     print(position, reason)
    1 Expected `int | null`, got `str` - at `$.user`
    2 no payload (a tombstone)
    """
    source = bottom_of(source)
    schema = stream_schema(source, also)
    stream = source.stream
    assert stream is not None, "stream_schema has refused a source without"
    row = row_type(schema, None if stream.format in _TYPED else stream.timestamps)
    read = _reader(stream, row)
    skips = stream.format in _TOMBSTONES
    fields = [attrgetter(name) for name in row.__struct_fields__]
    times = {
        name: _called(dtype, stream, source)
        for name, dtype in schema.items()
        if isinstance(dtype, pl.Datetime)
    } | dict(described)

    def decode_some(payloads: Sequence[bytes | None]) -> Decoded:
        structs, kept, refused = _rows(payloads, read, skips=skips)
        refused = [(n, _described(why, times)) for n, why in refused]
        columns: list[pl.Series] = []
        unfit: dict[int, str] = {}
        for (name, dtype), field in zip(schema.items(), fields, strict=True):
            values = list(map(field, structs))
            column = _column(values, dtype, stream, source.timezone)
            columns.append(column.alias(name))
            if (nulls := column.null_count()) and nulls != values.count(None):
                lost = (n for n in column.is_null().arg_true() if values[n] is not None)
                unfit |= {
                    n: (
                        f"{_shown(values[n])} is not {_called(dtype, stream, source)} - at "
                        f"`$.{name}`"
                    )
                    for n in lost
                }
        frame = pl.DataFrame(columns)
        if unfit:
            keep = np.ones(len(structs), dtype=np.bool_)
            keep[list(unfit)] = False
            refused = sorted([*refused, *((int(kept[n]), why) for n, why in unfit.items())])
            frame, kept = frame.filter(keep), kept[keep]
        return Decoded(frame, kept, refused)

    def decode_each(payloads: Sequence[bytes | None]) -> Decoded:
        pieces = [payloads[n : n + _CHUNK] for n in range(0, max(len(payloads), 1), _CHUNK)]
        return in_one([(decode_some(piece), len(piece)) for piece in pieces])

    compiled = compiled_reader(schema, stream, source.timezone)
    if compiled is None:
        return decode_each

    def decode(payloads: Sequence[bytes | None]) -> Decoded:
        if len(payloads) < FEW:
            return decode_each(payloads)
        frame, sure = compiled(Payloads.of(payloads))
        if sure.all():
            return Decoded(frame, np.arange(len(payloads)), [])
        rest = np.flatnonzero(~sure)
        return _merged(
            frame.filter(sure), np.flatnonzero(sure), decode_each(list(taken(payloads, rest))), rest
        )

    return decode


def _merged(frame: pl.DataFrame, rows: I64, others: Decoded, places: I64) -> Decoded:
    """Rows at `rows`, and what the payloads at `places` hold, in order."""
    refused = [(int(places[n]), why) for n, why in others.refused]
    rows = np.concatenate([rows, places[others.rows]])
    order = np.argsort(rows, kind="stable")
    return Decoded(pl.concat([frame, others.frame], rechunk=True)[order], rows[order], refused)


def in_one(chunks: Sequence[tuple[Decoded, int]]) -> Decoded:
    """What payloads hold, of what parts of them do; each with the number of its payloads."""
    if len(chunks) == 1:
        return chunks[0][0]
    begins = np.cumsum([0, *(count for _, count in chunks)]).tolist()
    return Decoded(
        pl.concat([chunk.frame for chunk, _ in chunks], rechunk=True),
        np.concatenate(
            [chunk.rows + begin for (chunk, _), begin in zip(chunks, begins, strict=False)]
        ),
        [
            (n + begin, why)
            for (chunk, _), begin in zip(chunks, begins, strict=False)
            for n, why in chunk.refused
        ],
    )


def _reader(stream: Stream, row: type[msgspec.Struct]) -> Read:
    read: Read = importlib.import_module(_READERS[stream.format]).reader(stream, row)
    return read


def _rows(
    payloads: Sequence[bytes | None], read: Read, *, skips: bool
) -> tuple[list[msgspec.Struct], I64, list[tuple[int, str]]]:
    """The rows, the position of each among the payloads, and what was refused. skips: whether no
    payload says nothing.
    """
    try:
        rows = list(map(read, payloads))  # type: ignore[arg-type] # None raises
        if None not in rows:
            return rows, np.arange(len(payloads)), []  # type: ignore[return-value] # as checked
    except (HeadwaterError, MemoryError):
        raise
    except Exception:  # noqa: BLE001, S110 (libraries raise anything on broken bytes: below, each record gets its own reason)
        pass
    structs, kept, refused = [], [], []
    for n, payload in enumerate(payloads):
        if payload is None and skips:
            continue
        try:
            if payload is None:
                refused.append((n, "no payload (a tombstone)"))
                continue
            if (row := read(payload)) is not None:
                structs.append(row)
                kept.append(n)
        except (HeadwaterError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (as above)
            refused.append((n, reason(error)))
    return structs, np.array(kept, dtype=np.int64), refused


def reason(error: Exception) -> str:
    """Why a record was refused, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (
        str(error)
        if isinstance(error, msgspec.MsgspecError)
        else f"{type(error).__name__}: {error}"
    )[:300]


def _described(why: str, described: Mapping[str, str]) -> str:
    """A reason of msgspec for a value of another type, in words where its column is described.

    >>> _described(
    ...     "Expected `int | float | null`, got `str` - at `$.at`",
    ...     {"at": "a timestamp in ms since 1970"},
    ... )
    'a string is not a timestamp in ms since 1970 - at `$.at`'
    """
    match = _OTHER_TYPE.fullmatch(why)
    if match is None or match["column"] not in described:
        return why
    return (
        f"{_JSON_TYPES.get(match['type'], match['type'])} is not {described[match['column']]} - "
        f"at `$.{match['column']}`"
    )


def _column(
    values: Sequence[object], dtype: pl.DataType, stream: Stream, timezone: str | None
) -> pl.Series:
    """The values as a column of the dtype; null where one does not fit."""
    if isinstance(dtype, pl.Datetime):
        return in_schema(micros_of(values, stream.timestamps, timezone), dtype, timezone)
    if dtype == pl.Float32:
        wide = pl.Series(values, dtype=pl.Float64)
        narrow = wide.cast(pl.Float32)
        return narrow.set(narrow.is_infinite() & wide.is_finite(), None)
    try:
        return pl.Series(values, dtype=dtype, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        return pl.Series(values, dtype=dtype, strict=False)


def _called(dtype: pl.DataType, stream: Stream, source: Source) -> str:
    """How a reason names what a value should have been."""
    if not isinstance(dtype, pl.Datetime):
        return f"of type {dtype}"
    if stream.timestamps != "iso":
        since_1970 = round(EXAMPLE.timestamp() * 1e6) // UNITS[stream.timestamps]
        return f"a timestamp in {stream.timestamps} since 1970, such as {since_1970}"
    zone = "" if source.timezone is None else f", or in {source.timezone} without one"
    return f"a timestamp in ISO 8601 with an offset{zone}, such as {EXAMPLE:%Y-%m-%dT%H:%M:%SZ}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
