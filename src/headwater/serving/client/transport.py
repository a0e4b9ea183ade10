"""An httpx transport whose calls end at a deadline, however slowly a server sends: httpx's own timeouts restart with each read."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

import httpcore
import httpx

from headwater import clock

DEADLINE: Final = "headwater.deadline"
"""The extension of a request that holds its deadline, by `clock.stopwatch`."""

_PIECE: Final = 16_384  # bytes of a body that are sent between two checks of the deadline


class DeadlineTransport(httpx.BaseTransport):
    """Sends requests over pooled connections, and ends each at its deadline. Threads may share one.

    Raises, from a request: httpx.TransportError, as httpx's own transport does.
    """

    def __init__(self, limits: httpx.Limits) -> None:
        self._until = _Until()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(self._until),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the same thread reads the response."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        self._until.at = request.extensions[DEADLINE]
        url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
        sent = httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions)
        try:
            response = self._pool.handle_request(sent)
        except _FAILURES as error:
            _raise(error)
        assert isinstance(response.stream, Iterable)
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response.stream), extensions=response.extensions)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Until(threading.local):
    """The deadline of the request of this thread."""

    at: float = float("inf")

    def within(self, timeout: float | None) -> float:
        """The shorter of `timeout` and the seconds until the deadline.

        Raises:
            httpcore.ReadTimeout: the deadline has passed.
        """
        left = self.at - clock.stopwatch()
        if left <= 0:
            raise httpcore.ReadTimeout("the time is over")
        return left if timeout is None else min(timeout, left)


class _Body(httpx.SyncByteStream):
    """The body of a response."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except _FAILURES as error:
            _raise(error)

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


class _Stream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, until: _Until) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._until.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            self._stream.write(buffer[start : start + _PIECE], self._until.within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._until.within(timeout)), self._until)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 (as httpcore has it)
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Opens connections with a deadline."""

    def __init__(self, until: _Until) -> None:
        self._until = until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_tcp(host, port, self._until.within(timeout), local_address, socket_options), self._until)


_FAILURES: Final = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)
_AS_HTTPX: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.NetworkError, httpx.ReadError),
    (httpcore.ProtocolError, httpx.RemoteProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)


def _raise(error: Exception) -> NoReturn:
    """Raise an error of httpcore as the error class of httpx."""
    kind = next(kind for own, kind in _AS_HTTPX if isinstance(error, own))
    raise kind(str(error)) from error
