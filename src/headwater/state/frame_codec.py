"""Frames as the values of keys."""

from __future__ import annotations

import io

import polars as pl


def encoded(frame: pl.DataFrame) -> bytes:
    """A frame as bytes."""
    out = io.BytesIO()
    frame.write_ipc_stream(out, compression="lz4")
    return out.getvalue()


def decoded(data: bytes) -> pl.DataFrame:
    """Decode the bytes of `encoded`."""
    return pl.read_ipc_stream(io.BytesIO(data))
