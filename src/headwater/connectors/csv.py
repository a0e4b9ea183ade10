"""CSV files with a header line."""

from __future__ import annotations

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors.files import found
from headwater.definitions.connectors import CsvFiles
from headwater.errors import DataError


def scan(spec: CsvFiles) -> pl.LazyFrame:
    """The files as a lazy frame; ISO 8601 date-times become timestamps."""
    files = found(spec.path, ".csv")
    try:
        frame = pl.scan_csv(files, try_parse_dates=True, infer_schema_length=10_000)
        frame.collect_schema()
    except PolarsError as error:
        raise DataError(f"{spec.path} cannot be read as CSV: {error}") from error
    return frame
