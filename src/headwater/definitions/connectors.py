"""Where a table lies, as a value: `headwater.connectors` reads what these name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import unquote

from headwater.definitions.base import Definition
from headwater.definitions.spelling import spelled
from headwater.errors import DefinitionError


@runtime_checkable
class ArrowFrame(Protocol):
    """Any frame that exports Arrow data: polars, pandas, pyarrow, DuckDB results, ..."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True, eq=False)
class ParquetFiles(Definition):
    """Parquet files: a file, a glob, or a folder (hive-partitioned where its folders are named `column=value`)."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, eq=False)
class CsvFiles(Definition):
    """CSV files with a header line; ISO 8601 date-times are read as such."""

    path: str

    def __str__(self) -> str:
        return self.path


class Frame(Definition):
    """A frame in memory; its fingerprint is that of its contents."""

    def __init__(self, data: ArrowFrame) -> None:
        self.data = data

    def __str__(self) -> str:
        return "a frame in memory"

    @property
    def fingerprint(self) -> str:
        """A hash of the column names, types and rows; read once."""
        if "_fingerprint" not in self.__dict__:
            self.__dict__["_fingerprint"] = _content_hash(self.data)
        return str(self.__dict__["_fingerprint"])


Table = ParquetFiles | CsvFiles | Frame

if TYPE_CHECKING:
    import polars as pl

    TableLike = Table | ArrowFrame | str | PathLike[str] | pl.LazyFrame


@spelled
def parquet(path: str | PathLike[str]) -> ParquetFiles:
    """Parquet files at `path`: one file, a glob, or a folder (plain or hive-partitioned)."""
    return ParquetFiles(_local(fspath(path)))


@spelled
def csv(path: str | PathLike[str]) -> CsvFiles:
    """CSV files with a header at `path`: one file or a glob."""
    return CsvFiles(_local(fspath(path)))


def as_table(value: object, what: str) -> Table:
    """The table that a user gave: a connector, a path, or any frame with an Arrow interface; a lazy frame of polars is collected here."""
    if isinstance(value, ParquetFiles | CsvFiles | Frame):
        return value
    if isinstance(value, str | PathLike):
        path = _local(fspath(value))
        return CsvFiles(path) if path.endswith(".csv") else ParquetFiles(path)
    if type(value).__name__ == "LazyFrame" and type(value).__module__.startswith("polars"):
        value = value.collect()  # type: ignore[attr-defined]  # its library is not imported for this
    if isinstance(value, ArrowFrame):
        return Frame(value)
    raise DefinitionError(
        f"{what} is {type(value).__name__}; give a path, hw.parquet(path), hw.csv(path), a LazyFrame of polars, or a frame with an Arrow "
        "interface (polars, pandas 2.2+, pyarrow)"
    )


def _local(path: str) -> str:
    """A path without the scheme of a file:// URL."""
    return unquote(path.removeprefix("file://")) if path.startswith("file:///") else path


def _content_hash(data: ArrowFrame) -> str:
    """16 hexadecimal digits for the names, types and rows of a frame, in order."""
    import polars as pl  # a frame is data: only then is a library needed

    frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
    digest = hashlib.sha256(repr(dict(frame.schema)).encode())
    if frame.width:
        digest.update(frame.hash_rows(seed=0).to_numpy().tobytes())
    return digest.hexdigest()[:16]
