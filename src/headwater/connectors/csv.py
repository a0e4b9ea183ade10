"""CSV files with a header line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import polars as pl
from polars.exceptions import PolarsError, SchemaError

from headwater.connectors import remote
from headwater.connectors.files import found
from headwater.connectors.shared_schema import shared_schema
from headwater.definitions.connectors import CsvFiles
from headwater.errors import DataError, read_error

ENDING = ".csv"
_SAMPLE: Final = 10_000  # lines that say what a column holds


def scan(spec: CsvFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame; ISO 8601 date-times become timestamps.

    file: the name of an added column with the file of each row.

    Raises:
        DataError: the files cannot be read.
    """
    frame = _read(spec, file=file)
    names = [name for name in frame.collect_schema().names() if name != file]
    _check_header(spec, names)
    return frame


def _read(spec: CsvFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files, with a schema that polars has found."""
    read: Callable[..., pl.LazyFrame] = partial(pl.scan_csv, separator=spec.separator, try_parse_dates=True, infer_schema_length=_SAMPLE)
    try:
        if spec.is_remote:
            return remote.scan(spec, read, ENDING, file=file)
        names = found(spec.path, ENDING).names
        headers = {name: _header(name, spec) for name in names} if len(names) > 1 else {}
        if headers and any([*header] != [*headers[names[0]]] for header in headers.values()):
            shared_schema(headers, spec.path)  # which refuses other tables among them
            read = partial(read, missing_columns="insert", infer_schema_files=len(names))
        frame = read(names, glob=False, include_file_paths=file)
        try:
            frame.collect_schema()
        except SchemaError:
            shared_schema({name: read(name, glob=False).collect_schema() for name in names}, spec.path)  # which says what differs
            raise
    except (OSError, PolarsError) as error:
        raise DataError(f"{spec.path} cannot be read as CSV: {read_error(error)}") from error
    return frame


def _header(name: str, spec: CsvFiles) -> Mapping[str, pl.DataType]:
    """The names of a file's columns."""
    names = pl.scan_csv(name, separator=spec.separator, infer_schema=False, n_rows=0, glob=False).collect_schema().names()
    return dict.fromkeys(names, pl.Null())


def _check_header(spec: CsvFiles, names: Collection[str]) -> None:
    if any(not name.replace("\t", "").isprintable() or name.lstrip().startswith(("{", "[")) for name in names):
        raise DataError(
            f"{spec.path} is not CSV: its first line is not a line of column names. Give hw.parquet(path) or hw.json_lines(path) for such files, "
            "or write a header"
        )
    (only, *others) = names
    if not others and (found_in := [mark for mark in ",;\t|" if mark in only]):
        raise DataError(
            f"{spec.path} has one column, {only!r}: its fields seem to be separated by {found_in[0]!r}, and it is read with "
            f"{spec.separator!r}. Give hw.csv(path, separator={found_in[0]!r}), or write the file with commas"
        )
