"""Profiles of tables, for guesses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from headwater.connectors import scan
from headwater.definitions.connectors import CsvFiles, ParquetFiles, csv, parquet
from headwater.definitions.urls import is_url
from headwater.errors import DataError, UsageError, read_error

FORMATS = (  # of strings; those with an offset first, since %z fails without one
    "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
    "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%Y%m%d%H%M%S",
)  # fmt: skip
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y")
PARSED = 0.9  # the share of strings that must be times, for a time column
Unit = Literal["s", "ms", "us"]
EPOCHS: tuple[tuple[Unit, float, float], ...] = (("s", 1e8, 4.2e9), ("ms", 1e11, 4.2e12), ("us", 1e14, 4.2e15))  # 1973 to 2103
TIME_NAME = re.compile(r"(^|_)(at|ts|time|timestamp|datetime|date|when|epoch)(_|$)|_at$|time$|date$", re.IGNORECASE)


@dataclass(frozen=True)
class TimeColumn:
    """A time column: the code that converts it to a Datetime (None: it is one), and whether it lacks a time zone."""

    name: str
    code: str | None
    naive: bool
    evidence: str
    values: pl.Series  # datetimes, with nulls; of a date, the end of its day
    is_date: bool = False

    @property
    def micros(self) -> pl.Series:
        """Microseconds since 1970, in the column's local time."""
        return self.values.dt.epoch("us")

    @property
    def middle(self) -> float:
        """The median of `micros`; NaN without values."""
        return float(np.median(self.micros.drop_nulls().to_numpy()))


class TableProfile:
    """A table in memory with lazily computed statistics. `path` is as the user wrote it."""

    def __init__(self, path: str) -> None:
        ending = Path(path.partition("?")[0] if is_url(path) else path).suffix.lower()
        if ending not in (".parquet", ".csv") and not (path.endswith("/") if is_url(path) else Path(path).is_dir()):
            raise UsageError(
                f"{path} is neither .parquet nor .csv; convert it, or write features.py by hand: a source takes any frame with an Arrow interface"
            )
        self.path = path
        self.table: ParquetFiles | CsvFiles = csv(path) if ending == ".csv" else parquet(path)
        try:
            self.frame = scan(self.table).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} cannot be read: {read_error(error)}") from error
        if self.frame.height == 0:
            raise DataError(f"{path} has no rows; give a table with history")

    @property
    def code(self) -> str:
        """The code of the table in a project file."""
        return f"hw.{'csv' if isinstance(self.table, CsvFiles) else 'parquet'}({quoted(self.path)})"

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.frame.height

    @cached_property
    def time_columns(self) -> dict[str, TimeColumn]:
        """The time columns, by name."""
        columns = (_timestamp(series) for series in self.frame.get_columns())
        return {m.name: m for m in columns if m is not None}

    @cached_property
    def distinct(self) -> dict[str, int]:
        """Number of distinct non-null values by column; nested columns are left out."""
        plain = [s for s in self.frame.get_columns() if not s.dtype.is_nested()]
        return {s.name: s.drop_nulls().n_unique() for s in plain}

    def numbers(self) -> list[str]:
        """Numeric and boolean columns without time columns."""
        return [
            s.name for s in self.frame.get_columns() if (s.dtype.is_numeric() or s.dtype == pl.Boolean) and s.name not in self.time_columns
        ]

    def texts(self) -> list[str]:
        """String columns without time columns."""
        return [
            s.name for s in self.frame.get_columns() if s.dtype in (pl.String, pl.Categorical, pl.Enum) and s.name not in self.time_columns
        ]


def quoted(text: str) -> str:
    """`text` as a Python literal in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def usable(name: str) -> bool:
    """Whether a column name can be part of a feature name and a parameter."""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None and "__" not in name and not name.endswith("_")


def _timestamp(series: pl.Series) -> TimeColumn | None:
    dtype, name = series.dtype, series.name
    column = f"pl.col({quoted(name)})"
    if isinstance(dtype, pl.Datetime):
        return TimeColumn(
            name, None, dtype.time_zone is None, f"times, {dtype.time_zone or 'without a time zone'}{_missing(series)}", series
        )
    if dtype == pl.Date:
        return TimeColumn(
            name, None, naive=True, evidence=f"dates: the end of each day{_missing(series)}", values=_ends(series), is_date=True
        )
    if dtype == pl.String:
        return _text_timestamps(series, column)
    if dtype.is_integer() and TIME_NAME.search(name) and series.len() > series.null_count():
        middle = float(series.median())  # type: ignore[arg-type]
        for unit, low, high in EPOCHS:
            if low <= middle <= high:
                values = pl.from_epoch(series, time_unit=unit).dt.replace_time_zone("UTC")
                code = f'pl.from_epoch({quoted(name)}, time_unit="{unit}").dt.replace_time_zone("UTC").alias({quoted(name)})'
                return TimeColumn(name, code, naive=False, evidence=f"{unit} since 1970{_missing(series)}", values=values)
    return None


def _text_timestamps(series: pl.Series, column: str) -> TimeColumn | None:
    sample = series.drop_nulls().head(1000)
    if not len(sample) or not sample.str.contains(r"\d").all():
        return None
    shares = {form: 1 - _parsed(sample, form).null_count() / len(sample) for form in FORMATS}
    shares |= {form: 1 - sample.str.to_date(form, strict=False).null_count() / len(sample) for form in DATES}
    best = max(shares, key=lambda form: shares[form])
    if shares[best] < PARSED:
        return None
    if best in DATES:
        days = series.str.to_date(best, strict=False)
        code = f'{column}.str.to_date("{best}", strict=False).alias({quoted(series.name)})'
        evidence = f"strings of dates: the end of each day{_missing(series)}"
        return TimeColumn(series.name, code, naive=True, evidence=evidence, values=_ends(days), is_date=True)
    values = _parsed(series, best)
    share = (len(values) - values.null_count()) / max(len(series) - series.null_count(), 1)
    strict = "" if share == 1 else ", strict=False"
    code = f'{column}.str.to_datetime("{best}", time_unit="us"{strict}).alias({quoted(series.name)})'
    return TimeColumn(series.name, code, "z" not in best, f"strings, {share:.1%} of the format {best}{_missing(series)}", values)


def _ends(days: pl.Series) -> pl.Series:
    """The last microsecond of each day."""
    return days.cast(pl.Datetime("us")) + timedelta(days=1, microseconds=-1)


def _parsed(series: pl.Series, form: str) -> pl.Series:
    return series.str.to_datetime(form, time_unit="us", strict=False)


def _missing(series: pl.Series) -> str:
    share = series.null_count() / len(series)
    return f"; {share:.1%} of rows have none" if share else ""
