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
        names = frame.collect_schema().names()
    except PolarsError as error:
        raise DataError(f"{spec.path} cannot be read as CSV: {error}") from error
    if len(names) == 1 and (found_in := [mark for mark in ";\t|" if mark in names[0]]):
        raise DataError(
            f"{spec.path} has one column, {names[0]!r}: its fields seem to be separated by {found_in[0]!r}, and hw.csv reads commas. Pass "
            f"pl.read_csv(path, separator={found_in[0]!r}) as the table instead, or write the file with commas"
        )
    return frame
