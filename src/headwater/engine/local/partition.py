"""Splitting the rows of a scan by a hash into files, in one pass that holds little of them in
memory.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from headwater import permissions
from headwater.errors import DataError, read_error

BUCKET = "__bucket"
_GROUP = 1 << 18  # rows of a row group, which is written, and later read or skipped, as one
_STATISTICS = {"min": True, "max": True, "distinct_count": False, "null_count": True}


def hash_of(columns: Mapping[str, pl.DataType], seed: int = 0) -> pl.Expr:
    """A hash, uint64, of columns compared in these types; the same for all rows where there are
    none.
    """
    combined = pl.lit(0, pl.UInt64)
    for number, (name, dtype) in enumerate(columns.items()):
        hashed = pl.col(name).cast(dtype).hash(seed + number)
        combined = combined ^ hashed if number else hashed
    return combined


def split(
    frame: pl.LazyFrame,
    bucket: pl.Expr,
    folder: Path,
    subject: str,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Write the rows of each bucket into files of its own under `folder`, in their order;
    `on_progress` gets each batch's number of rows.

    Raises:
        DataError: the rows cannot be read; `subject` names them.
        OSError: the disk is full.
    """
    if on_progress is not None:
        frame = frame.map_batches(_counted(on_progress), streamable=True)
    permissions.make_folder(folder)
    parts = pl.PartitionBy(folder, key=BUCKET, include_key=False, approximate_bytes_per_file=None)
    dealt = frame.with_columns(bucket.cast(pl.UInt32).alias(BUCKET))
    try:
        dealt.sink_parquet(
            parts,
            compression="uncompressed",
            statistics=_STATISTICS,
            row_group_size=_GROUP,
            mkdir=True,
        )
        permissions.tighten(folder)
    except PolarsError as error:  # polars has one error for what it reads and what it writes
        if f"os error {errno.ENOSPC}" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error
    except OSError as error:
        if "object-store error" not in str(error):
            raise
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error


def bucket_files(folders: Sequence[Path], bucket: int) -> list[Path]:
    """The files of one bucket, in order; none where no row fell into it."""
    return [
        file for folder in folders for file in sorted((folder / f"{BUCKET}={bucket}").glob("*"))
    ]


def _counted(on_progress: Callable[[int], None]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    lock = threading.Lock()

    def passed(batch: pl.DataFrame) -> pl.DataFrame:
        with lock:
            on_progress(batch.height)
        return batch

    return passed
