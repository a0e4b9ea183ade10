"""Flat JSON objects of a known schema to columns by compiled loops; records that these are not
certain of are left to msgspec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import polars as pl

from headwater.definitions.connectors import Stream
from headwater.ingestion.serde.json_kernel import (
    BOOLEAN,
    DATE,
    FLOAT,
    INTEGER,
    STRING,
    TIMESTAMP,
    read_objects,
    separated,
)
from headwater.ingestion.serde.payloads import Payloads
from headwater.ingestion.serde.timestamp_parsing import EARLIEST, LATEST, UNITS, in_schema
from headwater.kernel.arrays import I64, Bool

_INT64: Final = (-(2**63), 2**63 - 1)
_KINDS: Final[Mapping[object, tuple[int, int, int]]] = {
    pl.String: (STRING, 0, 0),
    pl.Categorical: (STRING, 0, 0),
    pl.Enum: (STRING, 0, 0),
    pl.Boolean: (BOOLEAN, 0, 0),
    **{
        kind: (INTEGER, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for kind, bits in ((pl.Int8, 8), (pl.Int16, 16), (pl.Int32, 32))
    },
    pl.Int64: (INTEGER, *_INT64),
    **{
        kind: (INTEGER, 0, 2**bits - 1)
        for kind, bits in ((pl.UInt8, 8), (pl.UInt16, 16), (pl.UInt32, 32))
    },
    pl.UInt64: (INTEGER, 0, _INT64[1]),
    pl.Float32: (FLOAT, 0, 0),  # what the loops read is never too large for it
    pl.Float64: (FLOAT, 0, 0),
    pl.Date: (DATE, 0, 0),
}
_LARGEST: Final = 2**31  # bytes: polars numbers the bytes of a string by 32 bits

CompiledReader = Callable[[Payloads], tuple[pl.DataFrame, Bool]]
"""Rows of n payloads, with exactly the schema's columns; and bool (n), which payloads were read.
The other rows mean nothing.
"""


def compiled_reader(
    schema: Mapping[str, pl.DataType], stream: Stream, timezone: str | None
) -> CompiledReader | None:
    """The compiled reader of a stream's records; None where the format is not JSON, or it does not
    read a column.

    >>> from headwater.definitions.connectors import push
    >>> read = compiled_reader({"user": pl.Int64(), "price": pl.Float64()}, push(), None)
    >>> frame, sure = read(Payloads.of([b'{"user": 7, "price": 2.50}', b'{"user": 1e3}']))
    >>> frame.row(0), sure.tolist()
    ((7, 2.5), [True, False])
    """
    kinds = [_kind(dtype, stream) for dtype in schema.values()]
    # without quotes and the like: `row_type` refuses these
    names = [name.encode() for name in schema]
    if stream.format != "json" or any(kind is None for kind in kinds):
        return None
    table = np.array(kinds, np.int64).T.copy()
    letters, ends = (
        np.frombuffer(b"".join(names), np.uint8),
        np.cumsum([len(name) for name in names]),
    )
    kind, bounds = table[0].copy(), table[1:].copy()

    def read(payloads: Payloads) -> tuple[pl.DataFrame, Bool]:
        shape, sure = (len(schema), len(payloads)), np.zeros(len(payloads), np.bool_)
        words, sizes, present = (
            np.zeros(shape, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
        )
        if payloads.data.nbytes < _LARGEST:
            out = (words, words.view(np.float64), sizes, present, np.full(len(schema), -1))
            fields = (letters.ctypes.data, ends, kind, bounds)
            read_objects(
                payloads.data.ctypes.data, payloads.begin, payloads.size, fields, out, sure
            )
        columns = []
        for n, (name, dtype) in enumerate(schema.items()):
            if table[0, n] == STRING:
                column = _strings(payloads, words[n], sizes[n], present[n], sure)
                column = column if dtype == pl.String else column.cast(dtype, strict=False)
            else:
                column = _column(words[n], dtype, stream, timezone)
            columns.append(_with_nulls(column, present[n]).alias(name))
            # null where it has no such category: msgspec's way rejects it
            if column.dtype == pl.Enum:
                sure &= ~(column.is_null().to_numpy() & present[n])
        return pl.DataFrame(columns), sure

    return read


def _kind(dtype: pl.DataType, stream: Stream) -> tuple[int, int, int] | None:
    """How values of a type are read, and within which bounds."""
    if not isinstance(dtype, pl.Datetime):
        return _KINDS.get(type(dtype))
    if stream.timestamps == "iso":
        return TIMESTAMP, EARLIEST, LATEST
    unit = UNITS[stream.timestamps]
    return INTEGER, -(-EARLIEST // unit), LATEST // unit


def _column(words: I64, dtype: pl.DataType, stream: Stream, timezone: str | None) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        micros = words if stream.timestamps == "iso" else words * UNITS[stream.timestamps]
        return in_schema(pl.Series(micros), dtype, timezone)
    if dtype.is_float():
        return pl.Series(words.view(np.float64)).cast(dtype)
    if dtype == pl.Boolean:
        return pl.Series(words.astype(np.bool_))
    return pl.Series(words.astype(np.int32) if dtype == pl.Date else words).cast(
        dtype, strict=False
    )


def _strings(payloads: Payloads, begin: I64, size: I64, present: Bool, sure: Bool) -> pl.Series:
    if not len(begin):
        return pl.Series(dtype=pl.String)
    packed = separated(payloads.data.ctypes.data, begin, size, present, sure).tobytes().decode()
    return pl.Series([packed]).str.split("\0").explode()


def _with_nulls(column: pl.Series, present: Bool) -> pl.Series:
    return column if present.all() else column.set(pl.Series(~present), None)
