"""Implementations of connectors, looked up by the spec that a definition holds; a `Connector` reads
itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headwater.definitions.connectors import Connector, Files, Table

if TYPE_CHECKING:
    import polars as pl

_SCANS: Mapping[str, str] = {
    "ParquetFiles": "headwater.connectors.parquet",
    "CsvFiles": "headwater.connectors.csv",
    "JsonLinesFiles": "headwater.connectors.json_lines",
    "Frame": "headwater.connectors.frame",
}

# of files in a folder
ENDINGS: Mapping[str, str] = {
    "ParquetFiles": ".parquet",
    "CsvFiles": ".csv",
    "JsonLinesFiles": ".jsonl",
}


def scan(table: Table) -> pl.LazyFrame:
    """The table as a lazy frame.

    Raises:
        DataError: the files are missing, empty or unreadable.
        ConnectError: an object store or server does not answer in time, or refuses.
    """
    if isinstance(table, Connector):
        return table.scan()
    frame: pl.LazyFrame = importlib.import_module(_SCANS[type(table).__name__]).scan(table)
    return frame


def with_file(table: Files, column: str) -> pl.LazyFrame:
    """The table with one more column, the file of each row.

    Raises:
        DataError, ConnectError: as `scan`.
    """
    frame: pl.LazyFrame = importlib.import_module(_SCANS[type(table).__name__]).scan(
        table, file=column
    )
    return frame
