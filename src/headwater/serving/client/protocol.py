"""Requests, responses and errors of the clients, without I/O: when a request is sent again, and
what its response means.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from headwater import clock, errors
from headwater.errors import (
    AccessError,
    BusyError,
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    LostError,
    UsageError,
)
from headwater.retries import Backoff

T = TypeVar("T")

_PAUSES: Final = Backoff(first=0.05, longest=2.0)
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


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its response is decoded.

    read: decodes a response of a status in `good`. Every call may be sent again: it changes
    nothing, or has an Idempotency-Key.
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


def conversation(
    call: Call[T], *, timeout: float, retries: int
) -> Generator[Step, Reply | Lost | None, T]:
    """Yield the next step until there is a response; the caller sends the result of each step.

    A request is sent again after no response, and after status 429, 502, 503 or 504, within
    `retries` and `timeout`; not where commits were lost, which no repetition brings back.

    Raises:
        HeadwaterError: of the class that the service reports, with its message and request id;
            ConnectError without a response.
    """
    until, pauses = clock.stopwatch() + timeout, _PAUSES.within(timeout, times=retries)
    while True:
        seconds = until - clock.stopwatch()
        reply = yield Send(max(seconds, 0.001))
        assert reply is not None
        least = 0.0
        if isinstance(reply, Lost):
            error: HeadwaterError = ConnectError(str(reply))
        elif reply.status in call.good:
            return _read(call, reply)
        else:
            error = failure(reply)
            if reply.status not in (429, 502, 503, 504) or isinstance(error, LostError):
                raise error
            retry_after = reply.headers.get("retry-after", "")
            least = float(retry_after) if retry_after.isdigit() else 0.0
        pause = next(pauses, None)
        if pause is None or clock.stopwatch() + least >= until:
            raise error
        yield Wait(max(pause, least))


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


class _ErrorBody(msgspec.Struct):
    error: str
    request_id: str | None = None
    kind: str | None = None


def _read(call: Call[T], reply: Reply) -> T:
    try:
        return call.read(reply)
    except msgspec.DecodeError as error:
        raise ConnectError(
            f"the response to {call.method} {call.path} is not headwater's: {error}; check the "
            "URL of the service"
        ) from error
