"""An HTTP/1.1 connection: uvicorn's protocol with limits on connections, headers and time."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import select
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headwater.serving.http.asgi import OFREP
from headwater.serving.http.open_connections import Connections, Flow
from headwater.serving.http.response_cycle import ResponseCycle, WholeResponse

if TYPE_CHECKING:
    from uvicorn.config import Config

_LOG: Final = logging.getLogger("headwater.http")
_LOG.setLevel(logging.ERROR)  # client errors are answered, not logged
_VERSIONS: Final = frozenset(("1.0", "1.1"))
_SLICE: Final = 65_536  # bytes of one connection that are parsed in one turn of the event loop
_PIPELINED: Final = 64  # queued requests of one connection
# seconds in which a refused client may still send, so that it receives the response
_LINGER: Final = 2.0
_SETTLE: Final = 0.25  # seconds for the first request of a new connection, during shutdown
_SINGLE: Final = frozenset(
    (b"host", b"content-length", b"authorization", b"content-type", b"idempotency-key")
)
_UNUSUAL: Final = frozenset((b"transfer-encoding", b"upgrade"))
_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Connection(HttpToolsProtocol):
    """A connection with limits; the names of its methods are those of asyncio, httptools and
    uvicorn.

    due: when it is closed for inactivity, by the event loop's clock.
    """

    server_state: Connections
    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger, self.access_log = _LOG, False
        self.due = math.inf
        self._limits, self._url_bytes = server_state.limits, server_state.limits.header_bytes // 2
        self._size, self._chunk = 0, 0  # bytes of the header before this chunk, and of this chunk
        self._in_header = self._in_message = self._deaf = False
        self._refused: tuple[int, str] | None = None
        self._names: dict[bytes, bytes] = {}  # the headers
        self._keep_alive = True
        self._held: bytes | None = None  # the body of a request that no app has yet, so far
        self._unparsed = b""  # received bytes behind the slice that was parsed
        # of the body: its parts so far, and bytes after the response
        self._parts = self._dropped = 0
        self._dropping = False  # the request has its response, and its body goes on
        self._spared = math.nan  # the `due` that was let pass once

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.due = self.loop.time() + self._limits.header_seconds
        self.server_state.waiting[self] = None
        self.server_state.shed()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side."""
        self.server_state.waiting.pop(self, None)
        self.server_state.arriving.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a slice of received bytes; the rest waits its turn, and no further bytes are read
        until then.
        """
        if len(data) <= _SLICE:
            self._parse(data)
        elif not self.transport.is_closing():
            self.flow.hold()
            self._unparsed = data
            self.parse_further()

    def parse_further(self) -> None:
        """Parse the next slice of the received bytes; after the last one, read again."""
        data, self._unparsed = (
            self._unparsed[:_SLICE],
            b"" if self._deaf else self._unparsed[_SLICE:],
        )
        self._parse(data)
        if self._unparsed:
            self.server_state.backlog.put(self)
        else:
            self.flow.release()

    def _parse(self, data: bytes) -> None:
        """Parse bytes; the parser keeps an unfinished header in memory, so its bytes are counted
        here.
        """
        if self._deaf or self.transport.is_closing():
            return
        self._chunk = len(data)
        super().data_received(data)
        if self._held is not None and not self._deaf:  # the rest of its body comes later
            self._begin()
        if self._in_message and not (self._in_header or self._dropping or self._deaf):
            self.server_state.arriving.setdefault(self, self.loop.time())
        if self._in_header and not self._deaf:
            self._size += len(data)
            if self._size > self._limits.header_bytes:
                self._refuse(431, f"the header is larger than {self._limits.header_bytes:,} bytes")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (as uvicorn calls it)
        """Refuse a request that the parser rejected."""
        status, reason = self._refused or (400, "the request is not valid HTTP/1.1")
        self._refuse(status, reason)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._size, self._in_header, self._in_message = 0, True, True
        self._parts, self._dropped, self._dropping = 0, 0, False
        if self.due != math.inf:
            self.due = min(self.due, self.loop.time() + self._limits.header_seconds)

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        super().on_url(url)
        if len(self.url) > self._url_bytes:
            self._stop(414, f"the URL is longer than {self._url_bytes:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those after the body (trailers) are ignored."""
        if not self._in_header:
            self._size += len(name) + len(value)
            if self._size > self._limits.header_bytes:
                self._stop(431, f"the trailers are larger than {self._limits.header_bytes:,} bytes")
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The header is complete: check it, and start the response."""
        names = dict(self.headers)
        if (
            not _UNUSUAL.isdisjoint(names)
            or b"host" not in names
            or len(names) < len(self.headers)
            or len(names) > self._limits.headers
            or self._size + self._chunk > self._limits.header_bytes
        ):
            self._check(names)
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            self._stop(400, "only HTTP/1.1 is supported")
        if not self.server_state.has_room(self.url.partition(b"?")[0], self.loop.time()):
            self._stop(
                self._busy,
                f"{self.server_state.in_progress:,} requests are in progress, which is the limit; "
                "try again in a second",
            )
        if len(self.pipeline) >= _PIPELINED:
            self._stop(
                400,
                f"{len(self.pipeline)} requests of this connection are queued, which is the "
                "limit; read responses first",
            )
        self._in_header, self._size = False, 0
        self.server_state.waiting.pop(self, None)
        self.due = math.inf
        self._names = names
        self._keep_alive = (
            not self.server_state.leaving
            and b"upgrade" not in names
            and version != "1.0"
            and self.parser.should_keep_alive()
        )
        free = self.cycle is None or self.cycle.response_complete
        if (
            free
            and self.server_state.take is not None
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
        ):
            self._held = b""
        else:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """A part of the body: a chunk, or what arrived of one."""
        self._parts += 1
        if self._parts > self._limits.body_parts:
            self._stop(
                413,
                f"the body came in more than {self._limits.body_parts:,} chunks; send larger ones",
            )
        if self._held is None:
            self._dropped += len(body) * self._dropping
            if self._dropped > self._limits.dropped_bytes:
                self._stop(413, "")  # it has its response, so none is sent
            super().on_body(body)
        else:
            self._held += body

    def _taken(self) -> bool:
        """Whether a request that has arrived whole is answered without a task of its own."""
        assert self.server_state.take is not None
        assert self._held is not None
        response = WholeResponse(
            self.transport,
            self.server_state.dated,
            keep_alive=self._keep_alive,
            on_response=self._answered,
        )
        if self.flow.write_paused or not self.server_state.take(
            self.url, self._names, self._held, response.send
        ):
            return False
        self._held, self.cycle = None, response  # type: ignore[assignment]  # it has what uvicorn reads of one
        self.server_state.taken += 1
        return True

    def _answered(self) -> None:
        """The response to a whole request is written."""
        self.server_state.taken -= 1
        self.on_response_complete()

    def _begin(self) -> None:
        """Start the app after the earlier requests of the connection; as uvicorn does, but with
        `ResponseCycle`.
        """
        parser, url = self.parser, httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        before, held, self._held = self.cycle, self._held, None
        self.cycle = ResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self._keep_alive,
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        if held:
            super().on_body(held)

    def _check(self, names: dict[bytes, bytes]) -> None:
        """Stop the parser at a header that is too large or ambiguous (request smuggling)."""
        limits = self._limits
        if (
            len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            > limits.header_bytes
        ):
            self._stop(431, f"the header is larger than {limits.header_bytes:,} bytes")
        if len(self.headers) > limits.headers:
            self._stop(431, f"the request has more than {limits.headers} headers")
        for name in _SINGLE & names.keys():
            if (count := sum(header == name for header, _ in self.headers)) > 1:
                self._stop(400, f"the request has {count} headers {name.decode()!r}; send one")
        if b"host" not in names and self.parser.get_http_version() != "1.0":
            self._stop(400, "the request has no Host header")
        coded = names.get(b"transfer-encoding")
        if coded is not None and coded.lower() != b"chunked":
            self._stop(
                400, "the body has a transfer coding other than 'chunked'; send it without one"
            )
        has_body = coded is not None or b"content-length" in names
        if self.parser.should_upgrade() and has_body:
            self._stop(400, "only HTTP/1.1 is supported; send the request without Upgrade")

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._in_message = self._dropping = False
        self.server_state.arriving.pop(self, None)
        if self._held is not None:
            if self._taken():
                return
            self._begin()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait()

    def on_response_complete(self) -> None:
        """The response is written; as uvicorn does, but with `due` in place of a timer for each
        request.
        """
        if self.transport.is_closing():
            self.due = self.loop.time() + self._limits.header_seconds
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._deaf:
            self.transport.close()
        elif self._in_message:
            # the rest of a request that was answered early, or the beginning of the next one
            self._dropping = not self._in_header
            self.server_state.arriving.pop(self, None)
            self.due = self.loop.time() + self._limits.header_seconds
        else:
            self._wait()

    def pause_writing(self) -> None:
        """The client does not read: the write buffer is full."""
        super().pause_writing()
        self.due = self.loop.time() + self._limits.write_seconds

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if (
            not self.transport.is_closing()
            and not self._deaf
            and self not in self.server_state.waiting
        ):
            self.due = math.inf

    def may_go_on(self) -> bool:
        """Whether bytes have arrived that a busy event loop has not read yet; once, since it reads
        them before the next sweep.

        What remains of a body after its response is not waited for.
        """
        if self._deaf or self._dropping or self.flow.write_paused or self.flow.read_paused:
            return False
        spared, self._spared = self._spared == self.due, self.due
        return not spared and not self.transport.is_closing() and self._unread()

    def give_way(self) -> None:
        """Refuse the request, whose body has not arrived, in favour of another."""
        many, seconds = self.server_state.in_progress, self._limits.arrival_seconds
        self._refuse(
            self._busy,
            f"the body takes longer than {seconds:g} s while {many:,} requests are in progress, "
            "which is the limit; send it again",
        )

    def shutdown(self) -> None:
        """Close the connection once no request is in progress."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self._in_message or self._unread():
            return
        elif (
            self.cycle is not None
            or self.loop.time() > self.due - self._limits.header_seconds + _SETTLE
        ):
            self.transport.close()

    def end(self) -> None:
        """Close the connection now, without waiting for a slow client."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _wait(self) -> None:
        """Wait for the next request."""
        self.due = self.loop.time() + self._limits.idle_seconds
        self.server_state.waiting[self] = None

    def _unread(self) -> bool:
        """Whether bytes have arrived that are not parsed."""
        if self._unparsed:
            return True
        socket = self.transport.get_extra_info("socket")
        if socket is None or socket.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def _busy(self) -> int:
        """The status of a refusal under load."""
        return 429 if self.url.startswith(OFREP.encode()) else 503

    def _stop(self, status: int, reason: str) -> None:
        """Stop the parser, which then refuses the request."""
        self._refused = status, reason
        raise ValueError(reason)

    def _refuse(self, status: int, reason: str) -> None:
        """Respond with an HTTP error, and close the connection."""
        self._deaf, self._held = True, None
        self.server_state.arriving.pop(self, None)
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            if self._in_header or not self._in_message or self.cycle.response_started:
                self.cycle.keep_alive = False  # earlier requests get responses, and this one none
                return
            if self.pipeline:
                # this request: an earlier one is answered, and then the connection is closed
                self.pipeline.popleft()
                return
            self.cycle.disconnected = True  # the body of this request is invalid: stop its reader
            self.cycle.message_event.set()
        self.due = self.loop.time() + _LINGER
        if self._dropping:
            self.transport.write_eof()
            return
        number = secrets.token_hex(8)
        body = msgspec.json.encode({"error": reason, "request_id": number})
        again = "retry-after: 1\r\n" if status in (429, 503) else ""
        head = (
            f"content-type: application/json\r\nx-request-id: {number}\r\n{again}content-length: "
            f"{len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%b%b" % (status, _REASONS[status], head.encode(), body)
        )
        self.transport.write_eof()
