"""Encode entity keys as bytes: equal keys have equal bytes. Encodes columns of events and single
values of requests.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final, cast

import polars as pl

from headwater.errors import DataError
from headwater.events.column_encoding import encode

EncodeValue = Callable[[object], bytes | None]
"""A value as bytes; None for a value that no key of the dtype can have."""

LEAST, MOST = -(2**63), 2**63 - 1
PACK: Final = struct.Struct(">q").pack
_EPOCH, _EPOCH_DAY = datetime(1970, 1, 1), date(1970, 1, 1).toordinal()  # noqa: DTZ001 (the offset is taken out before)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)
_FEW_DIGITS = 18  # those of an integer of 64 bits
_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation])  # no digit of a decimal is lost
_HEADS: Final = tuple(size.to_bytes(4, "big") for size in range(256))


def key_bytes(keys: pl.DataFrame) -> list[bytes]:
    """Keys, none of them null, as bytes that are equal where the keys are: each value whole, with
    its length before it but for the last.

    Raises:
        DataError: a key that is a float.
    """
    parts = []
    for series in keys:
        dtype = series.dtype
        if dtype.is_float():
            raise DataError(
                f"the key {series.name!r} is a float; floats that look equal may differ, so cast "
                "it to integers or strings"
            )
        if dtype in (pl.String, pl.Categorical, pl.Enum):
            parts.append([text.encode() for text in series.cast(pl.String).to_list()])
        elif dtype == pl.Binary:
            parts.append(series.to_list())
        elif dtype.is_decimal():
            parts.append([integer(value) for value in series.to_physical().to_list()])
        elif dtype in (pl.UInt64, pl.Int128, pl.UInt128):
            parts.append([integer(value) for value in series.to_list()])
        else:
            whole = (
                series.cast(pl.Int64)
                if dtype.is_integer() or dtype == pl.Boolean
                else encode(series)[0]
            )
            data = whole.to_numpy().astype(">i8").tobytes()
            parts.append([data[i : i + 8] for i in range(0, len(data), 8)])
    if len(parts) == 1:
        return parts[0]
    return [
        b"".join([*map(with_length, values[:-1]), values[-1]])
        for values in zip(*parts, strict=True)
    ]


def with_length(value: bytes) -> bytes:
    """A value that is not the last of a key, with its length before it."""
    size = len(value)
    return (_HEADS[size] if size < len(_HEADS) else size.to_bytes(4, "big")) + value


def integer(value: int) -> bytes:
    """An integer of at most 128 bits.

    >>> integer(1).hex(), integer(2**63).hex()
    ('0000000000000001', '758000000000000000')
    """
    if LEAST <= value <= MOST:
        return PACK(value)
    return (
        b"u" + value.to_bytes(8, "big")
        if 0 < value < 2**64
        else b"w" + value.to_bytes(17, "big", signed=True)
    )


def value_encoder(dtype: pl.DataType) -> tuple[type, EncodeValue] | None:
    """The class that values of the dtype have in Python, and their encoder, as `key_bytes` encodes
    a column of them; None for other dtypes.

    Integers, whose ranges differ, have encoders of their own in `online.key_encoder`.
    """
    if isinstance(dtype, pl.Datetime):
        return datetime, lambda value: PACK(micros(cast("datetime", value)))
    if isinstance(dtype, pl.Decimal):
        scale = dtype.scale
        return Decimal, lambda value: _decimal(cast("Decimal", value), scale)
    if isinstance(dtype, pl.Duration):
        unit = {"ns": 1000, "us": 1}.get(dtype.time_unit, 0)
        return timedelta, lambda value: PACK(_duration(cast("timedelta", value), unit))
    others: dict[pl.DataType, tuple[type, EncodeValue]] = {
        pl.Date(): (date, lambda value: PACK(cast("date", value).toordinal() - _EPOCH_DAY)),
        pl.Time(): (time, lambda value: PACK(_nanos(cast("time", value)))),
        pl.Boolean(): (bool, lambda value: PACK(cast("bool", value))),
        pl.Binary(): (bytes, lambda value: cast("bytes", value)),
    }
    return others.get(dtype)


def decoded(encoded: bytes, dtype: pl.DataType) -> object:
    """The value that was encoded; of a string or of binary that was too long to be stored whole,
    the stored rest.
    """
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return encoded.decode(errors="replace")
    if dtype == pl.Binary:
        return encoded
    whole = int.from_bytes(
        encoded if len(encoded) == 8 else encoded[1:], "big", signed=len(encoded) != 9
    )
    if isinstance(dtype, pl.Decimal):
        return Decimal(whole).scaleb(-dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return pl.Series([whole], dtype=pl.Datetime("us", dtype.time_zone))[0]
    return whole if dtype.is_integer() else pl.Series([whole]).cast(dtype, strict=False)[0]


def micros(value: datetime) -> int:
    """A timestamp in microseconds since the epoch; one without a time zone as if it were in UTC."""
    if value.tzinfo is not None:
        try:
            return (value - _EPOCH_UTC) // _MICROSECOND
        except TypeError:  # the zone gives no offset
            pass
    offset = value.utcoffset()
    since = value.replace(tzinfo=None) - _EPOCH
    return (since if not offset else since - offset) // _MICROSECOND


def _decimal(value: Decimal, scale: int) -> bytes | None:
    try:
        scaled = value.scaleb(scale, _EXACT)
        if scaled.adjusted() < _FEW_DIGITS and (whole := int(scaled)) == scaled:
            return PACK(whole)
    except (ArithmeticError, ValueError):  # no number, or digits beyond those of the context
        pass
    return _any_decimal(value, scale)


def _any_decimal(value: Decimal, scale: int) -> bytes | None:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return None  # no number
    whole, shift = int("".join(map(str, digits))), exponent + scale
    if shift < 0:
        whole, rest = (
            divmod(whole, 10**-shift) if -shift < 40 + len(digits) else (0, int(whole > 0))
        )
        if rest:
            return None
    elif whole:
        if shift > 40:
            return None
        whole *= 10**shift
    return integer(-whole if sign else whole) if whole < 2**127 else None


def _duration(value: timedelta, unit: int) -> int:
    whole = value // _MICROSECOND
    return whole * unit if unit else whole // 1000


def _nanos(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**9 + value.microsecond * 1000
