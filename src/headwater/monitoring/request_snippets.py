"""Requests to copy: curl commands, and Python for a feature, with a row whose keys and fields have
the right types.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

import polars as pl

from headwater import clock
from headwater.definitions.connectors import Pushed
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.project import Project, request_times
from headwater.definitions.source import Source
from headwater.errors import HeadwaterError
from headwater.ingestion.serde.json import EXAMPLE
from headwater.ingestion.validate import Acceptance
from headwater.monitoring.example_event import example_event, example_value, to_json
from headwater.monitoring.explain import key_types
from headwater.results.result import Result

URL: Final = "http://127.0.0.1:8320"
_OF_TYPE: Final[Mapping[type, object]] = {
    float: 1.5,
    int: 1,
    str: "a",
    bool: True,
    datetime: EXAMPLE,
}


class Snippets(Result, frozen=True):
    """How to ask for a feature. service: that has it. row: an example with the right types, as
    JSON.
    """

    service: str
    row: Mapping[str, Any]
    curl: str
    python: str


def request_snippets(
    project: Project, feature: str, *, url: str = URL, tokens: bool = True
) -> Snippets | None:
    """Requests for a feature of the first service that returns it, else of one that reads its view;
    None where no service does.

    Args:
        project: whose feature.
        feature: its full name.
        url: address of the service.
        tokens: whether requests need a token.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> found = request_snippets(visiting(hw.batch("1h")), "user__count_1d", tokens=False)
    >>> print(found.curl)
    curl -X POST http://127.0.0.1:8320/v1/features/churn_v1 -d '{"row": {"user": 1}}'
    """
    services = [service for model in project.models for service in model.services]
    returning = [service for service in services if feature in service.feature_names]
    reading = [
        service
        for service in services
        if any(feature in view.feature_names for view in service.views)
    ]
    if not returning + reading:
        return None
    service = (returning + reading)[0]
    left_out = request_times(project, service.name)
    values = {name: value for name, value in _row(service).items() if name not in left_out}
    row = {name: to_json(value) for name, value in values.items()}
    header = ' -H "Authorization: Bearer $HEADWATER_TOKEN"' if tokens else ""
    body = shlex.quote(json.dumps({"row": row}, ensure_ascii=False))
    curl = f"curl -X POST {url}/v1/features/{service.name}{header} -d {body}"
    return Snippets(
        service.name,
        row,
        curl,
        _python(service, feature if returning else None, values, url, tokens=tokens),
    )


def prediction_command(project: Project, url: str, *, tokens: bool) -> str:
    """A curl command for a prediction of the first model; "" where that ranks, or there is none.

    >>> import headwater as hw
    >>> from headwater.testing.examples import visiting
    >>> print(prediction_command(visiting(hw.batch("1h")), URL, tokens=False))
    curl -X POST http://127.0.0.1:8320/v1/predict/churn -H 'Content-Type: application/json' -d '{"row": {"user": 1}}'
    """  # noqa: E501 (output as it is printed)
    if not project.models or (model := project.models[0]).ranking is not None:
        return ""
    left_out = request_times(project, model.features.name)
    row = {
        name: to_json(value) for name, value in _row(model.features).items() if name not in left_out
    }
    return _post(f"{url}/v1/predict/{model.name}", {"row": row}, tokens=tokens)


def push_command(source: Source, views: Sequence[FeatureView], url: str, *, tokens: bool) -> str:
    """A curl command that pushes an event of a source.

    "" while its history, which has the types of its columns, cannot be read, and where no event of
    this kind would be accepted.
    """
    try:
        event = example_event(Acceptance(source, tuple(views), 0), clock.now_micros())
    except (HeadwaterError, OSError):
        return ""
    once = source.id_field is not None or (
        isinstance(source.stream, Pushed) and source.stream.at_least_once
    )
    headers = () if once else ("Idempotency-Key: first-try",)
    return (
        ""
        if event is None
        else _post(f"{url}/v1/events/{source.name}", event, tokens=tokens, headers=headers)
    )


def _post(
    url: str, body: Mapping[str, object], *, tokens: bool, headers: Sequence[str] = ()
) -> str:
    token = ' -H "Authorization: Bearer $HEADWATER_TOKEN"' if tokens else ""
    every = "".join(
        f" -H {shlex.quote(header)}" for header in ("Content-Type: application/json", *headers)
    )
    return (
        f"curl -X POST {url}{token}{every} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )


def _python(
    service: FeatureService,
    feature: str | None,
    row: Mapping[str, object],
    url: str,
    *,
    tokens: bool,
) -> str:
    source = ", ".join(f"{name!r}: {_source(value)}" for name, value in row.items())
    of_datetime = [
        name
        for name in ("UTC", "date", "datetime", "time", "timedelta")
        if re.search(rf"(?<![\w.]){name}\b[(,)]", source)
    ]
    imports = [f"from datetime import {', '.join(of_datetime)}"] if of_datetime else []
    imports += ["from decimal import Decimal"] if "Decimal(" in source else []
    token = ', token=hw.env("HEADWATER_TOKEN")' if tokens else ""
    lines = [
        *imports,
        *([""] if imports else []),
        "import headwater as hw",
        "",
        f"with hw.client.Client({url!r}{token}) as client:",
        f"    (row,) = client.features({service.name!r}, {{{source}}}).rows",
        "print(row)" if feature is None else f"print(row[{feature!r}])",
    ]
    return "\n".join(lines)


def _source(value: object) -> str:
    """A value as Python source, with the names that `from datetime import ...` brings."""
    if isinstance(value, list):
        return f"[{', '.join(map(_source, value))}]"
    if isinstance(value, date | time | timedelta):
        return repr(value).replace("datetime.timezone.utc", "UTC").replace("datetime.", "")
    return repr(value)


def _row(service: FeatureService) -> dict[str, object]:
    """A value of the right type for each column that a request of the service must have."""
    values: dict[str, object] = {}
    for view in service.views:
        types = _types(view.root)
        for key in view.keys:
            column = view.request_key(key)
            if isinstance(column, str):
                values.setdefault(column, example_value(types.get(key, pl.String())))
    for http in service.http_features:
        for name, dtype in http.request.items():
            values.setdefault(name, _OF_TYPE.get(dtype, "a"))
    for field in service.request_fields:
        values.setdefault(field.name, _OF_TYPE.get(field.dtype, "a"))
    for function in service.request_features:
        for name, dtype in function.fields.items():
            values.setdefault(name, _OF_TYPE.get(dtype, "a"))
    return {
        name: [value] if name in service.list_fields else value for name, value in values.items()
    }


def _types(view: FeatureView) -> Mapping[str, pl.DataType]:
    try:
        return key_types(view)
    except (HeadwaterError, OSError):
        return {}  # the table is not there; the snippet shows strings
