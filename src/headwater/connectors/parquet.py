"""Parquet files: one, a glob, or a folder (plain or hive-partitioned)."""

from __future__ import annotations

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors.files import found
from headwater.definitions.connectors import ParquetFiles
from headwater.errors import DataError


def scan(spec: ParquetFiles) -> pl.LazyFrame:
    """The files as a lazy frame, so that columns, partitions and row groups that are not needed are not read."""
    files = found(spec.path, ".parquet")
    try:
        frame = pl.scan_parquet(files, hive_partitioning=any("=" in part for part in files[0].split("/")[:-1]))
        frame.collect_schema()
    except PolarsError as error:
        raise DataError(f"{spec.path} cannot be read as parquet: {error}") from error
    return frame
