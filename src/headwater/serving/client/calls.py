"""Calls of the clients, from the table of routes: requests are encoded, and responses and errors
decoded, as the row of a route says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast, get_args
from urllib.parse import quote, urlencode

import msgspec

from headwater import errors
from headwater.errors import (
    AccessError,
    BusyError,
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    UsageError,
)
from headwater.serving.http.response_schema import one_of
from headwater.serving.http.route import Route

T = TypeVar("T")

Rows = Mapping[str, object] | Sequence[Mapping[str, object]]

_KINDS: Final[Mapping[str, type[HeadwaterError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    # made from a message alone
    if isinstance(kind, type) and issubclass(kind, HeadwaterError) and "__init__" not in vars(kind)
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

    def error(self) -> HeadwaterError:
        """The error that it reports."""
        try:
            reported = msgspec.json.decode(self.body, type=_ErrorBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a proxy's page
            reported = _ErrorBody(f"the service responded with status {self.status}")
        error = _KINDS.get(reported.kind or "", _STATUSES.get(self.status, HeadwaterError))(
            reported.error
        )
        error.request_id = reported.request_id or self.headers.get("x-request-id")
        if error.request_id is not None:
            error.add_note(f"request id {error.request_id}")
        return error


class _ErrorBody(msgspec.Struct):
    error: str
    request_id: str | None = None
    kind: str | None = None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its response is decoded. Every call may be sent again: it changes nothing,
    or has an Idempotency-Key.

    target: path and query. decode: decodes a response of a status in `good`.
    """

    method: str
    target: str
    decode: Callable[[Reply], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    good: tuple[int, ...] = (200,)

    def result(self, reply: Reply) -> T:
        """What a response of a status in `good` holds.

        Raises:
            ConnectError: it is not headwater's.
        """
        try:
            return self.decode(reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConnectError(
                f"the response to {self.method} {self.target} is not headwater's: {error}; check "
                "the URL of the service"
            ) from error


def fits(value: str) -> bool:
    """Whether a header can have this value."""
    return value.isascii() and value.isprintable()


class CallBuilder(Generic[T]):
    """Builds the calls of one route. answer: the type that the clients' method returns."""

    def __init__(self, route: Route, answer: type[T]) -> None:
        assert route.client is not None
        self._route, self._method, self._answer = route, route.client, answer
        self._begin, self._arguments = route.begin, route.arguments

    def __call__(self, *values: object) -> Call[T]:
        """A call; values: of the route's arguments, in order."""
        path, whole = self._begin, None
        fields: dict[str, object] = {}
        query: dict[str, str] = {}
        headers: dict[str, str] = {}
        for argument, supplied in zip(self._arguments, values, strict=True):
            value: Any = (
                argument.otherwise()
                if supplied is None and argument.otherwise is not None
                else supplied
            )
            default = argument.default
            if default is not ... and (value is None or (value is False and default is False)):
                continue
            name = argument.wire or argument.name
            match argument.place:
                case "field":
                    fields[name] = value
                case "rows":
                    fields |= _rows(value)
                case "list":
                    fields[name] = list(value)
                case "body":
                    whole = value if isinstance(value, Mapping) else list(value)
                case "path":
                    path += quote(value, safe="")
                case "header":
                    if not fits(value):
                        raise DataError(
                            f"the header {name} is {value!r}; give printable ASCII, without line "
                            "breaks"
                        )
                    headers[name] = value
                case "parameter":
                    query[name] = _text(value)
                case "parameters":
                    query = {key: _text(entry) for key, entry in value.items()} | query
        body = None if self._route.method == "GET" else _encode(fields if whole is None else whole)
        read = (
            self._read_one_row
            if self._method.one_row is not None and "row" in fields
            else self._read
        )
        target = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        return Call(self._route.method, target, read, body, headers, self._route.statuses)

    @cached_property
    def _read(self) -> Callable[[Reply], T]:
        """Decodes a response."""
        made = self._method.decode
        if made is not None:
            return lambda reply: cast("T", made(reply.status, reply.body))
        decode = msgspec.json.Decoder(self._answer).decode

        def read(reply: Reply) -> T:
            try:
                return decode(reply.body)
            except msgspec.ValidationError:
                if reply.status == 422:  # an error, and not a reason for each row
                    raise reply.error() from None
                raise

        return read

    @cached_property
    def _read_one_row(self) -> Callable[[Reply], T]:
        """Decodes the response for one row, as that for several."""
        assert self._method.one_row is not None
        several, single = self._method.one_row
        kind = cast("type[msgspec.Struct]", self._answer)
        (item_type,) = (
            get_args(field.type)[0]
            for field in msgspec.structs.fields(kind)
            if field.name == several
        )
        decode = msgspec.json.Decoder(one_of(kind, "One", several, single, item_type)).decode

        def read(reply: Reply) -> T:
            body = msgspec.structs.asdict(decode(reply.body))
            return self._answer(**{several: [body.pop(single)], **body})

        return read


def _rows(rows: Rows) -> dict[str, object]:
    """The rows of a request. A list of one is sent as one row, which a service answers in half of
    the time.
    """
    if isinstance(rows, Mapping):
        return {"row": rows}
    listed = list(rows)
    return {"row": listed[0]} if len(listed) == 1 else {"rows": listed}


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the request cannot be encoded as JSON: {error}; give numbers, strings, timestamps, "
            "and lists and mappings of them"
        ) from error


def _plain(value: object) -> object:
    """A numpy scalar as a Python number."""
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{value!r} is {type(value).__name__}")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
