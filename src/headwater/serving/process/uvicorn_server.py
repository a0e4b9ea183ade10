"""Serves an ASGI app with uvicorn's protocol, in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final, cast

from uvicorn.config import Config

from headwater import clock
from headwater.errors import UsageError
from headwater.serving.http.asgi import App
from headwater.serving.http.connection import Connection
from headwater.serving.http.connection_limits import ConnectionLimits
from headwater.serving.http.open_connections import Connections
from headwater.serving.process.listening_socket import (
    BACKLOG,
    open_listener,
    stop_new_connections,
    url_of,
)

_SWEEP: Final = 0.5  # seconds between two checks for connections whose time is over
_LOOK: Final = 0.02  # seconds between two checks during shutdown

Closing = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class ServerOptions:
    """Startup and shutdown of a server.

    fd: a shared listening socket; None opens one. shared: whether other processes go on to accept
    its connections after this server has stopped. drain: seconds before shutdown in which every
    response has `Connection: close`, so that clients reconnect elsewhere. grace: seconds that
    responses in progress may then take. limits: of client connections. begun: called with the event
    loop once it serves.
    """

    fd: int | None = None
    shared: Callable[[], bool] = lambda: False
    drain: float = 0.0
    grace: float = 2.0
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    begun: Callable[[asyncio.AbstractEventLoop], None] | None = None


@contextmanager
def serving(
    app: App,
    host: str,
    port: int,
    *,
    closing: Closing | None = None,
    options: ServerOptions = ServerOptions(),
) -> Iterator[str]:
    """Serve `app` while the context lasts, then call `closing`; yields the URL.

    Raises:
        UsageError: the address is in use, or not one of this machine.
    """
    listener = open_listener(host, port) if options.fd is None else socket.socket(fileno=options.fd)
    thread = _ServerThread(app, listener, closing, options)
    thread.start()
    thread.begun.wait()
    try:
        if thread.error is not None:
            raise UsageError(f"cannot listen on {host}:{port}: {thread.error}") from thread.error
        yield url_of(host, port)
    finally:
        thread.end()


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop for requests: uvloop's, except on Windows."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())


class _ServerThread(threading.Thread):
    def __init__(
        self, app: App, listener: socket.socket, closing: Closing | None, options: ServerOptions
    ) -> None:
        super().__init__(name="http", daemon=True)
        self.begun = threading.Event()
        self.error: BaseException | None = None
        self._app, self._listener, self._closing, self._options = app, listener, closing, options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised in the thread that started this one)
            self.error = error
        finally:
            self._listener.close()
            self.begun.set()

    def end(self) -> None:
        """Drain connections, and stop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                self._loop.call_soon_threadsafe(self._leave.set)
        self.join()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        config = Config(
            self._app,
            http=Connection,
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        state = Connections(self._options.limits, getattr(self._app, "take", None))

        def connection() -> Connection:
            return Connection(config, state, {}, loop)

        self._listener.settimeout(0)
        server = await loop.create_server(connection, sock=self._listener.dup(), backlog=BACKLOG)
        sweeping = loop.create_task(_sweep(state))
        if self._options.begun is not None:
            self._options.begun(loop)
        self.begun.set()
        await self._leave.wait()
        state.leaving = True
        # requests are answered as before, with Connection: close
        await asyncio.sleep(self._options.drain)
        if not self._options.shared():
            stop_new_connections(self._listener)
        server.close()
        await self._accept_rest(connection)
        await self._finish(state)
        sweeping.cancel()
        if self._closing is not None:
            await self._closing()

    async def _accept_rest(self, connection: Callable[[], Connection]) -> None:
        """Accept pending connections before the socket is closed; the operating system would reset
        them.
        """
        assert self._loop is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.settimeout(0)
                await self._loop.connect_accepted_socket(connection, accepted)
        self._listener.close()

    async def _finish(self, state: Connections) -> None:
        """Wait for responses in progress, and close every connection."""
        until = clock.stopwatch() + self._options.grace
        while True:
            state.close_idle()
            await asyncio.sleep(0)
            if not state.connections and not state.tasks:
                return
            if clock.stopwatch() > until:
                break
            await asyncio.sleep(_LOOK)
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


async def _sweep(state: Connections) -> None:
    """Update the Date header, and close connections whose time is over."""
    loop = asyncio.get_running_loop()
    while True:
        date = formatdate(clock.now_micros() / 1e6, usegmt=True).encode()
        state.default_headers, state.dated = [(b"date", date)], b"date: %b\r\n" % date
        state.sweep(loop.time())
        await asyncio.sleep(_SWEEP)
