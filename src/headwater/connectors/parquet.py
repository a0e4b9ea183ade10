"""Parquet files: one, a glob, or a folder (plain or hive-partitioned).

Columns in the names of folders, `day=2026-01-01/`, below the folder of a table.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import polars as pl
from polars.exceptions import PolarsError

from headwater.connectors import FileList, find_files, remote
from headwater.connectors.shared_schema import shared_schema
from headwater.connectors.snapshots import once_per_call
from headwater.definitions.connectors import Connector, ParquetFiles
from headwater.errors import DataError, read_error

if TYPE_CHECKING:
    from headwater.connectors.shared_schema import Schema

ENDING = ".parquet"

_CASTS: Final = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "millisecond-upcast", "convert-timezone"],
    missing_struct_fields="insert",
    categorical_to_string="allow",
)

_REQUESTS: Final = 16  # footers of a store that are read at the same time


def scan(spec: ParquetFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame: columns, partitions and row groups that are not needed are not
    read.

    file: the name of an added column with the file of each row.
    """
    return layout(spec).scan(file=file)


def layout(spec: ParquetFiles) -> Layout:
    """The files of a table and its columns; of each file the footer is read.

    Raises:
        DataError: nothing is there, a file cannot be read, or the files are no table.
        ConnectError: an object store does not answer in time, or refuses.
    """
    if spec.is_remote:
        return once_per_call(f"files of {spec.fingerprint}", lambda: _remote_layout(spec))
    files = find_files(spec.path, ENDING)
    return _layout(
        spec.path, files, {name: _footer(name, spec.path, _written(name)) for name in files.names}
    )


def _remote_layout(spec: ParquetFiles) -> Layout:
    files = remote.find_files(spec, ENDING)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        schemas = dict(
            zip(
                files.names,
                pool.map(lambda name: remote.footer(spec, name), files.names),
                strict=True,
            )
        )
    return _layout(spec.path, files, schemas, remote.DATA | remote.resolved(spec.storage_options))


def _layout(
    path: str,
    files: FileList,
    schemas: Mapping[str, Schema],
    options: Mapping[str, object] | None = None,
) -> Layout:
    shared = shared_schema(schemas, path)
    alike = all(schema is shared or schema == shared for schema in schemas.values())
    plain = Layout(files.root, files.names, None if alike else shared, None, options)
    parts = partitions(files.names, files.root, path)
    if parts.width == 1:
        return plain
    held = {column: dtype for column, dtype in shared.items() if column in parts.columns}
    rows = plain.scan(file=FILE)
    for column in held:
        check_held(rows, parts, column, path)
    return replace(
        plain,
        parts=parts.with_columns(pl.col(column).cast(dtype) for column, dtype in held.items()),
    )


@lru_cache(maxsize=100_000)
def _footer(name: str, path: str, _written: tuple[int, int]) -> Schema:
    """The columns of a file of this machine."""
    try:
        return _shared(
            tuple(
                pl.scan_parquet(name, glob=False, hive_partitioning=False).collect_schema().items()
            )
        )
    except (OSError, PolarsError) as error:
        prefix = "" if name.endswith(path) else f"{name}: "
        others = "Give hw.csv(path) or hw.json_lines(path) for such files, or write them as parquet"
        raise DataError(
            f"{path} cannot be read as parquet: {prefix}{read_error(error)}. {others}"
        ) from error


@lru_cache(maxsize=1_000)
def _shared(columns: tuple[tuple[str, pl.DataType], ...]) -> Schema:
    """One object for files of equal columns, which is compared by identity."""
    return dict(columns)


def _written(name: str) -> tuple[int, int]:
    status = Path(name).stat()
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Layout:
    """The files of a table, and how they are read as one.

    schema: the columns of all files; None where each file has the same. parts: the partitions of
    each file; None without.
    options: of an object store.
    """

    root: str
    names: Sequence[str]
    schema: Schema | None
    parts: pl.DataFrame | None
    options: Mapping[str, object] | None = field(default=None, repr=False)

    def scan(self, *, file: str | None = None) -> pl.LazyFrame:
        """The rows, as a lazy frame. file: the name of an added column with the file of each
        row.
        """
        if self.parts is None:
            return self._files(file)
        columns = {name: dtype for name, dtype in self.parts.schema.items() if name != FILE}
        if not values_of(self.root):
            return self._files(file, hive_partitioning=True, hive_schema=columns)
        rows = self._files(FILE).with_columns(
            partition(self.parts, name, dtype).alias(name) for name, dtype in columns.items()
        )
        # polars would take the folders above for columns too
        return rows.drop(FILE) if file is None else rows.rename({FILE: file})

    def parts_of_files(self) -> list[ParquetPart]:
        """Each file as a table with the columns of the whole."""
        return [ParquetPart(replace(self, names=[name])) for name in self.names]

    def _files(self, file: str | None, **hive: object) -> pl.LazyFrame:
        options: dict[str, object] = {
            "hive_partitioning": False,
            **hive,
            "glob": False,
            "include_file_paths": file,
        }
        if self.schema is not None:
            options |= {"schema": self.schema, "missing_columns": "insert", "cast_options": _CASTS}
        return pl.scan_parquet(list(self.names), storage_options=self.options, **options)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class ParquetPart(Connector):
    """Some files of a table, with the columns of the whole."""

    layout: Layout = field(metadata={"fingerprint": False})

    def __str__(self) -> str:
        return self.path

    @property
    def path(self) -> str:
        """The first file."""
        return self.layout.names[0]

    def scan(self) -> pl.LazyFrame:
        """See `Connector`."""
        return self.layout.scan()


FILE: Final = "__file"
"""The column with the file of each row."""

_NULL: Final = "__HIVE_DEFAULT_PARTITION__"

# a date that names the day or the month first
_EITHER_ORDER: Final = r"^\d{1,2}[./-]\d{1,2}[./-]\d+"

_SEPARATOR: Final = "\x1f"


def partitions(names: Sequence[str], root: str, path: str) -> pl.DataFrame:
    """The values of each file's folders below the root, with a column FILE; of no other column
    where there are no partitions.

    Their types are those that polars finds in CSV: integers, floats, booleans, dates and times,
    else strings.

    Raises:
        DataError: some files are below `column=value` and others are not.
    """
    values = [values_of(name.removeprefix(root)) for name in names]
    odd = next(
        (position for position, columns in enumerate(values) if columns.keys() != values[0].keys()),
        None,
    )
    if odd is not None:
        raise DataError(
            f"{path}: {names[0]} has the partitions {', '.join(values[0]) or 'none'}, and "
            f"{names[odd]} {', '.join(values[odd]) or 'none'}; put all files below folders of the "
            "same columns, or name those of one kind with a glob"
        )
    return pl.DataFrame(
        [
            pl.Series(FILE, names),
            *(_typed(column, [by_column[column] for by_column in values]) for column in values[0]),
        ]
    )


def values_of(below: str) -> dict[str, str]:
    """The columns and values in the folders of a path.

    >>> values_of("day=2026-01-01/city=S%C3%A3o%20Paulo/part-0.parquet")
    {'day': '2026-01-01', 'city': 'São Paulo'}
    """
    parts = (segment.split("=") for segment in below.split("/")[:-1])
    return {pair[0]: unquote(pair[1]) for pair in parts if len(pair) == 2 and pair[0]}


def partition(parts: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    """The value of each row's folder, by FILE; null where the folder has no value of that type."""
    return pl.col(FILE).replace_strict(
        parts[FILE], parts[column].cast(dtype, strict=False), return_dtype=dtype
    )


def check_held(frame: pl.LazyFrame, parts: pl.DataFrame, column: str, path: str) -> None:
    """Refuse a partition that contradicts the column of its files.

    frame: the rows of the files, with that column and FILE.

    Raises:
        DataError: a file has another value than its folder.
    """
    dtype = frame.collect_schema()[column]
    differing = (
        frame.filter(pl.col(column).ne_missing(partition(parts, column, dtype)))
        .select(FILE, column)
        .head(1)
        .collect()
    )
    for name, value in differing.iter_rows():
        raise DataError(
            f"{path}: {column!r} is a partition and also a column of the files, and they differ: "
            f"{name} has the value {value!r}. Rename the folders, or write the files without the "
            "column"
        )


def _typed(column: str, texts: Sequence[str]) -> pl.Series:
    """Strings as the type of their values; dates that may have the month first stay strings."""
    values = pl.Series(column, [None if text == _NULL else text for text in texts], dtype=pl.String)
    distinct = values.drop_nulls().unique().alias(column)
    as_lines = not (distinct.str.contains(rf"[\r\n{_SEPARATOR}]").any() or (distinct == "").any())
    if not len(distinct) or not as_lines or distinct.str.contains(_EITHER_ORDER).any():
        return values
    lines = io.BytesIO("\n".join(["value", *distinct]).encode())
    read = pl.read_csv(
        lines, separator=_SEPARATOR, quote_char=None, try_parse_dates=True, infer_schema_length=None
    )["value"]
    return values.replace_strict(distinct, read, return_dtype=read.dtype)
