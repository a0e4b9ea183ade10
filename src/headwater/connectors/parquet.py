"""Parquet files: one, a glob, or a folder (plain or hive-partitioned)."""

from __future__ import annotations

from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import remote
from headwater.connectors.files import found
from headwater.definitions.connectors import ParquetFiles
from headwater.errors import DataError, read_error

ENDING = ".parquet"


def scan(spec: ParquetFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame, so that columns, partitions and row groups that are not needed are not read.

    file: the name of an added column with the file of each row.
    """
    if spec.is_remote:
        return remote.scan(spec, partial(pl.scan_parquet, include_file_paths=file), ENDING)
    files = found(spec.path, ENDING)
    try:
        frame = pl.scan_parquet(
            files, hive_partitioning=any("=" in segment for segment in files[0].split("/")[:-1]), include_file_paths=file
        )
        frame.collect_schema()
    except (OSError, PolarsError) as error:
        others = "Give hw.csv(path) or hw.json_lines(path) for such files, or write them as parquet"
        raise DataError(f"{spec.path} cannot be read as parquet: {read_error(error)}. {others}") from error
    return frame
