"""A digest of a frame's contents: equal for equal names, types and bits of every value, independent of chunks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from hashlib import _Hash


def digest(frame: pl.DataFrame) -> str:
    """64 hexadecimal digits of the SHA-256 of a frame; a float counts by its bits, so 0.0 and -0.0 differ.

    >>> digest(pl.DataFrame({"a": [0.0]})) == digest(pl.DataFrame({"a": [-0.0]}))
    False
    >>> a = pl.Series("a", [[1], None, []])
    >>> digest(a.to_frame()) == digest(pl.concat([a[:1], a[1:]], rechunk=False).to_frame())
    True
    """
    found = hashlib.sha256(str(frame.height).encode())
    for series in frame:
        found.update(f"\n{series.name}: {series.dtype!r}\n".encode())
        _add(series, found)
    return found.hexdigest()


def _add(series: pl.Series, found: _Hash) -> None:
    """The null mask, then the values."""
    found.update(np.packbits(series.is_null().to_numpy()).tobytes())
    some, dtype = series.drop_nulls(), series.dtype
    if isinstance(dtype, pl.List | pl.Array):
        lists = some.cast(pl.List(dtype.inner))
        sizes = lists.list.len()
        found.update(sizes.cast(pl.UInt32).to_numpy().tobytes())
        _add(lists.filter(sizes > 0).explode(), found)
    elif isinstance(dtype, pl.Struct):
        for field in some.struct.unnest():
            found.update(f"{field.name}\n".encode())
            _add(field, found)
    elif dtype in (pl.String, pl.Categorical, pl.Enum, pl.Binary):
        texts = some.cast(pl.Binary) if dtype == pl.Binary else some.cast(pl.String).cast(pl.Binary)
        found.update(texts.bin.size().to_numpy().tobytes())
        found.update(b"".join(texts.to_list()))
    elif dtype != pl.Null:
        plain = some.cast(pl.UInt8) if dtype == pl.Boolean else some.to_physical()
        found.update(np.ascontiguousarray(plain.to_numpy()).tobytes())
