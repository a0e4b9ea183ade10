"""Requests to copy: curl commands for a feature, a prediction and an event, with values of the
right types.
"""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.connectors import Pushed
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, request_times
from headwater.definitions.source import Source, bottom_of
from headwater.errors import HeadwaterError
from headwater.events.read_events import TIME
from headwater.ingestion.serde.json import EXAMPLE
from headwater.ingestion.sources.stream_reader import RecordBatch
from headwater.ingestion.validate import UNITS, Acceptance, TimeNumber, made_of
from headwater.monitoring.explain import key_types

URL: Final = "http://127.0.0.1:8320"
_NEAR: Final = 2 * 86_400_000_000
_OF_TYPE: Final[Mapping[object, object]] = {
    float: 1.5,
    int: 1,
    str: "a",
    bool: True,
    datetime: EXAMPLE,
    pl.String: "a",
    pl.Boolean: True,
    pl.Date: EXAMPLE.date(),
    pl.Time: EXAMPLE.time(),
    pl.Binary: b"a",
    pl.Duration: timedelta(minutes=1),
    pl.Decimal: 0,
}


def features_command(project: Project, feature: str, *, url: str = URL, tokens: bool = True) -> str:
    """A curl command for a feature, by its full name, of the first service that returns it, else of
    one that reads its view; "" where no service does.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> print(features_command(visiting(hw.batch("1h")), "user__count_1d", tokens=False))
    curl -X POST http://127.0.0.1:8320/v1/features/churn_v1 -H 'Content-Type: application/json' -d '{"row": {"user": 1}}'
    """  # noqa: E501 (output as it is printed)
    services = [service for model in project.models for service in model.services]
    returning = [service for service in services if feature in service.feature_names]
    reading = [
        service
        for service in services
        if any(feature in view.feature_names for view in service.views)
    ]
    for service in returning + reading:
        return _post(f"{url}/v1/features/{service.name}", _row(project, service), tokens=tokens)
    return ""


def prediction_command(project: Project, url: str, *, tokens: bool) -> str:
    """A curl command for a prediction of the first model; "" where that ranks, or there is none.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> print(prediction_command(visiting(hw.batch("1h")), URL, tokens=False))
    curl -X POST http://127.0.0.1:8320/v1/predict/churn -H 'Content-Type: application/json' -d '{"row": {"user": 1}}'
    """  # noqa: E501 (output as it is printed)
    if not project.models or (model := project.models[0]).ranking is not None:
        return ""
    return _post(f"{url}/v1/predict/{model.name}", _row(project, model.features), tokens=tokens)


def push_command(source: Source, views: Sequence[FeatureView], url: str, *, tokens: bool) -> str:
    """A curl command that pushes an event of a source; "" while its history, which has the types of
    its columns, cannot be read, and where none of the tried events would be accepted.
    """
    try:
        event = _event(Acceptance(source, tuple(views), 0), clock.now_micros())
    except (HeadwaterError, OSError):
        return ""
    once = source.id_field is not None or (
        isinstance(source.stream, Pushed) and source.stream.at_least_once
    )
    headers = () if once else ("Idempotency-Key: first-try",)
    address = f"{url}/v1/events/{source.name}"
    return "" if event is None else _post(address, event, tokens=tokens, headers=headers)


def _post(
    url: str, body: Mapping[str, object], *, tokens: bool, headers: Sequence[str] = ()
) -> str:
    token = ' -H "Authorization: Bearer $HEADWATER_TOKEN"' if tokens else ""
    every = "".join(
        f" -H {shlex.quote(header)}" for header in ("Content-Type: application/json", *headers)
    )
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl -X POST {url}{token}{every} -d {data}"


def _row(project: Project, service: FeatureService) -> Mapping[str, object]:
    """The body of a request: a value of the right type for each column that it must have."""
    values: dict[str, object] = {}
    for view in service.views:
        types: Mapping[str, pl.DataType] = {}
        with suppress(HeadwaterError, OSError):  # a table that is not there: keys are strings
            types = key_types(view.root)
        for key in view.keys:
            column = view.request_key(key)
            if isinstance(column, str):
                values.setdefault(column, _example(types.get(key, pl.String())))
    fields = [(field.name, field.dtype) for field in service.request_fields]
    for request in (
        *(http.request for http in service.http_features),
        dict(fields),
        *(function.fields for function in service.request_features),
    ):
        for name, dtype in request.items():
            values.setdefault(name, _OF_TYPE.get(dtype, "a"))
    left_out = request_times(project, service.name)
    row = {
        name: _json([value] if name in service.list_fields else value)
        for name, value in values.items()
        if name not in left_out
    }
    return {"row": row}


def _example(dtype: pl.DataType) -> object:
    match dtype:
        case pl.Datetime():
            return EXAMPLE if dtype.time_zone else EXAMPLE.replace(tzinfo=None)
        case pl.Enum():
            return next(iter(dtype.categories), None)
        case pl.List():
            return [_example(pl.Series(dtype=dtype).explode().dtype)]
        case pl.Struct():
            schema = pl.Series(dtype=dtype).struct.schema
            return {name: _example(inner) for name, inner in schema.items()}
    if dtype.is_numeric() and not isinstance(dtype, pl.Decimal):
        return 1 if dtype.is_integer() else 1.5
    return _OF_TYPE.get(type(dtype), "a")


def _json(value: object) -> object:
    """A value as JSON data: times as ISO 8601, bytes in base64.

    >>> _json([EXAMPLE, b"a", timedelta(minutes=1)])
    ['2026-03-12T14:15:00Z', 'YQ==', 'PT60S']
    """
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    if isinstance(value, date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"PT{value.total_seconds():g}S"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return str(value) if isinstance(value, Decimal) else value


def _event(acceptance: Acceptance, now: int) -> Mapping[str, object] | None:
    """An event that a source accepts at `now`, microseconds: its times are written in one form
    after the other, until one is read as now; None if none is.
    """
    source, when = bottom_of(acceptance.source), clock.timestamp(now).replace(microsecond=0)
    if source.stream is None:
        return None
    of_time = made_of(source, source.timestamp_field)
    if source.known_at_field:
        of_time |= made_of(source, source.known_at_field)
    event = {name: _example(dtype) for name, dtype in acceptance.schema.items()}
    if (unit := source.stream.timestamps) != "iso":
        number = TimeNumber("", unit).number
        event = {n: number(v) if isinstance(v, datetime) else v for n, v in event.items()}
    event = {name: _json(value) for name, value in event.items()}
    if source.changes in event:
        event[str(source.changes)] = False
    forms = [_json(when), (when - timedelta(days=1)).date().isoformat()]  # a day ends first
    forms += [TimeNumber("", unit).number(when) for unit in UNITS]
    for form in forms:
        event |= {name: form for name in event if name in of_time}
        records = RecordBatch(
            ["example"],
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
            np.array([now]),
            {},
            payloads=[json.dumps(event).encode()],
        )
        with suppress(HeadwaterError):
            arrived = acceptance(records)
            times = arrived.events[TIME].to_list()
            if not arrived.dead.height and all(abs(time - now) <= _NEAR for time in times):
                return event
    return None
