"""JSON lines: an object a line."""

from __future__ import annotations

from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import remote
from headwater.connectors.files import found
from headwater.definitions.connectors import JsonLinesFiles
from headwater.errors import DataError, read_error

ENDING = ".jsonl"


def scan(spec: JsonLinesFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame; a column has the type that holds its first 10,000 values.

    file: the name of an added column with the file of each row.
    """
    read = partial(pl.scan_ndjson, infer_schema_length=10_000, include_file_paths=file)
    try:
        frame = remote.scan(spec, read, ENDING) if spec.is_remote else read(found(spec.path, ENDING))
        frame.collect_schema()
    except (OSError, PolarsError) as error:
        raise DataError(f"{spec.path} cannot be read as JSON lines: {read_error(error)}") from error
    return frame
