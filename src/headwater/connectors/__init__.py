"""Implementations of connectors, looked up by the spec that a definition holds: one file and one line each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headwater.definitions.connectors import Table

if TYPE_CHECKING:
    import polars as pl

_SCANS: Mapping[str, str] = {
    "ParquetFiles": "headwater.connectors.parquet",
    "CsvFiles": "headwater.connectors.csv",
    "Frame": "headwater.connectors.frame",
}


def scan(table: Table) -> pl.LazyFrame:
    """The table as a lazy frame.

    Raises:
        DataError: the files are missing, empty or unreadable.
    """
    found: pl.LazyFrame = importlib.import_module(_SCANS[type(table).__name__]).scan(table)
    return found
