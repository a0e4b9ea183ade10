"""Examples of values and events: an event is one that its source accepts, for any types and any
unit of its times.
"""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.source import Expect, bottom_of
from headwater.errors import HeadwaterError
from headwater.events.read_events import TIME
from headwater.ingestion.serde.json import EXAMPLE
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import UNITS, Acceptance, TimeNumber, made_of

# microseconds: an event whose time was read right is as old as that at most
_NEAR: Final = 2 * 86_400_000_000
_MOST: Final = 64  # events that are tried
_TEXTS: Final = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
)


def example_event(acceptance: Acceptance, now: int) -> Mapping[str, object] | None:
    """An example event as JSON data that a source accepts at `now`, microseconds; None if no tried
    event is accepted.

    Columns that the event time is made of are written in several forms, until one is read as a time
    near `now`.
    """
    source, schema = bottom_of(acceptance.source), acceptance.schema
    if source.stream is None:
        return None
    of_time = made_of(source, source.timestamp_field) | (
        made_of(source, source.known_at_field) if source.known_at_field else frozenset()
    )
    event = {
        name: _sent(example_value(dtype), source.stream.timestamps)
        for name, dtype in schema.items()
    }
    for expected in source.expectations:
        if isinstance(expected, Expect) and expected.column in schema:
            event[expected.column] = to_json(_within(expected, event[expected.column]))
    if source.changes in schema:
        event[str(source.changes)] = False
    if source.id_field in schema:
        event[str(source.id_field)] = _new_id(schema[str(source.id_field)], now)
    columns = [name for name in schema if name in of_time]
    filtered = None
    for when in (
        clock.timestamp(now).replace(microsecond=0),
        clock.timestamp(now - 86_400_000_000).replace(microsecond=0),
    ):
        forms = [
            [_sent(form, source.stream.timestamps) for form in _forms(schema[name], when)]
            for name in columns
        ]
        for values in itertools.islice(itertools.product(*forms), _MOST):
            event |= dict(zip(columns, values, strict=True))
            with suppress(HeadwaterError):
                times = _times(acceptance, event, now)
                if times and abs(times[0] - now) <= _NEAR:
                    return dict(event)
                if times == [] and filtered is None:
                    filtered = dict(event)
    return filtered


def example_value(dtype: pl.DataType) -> object:
    """A value of a dtype."""
    if dtype.is_integer():
        return 1
    match dtype:
        case pl.Datetime():
            return EXAMPLE if dtype.time_zone is not None else EXAMPLE.replace(tzinfo=None)
        case pl.Decimal():
            return Decimal(
                "0.5"
                if dtype.scale and dtype.precision == dtype.scale
                else "1.5"
                if dtype.scale
                else 1
            )
        case pl.Duration():
            return timedelta(minutes=1)
        case pl.Enum():
            return next(iter(dtype.categories), None)
        case pl.List():
            return [example_value(_dtype(dtype.inner))]
        case pl.Struct():
            return {field.name: example_value(_dtype(field.dtype)) for field in dtype.fields}
    others: Mapping[pl.DataType, object] = {
        pl.Date(): EXAMPLE.date(),
        pl.Boolean(): True,
        pl.Time(): EXAMPLE.time(),
        pl.Binary(): b"a",
    }
    return others.get(dtype, 1.5 if dtype.is_float() else "a")


def to_json(value: object) -> object:
    """A value as JSON data: times as ISO 8601, bytes in base64.

    >>> to_json([EXAMPLE, b"a", timedelta(minutes=1)])
    ['2026-03-12T14:15:00Z', 'YQ==', 'PT60S']
    """
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():g}S"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return str(value) if isinstance(value, Decimal) else value


def _sent(value: object, timestamps: str) -> object:
    """A value as a record of a stream writes it."""
    if isinstance(value, datetime) and timestamps != "iso":
        return TimeNumber("", timestamps).number(value)
    return to_json(value)


def _within(expected: Expect, value: object) -> object:
    """A value as a source expects it of a column."""
    if expected.accepted_values:
        return expected.accepted_values[0]
    low, high = expected.in_range or (None, None)
    if isinstance(value, int | float) and not (
        (low is None or value >= low) and (high is None or value <= high)
    ):
        return low if low is not None else high
    return value


def _forms(dtype: pl.DataType, when: datetime) -> Sequence[object]:
    """A time in every form that a column of this type may have it in."""
    if isinstance(dtype, pl.Datetime):
        return [when]
    if dtype.is_integer() or dtype.is_float():
        return [TimeNumber("", unit).number(when) for unit in UNITS]
    if dtype == pl.String:
        numbers = (str(TimeNumber("", unit).number(when)) for unit in UNITS)
        return [*(f"{when:{form}}" for form in _TEXTS), *numbers]
    return (
        [when.date()]
        if dtype == pl.Date
        else [when.time()]
        if dtype == pl.Time
        else [example_value(dtype)]
    )


def _new_id(dtype: pl.DataType, now: int) -> object:
    """An id that the history hardly has."""
    if not dtype.is_integer():
        return to_json("first-try" if dtype == pl.String else example_value(dtype))
    largest = pl.select(dtype.max()).item()  # type: ignore[attr-defined]  # of integers
    return now // 1_000_000 % (int(largest) + 1)


def _times(acceptance: Acceptance, event: Mapping[str, object], now: int) -> list[int] | None:
    """The time that an event is read with, in a list; [] where the source's filter leaves it out,
    None where it is refused.
    """
    nothing = np.zeros(1, np.int64)
    arrived = acceptance(
        RecordBatch(
            ["example"],
            nothing,
            nothing,
            np.array([now]),
            {},
            payloads=[json.dumps(event).encode()],
        )
    )
    return None if arrived.dead.height else arrived.events[TIME].to_list()


def _dtype(dtype: Any) -> pl.DataType:  # noqa: ANN401 (polars types it as either)
    inner: pl.DataType = dtype if isinstance(dtype, pl.DataType) else dtype()
    return inner
