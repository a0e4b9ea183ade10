"""The connections of the asyncio client, kept between requests."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from headwater import clock
from headwater.serving.client.protocol import Reply
from headwater.serving.client.wire import (
    CONNECT_SECONDS,
    IDLE_CONNECTIONS,
    IDLE_SECONDS,
    BrokenConnectionError,
    ResponseReader,
    ServiceAddress,
)

_CLOSED: Final = "the connection was closed without a complete response"


class AsyncConnections:
    """Connections to a service, each used by one request at a time, and closed if that is
    cancelled.
    """

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self._idle: list[_AsyncConnection] = []

    async def send(self, request: bytes, seconds: float) -> Reply:
        """Send a request, and return the response.

        Raises:
            OSError: no response; TimeoutError where it took too long.
        """
        async with asyncio.timeout(seconds):
            connection = self._taken() or await self._opened()
            try:
                reader = await connection.exchange(request)
            except BaseException:
                connection.abort()
                raise
        assert reader.reply is not None
        if reader.keep_alive and len(self._idle) < IDLE_CONNECTIONS:
            connection.used = clock.stopwatch()
            self._idle.append(connection)
        else:
            connection.abort()
        return reader.reply

    async def close(self) -> None:
        """Close the unused connections."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)

    def _taken(self) -> _AsyncConnection | None:
        """The connection used last that is open and of this event loop; None where there is
        none.
        """
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if connection.loop is not loop:
                continue  # an earlier event loop has ended, and its connections with it
            if connection.open and clock.stopwatch() - connection.used < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _opened(self) -> _AsyncConnection:
        address, loop = self._address, asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(
                lambda: _AsyncConnection(loop),
                address.host,
                address.port,
                ssl=address.tls,
                server_hostname=address.host if address.tls is not None else None,
            )
        return connection


class _AsyncConnection(asyncio.Protocol):
    """One connection; loop: the one it lives in. used: when its last response came. open: neither
    side has closed it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.used, self.open = loop, 0.0, False
        self._transport: asyncio.Transport | None = None
        self._reader: ResponseReader | None = None
        self._answer: asyncio.Future[ResponseReader] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport, self.open = cast("asyncio.Transport", transport), True

    def data_received(self, data: bytes) -> None:
        """A part of a response; outside of requests, the connection is of no more use."""
        if self._reader is None or self._answer is None or self._answer.done():
            self.abort()
            return
        try:
            if self._reader.feed(data):
                self._answer.set_result(self._reader)
        except OSError as error:
            self._answer.set_exception(error)

    def eof_received(self) -> None:
        """The service has closed its side."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._end(exc)

    async def exchange(self, request: bytes) -> ResponseReader:
        """The response to a request."""
        assert self._transport is not None
        self._reader, self._answer = ResponseReader(), self.loop.create_future()
        if not self.open:
            raise BrokenConnectionError(_CLOSED)
        self._transport.write(request)
        return await self._answer

    def abort(self) -> None:
        """Close the connection immediately."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _end(self, error: Exception | None) -> None:
        self.open = False
        if self._reader is None or self._answer is None or self._answer.done():
            return
        try:
            self._reader.feed(b"")
            self._answer.set_result(self._reader)
        except OSError as broken:
            self._answer.set_exception(error or broken)
