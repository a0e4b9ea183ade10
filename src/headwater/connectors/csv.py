"""CSV files with a header line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import polars as pl
from polars.exceptions import PolarsError, SchemaError

from headwater.connectors import find_files, remote
from headwater.connectors.shared_schema import shared_schema
from headwater.definitions.connectors import CsvFiles
from headwater.errors import DataError, read_error

ENDING = ".csv"
_SAMPLE: Final = 10_000  # lines that say what a column holds
# a date that names the day or the month first
_EITHER_ORDER: Final = r"^\s*(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?:\D|$)"
_CLOCKS: Final = (
    *("", " %H:%M", " %H:%M:%S%.f", "T%H:%M", "T%H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p"),
    *(" %H:%M:%S%.f%#z", "T%H:%M:%S%.f%#z"),
)


def scan(spec: CsvFiles, *, file: str | None = None) -> pl.LazyFrame:
    """The files as a lazy frame; ISO 8601 date-times become timestamps, and dates as `dates` says.

    file: the name of an added column with the file of each row.

    Raises:
        DataError: the files cannot be read, or dates may have the day or the month first and
            nothing says which.
    """
    frame = _read(spec, file=file)
    names = [name for name in frame.collect_schema().names() if name != file]
    _check_header(spec, names)
    if spec.dates is None:
        _refuse_either_order(spec, frame.collect_schema())
        return frame
    formats = _formats(spec, frame.collect_schema())
    if not formats:
        return frame
    frame = _read(spec, file=file, schema_overrides=dict.fromkeys(formats, pl.String()))
    return frame.with_columns(_parsed(pl.col(name), form) for name, form in formats.items())


def separator_of(spec: CsvFiles) -> str:
    """The field separator, by the first line: the spec's, unless it leaves one column with another
    separator in it.
    """
    return _other_separator(_read(spec).collect_schema().names()) or spec.separator


def either_order(spec: CsvFiles, schema: Mapping[str, pl.DataType] | None = None) -> dict[str, str]:
    """Columns of dates or times that may have the day or the month first, each with a value such as
    "03/04/2026".
    """
    columns = [
        name for name, dtype in (schema or _read(spec).collect_schema()).items() if _local(dtype)
    ]
    return {
        name: example
        for name, values in _as_written(spec, columns).items()
        if (example := _ambiguous(values)) is not None
    }


def _refuse_either_order(spec: CsvFiles, schema: Mapping[str, pl.DataType]) -> None:
    found_in = either_order(spec, schema)
    if found_in:
        columns = ", ".join(f"{name!r} (such as {value})" for name, value in found_in.items())
        raise DataError(
            f"{spec.path}: dates may have the day or the month first, in {columns}. Give "
            "hw.csv(path, dates='day-first') or dates='month-first', or write them as 2026-01-31"
        )


def _read(spec: CsvFiles, *, file: str | None = None, **options: object) -> pl.LazyFrame:
    """The files, with a schema that polars has found."""
    inferred = (
        {"try_parse_dates": True, "infer_schema_length": _SAMPLE}
        if "infer_schema" not in options
        else {}
    )
    read: Callable[..., pl.LazyFrame] = partial(
        pl.scan_csv,
        separator=spec.separator,
        **inferred,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )
    try:
        if spec.is_remote:
            return remote.scan(spec, read, ENDING, file=file)
        names = find_files(spec.path, ENDING).names
        headers = {name: _header(name, spec) for name in names} if len(names) > 1 else {}
        if headers and any([*header] != [*headers[names[0]]] for header in headers.values()):
            shared_schema(headers, spec.path)  # which refuses other tables among them
            read = partial(read, missing_columns="insert", infer_schema_files=len(names))
        frame = read(names, glob=False, include_file_paths=file)
        try:
            frame.collect_schema()
        except SchemaError:
            # its error names the difference
            shared_schema(
                {name: read(name, glob=False).collect_schema() for name in names}, spec.path
            )
            raise
    except (OSError, PolarsError) as error:
        raise DataError(f"{spec.path} cannot be read as CSV: {read_error(error)}") from error
    return frame


def _header(name: str, spec: CsvFiles) -> Mapping[str, pl.DataType]:
    """The names of a file's columns."""
    names = (
        pl.scan_csv(name, separator=spec.separator, infer_schema=False, n_rows=0, glob=False)
        .collect_schema()
        .names()
    )
    return dict.fromkeys(names, pl.Null())


def _check_header(spec: CsvFiles, names: Collection[str]) -> None:
    if any(
        not name.replace("\t", "").isprintable() or name.lstrip().startswith(("{", "["))
        for name in names
    ):
        raise DataError(
            f"{spec.path} is not CSV: its first line is not a line of column names. Give "
            "hw.parquet(path) or hw.json_lines(path) for such files, or write a header"
        )
    if (mark := _other_separator(names)) is not None:
        raise DataError(
            f"{spec.path} has one column, {next(iter(names))!r}: its fields seem to be separated "
            f"by {mark!r}, and it is read with {spec.separator!r}. Give hw.csv(path, "
            f"separator={mark!r}), or write the file with commas"
        )


def _other_separator(names: Collection[str]) -> str | None:
    """A separator in the fields of a line that was read as one name."""
    return (
        next((mark for mark in ",;\t|" if mark in "".join(names)), None)
        if len(names) == 1
        else None
    )


def _as_written(spec: CsvFiles, columns: Collection[str]) -> dict[str, pl.Series]:
    """The first values of columns, as strings."""
    if not columns:
        return {}
    return _read(spec, infer_schema=False, n_rows=_SAMPLE).select(columns).collect().to_dict()


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


def _formats(spec: CsvFiles, schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The format of each column of dates that have the day or the month first, in the declared
    order.
    """
    columns = [name for name, dtype in schema.items() if _local(dtype) or dtype == pl.String]
    formats = {
        name: _format(values.drop_nulls(), spec.dates or "")
        for name, values in _as_written(spec, columns).items()
    }
    return {name: form for name, form in formats.items() if form is not None}


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
