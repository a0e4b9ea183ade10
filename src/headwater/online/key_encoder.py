"""Entity keys of requests as the bytes that stand in the store: one encoder for each dtype."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, cast

import numpy as np
import polars as pl

from headwater.errors import DataError, nearest
from headwater.events.columns import is_whole
from headwater.events.keys import check_types
from headwater.state.record import (
    LEAST,
    MOST,
    PACK,
    EncodeValue,
    integer,
    value_encoder,
    with_length,
)
from headwater.stores import keyspace

EncodeRequest = Callable[[Mapping[str, object]], bytes | None]
"""The key of a request; None where a part of it is null, or a value that no key can have."""

_LONG: Final = 100  # characters of a string that is encoded without a look at its length in bytes
_SHORT: Final = 400  # bytes of a key that is stored as it is
_LIMITS: Final[Mapping[pl.DataType, tuple[int, int]]] = {
    pl.UInt64(): (0, 2**64 - 1),
    pl.Int128(): (-(2**127), 2**127 - 1),
    pl.UInt128(): (0, 2**128 - 1),
}


class KeyColumn(NamedTuple):
    """A key: its name in the view, the column of the request that fills it, and its dtype in the
    source.

    max_length: of the list in the column whose elements fill it; None where the column holds keys.
    """

    key: str
    column: str
    dtype: pl.DataType
    max_length: int | None = None


def integer_too_long(name: str, value: int) -> DataError:
    """The error of an integer that no column can hold."""
    return DataError(
        f"the field {name!r} holds an integer of {value.bit_length()} bits; integers have 64"
    )


class KeyEncoder:
    """Encodes the keys of requests as `state.record.key_bytes` encodes those of events.

    Args:
        columns: the keys, in the view's order.
        owner: the view or model that is looked up by them, named in errors.
    """

    def __init__(self, columns: Sequence[KeyColumn], owner: str) -> None:
        self.columns, self._owner = tuple(columns), owner
        self._encoders = [_of_value(column, owner, alone=len(columns) == 1) for column in columns]
        self._names = [column.column for column in columns]
        self.of_request = self._of_request()

    @property
    def integers(self) -> bool:
        """Whether there is one key, an integer of 64 bits, which is stored as such."""
        return (
            len(self.columns) == 1
            and self.columns[0].dtype.is_integer()
            and self.columns[0].dtype not in _LIMITS
        )

    def one(self, request: Mapping[str, object]) -> bytes | None:
        """The key of one request; None where a part of it is null. Raises as `many`."""
        try:
            return self.of_request(request)
        except KeyError:
            self._check(request)
            raise

    def many(
        self, request: Mapping[str, Sequence[object] | pl.Series], count: int
    ) -> Sequence[bytes | None]:
        """The keys of `count` requests, whose values stand in columns: lists, or series of a frame.

        Raises:
            DataError: a key of another type than the view's; the message names its row.
        """
        if not self.columns:
            return [b""] * count
        self._check(request)
        columns = [
            _column(encode, self._plain(column, request[column.column]), column.dtype)
            for encode, column in zip(self._encoders, self.columns, strict=True)
        ]
        return (
            columns[0]
            if len(columns) == 1
            else [_joined(values) for values in zip(*columns, strict=True)]
        )

    def _check(self, request: Mapping[str, object]) -> None:
        for name in self._names:
            if name not in request:
                raise DataError(
                    f"the request has no {name!r}, which {self._owner} is looked up by; "
                    f"{nearest(name, request)}"
                )

    def _plain(self, column: KeyColumn, values: Sequence[object] | pl.Series) -> Sequence[object]:
        if not isinstance(values, pl.Series):
            return values
        check_types(column.key, column.dtype, values.dtype, self._owner)
        return values.to_list()

    def _of_request(self) -> EncodeRequest:
        if not self.columns:
            return lambda _: b""
        if len(self.columns) == 1:
            (encode,), (name,) = self._encoders, self._names
            return (
                _of_integer(encode, name)
                if self.integers
                else lambda request: encode(request[name])
            )
        if len(self.columns) == 2:
            (first, second), (a, b) = self._encoders, self._names
            return lambda request: _joined((first(request[a]), second(request[b])))
        pairs = list(zip(self._encoders, self._names, strict=True))
        return lambda request: _joined([encode(request[name]) for encode, name in pairs])


def _column(
    encode: EncodeValue, values: Sequence[object], dtype: pl.DataType
) -> Sequence[bytes | None]:
    """The values of a column."""
    if dtype.is_integer() and set(map(type, values)) == {int}:
        try:
            data = struct.pack(f">{len(values)}q", *values)
        except struct.error:  # beyond int64: `encode` knows which
            pass
        else:
            return [data[i : i + 8] for i in range(0, len(data), 8)]
    keys: list[bytes | None] = []
    try:
        for value in values:
            keys.append(encode(value))  # noqa: PERF401 (the rows done so far say which one failed)
    except DataError as error:
        if len(values) == 1:
            raise
        raise DataError(f"row {len(keys)}: {error}") from error
    return keys


def _joined(values: Sequence[bytes | None]) -> bytes | None:
    """One key of several columns."""
    if None in values:
        return None
    *parts, last = cast("Sequence[bytes]", values)
    key = b"".join([*map(with_length, parts), last])
    return key if len(key) <= _SHORT else keyspace.shortened([key])[0]


def _of_value(column: KeyColumn, owner: str, *, alone: bool) -> EncodeValue:
    """The encoder of a key; alone: whether the view has no other."""
    if is_whole(column.dtype):
        return _integers(column, owner)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return _strings(column, owner, alone=alone)
    encoder = value_encoder(column.dtype)
    kind, encode = encoder or (type(None), lambda _: None)
    zoned = column.dtype.time_zone is not None if isinstance(column.dtype, pl.Datetime) else None
    long = alone and kind is bytes

    def of_value(value: object) -> bytes | None:
        if value is None:
            return None
        if type(value) is not kind or (
            zoned is not None and (value.tzinfo is not None) is not zoned  # type: ignore[attr-defined]
        ):
            value = _checked(value, column, owner)
            if value is None or not isinstance(value, kind):
                return None
        key = encode(value)
        return keyspace.shortened([key])[0] if long and key is not None else key

    return of_value


def _of_integer(encode: EncodeValue, name: str) -> EncodeRequest:
    """As `encode` of the request's value, with one call less where that is an integer of 64
    bits.
    """

    def of_request(request: Mapping[str, object]) -> bytes | None:
        value = request[name]
        if type(value) is int:
            try:
                return PACK(value)
            except struct.error:
                pass
        return encode(value)

    return of_request


def _integers(column: KeyColumn, owner: str) -> EncodeValue:
    least, most = (
        (-(10**38), 10**38)
        if column.dtype.is_decimal()
        else _LIMITS.get(column.dtype, (LEAST, MOST))
    )

    def encode(value: object) -> bytes | None:
        if type(value) is int:
            if LEAST <= value <= MOST:
                return PACK(value)
            if least <= value <= most:
                return integer(value)
            if not LEAST <= value < 2**64:
                raise integer_too_long(column.column, value)
            return None
        plain = _checked(value, column, owner)
        if isinstance(plain, Decimal) and plain != int(plain):
            return None
        return None if plain is None else encode(int(plain))  # type: ignore[call-overload]

    return encode


def _strings(column: KeyColumn, owner: str, *, alone: bool) -> EncodeValue:
    def encode(value: object) -> bytes | None:
        if type(value) is str:
            key = value.encode()
            return keyspace.shortened([key])[0] if alone and len(value) > _LONG else key
        plain = _checked(value, column, owner)
        return None if plain is None else encode(str(plain))

    return encode


def _checked(value: object, column: KeyColumn, owner: str) -> object:
    """A value of the key's type as Python's.

    Raises:
        DataError: it has another type.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal) and not value.is_finite():  # polars has no such decimal
        return None
    if value is not None:
        theirs = pl.Int64() if type(value) is int else pl.Series([value], strict=False).dtype
        if not (column.dtype.is_decimal() and theirs.is_decimal()):  # its scale is the value's own
            check_types(column.key, column.dtype, theirs, owner)
    return value
