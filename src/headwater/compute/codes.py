"""Sorting by key and time: one packed int64 where key and time fit into it."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.compute.arrays import I64


def packed(code: I64, t: I64) -> I64 | None:
    """One int64 an entry that sorts like (code, t), or None where both do not fit into 63 bits."""
    if len(t) == 0:
        return t
    low, span = int(t.min()), int(t.max()) - int(t.min())
    bits = span.bit_length()
    if bits + int(code.max()).bit_length() > 63:
        return None
    return (code << bits) | (t - low)


def starts_of(code: I64, keys: int) -> I64:
    """Where each key begins in sorted codes: int64 (keys + 1)."""
    return np.searchsorted(code, np.arange(keys + 1))


def order_of(code: I64, t: I64) -> I64:
    """The positions of entries in the order of (code, t), int64; stable."""
    one = packed(code, t)
    frame = pl.DataFrame({"code": code, "t": t}) if one is None else pl.DataFrame({"packed": one})
    return frame.with_row_index("row").sort(*frame.columns, maintain_order=True)["row"].cast(pl.Int64).to_numpy()
