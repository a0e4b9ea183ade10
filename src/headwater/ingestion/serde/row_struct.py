"""Python types for msgspec to check the fields of each record, derived from the polars schema of
the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Final, Optional, TypedDict

import msgspec
import polars as pl

from headwater.definitions.connectors import Timestamps
from headwater.errors import DefinitionError

Kind = Any  # a type, made at run time


def _bounded(kind: Kind, low: float | None, high: float | None) -> Kind:
    return Annotated[kind, msgspec.Meta(ge=low, le=high)]


_PLAIN: Final[Mapping[object, Kind]] = {
    pl.String: str,
    pl.Categorical: str,
    pl.Enum: str,
    pl.Boolean: bool,
    pl.Int8: _bounded(int, -(2**7), 2**7 - 1),
    pl.Int16: _bounded(int, -(2**15), 2**15 - 1),
    pl.Int32: _bounded(int, -(2**31), 2**31 - 1),
    pl.Int64: _bounded(int, -(2**63), 2**63 - 1),
    pl.UInt8: _bounded(int, 0, 2**8 - 1),
    pl.UInt16: _bounded(int, 0, 2**16 - 1),
    pl.UInt32: _bounded(int, 0, 2**32 - 1),
    # msgspec takes no bound beyond int64; the column rejects larger values
    pl.UInt64: _bounded(int, 0, None),
    pl.Float32: float,  # NaN included; the column rejects larger values
    pl.Float64: float,
    pl.Decimal: Decimal,
    pl.Date: date,
    pl.Time: time,
    pl.Binary: bytes,
}


def row_type(
    schema: Mapping[str, pl.DataType], timestamps: Timestamps | None
) -> type[msgspec.Struct]:
    """A struct with a field for each column: the n-th is `c{n}`, named in records as the column is,
    and null where they lack it.

    Args:
        schema: the columns.
        timestamps: how records write timestamps; None where the format has a type for them.

    Raises:
        DefinitionError: a dtype that no record can carry.

    >>> row = row_type({"the card": pl.String(), "pages": pl.UInt8()}, "iso")
    >>> msgspec.json.decode(b'{"pages": 3, "other": 1}', type=row)
    Row(c0=None, c1=3)
    """
    fields = [
        (f"c{n}", _or_null(_kind(dtype, timestamps, name)), None)
        for n, (name, dtype) in enumerate(schema.items())
    ]
    return msgspec.defstruct(
        "Row", fields, rename={f"c{n}": name for n, name in enumerate(schema)}, gc=False
    )


def _kind(dtype: pl.DataType, timestamps: Timestamps | None, name: str) -> Kind:
    """What a field must be for its column."""
    if isinstance(dtype, pl.Datetime):
        return Any if timestamps is None else str if timestamps == "iso" else int | float
    return _plain(dtype, name)


def _plain(dtype: pl.DataType, name: str) -> Kind:
    """The same of what may stand inside a list or a struct, too."""
    if isinstance(dtype, pl.List):
        return list[_or_null(_plain(_inner(dtype.inner), name))]  # type: ignore[misc]
    if isinstance(dtype, pl.Struct):
        fields = {f.name: _or_null(_plain(_inner(f.dtype), name)) for f in dtype.fields}
        return TypedDict("Struct", fields, total=False)  # type: ignore[operator]
    if type(dtype) not in _PLAIN:
        raise DefinitionError(
            f"the column {name!r} of a stream cannot be or hold {dtype}; give it another type in "
            "the schema, and make the column in select"
        )
    return _PLAIN[type(dtype)]


def _or_null(kind: Kind) -> Kind:
    return Optional[kind]  # noqa: UP045 (a value)


def _inner(dtype: Any) -> pl.DataType:  # noqa: ANN401 (polars types it as either)
    inner: pl.DataType = dtype if isinstance(dtype, pl.DataType) else dtype()
    return inner
