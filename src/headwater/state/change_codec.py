"""The last change images of events that can be retracted, as bytes; and the keys of their events,
by key and time.

An image is a map from columns to plain values, so that one column more makes none of them
unreadable. A place holds nothing, its key says
all: the view, a hash of its key, the event time and the event's token. So the events of a tile are
one stretch of places.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
import numpy as np
import polars as pl

from headwater.kernel.arrays import I64

Plain = Mapping[str, object]
TOKEN = 16
"""Bytes that stand for an event's id."""
_SHIFT = 1 << 63


class EventImages(msgspec.Struct, frozen=True, array_like=True):
    """The stored state of an event that can be retracted.

    latest: the last moment at which an image may say that it happened, microseconds: while a window
    reaches it, an old one could do harm.
    holds: which of the images says what holds, -1 where none does. images: those of the last known
    time.
    """

    latest: int
    holds: int
    images: list[Plain]


def encoded(entry: EventImages) -> bytes:
    """An entry as the value of its key."""
    return msgspec.msgpack.encode(entry)


def decoded(value: bytes) -> EventImages:
    """Decode the bytes of `encoded`."""
    return msgspec.msgpack.decode(value, type=EventImages)


def plain(frame: pl.DataFrame) -> list[Plain]:
    """Rows as maps that bytes are made of."""
    return cast(
        "list[Plain]",
        frame.select(_written(name, dtype) for name, dtype in frame.schema.items()).to_dicts(),
    )


def frame_of(rows: Sequence[Plain], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Rows of `plain` as a frame; a column that is missing, or that had values of another type, is
    null.

    >>> from datetime import date
    >>> made = pl.DataFrame({"day": [date(2024, 5, 1), None], "card": ["a", "b"]})
    >>> (
    ...     frame_of(plain(made), made.schema).equals(made),
    ...     frame_of(plain(made), {"amount": pl.Float64()})["amount"].to_list(),
    ... )
    (True, [None, None])
    """
    columns = []
    for name, dtype in schema.items():
        series = _series(name, [row.get(name) for row in rows], _wire(dtype))
        columns.append((series.cast(pl.Int32) if dtype == pl.Date else series).cast(dtype))
    return pl.DataFrame(columns)


def places(
    stem: bytes, keys: Sequence[bytes], number: I64, at: I64, tokens: Sequence[bytes]
) -> list[bytes]:
    """The store's keys of events of a view; `stem` is from `keyspace.events`; number and at, int64
    (n): the key's index, and the time.
    """
    heads = [stem + _hash(key) for key in keys]
    times = (at.astype(np.uint64) + np.uint64(_SHIFT)).astype(">u8").tobytes()
    columns = zip(number.tolist(), range(0, len(times), 8), tokens, strict=True)
    return [heads[n] + times[first : first + 8] + token for n, first, token in columns]


def stretch(stem: bytes, key: bytes, first: int, last: int) -> tuple[bytes, bytes, bytes]:
    """The range of the store's keys of a key's events at times in [first, last): common prefix,
    first key, and end (exclusive).
    """
    begin, final, end = (stem + _hash(key) + _time(at) for at in (first, last - 1, last))
    alike = next(
        (n for n, (a, b) in enumerate(zip(begin, final, strict=True)) if a != b), len(begin)
    )
    return begin[:alike], begin, end


def _series(name: str, values: list[object], dtype: pl.DataType) -> pl.Series:
    try:
        return pl.Series(name, values, dtype)
    except (TypeError, OverflowError):
        # a column that no view reads, which decides ties, has another type now
        return pl.Series(name, values, dtype, strict=False)


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:TOKEN]


def _time(at: int) -> bytes:
    return struct.pack(">Q", at + _SHIFT)


def _written(name: str, dtype: pl.DataType) -> pl.Expr:
    return (
        pl.col(name).to_physical().cast(pl.Int64)
        if dtype.is_temporal()
        else pl.col(name).cast(_wire(dtype))
    )


def _wire(dtype: pl.DataType) -> pl.DataType:
    """The type of plain values that represents a column exactly."""
    if dtype.is_temporal():
        return pl.Int64()
    if dtype.is_float():
        return pl.Float64()
    return dtype if dtype.is_integer() or dtype in (pl.Boolean, pl.Null) else pl.String()
