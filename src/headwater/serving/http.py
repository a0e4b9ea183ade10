"""The little of HTTP that handlers share: a body with a limit, and an answer in JSON. Handlers are plain ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Read = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Read, Send], Awaitable[None]]

LARGEST: Final = 10_000_000  # bytes of a body
_SECONDS: Final = 30.0  # in which a body has to come
_PATIENCE: Final = 10  # times the largest body are read before one is refused without being heard
_JSON: Final = [(b"content-type", b"application/json")]


class Refused(HeadwaterError):  # noqa: N818 (an answer)
    """A request that is answered with an error: its status, what to say, in how many seconds to try again, and what methods there are."""

    def __init__(self, status: int, message: str, *, again: int | None = None, allow: str | None = None) -> None:
        super().__init__(message)
        self.status, self.again, self.allow = status, again, allow


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request, by its name in small letters."""
    return next((value.decode("latin-1") for given, value in scope["headers"] if given.lower() == name), None)


async def body(scope: Scope, read: Read) -> bytes:
    """The whole body.

    Raises:
        Refused: it is larger than `LARGEST`, compressed, or slower than half a minute; or the sender has gone.
    """
    encoding = header(scope, b"content-encoding")
    if encoding not in (None, "", "identity"):
        raise Refused(415, f"the body is encoded as {encoding!r}; send it as it is")
    try:
        async with asyncio.timeout(_SECONDS):
            found = await _whole(read)
    except TimeoutError:
        raise Refused(408, f"the body has not come within {_SECONDS:.0f} seconds; send it again") from None
    if found is None:
        raise Refused(413, f"the body is larger than {LARGEST // 1_000_000} MB; send it in parts")
    return found


async def _whole(read: Read) -> bytes | None:
    """The body; None where it is too large. The rest of such a one is read and let go: most senders listen only when they are done."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await read()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the sender has gone")
        part = message.get("body", b"")
        size += len(part)
        if size <= LARGEST:
            parts.append(bytes(part))
        else:
            parts.clear()
        if not message.get("more_body", False) or size > _PATIENCE * LARGEST:
            return b"".join(parts) if size <= LARGEST else None


async def answer(send: Send, status: int, said: object, more: Mapping[str, str] | None = None) -> None:
    """Answer in JSON."""
    headers = _JSON + [(name.encode(), value.encode()) for name, value in (more or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(said)})


async def refuse(send: Send, refused: Refused) -> None:
    """Answer that a request is refused."""
    more = {} if refused.again is None else {"retry-after": str(refused.again)}
    await answer(send, refused.status, {"error": " ".join(str(refused).split())}, more)
