"""Timestamps of records, parsed to microseconds UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from headwater import clock
from headwater.definitions.connectors import Timestamps
from headwater.ingestion.serde.iso8601 import parse_iso

UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
EARLIEST: Final = -62_135_596_800_000_000  # the years that Python knows, 1 to 9999
LATEST: Final = 253_402_300_799_999_999
EXAMPLE: Final = datetime(2026, 3, 12, 14, 15, tzinfo=UTC)
"""A time for messages, which must not change with the clock."""
_SHAPE: Final = re.compile(  # what every version of Python reads alike
    r"[0-9]{4}(-[0-9]{2}-[0-9]{2}|[0-9]{4})"
    r"([T ]([01][0-9]|2[0-3])(:?[0-5][0-9](:?[0-5][0-9]([.,][0-9]+)?)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
)


def micros_of(values: Sequence[object], timestamps: Timestamps, timezone: str | None) -> pl.Series:
    """Values as int64 microseconds UTC; null where one is null or no moment.

    A value is of the form that `timestamps` names, or a datetime or date object. A string without
    an offset is in `timezone`: the first of the two instants where it is ambiguous; null where the
    clock skips it, or where there is no `timezone`.

    >>> micros_of(["2024-05-01T12:00:00+02:00", "2024-05-01T10:00", None], "iso", "UTC").to_list()
    [1714557600000000, 1714557600000000, None]
    """
    try:
        quick = (
            _parse_strings(values) if timestamps == "iso" else _numbers(values, UNITS[timestamps])
        )
    except (TypeError, OverflowError, pl.exceptions.PolarsError):  # of several types
        quick = pl.Series([None] * len(values), dtype=pl.Int64)
    quick = quick.set(~quick.is_between(EARLIEST, LATEST), None)
    open_ = [n for n in quick.is_null().arg_true() if values[n] is not None]
    return (
        quick.scatter(open_, [_parse_one(values[n], timestamps, timezone) for n in open_])
        if open_
        else quick
    )


def in_schema(micros: pl.Series, dtype: pl.Datetime, timezone: str | None) -> pl.Series:
    """Microseconds UTC as a column of a schema's type: without a time zone it is local time in
    `timezone`.
    """
    utc = micros.cast(pl.Datetime("us", "UTC"))
    local = utc.dt.convert_time_zone(dtype.time_zone or timezone or "UTC")
    return (local if dtype.time_zone else local.dt.replace_time_zone(None)).dt.cast_time_unit(
        dtype.time_unit
    )


def _parse_strings(values: Sequence[object]) -> pl.Series:
    """Those of the usual shape."""
    strings = [value for value in values if value is not None]
    micros, fits = parse_iso(strings)  # type: ignore[arg-type] # else a TypeError
    parsed = pl.Series(micros, dtype=pl.Int64)
    if not fits.all():
        parsed = parsed.set(pl.Series(~fits), None)
    if len(strings) == len(values):
        return parsed
    here = [n for n, value in enumerate(values) if value is not None]
    return pl.Series([None] * len(values), dtype=pl.Int64).scatter(here, parsed)


def _numbers(values: Sequence[object], unit: int) -> pl.Series:
    """Those that are whole."""
    if not set(map(type, values)) <= {int, type(None)}:
        raise TypeError("numbers mixed with other types")
    numbers = pl.Series(values, dtype=pl.Int64)
    return numbers.set(~numbers.is_between(EARLIEST // unit, LATEST // unit), None) * unit


def _parse_one(value: object, timestamps: Timestamps, timezone: str | None) -> int | None:
    if isinstance(value, date):
        when = (
            value
            if isinstance(value, datetime)
            else datetime(value.year, value.month, value.day, tzinfo=UTC)
        )
        return _micros(when, timezone)
    if timestamps != "iso":
        is_number = (
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
        )
        micros = round(value * UNITS[timestamps]) if is_number else None  # type: ignore[operator]
        return micros if micros is not None and EARLIEST <= micros <= LATEST else None
    if not isinstance(value, str) or not _SHAPE.fullmatch(value):
        return None
    try:
        return _micros(datetime.fromisoformat(value), timezone)
    except (ValueError, OverflowError):
        return None


def _micros(when: datetime, timezone: str | None) -> int | None:
    if when.tzinfo is None:
        if timezone is None:
            return None
        local = when.replace(tzinfo=ZoneInfo(timezone))
        if local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != when:
            return None  # the clock leaps over it
        when = local
    micros = clock.micros(when)
    return micros if EARLIEST <= micros <= LATEST else None
