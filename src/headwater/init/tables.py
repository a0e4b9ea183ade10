"""Profiles of tables, for guesses."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from headwater.connectors import scan
from headwater.connectors.delta import DeltaLake, delta
from headwater.connectors.files import DELTA_LOG, either_order, hidden, separator_of
from headwater.definitions.connectors import (
    CsvFiles,
    DateOrder,
    JsonLinesFiles,
    ParquetFiles,
    csv,
    is_url,
    json_lines,
    parquet,
)
from headwater.errors import DataError, UsageError, read_error

FORMATS = (  # of strings; those with an offset first, since %z fails without one
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M",
    "%Y%m%d%H%M%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
)
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y")
# a date that names the day or the month first
EITHER_ORDER = r"^\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}"
PARSED = 0.9  # the share of strings that must be times, for a time column
Unit = Literal["s", "ms", "us"]
Kind = Literal["time", "number", "text", "nested", "other"]
LINES = (".jsonl", ".ndjson")
SAMPLE = 1000
# 1973 to 2103
EPOCHS: tuple[tuple[Unit, float, float], ...] = (
    ("s", 1e8, 4.2e9),
    ("ms", 1e11, 4.2e12),
    ("us", 1e14, 4.2e15),
)
AMOUNT_NAME = re.compile(
    r"amount|price|cost|qty|quantity|count|total|sum|age|score|value|size|seats|rate|num|len",
    re.IGNORECASE,
)
NO_TIME = re.compile(r"(id|key|code|no|nr|number|phone|ean|upc|gtin|isbn|sku)$", re.IGNORECASE)
TIME_NAME = re.compile(
    r"(^|_)(at|ts|time|timestamp|datetime|date|when|epoch)(_|$)|_at$|time$|date$", re.IGNORECASE
)


@dataclass(frozen=True)
class TimeColumn:
    """A time column: the code that converts it to a Datetime (None: it is one), and whether it
    lacks a time zone.
    """

    name: str
    code: str | None
    naive: bool
    evidence: str
    values: pl.Series  # datetimes, with nulls; of a date, the end of its day
    is_date: bool = False
    unparsed: tuple[int, str] = (0, "")  # how many strings are no such times, and one of them

    @property
    def micros(self) -> pl.Series:
        """Microseconds since 1970, in the column's local time."""
        return self.values.dt.epoch("us")

    @property
    def middle(self) -> float:
        """The median of `micros`; NaN without values."""
        return float(np.median(self.micros.drop_nulls().to_numpy()))


class TableProfile:
    """A table in memory with lazily computed statistics.

    Args:
        path: as the user wrote it: a file, a glob, a folder of files with the same columns, or a
            URL.
        times: columns that the user names as times; numbers in them are times since 1970 under any
            name.
        dates: "day-first" or "month-first", of dates such as 03/04/2026; matters for the
            `ambiguous` columns.

    Raises:
        UsageError: another format, or a folder of several tables.
        DataError: it cannot be read, or has no rows.
    """

    def __init__(
        self, path: str, times: Collection[str] = (), *, dates: DateOrder | None = None
    ) -> None:
        self.path, self._times, self._dates = path, frozenset(times), dates
        self.table, self._unordered = _table(path), dict[str, str]()
        if isinstance(self.table, CsvFiles):
            self.table = replace(self.table, separator=separator_of(self.table))
            if either := either_order(self.table):
                self.table, self._unordered = (
                    replace(self.table, dates=dates or "day-first"),
                    either,
                )
        try:
            self.frame = scan(self.table).collect()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{path} cannot be read: {read_error(error)}") from error
        if self.frame.height == 0:
            raise DataError(f"{path} has no rows; give a table with history")

    @property
    def code(self) -> str:
        """The code of the table in a project file."""
        kinds = {"CsvFiles": "csv", "JsonLinesFiles": "json_lines", "DeltaLake": "delta"}
        arguments = [quoted(self.path)]
        if isinstance(self.table, CsvFiles):
            arguments += (
                [f"separator={self.table.separator!r}"] if self.table.separator != "," else []
            )
            arguments += [f"dates={quoted(self.table.dates)}"] if self.table.dates else []
        return f"hw.{kinds.get(type(self.table).__name__, 'parquet')}({', '.join(arguments)})"

    @cached_property
    def ambiguous(self) -> dict[str, str]:
        """Time columns whose dates may have the day or the month first, each with a value such as
        "03/04/2026".
        """
        texts = {s.name: _either_order(s) for s in self.frame.get_columns() if s.dtype == pl.String}
        return {
            name: example for name, example in texts.items() if example is not None
        } | self._unordered

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.frame.height

    @cached_property
    def time_columns(self) -> dict[str, TimeColumn]:
        """The time columns, by name."""
        month_first = self._dates == "month-first"
        columns = (
            _timestamp(s, named=s.name in self._times, month_first=month_first)
            for s in self.frame.get_columns()
        )
        return {m.name: m for m in columns if m is not None}

    @cached_property
    def distinct(self) -> dict[str, int]:
        """Number of distinct non-null values by column; nested columns are left out."""
        plain = [s for s in self.frame.get_columns() if not s.dtype.is_nested()]
        return {s.name: s.drop_nulls().n_unique() for s in plain}

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What each column holds: times, numbers (or booleans), strings, nested values, or
        others.
        """
        return {
            s.name: "time" if s.name in self.time_columns else _kind(s.dtype)
            for s in self.frame.get_columns()
        }

    @cached_property
    def numbers(self) -> list[str]:
        """Numeric and boolean columns without time columns."""
        return [name for name, kind in self.kinds.items() if kind == "number"]

    @cached_property
    def texts(self) -> list[str]:
        """String columns without time columns."""
        return [name for name, kind in self.kinds.items() if kind == "text"]

    @cache  # noqa: B019 (a profile lives as long as the command)
    def words(self, name: str) -> pl.Series:
        """The distinct values of a column as strings, in a list of one row."""
        return self.frame[name].drop_nulls().cast(pl.String).unique().implode()


def _kind(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric() or dtype == pl.Boolean:
        return "number"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    return "nested" if dtype.is_nested() else "other"


def quoted(text: str) -> str:
    """`text` as a Python literal in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unnesting(table: TableProfile, names: Sequence[str]) -> str:
    """The code that writes a table with the fields of its structs as columns, whose names init
    takes.
    """
    structs = [name for name in names if isinstance(table.frame.schema[name], pl.Struct)]
    if not structs:
        return "write the table with plain columns"
    kind = {"CsvFiles": "csv", "JsonLinesFiles": "ndjson", "DeltaLake": "delta"}.get(
        type(table.table).__name__, "parquet"
    )
    columns = ", ".join(map(quoted, structs))
    return (
        f"pl.read_{kind}({quoted(table.path)}).unnest({columns}, "
        'separator="_").write_parquet("flat.parquet")'
    )


def usable(name: str) -> bool:
    """Whether a column name can be part of a feature name and a parameter."""
    return (
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None
        and "__" not in name
        and not name.endswith("_")
    )


def _table(path: str) -> ParquetFiles | CsvFiles | JsonLinesFiles | DeltaLake:
    """The files of a path, by their ending or by the endings in a folder; or a folder as a Delta
    table.
    """
    ending = Path(path.partition("?")[0] if is_url(path) else path).suffix.lower()
    if not is_url(path) and Path(path).is_dir():
        if (Path(path) / DELTA_LOG).is_dir():
            return delta(path)
        ending = _ending_in(Path(path))
    elif is_url(path) and path.endswith("/"):
        ending = ".parquet"
    if ending == ".csv":
        return csv(path)
    if ending in LINES:
        return json_lines(path)
    if ending == ".parquet":
        return parquet(path)
    raise UsageError(
        f"{path} is not .parquet, .csv or .jsonl; convert it, or write features.py by hand: a "
        "source takes any frame with an Arrow interface"
    )


def _ending_in(folder: Path) -> str:
    """The ending of the files of a folder, which are one table."""
    named = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in (".parquet", ".csv", *LINES) and p.is_file()
    )
    files = [p for p in named if not hidden(str(p.relative_to(folder)))]
    if not files:
        raise UsageError(
            f"{folder} has no .parquet, .csv or .jsonl file; name a file, or a folder that has some"
        )
    columns = {p: tuple(_names(str(p))) for p in files if p.stat().st_size}
    every = {name for names in columns.values() for name in names}
    if len({p.suffix for p in files}) > 1 or all(
        len(names) < len(every) for names in columns.values()
    ):
        first = {names: p for p, names in reversed(columns.items())}  # a file of each table
        several = "; ".join(
            f"{p} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
            for names, p in [*first.items()][::-1][:5]
        )
        raise UsageError(
            f"{folder} has several tables, with different columns: {several}. Name the one of "
            "events and the one of labels: headwater init EVENTS LABELS; several files of one "
            "table are a folder of their own, or a glob"
        )
    return files[0].suffix.lower()


def _names(path: str) -> Sequence[str]:
    table = _table(path)
    if isinstance(table, CsvFiles):
        table = replace(table, dates="day-first", separator=separator_of(table))
    return scan(table).collect_schema().names()


def _timestamp(series: pl.Series, *, named: bool, month_first: bool) -> TimeColumn | None:
    dtype, name = series.dtype, series.name
    if isinstance(dtype, pl.Datetime):
        return TimeColumn(
            name,
            None,
            dtype.time_zone is None,
            f"times, {dtype.time_zone or 'without a time zone'}{_missing(series)}",
            series,
        )
    if dtype == pl.Date:
        return TimeColumn(
            name,
            None,
            naive=True,
            evidence=f"dates: the end of each day{_missing(series)}",
            values=_ends(series),
            is_date=True,
        )
    if dtype == pl.String:
        return _text_timestamps(series, month_first=month_first)
    if dtype.is_numeric() and series.len() > series.null_count():
        return _since_1970(series, named=named)
    return None


def _since_1970(series: pl.Series, *, named: bool) -> TimeColumn | None:
    """Numbers as times since 1970: of a column that is named as a time, or integers that all lie
    between 2000 and 2040.
    """
    name, values = series.name, series.drop_nulls()
    middle = float(values.cast(pl.Float64).median())  # type: ignore[arg-type]
    unit = next((unit for unit, low, high in EPOCHS if low <= middle <= high), None)
    if unit is None or not (named or TIME_NAME.search(name) or _all_recent(values, unit)):
        return None
    column = f"pl.col({quoted(name)})"
    if not series.dtype.is_integer():
        factor = {"s": 1_000_000, "ms": 1000, "us": 1}[unit]
        series, column, unit = (
            (series * factor).cast(pl.Int64),
            f"({column} * {factor}).cast(pl.Int64)",
            "us",
        )
    times = pl.from_epoch(series, time_unit=unit).dt.replace_time_zone("UTC").alias(name)
    code = (
        f"pl.from_epoch({column}, "
        f'time_unit="{unit}").dt.replace_time_zone("UTC").alias({quoted(name)})'
    )
    return TimeColumn(
        name, code, naive=False, evidence=f"{unit} since 1970{_missing(series)}", values=times
    )


def _all_recent(values: pl.Series, unit: Unit) -> bool:
    """Whether integers of 13 or 16 digits are all times of 2000 to 2040, and no identifiers by
    their name.
    """
    if unit == "s" or not values.dtype.is_integer() or NO_TIME.search(values.name):
        return False
    size = 1000 if unit == "ms" else 1_000_000
    return bool(946_684_800 * size <= values.min() and values.max() <= 2_208_988_800 * size)  # type: ignore[operator]


def _text_timestamps(series: pl.Series, *, month_first: bool) -> TimeColumn | None:
    present = series.drop_nulls()
    # an empty string is not a time, and neither is null
    present = present.filter(present.str.strip_chars() != "")
    sample, column = present.head(SAMPLE), f"pl.col({quoted(series.name)})"
    if not len(sample) or not sample.str.contains(r"\d").all():
        return None
    shares = {form: _share(sample, form) for form in (*FORMATS, *DATES)}
    highest = max(shares.values())
    if highest < PARSED:
        return None
    best = _best(
        [form for form, share in shares.items() if share == highest],
        present,
        month_first=month_first,
    )
    if best in DATES:
        days = series.str.to_date(best, strict=False)
        code = f'{column}.str.to_date("{best}", strict=False).alias({quoted(series.name)})'
        evidence = f"strings of dates, {best}: the end of each day{_missing(days)}"
        unparsed = _unparsed(series, days)
        return TimeColumn(
            series.name,
            code,
            naive=True,
            evidence=evidence,
            values=_ends(days),
            is_date=True,
            unparsed=unparsed,
        )
    values = _parsed(series, best)
    strict = "" if values.null_count() == series.null_count() else ", strict=False"
    code = (
        f'{column}.str.to_datetime("{best}", time_unit="us"{strict}).alias({quoted(series.name)})'
    )
    evidence = f"strings, {_share(present, best):.1%} of the format {best}{_missing(values)}"
    return TimeColumn(
        series.name, code, "z" not in best, evidence, values, unparsed=_unparsed(series, values)
    )


def _unparsed(series: pl.Series, times: pl.Series) -> tuple[int, str]:
    """How many strings that are not empty are no times, and one of them."""
    odd = series.filter(times.is_null() & (series.str.strip_chars() != ""))
    return len(odd), str(odd[0]) if len(odd) else ""


def _best(forms: Sequence[str], values: pl.Series, *, month_first: bool) -> str:
    """Of formats that fit a sample, the one that fits most values; of equal ones, that with the
    wanted order of day and month.
    """

    def score(form: str) -> tuple[float, bool]:
        return _share(values, form), form.startswith("%m/") == month_first

    return max(forms, key=score) if len(forms) > 1 else forms[0]


def _share(values: pl.Series, form: str) -> float:
    """The share of strings that have a format."""
    parsed = values.str.to_date(form, strict=False) if form in DATES else _parsed(values, form)
    return 1 - parsed.null_count() / len(values)


def _either_order(series: pl.Series) -> str | None:
    """A date that is another one with the month first, where all dates of a column can be read both
    ways; else None.
    """
    values = series.drop_nulls()
    if (
        not len(values)
        or "." in str(values[0])[:6]
        or not values.head(SAMPLE).str.contains(EITHER_ORDER).all()
    ):
        return None
    parts = values.str.extract_groups(EITHER_ORDER).struct.unnest().cast(pl.Int32)
    first, second = parts.get_columns()
    differ = values.filter(first != second)
    return str(differ[0]) if len(differ) and first.max() <= 12 and second.max() <= 12 else None  # type: ignore[operator]


def _ends(days: pl.Series) -> pl.Series:
    """The last microsecond of each day."""
    return days.cast(pl.Datetime("us")) + timedelta(days=1, microseconds=-1)


def _parsed(series: pl.Series, form: str) -> pl.Series:
    return series.str.to_datetime(form, time_unit="us", strict=False)


def _missing(series: pl.Series) -> str:
    share = series.null_count() / len(series)
    return f"; {share:.1%} of rows have none" if share else ""
