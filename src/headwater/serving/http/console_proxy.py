"""Forwards requests for the console to its process, and streams the responses: pages are never
computed in a worker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

import httpx

from headwater.serving.http.asgi import Read, Refused, Scope, Send

BASE: Final = "/console"
LARGEST_FORM: Final = 65_536  # bytes of a request's body
CLIENT: Final = b"x-headwater-client"
"""The header with the address of the client; the console counts failed logins by it."""

_CONNECT: Final = 2.0  # seconds
# seconds between two parts of a response; longer than between two of its live updates
_READ: Final = 60.0
_AGAIN: Final = 2  # seconds until a console that does not respond is asked again
_PAGE: Final = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>headwater</title>"
    b"<h1>No answer</h1><p>%b</p></html>"
)
_OPEN: Final = 100  # connections to the console
_OF_A_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"te",
        b"upgrade",
        b"expect",
        b"date",
        CLIENT,
    }
)


class ConsoleProxy:
    """Forwards to the console at an address, HOST:PORT.

    >>> (
    ...     ConsoleProxy.is_for("/console"),
    ...     ConsoleProxy.is_for("/console/runs"),
    ...     ConsoleProxy.is_for("/consoles"),
    ... )
    (True, True, False)
    """

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"
        limits = httpx.Limits(max_connections=_OPEN, max_keepalive_connections=8)
        # a client would keep one visitor's cookies for the next
        self._transport = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)

    @staticmethod
    def is_for(path: str) -> bool:
        """Whether a path is one of the console."""
        return path == BASE or path.startswith(f"{BASE}/")

    async def forward(
        self, scope: Scope, headers: Mapping[bytes, bytes], body: bytes, read: Read, send: Send
    ) -> int:
        """Send the console's response, until it ends or the client disconnects; its status.

        Raises:
            Refused: 503, the console does not respond, and the client takes no page.
        """
        query = scope["query_string"]
        url = httpx.URL(self._url).copy_with(
            raw_path=scope["raw_path"] + (b"?" + query if query else b"")
        )
        client = scope.get("client")
        passed = [(name, value) for name, value in headers.items() if name not in _OF_A_CONNECTION]
        passed.append((CLIENT, (client[0] if client else "").encode()))
        timeout = httpx.Timeout(_READ, connect=_CONNECT, pool=_CONNECT).as_dict()
        request = httpx.Request(
            scope["method"], url, headers=passed, content=body, extensions={"timeout": timeout}
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.ReadTimeout as error:
            why = (
                f"the console has not answered within {_READ:.0f} seconds; what was asked for may "
                "go on. Load the page again to see it"
            )
            return await _unavailable(why, headers, send, error)
        except httpx.HTTPError as error:
            return await _unavailable(
                "the console does not respond; it may have just been started. Load the page again",
                headers,
                send,
                error,
            )
        tasks = [
            asyncio.create_task(_send_all(response, send)),
            asyncio.create_task(_disconnected(read)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await response.aclose()
        return response.status_code

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


async def _unavailable(
    why: str, headers: Mapping[bytes, bytes], send: Send, error: Exception
) -> int:
    """Send the page of a console that does not respond, to a browser; the status.

    Raises:
        Refused: 503, to other clients.
    """
    if b"text/html" not in headers.get(b"accept", b""):
        raise Refused(503, why, again=_AGAIN) from error
    body = _PAGE % why.encode()
    more = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"%d" % _AGAIN),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": more})
    await send({"type": "http.response.body", "body": body})
    return 503


async def _send_all(response: httpx.Response, send: Send) -> None:
    """Send a response as it comes. One that the console breaks off is left incomplete, so that the
    connection is closed.
    """
    sent = [
        (name.lower(), value)
        for name, value in response.headers.raw
        if name.lower() not in _OF_A_CONNECTION
    ]
    await send({"type": "http.response.start", "status": response.status_code, "headers": sent})
    with contextlib.suppress(httpx.HTTPError):
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _disconnected(read: Read) -> None:
    while (await read())["type"] != "http.disconnect":
        pass
