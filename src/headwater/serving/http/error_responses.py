"""Errors as HTTP responses: client errors with a status and message, all others as 500 with the
request id only.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from headwater import errors
from headwater.errors import (
    BusyError,
    ConnectError,
    DataError,
    DefinitionError,
    HeadwaterError,
    MissingExtraError,
    ModelError,
    StoreError,
    UsageError,
)
from headwater.serving.http.asgi import JSON, Refused
from headwater.serving.http.auth import Denied

CLIENT_GONE: Final = 499
"""The status, for the log alone, of a request whose client disconnected before it was answered."""
_LONGEST: Final = 2_000  # characters of an error message, which may quote what a client sent


def status_and_message(error: Exception) -> tuple[int, str, list[tuple[bytes, bytes]]]:
    """Status, message and extra headers for an error."""
    match error:
        case Denied():
            return (
                error.status,
                str(error),
                [(b"www-authenticate", b"Bearer")] if error.status == 401 else [],
            )
        case Refused():
            more = [] if error.again is None else [(b"retry-after", b"%d" % error.again)]
            return (
                error.status,
                str(error),
                more + ([] if error.allow is None else [(b"allow", error.allow.encode())]),
            )
        case msgspec.ValidationError():
            return 422, str(error), []
        case msgspec.DecodeError() | RecursionError() | UnicodeDecodeError():
            return 400, f"the body is not JSON: {error}", []
        case BusyError():
            return 503, str(error), [(b"retry-after", b"1")]
        case StoreError() | ConnectError() | ModelError():
            return 503, str(error), [(b"retry-after", b"5")]
        case DataError() | UsageError():
            return 422, str(error), []
        case DefinitionError() | MissingExtraError():
            return 501, str(error), []
        case _:
            return 500, "", []


class AsgiResponse(NamedTuple):
    """A response. failed: for status 500, class and code location of the error, for the log
    only.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    failed: str


def error_response(
    error: Exception, request_id: bytes, *, ofrep: str | None = None
) -> AsgiResponse:
    """The response for an error: the message of a client error; for any other, only the request id.

    ofrep: for a route of OFREP, the key of the flag, or "".
    """
    status, message, more = status_and_message(error)
    message = " ".join(message[:_LONGEST].split()) + ("..." if len(message) > _LONGEST else "")
    failed = ""
    if status == 500:
        failed = location(error)
        message = (
            "internal error; the service's log has details under the request id "
            f"{request_id.decode()}"
        )
    content = {"error": message, "request_id": request_id.decode()}
    if isinstance(error, HeadwaterError) and not isinstance(error, Refused):
        content["kind"] = _public(error).__name__
    if ofrep is not None:
        invalid = {400: "PARSE_ERROR", 422: "INVALID_CONTEXT"}.get(status, "GENERAL")
        content |= {"errorCode": getattr(error, "code", invalid), "errorDetails": message}
        content |= {"key": ofrep} if ofrep else {}
        status = {422: 400, 503: 429}.get(status, status)
    body = msgspec.json.encode(content)
    headers = [
        (b"content-type", JSON),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
        *more,
    ]
    return AsgiResponse(status, headers, body, failed)


def _public(error: HeadwaterError) -> type[HeadwaterError]:
    """The class of an error that clients know: itself, or the nearest one of `headwater.errors`."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def location(error: Exception) -> str:
    """Class and code location of an error; its message may contain values, and stays out of the
    log.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(
        [
            type(error).__name__,
            *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:])),
        ]
    )
