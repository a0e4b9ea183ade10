"""Encode requests and decode responses, without I/O: `Client` and `AsyncClient` share this code."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from headwater import clock
from headwater.errors import (
    AccessError,
    BusyError,
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    IncompleteError,
    ModelError,
    StaleError,
    StoreError,
    UsageError,
)
from headwater.serving.http.response_schema import (
    Explained,
    Features,
    FeatureValue,
    Health,
    Posted,
    Prediction,
    Predictions,
    Ranked,
    Taken,
)

T = TypeVar("T")
A = TypeVar("A")

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]

_WAIT: Final = 0.05  # seconds before the first repetition; each further one waits twice as long
_LONGEST: Final = 2.0
_KINDS: Final[Mapping[str, type[HeadwaterError]]] = {
    kind.__name__: kind
    for kind in (BusyError, ConnectError, DataError, DefinitionError, IncompleteError, ModelError, StaleError, StoreError, UsageError)
}
_STATUSES: Final[Mapping[int, type[HeadwaterError]]] = (
    dict.fromkeys((401, 403), AccessError)
    | dict.fromkeys((404, 405), UsageError)
    | dict.fromkeys((400, 411, 413, 415, 422), DataError)
    | dict.fromkeys((408, 502, 504), ConnectError)
    | dict.fromkeys((429, 503), BusyError)
    | {501: DefinitionError}
)


class Reply(NamedTuple):
    """A response. headers: by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its response is decoded.

    read: decodes a response of a status in `good`. Every call may be sent again: it changes nothing, or has an Idempotency-Key.
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    good: tuple[int, ...] = (200,)


class Send(NamedTuple):
    """Step: send the request, with a timeout in seconds."""

    timeout: float


class Wait(NamedTuple):
    """Step: wait for a number of seconds."""

    seconds: float


class Lost(Exception):  # noqa: N818 (sent to the generator `conversation`)
    """The request has no response: connection refused or broken, or timeout."""


Step = Send | Wait


def conversation(call: Call[T], *, timeout: float, retries: int) -> Generator[Step, Reply | Lost | None, T]:
    """Yield the next step until there is a response; the caller sends the result of each step.

    A request is sent again after no response, and after status 429, 502, 503 or 504, within `retries` and `timeout`.

    Raises:
        HeadwaterError: of the class that the service reports, with its message and request id; ConnectError where there is no response.
    """
    until = clock.stopwatch() + timeout
    for tries in range(retries + 1):
        left = until - clock.stopwatch()
        reply = yield Send(max(left, 0.001))
        assert reply is not None
        pause = min(_WAIT * 2**tries, _LONGEST)
        if isinstance(reply, Lost):
            error: HeadwaterError = ConnectError(str(reply))
        elif reply.status in call.good:
            return _read(call, reply)
        else:
            error = failure(reply)
            if reply.status not in (429, 502, 503, 504):
                raise error
            retry_after = reply.headers.get("retry-after", "")
            pause = max(pause, float(retry_after)) if retry_after.isdigit() else pause
        if tries == retries or clock.stopwatch() + pause >= until:
            raise error
        yield Wait(pause)
    raise AssertionError


def failure(reply: Reply) -> HeadwaterError:
    """The error of a response."""
    try:
        body = msgspec.json.decode(reply.body, type=_ErrorBody)
    except msgspec.DecodeError:  # a proxy's page
        body = _ErrorBody(f"the service responded with status {reply.status}")
    number = body.request_id or reply.headers.get("x-request-id")
    kind = _KINDS.get(body.kind or "", _STATUSES.get(reply.status, HeadwaterError))
    error = kind(body.error)
    error.request_id = number
    if number is not None:
        error.add_note(f"request id {number}")
    return error


def features(service: str, rows: Rows, level: str | None, request_id: str | None) -> Call[Features]:
    """`POST /v1/features/{service}`."""

    def read(reply: Reply) -> Features:
        if not isinstance(rows, Mapping):
            return msgspec.json.decode(reply.body, type=Features)
        body = msgspec.json.decode(reply.body, type=_OneRow)
        return Features(body.service, body.level, body.at, [body.features])

    return Call("POST", f"/v1/features/{quote(service, safe='')}", read, _body(**_rows(rows), level=level), headers=_named(request_id))


def predict(model: str, rows: Rows, level: str | None, request_id: str | None, *, with_features: bool, timing: bool) -> Call[Predictions]:
    """`POST /v1/predict/{model}`."""

    def read(reply: Reply) -> Predictions:
        if not isinstance(rows, Mapping):
            return msgspec.json.decode(reply.body, type=Predictions)
        content = msgspec.json.decode(reply.body, type=_OnePrediction)
        return Predictions(content.model, content.version, content.level, content.at, [content.prediction], content.timing)

    body = _body(**_rows(rows), level=level, features=with_features, timing=timing)
    return Call("POST", f"/v1/predict/{quote(model, safe='')}", read, body, headers=_named(request_id))


def rank(
    model: str,
    row: Mapping[str, object],
    candidates: Sequence[object] | None,
    k: int,
    level: str | None,
    request_id: str | None,
    *,
    with_features: bool,
    timing: bool,
) -> Call[Ranked]:
    """`POST /v1/rank/{model}`."""
    candidate_list = None if candidates is None else list(candidates)
    body = _body(row=row, candidates=candidate_list, k=k, level=level, features=with_features, timing=timing)
    return Call("POST", f"/v1/rank/{quote(model, safe='')}", _as(Ranked), body, headers=_named(request_id))


def events(source: str, rows: Rows, key: str | None) -> Call[Taken]:
    """`POST /v1/events/{source}`. Status 422 is a result too: every event was refused."""
    body = _encode(rows if isinstance(rows, Mapping) else list(rows))
    return Call("POST", f"/v1/events/{quote(source, safe='')}", _or_refused(Taken), body, headers=_once(key), good=(200, 422))


def outcomes(labels: str, rows: Rows) -> Call[Posted]:
    """`POST /v1/outcomes/{labels}`: known outcomes are duplicates. Status 422 is a result too: every outcome was refused."""
    body = _encode(rows if isinstance(rows, Mapping) else list(rows))
    return Call("POST", f"/v1/outcomes/{quote(labels, safe='')}", _or_refused(Posted), body, good=(200, 422))


def explain(feature: str, keys: Mapping[str, object], at: datetime | str | None, shown: int) -> Call[Explained]:
    """`GET /v1/explain`."""
    query = {name: _text(value) for name, value in keys.items()} | {"feature": feature, "events": str(shown)}
    return Call("GET", "/v1/explain", _as(Explained), query=query if at is None else query | {"at": _text(at)})


def health() -> Call[Health]:
    """`GET /readyz`."""

    def read(reply: Reply) -> Health:
        return Health(reply.status == 200, msgspec.json.decode(reply.body, type=_Ready).reasons)

    return Call("GET", "/readyz", read, good=(200, 503))


class _ErrorBody(msgspec.Struct):
    error: str
    request_id: str | None = None
    kind: str | None = None


class _OneRow(msgspec.Struct):
    service: str
    level: str | None
    at: datetime
    features: dict[str, FeatureValue]


class _OnePrediction(msgspec.Struct):
    model: str
    version: str
    level: str | None
    at: datetime
    prediction: Prediction
    timing: Mapping[str, float] | None = None


class _Ready(msgspec.Struct):
    status: str
    reasons: list[str] = []


def _read(call: Call[T], reply: Reply) -> T:
    try:
        return call.read(reply)
    except msgspec.DecodeError as error:
        raise ConnectError(
            f"the response to {call.method} {call.path} is not headwater's: {error}; check the URL of the service"
        ) from error


def _as(kind: type[A]) -> Callable[[Reply], A]:
    return lambda reply: msgspec.json.decode(reply.body, type=kind)


def _or_refused(kind: type[A]) -> Callable[[Reply], A]:
    """A response of status 422 either refuses each row, or is an error."""

    def read(reply: Reply) -> A:
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except msgspec.ValidationError:
            if reply.status == 422:
                raise failure(reply) from None
            raise

    return read


def _rows(rows: Rows) -> dict[str, object]:
    return {"row": rows} if isinstance(rows, Mapping) else {"rows": list(rows)}


def _body(**fields: object) -> bytes:
    return _encode({name: value for name, value in fields.items() if value is not None and value is not False})


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the request cannot be encoded as JSON: {error}; give numbers, strings, timestamps, and lists and mappings of them"
        ) from error


def _plain(value: object) -> object:
    """A numpy scalar as a Python number."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{value!r} is {type(value).__name__}")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _named(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"x-request-id": request_id}


def _once(key: str | None) -> dict[str, str]:
    """The Idempotency-Key header."""
    return {"idempotency-key": secrets.token_hex(16) if key is None else key}
