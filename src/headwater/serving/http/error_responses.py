"""Errors as answers: what their sender can mend is said with a status, all else is only named."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

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
_LONGEST: Final = 2_000  # characters of an error: what a client sent is not sent back whole


def told(error: Exception) -> tuple[int, str, list[tuple[bytes, bytes]]]:
    """The status of an error, what to say of it, and headers beside."""
    match error:
        case Denied():
            return error.status, str(error), [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
        case Refused():
            more = [] if error.again is None else [(b"retry-after", b"%d" % error.again)]
            return error.status, str(error), more + ([] if error.allow is None else [(b"allow", error.allow.encode())])
        case msgspec.ValidationError():
            return 422, str(error), []
        case msgspec.DecodeError() | RecursionError() | UnicodeDecodeError():
            return 400, f"the body is no JSON: {error}", []
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


class Answer(NamedTuple):
    """A response. failed: for a fault of the service, the kind of error and its place in the code, for the log alone."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    failed: str


def answered(error: Exception, request_id: bytes) -> Answer:
    """An error as the response to a request: what its sender can mend is said, anything else is only named by the request's id."""
    status, message, more = told(error)
    message = " ".join(message[:_LONGEST].split()) + ("..." if len(message) > _LONGEST else "")
    failed = ""
    if status == 500:
        failed = where(error)
        message = f"the service failed; its log says where, under the request id {request_id.decode()}"
    said = {"error": message, "request_id": request_id.decode()}
    if isinstance(error, HeadwaterError) and not isinstance(error, Refused):
        said["kind"] = type(error).__name__
    body = msgspec.json.encode(said)
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id), *more]
    return Answer(status, headers, body, failed)


def where(error: Exception) -> str:
    """The kind of an error and the place in the code; its message may hold values, and stays out of the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join([type(error).__name__, *(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-4:]))])
