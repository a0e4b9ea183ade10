"""CSV files with a header line: types, words for null, and the order of day and month in dates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from headwater.errors import DataError

if TYPE_CHECKING:
    from headwater.connectors.schemas import Schema
    from headwater.definitions.connectors import CsvFiles

_SAMPLE: Final = 10_000  # lines that say what a column holds
_FILES: Final = 1_000_000  # of a glob, whose types are inferred together
# a date that names the day or the month first
_EITHER_ORDER: Final = r"^\s*(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?:\D|$)"
_CLOCKS: Final = (
    *("", " %H:%M", " %H:%M:%S%.f", "T%H:%M", "T%H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p"),
    *(" %H:%M:%S%.f%#z", "T%H:%M:%S%.f%#z"),
)
_OFFSET: Final = r":.*(?:[Zz]|[+-]\d\d:?\d\d)$"


def schema(table: CsvFiles, name: str, options: Mapping[str, Any] | None) -> Schema:
    """The columns of a file, or of a store's glob; Null where the first lines have no value."""
    found = _lines(
        table,
        name,
        glob=options is not None,
        storage_options=options,
        try_parse_dates=True,
        infer_schema_length=_SAMPLE,
        infer_schema_files=_FILES,
        missing_columns="insert",
    ).collect_schema()
    _check_header(table, name, found.names())
    texts = [column for column, dtype in found.items() if dtype == pl.String]
    if options is not None or not texts:
        return found
    sample = _lines(table, name, glob=False, infer_schema=False, n_rows=_SAMPLE).select(texts)
    empty = sample.select(pl.all().is_null().all()).collect().row(0, named=True)
    return {column: pl.Null() if empty.get(column) else dtype for column, dtype in found.items()}


def read(table: CsvFiles, names: Sequence[str], schema: Schema, **options: Any) -> pl.LazyFrame:  # noqa: ANN401 (of polars)
    """The rows of files with one schema. ISO 8601 date-times become timestamps, and dates as
    `dates` says.

    Raises:
        DataError: dates may have the day or the month first, and nothing says which.
    """
    read_as = {name: pl.String() if dtype == pl.Null else dtype for name, dtype in schema.items()}
    sample = sample_of_dates(table, names, read_as, options)
    if table.dates is None:
        _refuse_either_order(table, sample)
    times: dict[str, pl.Expr] = {
        name: _strict_time(name, dtype)
        for name, dtype in read_as.items()
        if isinstance(dtype, pl.Datetime)
    }
    for name, values in sample.items():
        form = table.dates and _format(values.drop_nulls(), table.dates)
        if form:
            times[name] = _parsed(pl.col(name), form)
    return _lines(
        table,
        list(names),
        schema=read_as | dict.fromkeys(times, pl.String()),
        missing_columns="insert",
        **options,
    ).with_columns(times.values())


def separator_of(table: CsvFiles, name: str, **options: Any) -> str:  # noqa: ANN401 (of polars)
    """The field separator, by the first line of a file: the table's, unless it leaves one column
    with another separator in it.
    """
    columns = _lines(table, name, infer_schema=False, n_rows=0, **options).collect_schema().names()
    return _other_separator(columns) or table.separator


def either_order(sample: Mapping[str, pl.Series]) -> dict[str, str]:
    """Columns of dates or times that may have the day or the month first, each with a value such as
    "03/04/2026".
    """
    return {
        name: example
        for name, values in sample.items()
        if (example := _ambiguous(values)) is not None
    }


def number(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    """The common type of inferred numbers, of which some have a fraction."""
    both = {first.is_integer() or first.is_float(), second.is_integer() or second.is_float()}
    return pl.Float64() if both == {True} else None


def widen(first: pl.DataType, second: pl.DataType) -> pl.DataType | None:
    """The common type of inferred types: the text itself, where nothing else is; not of dates and
    times, which differ in what they say of the day.
    """
    if first.is_temporal() and second.is_temporal():
        return None
    return number(first, second) or pl.String()


def _lines(table: CsvFiles, names: str | list[str], **options: Any) -> pl.LazyFrame:  # noqa: ANN401 (of polars)
    return pl.scan_csv(
        names,
        separator=table.separator,
        null_values=list(table.null_values) or None,
        **{"glob": False, **options},
    )


def sample_of_dates(
    table: CsvFiles, names: Sequence[str], schema: Schema, options: Mapping[str, Any]
) -> dict[str, pl.Series]:
    """The first values, as strings, of the columns that may be dates of either order."""
    columns = [name for name, dtype in schema.items() if _local(dtype)]
    if table.dates is not None:
        declared = table.dtypes
        columns += [n for n, d in schema.items() if d == pl.String and n not in declared]
    if not columns:
        return {}
    strings = dict.fromkeys(schema, pl.String())
    rows = _lines(
        table, list(names), schema=strings, missing_columns="insert", n_rows=_SAMPLE, **options
    )
    return rows.select(columns).collect().to_dict()


def _strict_time(name: str, dtype: pl.Datetime) -> pl.Expr:
    """Times with an offset, or all without: as one column, polars would take both for the same."""
    column, zoned = pl.col(name), dtype.time_zone is not None
    fits = column.str.contains(_OFFSET)
    return (
        pl.when(fits if zoned else ~fits)
        .then(column)
        .otherwise(column + (" has no UTC offset" if zoned else " has a UTC offset"))
        .str.to_datetime(time_unit="us", time_zone="UTC" if zoned else None)
        .alias(name)
    )


def _check_header(table: CsvFiles, name: str, names: Collection[str]) -> None:
    if any(
        not name.replace("\t", "").isprintable() or name.lstrip().startswith(("{", "["))
        for name in names
    ):
        raise DataError(
            f"{name} is not CSV: its first line is not a line of column names. Give "
            "hw.parquet(path) or hw.json_lines(path) for such files, or write a header"
        )
    if (mark := _other_separator(names)) is not None:
        raise DataError(
            f"{name} has one column, {next(iter(names))!r}: its fields seem to be separated "
            f"by {mark!r}, and it is read with {table.separator!r}. Give hw.csv(path, "
            f"separator={mark!r}), or write the file with commas"
        )


def _other_separator(names: Collection[str]) -> str | None:
    """A separator in the fields of a line that was read as one name."""
    return (
        next((mark for mark in ",;\t|" if mark in "".join(names)), None)
        if len(names) == 1
        else None
    )


def _refuse_either_order(table: CsvFiles, sample: Mapping[str, pl.Series]) -> None:
    found_in = either_order(sample)
    if found_in:
        columns = ", ".join(f"{name!r} (such as {value})" for name, value in found_in.items())
        raise DataError(
            f"{table.path}: dates may have the day or the month first, in {columns}. Give "
            "hw.csv(path, dates='day-first') or dates='month-first', or write them as 2026-01-31"
        )


def _local(dtype: pl.DataType) -> bool:
    return dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None)


def _ambiguous(values: pl.Series) -> str | None:
    """A value that may have the day or the month first; None where the values show it, or dots do:
    these have the day first.
    """
    present = values.drop_nulls()
    if not len(present) or not present.str.contains(_EITHER_ORDER).all():
        return None
    first, mark, second, year = (
        present.str.extract_groups(_EITHER_ORDER).struct.unnest().get_columns()
    )
    full = (year.str.len_chars() == 4).all()
    if full and ((mark == ".").all() or first.cast(pl.Int32).gt(12).any()):
        return None
    differ = present.filter(first != second)
    return str(differ[0] if len(differ) else present[0])


def _format(values: pl.Series, dates: str) -> str | None:
    if not len(values) or not values.str.contains(_EITHER_ORDER).all():
        return None
    groups = values.head(1).str.extract_groups(_EITHER_ORDER).struct.unnest()
    mark, year = groups.item(0, 1), "%Y" if len(groups.item(0, 3)) == 4 else "%y"
    days = mark.join(("%d", "%m", year) if dates == "day-first" else ("%m", "%d", year))
    forms = (days + clock for clock in _CLOCKS)
    return next(
        (
            form
            for form in forms
            if not values.to_frame("x")
            .select(_parsed(pl.col("x"), form, strict=False))
            .to_series()
            .null_count()
        ),
        None,
    )


def _parsed(column: pl.Expr, form: str, *, strict: bool = True) -> pl.Expr:
    return (
        column.str.to_datetime(form, time_unit="us", strict=strict)
        if "H" in form or "I" in form
        else column.str.to_date(form, strict=strict)
    )
