"""How a response is written to its connection: of an ASGI app, or of a request that was taken
whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from uvicorn._types import ASGISendEvent

_EMPTY: Final = frozenset((204, 304))
_FRAMING: Final = frozenset((b"connection", b"transfer-encoding"))


class ResponseCycle(RequestResponseCycle):
    """The response to a request; header and body are written together where the body is one
    message.
    """

    _start: ASGISendEvent | None = None

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None and not self._written(start, message):
            await super().send(start)
        if not self.response_complete or start is None:
            await super().send(message)

    def _written(self, start: Any, message: Any) -> bool:  # noqa: ANN401 (a type for each message)
        """Write header and body together; False where that is not possible."""
        status, body = start["status"], message.get("body", b"")
        if (
            self.flow.write_paused
            or self.disconnected
            or message.get("more_body")
            or self.scope["method"] == "HEAD"
            or status in _EMPTY
        ):
            return False
        headers, sized = [*self.default_headers, *start["headers"]], False
        for name, value in headers:
            if name == b"content-length":
                sized = value == b"%d" % len(body)
                if not sized:
                    return False
            elif name in _FRAMING:
                return False
        if not sized:
            headers.append((b"content-length", b"%d" % len(body)))
        if not self.keep_alive:
            headers.append((b"connection", b"close"))
        head = b"".join([b"%b: %b\r\n" % header for header in headers])
        # line breaks in a header (response splitting)
        if head.count(b"\n") != len(headers) or head.count(b"\r") != len(headers):
            return False
        self.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", body)))
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class _NoReader:
    """The event of a request whose body is complete, so no reader waits for it."""

    def set(self) -> None:
        """Do nothing: no reader has to wake."""


class WholeResponse:
    """The response to a whole request (see `asgi.Take`); a connection has it in the place of a
    `ResponseCycle`.
    """

    __slots__ = (
        "_dated",
        "_on_response",
        "_transport",
        "disconnected",
        "keep_alive",
        "response_complete",
        "response_started",
    )

    message_event: Final = _NoReader()

    def __init__(
        self,
        transport: asyncio.Transport,
        dated: bytes,
        *,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self._transport, self._dated, self.keep_alive, self._on_response = (
            transport,
            dated,
            keep_alive,
            on_response,
        )
        self.disconnected = self.response_started = self.response_complete = False

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """Send the response. head: its header lines, among them the Content-Length."""
        self.response_started = self.response_complete = True
        if not self._transport.is_closing():
            end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            self._transport.write(b"".join((STATUS_LINE[status], self._dated, head, end, body)))
            if not self.keep_alive:
                self._transport.close()
        self._on_response()
