"""CSV files with a header line."""

from __future__ import annotations

from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import remote
from headwater.connectors.files import found
from headwater.definitions.connectors import CsvFiles
from headwater.errors import DataError, read_error

ENDING = ".csv"


def scan(spec: CsvFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame; ISO 8601 date-times become timestamps.

    file: the name of an added column with the file of each row.
    """
    read = partial(pl.scan_csv, separator=spec.separator, try_parse_dates=True, infer_schema_length=10_000, include_file_paths=file)
    try:
        frame = remote.scan(spec, read, ENDING) if spec.is_remote else read(found(spec.path, ENDING))
        names = [name for name in frame.collect_schema().names() if name != file]
    except (OSError, PolarsError) as error:
        raise DataError(f"{spec.path} cannot be read as CSV: {read_error(error)}") from error
    if any(not name.replace("\t", "").isprintable() or name.lstrip().startswith(("{", "[")) for name in names):
        raise DataError(
            f"{spec.path} is not CSV: its first line is not a line of column names. Give hw.parquet(path) or hw.json_lines(path) for such files, "
            "or write a header"
        )
    if len(names) == 1 and (found_in := [mark for mark in ",;\t|" if mark in names[0]]):
        raise DataError(
            f"{spec.path} has one column, {names[0]!r}: its fields seem to be separated by {found_in[0]!r}, and it is read with "
            f"{spec.separator!r}. Give hw.csv(path, separator={found_in[0]!r}), or write the file with commas"
        )
    return frame
