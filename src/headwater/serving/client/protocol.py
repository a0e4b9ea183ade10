"""What the clients send and how they read what comes back, without sending anything: both clients are thin shells around it."""

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
    """An answer as it came. headers: by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    read: of the body of a good answer. good: the statuses of such. Every call may be sent again: it changes nothing, or says by an
    Idempotency-Key that it is the same.
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    body: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    good: tuple[int, ...] = (200,)


class Send(NamedTuple):
    """Send the request, and give it so many seconds."""

    timeout: float


class Wait(NamedTuple):
    """Wait so many seconds."""

    seconds: float


class Lost(Exception):  # noqa: N818 (told to the conversation)
    """The request has no answer: nobody listens, the connection broke, or the time is over."""


Step = Send | Wait


def conversation(call: Call[T], *, timeout: float, retries: int) -> Generator[Step, Reply | Lost | None, T]:
    """What to do next until the call is answered, told each time what came of the step before.

    What is sent again: a request without an answer, and one that is answered by 429, 502, 503 or 504, as long as there are tries and time.

    Raises:
        HeadwaterError: of the kind that the service names, with its sentence and the request's id; ConnectError where there is no answer.
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
            given = reply.headers.get("retry-after", "")
            pause = max(pause, float(given)) if given.isdigit() else pause
        if tries == retries or clock.stopwatch() + pause >= until:
            raise error
        yield Wait(pause)
    raise AssertionError


def failure(reply: Reply) -> HeadwaterError:
    """The error that an answer tells of."""
    try:
        said = msgspec.json.decode(reply.body, type=_Said)
    except msgspec.DecodeError:  # a proxy's page
        said = _Said(f"the service answers with status {reply.status}")
    number = said.request_id or reply.headers.get("x-request-id")
    kind = _KINDS.get(said.kind or "", _STATUSES.get(reply.status, HeadwaterError))
    error = kind(said.error)
    error.request_id = number
    if number is not None:
        error.add_note(f"request id {number}")
    return error


def features(service: str, rows: Rows, level: str | None, request_id: str | None) -> Call[Features]:
    """`POST /v1/features/{service}`."""

    def read(reply: Reply) -> Features:
        if not isinstance(rows, Mapping):
            return msgspec.json.decode(reply.body, type=Features)
        said = msgspec.json.decode(reply.body, type=_OneRow)
        return Features(said.service, said.level, said.at, [said.features])

    return Call("POST", f"/v1/features/{quote(service, safe='')}", read, _body(**_rows(rows), level=level), headers=_named(request_id))


def predict(model: str, rows: Rows, level: str | None, request_id: str | None, *, with_features: bool, timing: bool) -> Call[Predictions]:
    """`POST /v1/predict/{model}`."""

    def read(reply: Reply) -> Predictions:
        if not isinstance(rows, Mapping):
            return msgspec.json.decode(reply.body, type=Predictions)
        said = msgspec.json.decode(reply.body, type=_OnePrediction)
        return Predictions(said.model, said.version, said.level, said.at, [said.prediction], said.timing)

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
    given = None if candidates is None else list(candidates)
    body = _body(row=row, candidates=given, k=k, level=level, features=with_features, timing=timing)
    return Call("POST", f"/v1/rank/{quote(model, safe='')}", _as(Ranked), body, headers=_named(request_id))


def events(source: str, given: Rows, key: str | None) -> Call[Taken]:
    """`POST /v1/events/{source}`. All refused is an answer too."""
    body = _encode(given if isinstance(given, Mapping) else list(given))
    return Call("POST", f"/v1/events/{quote(source, safe='')}", _or_refused(Taken), body, headers=_once(key), good=(200, 422))


def outcomes(labels: str, given: Rows) -> Call[Posted]:
    """`POST /v1/outcomes/{labels}`: what was posted before is known for a copy. All refused is an answer too."""
    body = _encode(given if isinstance(given, Mapping) else list(given))
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


class _Said(msgspec.Struct):
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
        raise ConnectError(f"the answer to {call.method} {call.path} is not one of headwater's: {error}; is this its address?") from error


def _as(kind: type[A]) -> Callable[[Reply], A]:
    return lambda reply: msgspec.json.decode(reply.body, type=kind)


def _or_refused(kind: type[A]) -> Callable[[Reply], A]:
    """An answer of status 422 is one that refuses each row, or an error."""

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


def _body(**said: object) -> bytes:
    return _encode({name: value for name, value in said.items() if value is not None and value is not False})


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(f"the request cannot be said in JSON: {error}; give numbers, texts, moments and what holds them") from error


def _plain(value: object) -> object:
    """A number of numpy as Python's."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{value!r} is {type(value).__name__}")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _named(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"x-request-id": request_id}


def _once(key: str | None) -> dict[str, str]:
    """The header by which a repetition is known for one."""
    return {"idempotency-key": secrets.token_hex(16) if key is None else key}
