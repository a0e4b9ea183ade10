"""Reading a table as a source or labels define it, with every check that only data can answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl
from polars.exceptions import ColumnNotFoundError, PolarsError

from headwater.connectors import scan
from headwater.definitions.columns import Selection, output_name, root_columns
from headwater.definitions.connectors import Table
from headwater.errors import DataError, nearest, read_error

TIME = "__time"
KNOWN = "__known"
IDENT = "__id"
ROW = "headwater_row"
"""The position of a row in the table that it was read from; it is not data."""


@dataclass(frozen=True)
class Selected:
    """A table after filter and select; the schema is of the selected columns, `raw` that of the
    table.
    """

    frame: pl.LazyFrame
    schema: pl.Schema
    raw: pl.Schema


def selected(
    table: Table, select: Selection | None, keep: pl.Expr | None, own: Collection[str], subject: str
) -> Selected:
    """The table filtered and selected; `own` are columns kept in addition to the selection where
    the table has them.

    Raises:
        DataError: a column that the table does not have, with the nearest name.
    """
    frame = scan(table)
    raw = frame.collect_schema()
    for item in select or ():
        _check_columns(root_columns(item), raw, f"{subject}: select")
    if keep is not None:
        _check_columns(root_columns(keep), raw, f"{subject}: filter")
        frame = frame.filter(keep)
    if select is not None:
        selected_names = {output_name(item) for item in select}
        frame = frame.select(
            [pl.col(item) if isinstance(item, str) else item for item in select]
            + [pl.col(c) for c in dict.fromkeys(own) if c not in selected_names and c in raw]
        )
    try:
        schema = frame.collect_schema()
    except (OSError, PolarsError) as error:
        raise DataError(f"{subject}: {read_error(error)}") from error
    return Selected(frame, schema, raw)


def column(name: str, schema: pl.Schema, subject: str) -> pl.DataType:
    """The dtype of a column, or an error with the nearest name."""
    if name not in schema:
        raise DataError(f"{subject}: no column {name!r}; {nearest(name, schema)}")
    return schema[name]


def timestamp_micros(
    name: str,
    schema: pl.Schema,
    timezone: str | None,
    subject: str,
    *,
    days: bool = False,
    from_call: bool = False,
) -> pl.Expr:
    """A timestamp column as int64 microseconds UTC.

    days: whether it may be a Date: a day is known at its end, its last microsecond in `timezone`.
    from_call: whether the table is an argument of a call, and not of a definition with `select=`;
    the errors say what to do there.

    Raises:
        DataError: it is missing, not a timestamp, or naive without a `timezone`.
    """
    dtype = column(name, schema, subject)
    described = f"{subject}: the timestamp {name!r}"
    select, where = (
        ("rows.with_columns(...)", "in this call")
        if from_call
        else ("select", "where it is defined")
    )
    if dtype == pl.String:
        raise DataError(
            f"{described} is text; parse it in {select}, such as "
            f"pl.col({name!r}).str.to_datetime('%Y-%m-%d %H:%M:%S'), and give timezone= {where}, "
            "the zone of the clock that it was read from. A local time declared as UTC lets the "
            "future leak"
        )
    if dtype.is_integer() or dtype.is_float():
        raise DataError(
            f"{described} is a number of unknown unit; say which in {select}, such as "
            f"pl.from_epoch({name!r}, time_unit='ms').dt.replace_time_zone('UTC')"
        )
    if dtype == pl.Date and not days:
        raise DataError(
            f"{described} is a date without a time of day, and features differ within a day; say "
            f"in {select} at which time of that day the prediction was asked for, such as at "
            f"9:00: pl.col({name!r}).dt.combine(pl.time(9)). An event on a date needs no time of "
            "day: a source takes the date as it is, known at the end of its day"
        )
    if dtype == pl.Date and timezone is None:
        raise DataError(
            f"{described} is a date, known at the end of that day, and nothing says in which "
            f"zone; give timezone= {where}, the zone whose days they are, such as 'Europe/Oslo' "
            "or 'UTC'"
        )
    if dtype == pl.Date and timezone is not None:
        return _end_of_day(name, timezone)
    if not isinstance(dtype, pl.Datetime):
        raise DataError(f"{described} is {dtype}; a timestamp is a Datetime with a time zone")
    timestamp = pl.col(name).dt.cast_time_unit("us")
    if dtype.time_zone is None:
        if timezone is None:
            raise DataError(
                f"{described} has no time zone; give timezone= {where}, the zone of the clock "
                "that it was read from, such as 'Europe/Oslo' or 'UTC'. A local time declared as "
                "UTC lets the future leak"
            )
        timestamp = timestamp.dt.replace_time_zone(
            timezone, ambiguous="earliest", non_existent="null"
        )
    return timestamp.dt.convert_time_zone("UTC").dt.epoch("us")


def _end_of_day(name: str, timezone: str) -> pl.Expr:
    """The last microsecond before the clocks of a zone show the next day; where they skip midnight,
    before what they show instead.
    """
    midnight = pl.col(name).cast(pl.Datetime("us")) + pl.duration(days=1)
    skipped = [pl.duration(minutes=minutes) for minutes in (0, 30, 60, 24 * 60)]
    shown = [
        (midnight + more).dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        for more in skipped
    ]
    return pl.coalesce(shown).dt.convert_time_zone("UTC").dt.epoch("us") - 1


def collect(
    frame: pl.LazyFrame, subject: str, *, streaming: bool = False, held: bool = False
) -> pl.DataFrame:
    """The rows, or an error that names what was being read.

    streaming: of many rows come few, so never hold them all. held: they are in memory already, so
    that polars need not cut them into chunks for its threads; columns that are not changed are not
    copied.
    """
    try:
        return frame.collect(engine="streaming" if streaming else "in-memory" if held else "auto")
    except ColumnNotFoundError as error:
        raise DataError(f"{subject}: {error}") from error
    except (OSError, PolarsError) as error:
        # polars raises its own, and those of the system and of object stores
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error


def contiguous(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with each column in one chunk, so that numpy sees it without a copy; `frame` is
    empty afterwards.

    Column by column, so that no two copies of everything are held.

    >>> contiguous(pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})])).n_chunks()
    1
    """
    return pl.DataFrame([frame.drop_in_place(name).rechunk() for name in frame.columns])


def _check_columns(names: Collection[str], schema: pl.Schema, subject: str) -> None:
    for name in sorted(names):
        column(name, schema, subject)
