"""Entity keys as codes 0, 1, 2, ... shared by events and requests.

The strings of a polars column where they lie in memory, without a copy: Arrow's string views,
through Arrow's C interface.

A view is 16 bytes: the length and the first 4 bytes of a string; then its other 8 bytes if it has
at most 12, padded with zeros, else the number of a data buffer and the offset in it
(https://arrow.apache.org/docs/format/Columnar.html, "Variable-size binary view layout").
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.errors import DataError
from headwater.events.columns import is_whole, is_wide
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
    """The codes of the events, and of the requests; and `count`, the number of codes, which is also
    the code of a string without one.
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


def check_types(name: str, dtype: pl.DataType, request_dtype: pl.DataType, subject: str) -> None:
    """Refuse a key whose types in the requests and in the source differ."""
    if pl.Null in (dtype, request_dtype):
        return
    if dtype.is_float() or request_dtype.is_float():
        raise DataError(
            f"{subject}: the key {name!r} is a float ({dtype} in the source, {request_dtype} in "
            "the "
            "requests); floats that look equal may differ, so cast both to integers or strings"
        )
    if _common(dtype) != _common(request_dtype):
        raise DataError(
            f"{subject}: the key {name!r} is {dtype} in the source and {request_dtype} in the "
            "requests; "
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


_VIEWS = b"vu"  # the format of an array of string views

_DATA = 2  # the buffers before those with data: which are valid, and the views

Pointer = ctypes.c_void_p


class _ArrowArray(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_int64),
        ("null_count", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("n_buffers", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("buffers", ctypes.POINTER(Pointer)),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class _ArrowSchema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p),
        ("name", ctypes.c_char_p),
        ("metadata", Pointer),
        ("flags", ctypes.c_int64),
        ("n_children", ctypes.c_int64),
        ("children", Pointer),
        ("dictionary", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


class _ArrowStream(ctypes.Structure):
    _fields_ = (
        ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer)),
        ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, Pointer, Pointer)),
        ("get_last_error", Pointer),
        ("release", Pointer),
        ("private_data", Pointer),
    )


_RELEASE = ctypes.CFUNCTYPE(None, Pointer)


class _Exported:
    """An array, or a schema, that polars has handed over; it is given back with the last reference
    to this.
    """

    def __init__(self, structure: _ArrowArray | _ArrowSchema) -> None:
        self.structure = structure

    def __del__(self) -> None:
        if self.structure.release:
            _RELEASE(self.structure.release)(ctypes.addressof(self.structure))


@dataclass(frozen=True)
class StringViews:
    """The views of n strings: uint64 (n, 2); the addresses of the data buffers, int64; which are
    not null, bool (n), or empty if all are.

    The memory is polars' and must not be written to; it stays as long as this object, not as long
    as a slice of `views`.
    """

    views: NDArray[np.uint64]
    buffers: I64
    valid: NDArray[np.bool_]
    owner: object

    def __len__(self) -> int:
        return len(self.views)


def string_views(strings: pl.Series) -> StringViews:
    """The views of a column of strings.

    >>> views = string_views(pl.Series(["a", None, "longer than twelve"]))
    >>> (views.views[:, 0] & 0xFFFFFFFF).tolist(), views.valid.tolist(), len(views.buffers)
    ([1, 0, 18], [True, False, True], 1)
    """
    valid = np.empty(0, np.bool_) if not strings.null_count() else strings.is_not_null().to_numpy()
    if not len(strings):
        return StringViews(np.empty((0, 2), np.uint64), np.zeros(1, np.int64), valid, None)
    exported = _exported(strings.rechunk())
    array = exported.structure
    # the last buffer holds the lengths of the data buffers
    addresses = array.buffers[_DATA : max(array.n_buffers - 1, _DATA)]
    words = (ctypes.c_uint64 * (2 * array.length)).from_address(
        array.buffers[1] + 16 * array.offset
    )
    views = np.frombuffer(words, np.uint64).reshape(-1, 2)
    return StringViews(views, np.array(addresses or [0], np.int64), valid, exported)


def _exported(strings: pl.Series) -> _Exported:
    """The only chunk of a column as an array of string views."""
    capsule = strings.__arrow_c_stream__()
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = Pointer, (ctypes.py_object, ctypes.c_char_p)
    address = pointer_of(capsule, b"arrow_array_stream")
    stream = _ArrowStream.from_address(address)
    schema, array = _Exported(_ArrowSchema()), _Exported(_ArrowArray())
    for get, into in ((stream.get_schema, schema), (stream.get_next, array)):
        if get(address, ctypes.addressof(into.structure)):
            raise RuntimeError(f"polars {pl.__version__} did not export a column of strings")
    if schema.structure.format != _VIEWS or array.structure.length != len(strings):
        raise RuntimeError(
            f"polars {pl.__version__} exports strings as {schema.structure.format!r} in parts of "
            f"{array.structure.length}, not as views"
        )
    return array
