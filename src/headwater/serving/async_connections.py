"""Connections of asyncio to one HTTP server, each used by one call at a time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

import httpx


class AsyncConnections:
    """Connections that calls take one after the other. Redirects, cookies, proxies of the
    environment, logs of URLs and timeouts are off.

    Each connection is an httpcore pool of its own, closed after a call that fails or is cancelled:
    a shared pool leaks a connection whose call is cancelled while it starts, and would fill up. An
    event loop never uses the connections of another.

    Args:
        verify: the certificates of the server.
        most: further calls wait; None for any number of connections.
        idle_seconds: how long an unused connection is kept.
    """

    def __init__(
        self, verify: ssl.SSLContext, *, most: int | None = None, idle_seconds: float = 15.0
    ) -> None:
        self._free: Any = nullcontext() if most is None else asyncio.Semaphore(most)
        self._verify = verify
        self._limits: Final = httpx.Limits(
            max_connections=1, max_keepalive_connections=1, keepalive_expiry=idle_seconds
        )
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        """A connection for consecutive calls."""
        async with self._free:
            loop = asyncio.get_running_loop()
            if self._loop is not loop:  # an earlier loop has ended, and its connections with it
                self._loop, self._idle = loop, []
            connection = (
                self._idle.pop()
                if self._idle
                else httpx.AsyncHTTPTransport(
                    verify=self._verify, limits=self._limits, trust_env=False
                )
            )
            try:
                yield connection
            except BaseException:
                await connection.aclose()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            await self._idle.pop().aclose()
        await asyncio.sleep(0)  # in which a transport ends
