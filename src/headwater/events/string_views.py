"""The strings of a polars column where they lie in memory, without a copy: Arrow's string views,
through Arrow's C interface.

A view is 16 bytes: the length and the first 4 bytes of a string; then its other 8 bytes if it has
at most 12, padded with zeros, else the number of a data buffer and the offset in it
(https://arrow.apache.org/docs/format/Columnar.html, "Variable-size binary view layout").
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.kernel.arrays import I64

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

    def __init__(self, of: _ArrowArray | _ArrowSchema) -> None:
        self.of = of

    def __del__(self) -> None:
        if self.of.release:
            _RELEASE(self.of.release)(ctypes.addressof(self.of))


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
    array = exported.of
    # the last one holds the lengths of those with data
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
        if get(address, ctypes.addressof(into.of)):
            raise RuntimeError(f"polars {pl.__version__} did not export a column of strings")
    if schema.of.format != _VIEWS or array.of.length != len(strings):
        raise RuntimeError(
            f"polars {pl.__version__} exports strings as {schema.of.format!r} in parts of "
            f"{array.of.length}, not as views"
        )
    return array
