"""A frame in memory, of any library with an Arrow interface."""

from __future__ import annotations

import polars as pl

from headwater.definitions.connectors import ArrowFrame, Frame


def scan(spec: Frame) -> pl.LazyFrame:
    """The frame as a lazy frame, without a copy where its memory layout allows."""
    return to_polars(spec.data).lazy()


def to_polars(data: ArrowFrame) -> pl.DataFrame:
    """Any frame with an Arrow interface as a polars frame."""
    return data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
