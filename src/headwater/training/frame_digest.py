"""A digest of a frame's contents: equal for equal names, types and bits of every value, independent
of chunks.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from hashlib import _Hash


_WIDE = (pl.Decimal, pl.Int128, pl.UInt128)  # numpy has no integers of 128 bits: their digits count


def digest(frame: pl.DataFrame) -> str:
    """64 hexadecimal digits of the SHA-256 of a frame; a float counts by its bits, so 0.0 and -0.0
    differ.

    >>> from decimal import Decimal
    >>> digest(pl.DataFrame({"a": [0.0]})) == digest(pl.DataFrame({"a": [-0.0]}))
    False
    >>> maps = [
    ...     pl.DataFrame({"a": pl.Series([{"x": count}], dtype=pl.Map(pl.String, pl.Int64))})
    ...     for count in (1, 1, 2)
    ... ]
    >>> [digest(each) == digest(maps[0]) for each in maps]
    [True, True, False]
    >>> digest(pl.DataFrame({"a": [Decimal("1.5")]})) == digest(
    ...     pl.DataFrame({"a": [Decimal("2.5")]})
    ... )
    False
    >>> a = pl.Series("a", [[1], None, []])
    >>> digest(a.to_frame()) == digest(pl.concat([a[:1], a[1:]], rechunk=False).to_frame())
    True
    """
    sha = hashlib.sha256(str(frame.height).encode())
    for series in frame:
        sha.update(f"\n{series.name}: {series.dtype!r}\n".encode())
        _add(series, sha)
    return sha.hexdigest()


def _add(series: pl.Series, sha: _Hash) -> None:
    """The null mask, then the values."""
    sha.update(np.packbits(series.is_null().to_numpy()).tobytes())
    present = series.drop_nulls()
    if isinstance(present.dtype, pl.Map):
        present = present.map.entries()  # in their order
    dtype = present.dtype
    if isinstance(dtype, pl.List | pl.Array):
        lists = present.cast(pl.List(dtype.inner))
        sizes = lists.list.len()
        sha.update(sizes.cast(pl.UInt32).to_numpy().tobytes())
        _add(lists.filter(sizes > 0).explode(), sha)
    elif isinstance(dtype, pl.Struct):
        for field in present.struct.unnest():
            sha.update(f"{field.name}\n".encode())
            _add(field, sha)
    elif dtype in (pl.String, pl.Categorical, pl.Enum, pl.Binary, *_WIDE):
        texts = (
            present.cast(pl.Binary)
            if dtype == pl.Binary
            else present.cast(pl.String).cast(pl.Binary)
        )
        sha.update(texts.bin.size().to_numpy().tobytes())
        sha.update(b"".join(texts.to_list()))
    elif dtype != pl.Null:
        plain = present.cast(pl.UInt8) if dtype == pl.Boolean else present.to_physical()
        sha.update(np.ascontiguousarray(plain.to_numpy()).tobytes())
