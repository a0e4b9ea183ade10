"""Entity keys as codes 0, 1, 2, ... shared by events and requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl

from headwater.errors import DataError
from headwater.events.column_encoding import is_whole, is_wide
from headwater.events.string_views import string_views
from headwater.kernel.arrays import I64
from headwater.kernel.string_codes import code_strings

CODE = "__code"
_INT64 = 2**63 - 1
# a range of integers is its own code while it has at most so many values a request, and a million
# more
_DENSE = 4

_FEW = 0.8  # of events that are asked for: the others are dropped


def code_keys(
    events: pl.DataFrame,
    keys: Sequence[str],
    request_keys: Sequence[pl.DataFrame],
    subject: str,
    threads: int = 1,
) -> tuple[pl.DataFrame, list[I64], int]:
    """The events of keys that are asked for, with CODE; the code of each request, for each frame of
    requests; how many codes.

    A request whose key is null or has no code gets a code which no event has; a few events may have
    one that no request has.

    Args:
        events: with the columns `keys`.
        request_keys: frames with the same columns.
        subject: names the source in errors.
        threads: how many to use; the codes do not depend on it.

    Raises:
        DataError: keys of different types on the two sides, or floats.
    """
    if not keys:
        return (
            events.with_columns(pl.lit(0, pl.Int64).alias(CODE)),
            [np.zeros(a.height, np.int64) for a in request_keys],
            2,
        )
    shared = [
        pl.col(name).cast(dtype)
        for name, dtype in compared_as(events.schema, keys, request_keys, subject).items()
    ]
    if len(keys) == 1 and all(
        side.schema[keys[0]].is_integer() for side in (events, *request_keys)
    ):
        done = _dense(events, keys[0], [a[keys[0]] for a in request_keys])
        if done is not None:
            return done
    events = events.with_columns(shared)
    alike = [requests.select(shared) for requests in request_keys]
    if len(keys) == 1 and events.schema[keys[0]] == pl.String:
        code, codes, count = _of_strings(
            events[keys[0]], [requests[keys[0]] for requests in alike], threads
        )
    else:
        code, codes, count = _of_rows(events.select(keys), alike)
    coded, unwanted = (
        events.with_columns(pl.Series(CODE, code)),
        int(np.count_nonzero(code == count)),
    )
    if unwanted > (1 - _FEW) * len(code):
        return coded.filter(pl.Series(code < count)), codes, count + 1
    if not unwanted:
        return coded, codes, count + 1
    return (
        coded,
        [np.where(requests == count, count + 1, requests) for requests in codes],
        count + 2,
    )


def _of_strings(
    events: pl.Series, requests: Sequence[pl.Series], threads: int
) -> tuple[I64, list[I64], int]:
    """The codes of the events, and of the requests; `count` of them, which is also the code of what
    has none.
    """
    sides = [string_views(strings) for strings in (events, *requests)]
    event_views, *request_views = ((side.views, side.buffers, side.valid) for side in sides)
    codes, code, count = code_strings(request_views, event_views, threads)
    return code, codes, count


def _of_rows(events: pl.DataFrame, requests: Sequence[pl.DataFrame]) -> tuple[I64, list[I64], int]:
    """As `_of_strings`, of rows of any types."""
    table = (
        pl.concat([side.unique() for side in requests])
        .unique()
        .drop_nulls()
        .with_row_index(CODE)
        .cast({CODE: pl.Int64})
    )
    joined = (
        side.join(table, on=events.columns, how="left", maintain_order="left")[CODE]
        for side in (events, *requests)
    )
    code, *codes = (side.fill_null(table.height).to_numpy() for side in joined)
    return code, codes, table.height


def compared_as(
    events: pl.Schema, keys: Sequence[str], request_keys: Sequence[pl.DataFrame], subject: str
) -> dict[str, pl.DataType]:
    """The type that each key is compared in.

    Raises:
        DataError: keys of different types on the two sides, or floats.
    """
    for name in keys:
        for frame in request_keys:
            check_types(name, events[name], frame.schema[name], subject)
    return {name: _shared([events[name], *(a.schema[name] for a in request_keys)]) for name in keys}


def _dense(
    events: pl.DataFrame, key: str, request_keys: Sequence[pl.Series]
) -> tuple[pl.DataFrame, list[I64], int] | None:
    requested = [end for a in request_keys for end in _ends(a)]
    if not requested:
        return None
    low, high = min(requested), max(requested)
    limit = _DENSE * sum(a.len() for a in request_keys) + 1_000_000
    if high > _INT64 or high - low >= limit:
        return None
    event_ends, code = _ends(events[key]), pl.col(key).cast(pl.Int64)
    if events[key].null_count() or not _all_between(event_ends, low, high):
        near = pl.col(key).is_between(low, high)
        if events.select(near.sum()).item() < _FEW * events.height:
            events = events.filter(near)
            event_ends = _ends(events[key])
    ends = [0, low, high, *event_ends]
    # any base will do, so 0 if possible: int64 keys are then codes without a copy
    if max(ends) - min(ends) < limit:
        low, high = min(ends), max(ends)
    size = high - low + 1
    if low:
        code = code - low
    # a few events, which cost less than a copy of all others
    if events[key].null_count() or not _all_between(event_ends, low, high):
        code = pl.when(pl.col(key).is_between(low, high)).then(code).otherwise(size + 1)
    codes = [a.cast(pl.Int64) - low if low else a.cast(pl.Int64) for a in request_keys]
    return (
        events.with_columns(code.alias(CODE)),
        [code.fill_null(size).to_numpy() for code in codes],
        size + 2,
    )


def _ends(keys: pl.Series) -> list[int]:
    """The least and greatest of integer keys; empty where all are null."""
    return (
        []
        if keys.len() == keys.null_count()
        else [cast("int", keys.min()), cast("int", keys.max())]
    )


def _all_between(ends: Sequence[int], low: int, high: int) -> bool:
    """Whether neither the least nor the greatest of some keys is below or above."""
    return all(low <= end <= high for end in ends)


def check_types(name: str, mine: pl.DataType, theirs: pl.DataType, subject: str) -> None:
    """Refuse a key whose type in the requests is another than in the source."""
    if pl.Null in (mine, theirs):
        return
    if mine.is_float() or theirs.is_float():
        raise DataError(
            f"{subject}: the key {name!r} is a float ({mine} in the source, {theirs} in the "
            "requests); floats that look equal may differ, so cast both to integers or strings"
        )
    if _common(mine) != _common(theirs):
        raise DataError(
            f"{subject}: the key {name!r} is {mine} in the source and {theirs} in the requests; "
            "cast one of them, so that equal keys compare equal"
        )


def _shared(dtypes: Sequence[pl.DataType]) -> pl.DataType:
    """The type that all sides compare in; a side of nothing but nulls says nothing."""
    if any(map(is_wide, dtypes)):  # such as 64 bits of a hash
        return pl.Int128()
    return next((_common(dtype) for dtype in dtypes if dtype != pl.Null), pl.Int64())


def _common(dtype: pl.DataType) -> pl.DataType:
    if is_whole(dtype):
        return pl.Int64()
    if isinstance(dtype, pl.Datetime):  # one instant in any zone
        return pl.Datetime("us", None if dtype.time_zone is None else "UTC")
    if isinstance(dtype, pl.Decimal):
        return pl.Decimal(38, dtype.scale)
    return pl.String() if dtype in (pl.Categorical, pl.Enum) else dtype
