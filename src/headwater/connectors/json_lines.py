"""JSON lines: an object a line."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import find_files, remote
from headwater.definitions.connectors import JsonLinesFiles
from headwater.errors import DataError, read_error

ENDING = ".jsonl"


def scan(spec: JsonLinesFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame; a column has the type that holds its first 10,000 values.

    file: the name of an added column with the file of each row.
    """

    def read(names: str | Sequence[str], *, glob: bool = False, **options: object) -> pl.LazyFrame:  # noqa: ARG001 (polars decides)
        return pl.scan_ndjson(names, infer_schema_length=10_000, **options)  # type: ignore[arg-type]

    try:
        frame = (
            remote.scan(spec, read, ENDING, file=file)
            if spec.is_remote
            else read(find_files(spec.path, ENDING).names, include_file_paths=file)
        )
        frame.collect_schema()
    except (OSError, PolarsError) as error:
        raise DataError(f"{spec.path} cannot be read as JSON lines: {read_error(error)}") from error
    return frame
