"""Shared by the ASGI handlers: types, the error `Refused`, and request ids."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from headwater.errors import HeadwaterError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Read = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Read, Send], Awaitable[None]]

Respond = Callable[[int, bytes, bytes], None]
"""Sends a response: its status, its header lines with a Content-Length, and its body."""
Take = Callable[[bytes, Mapping[bytes, bytes], bytes, Respond], bool]
"""An optional attribute `take` of an ASGI app: answers a POST whose body is complete in a later
callback of the loop, without a task.

It gets the target, the headers by lower-case name, the body, and how to respond; False leaves the
request to ASGI.
"""

LARGEST: Final = 10_000_000  # bytes of a body
JSON: Final = b"application/json"
OFREP: Final = "/ofrep/"
"""Paths of OFREP, whose errors have its form, and status 429 instead of 503."""
_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Refused(HeadwaterError):  # noqa: N818 (an error response)
    """An error response: status, message, Retry-After in seconds (`again`), and Allow (`allow`)."""

    def __init__(
        self, status: int, message: str, *, again: int | None = None, allow: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.again, self.allow = status, again, allow


class RequestIds:
    """Request ids: the client's `X-Request-Id` where it is valid, else a prefix of this process and
    a counter.
    """

    def __init__(self) -> None:
        self._prefix, self._count = secrets.token_hex(6).encode(), itertools.count(1)

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id of a request, ASCII."""
        sent = headers.get(b"x-request-id")
        return (
            sent
            if sent is not None and _ID.fullmatch(sent)
            else b"%b-%x" % (self._prefix, next(self._count))
        )
