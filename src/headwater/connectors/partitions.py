"""Columns in the names of folders, `day=2026-01-01/`, below the folder of a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

import polars as pl

from headwater.errors import DataError

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
            *(_typed(column, [of[column] for of in values]) for column in values[0]),
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
    """The value of each row's folder, by FILE; null where it is not a value of that type."""
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
    other = (
        frame.filter(pl.col(column).ne_missing(partition(parts, column, dtype)))
        .select(FILE, column)
        .head(1)
        .collect()
    )
    for name, value in other.iter_rows():
        raise DataError(
            f"{path}: {column!r} is a partition and also a column of the files, and they differ: "
            f"{name} has the value {value!r}. Rename the folders, or write the files without the "
            "column"
        )


def _typed(column: str, texts: Sequence[str]) -> pl.Series:
    """Strings as what they hold; dates that may have the month first stay strings."""
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
