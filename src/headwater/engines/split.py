"""Splitting the rows of a scan by a hash into files, in one pass that holds little of them in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

BUCKET = "__bucket"


def hash_of(columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """A hash, uint64, of columns compared in these types; the same for all rows where there are none."""
    made = pl.lit(0, pl.UInt64)
    for seed, (name, dtype) in enumerate(columns.items()):
        one = pl.col(name).cast(dtype).hash(seed)
        made = made ^ one if seed else one
    return made


def split(frame: pl.LazyFrame, bucket: pl.Expr, place: Path, tick: Callable[[int], None] | None = None) -> None:
    """Write the rows of each bucket into files of its own under `place`, in their order; `tick` is told of rows as they pass."""
    if tick is not None:
        frame = frame.map_batches(_counted(tick), streamable=True)
    place.mkdir(parents=True, exist_ok=True)
    parts = pl.PartitionBy(place, key=BUCKET, include_key=False, approximate_bytes_per_file=None)
    frame.with_columns(bucket.cast(pl.UInt32).alias(BUCKET)).sink_ipc(parts, compression="lz4", mkdir=True)


def bucket_files(places: Sequence[Path], bucket: int) -> list[Path]:
    """The files of one bucket, in order; none where no row fell into it."""
    return [file for place in places for file in sorted((place / f"{BUCKET}={bucket}").glob("*"))]


def _counted(tick: Callable[[int], None]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    lock = threading.Lock()

    def passed(batch: pl.DataFrame) -> pl.DataFrame:
        with lock:
            tick(batch.height)
        return batch

    return passed
