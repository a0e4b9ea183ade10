"""Entity keys as codes 0, 1, 2, ... shared by events and requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from headwater.errors import DataError
from headwater.kernel.arrays import I64

CODE = "__code"
_INT64 = 2**63 - 1
_DENSE = 4  # a range of integers is its own code while it has at most so many values a request, and a million more

_FEW = 0.8  # of events that are asked for: the others are dropped


def code_keys(
    events: pl.DataFrame, keys: Sequence[str], request_keys: Sequence[pl.DataFrame], subject: str
) -> tuple[pl.DataFrame, list[I64], int]:
    """The events of keys that are asked for, with CODE; the code of each request, for each frame of requests; how many codes.

    A request whose key is null or has no code gets a code which no event has; a few events may have one that no request has.

    Args:
        events: with the columns `keys`. asked: frames with the same columns. what: names the source in errors.

    Raises:
        DataError: keys of different types on the two sides, or floats.
    """
    if not keys:
        return events.with_columns(pl.lit(0, pl.Int64).alias(CODE)), [np.zeros(a.height, np.int64) for a in request_keys], 2
    shared = [pl.col(name).cast(dtype) for name, dtype in compared_as(events.schema, keys, request_keys, subject).items()]
    if len(keys) == 1 and events.schema[keys[0]].is_integer():
        done = _dense(events, keys[0], [a[keys[0]] for a in request_keys])
        if done is not None:
            return done
    events = events.with_columns(shared)
    alike = [a.select(shared) for a in request_keys]
    table = (
        pl.concat([a.unique() for a in alike], how="vertical")
        .unique()
        .drop_nulls()
        .with_row_index(CODE)
        .with_columns(pl.col(CODE).cast(pl.Int64))
    )
    last = table.height
    code, *codes = (side.select(keys).join(table, on=list(keys), how="left", maintain_order="left")[CODE] for side in (events, *alike))
    coded = events.with_columns(code)
    if code.null_count():
        coded = coded.filter(code.is_not_null())
    return coded, [c.fill_null(last).to_numpy() for c in codes], last + 1


def compared_as(events: pl.Schema, keys: Sequence[str], request_keys: Sequence[pl.DataFrame], subject: str) -> dict[str, pl.DataType]:
    """The type that each key is compared in.

    Raises:
        DataError: keys of different types on the two sides, or floats.
    """
    for name in keys:
        for frame in request_keys:
            check_types(name, events[name], frame.schema[name], subject)
    return {name: _shared([events[name], *(a.schema[name] for a in request_keys)]) for name in keys}


def _dense(events: pl.DataFrame, key: str, request_keys: Sequence[pl.Series]) -> tuple[pl.DataFrame, list[I64], int] | None:
    ends = [(a.min(), a.max()) for a in request_keys if a.len() > a.null_count()]
    if not ends:
        return None
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)  # type: ignore[type-var]
    assert isinstance(low, int)
    assert isinstance(high, int)
    size = high - low + 1
    if high > _INT64 or size > _DENSE * sum(a.len() for a in request_keys) + 1_000_000:
        return None
    mine = events[key]
    code = pl.col(key).cast(pl.Int64) - low
    if mine.null_count() or (events.height and (mine.min() < low or mine.max() > high)):  # type: ignore[operator]
        near = pl.col(key).is_between(low, high)
        if events.select(near.sum()).item() < _FEW * events.height:
            events = events.filter(near)
        else:  # a few events of keys that are not requested cost less than a copy of all others
            code = pl.when(near).then(code).otherwise(size + 1)
    return events.with_columns(code.alias(CODE)), [(a.cast(pl.Int64) - low).fill_null(size).to_numpy() for a in request_keys], size + 2


def check_types(name: str, mine: pl.DataType, theirs: pl.DataType, subject: str) -> None:
    """Refuse a key whose type in the requests is another than in the source."""
    if pl.Null in (mine, theirs):
        return
    if mine.is_float() or theirs.is_float():
        raise DataError(
            f"{subject}: the key {name!r} is a float ({mine} in the source, {theirs} in the requests); floats that look equal may differ, so cast "
            "both to integers or strings"
        )
    if _common(mine) != _common(theirs):
        raise DataError(
            f"{subject}: the key {name!r} is {mine} in the source and {theirs} in the requests; cast one of them, so that equal keys compare equal"
        )


def _shared(dtypes: Sequence[pl.DataType]) -> pl.DataType:
    """The type that all sides compare in; a side of nothing but nulls says nothing."""
    if pl.UInt64 in dtypes:  # such as 64 bits of a hash
        return pl.Int128()
    return next((_common(dtype) for dtype in dtypes if dtype != pl.Null), pl.Int64())


def _common(dtype: pl.DataType) -> pl.DataType:
    if dtype.is_integer():
        return pl.Int64()
    return pl.String() if dtype in (pl.Categorical, pl.Enum) else dtype
