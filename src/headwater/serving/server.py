"""A handler served by granian, in a thread of this process."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from granian.constants import Interfaces
from granian.server.embed import Server

from headwater import clock
from headwater.errors import UsageError
from headwater.serving.http import App, Read, Scope, Send

_AT_ONCE: Final = 4096  # requests; one whose body comes slowly takes a place, and nothing else
_LEAVING: Final = 2.0  # seconds for answers that are under way when the server stops
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)

Closing = Callable[[], Awaitable[None]]


@contextmanager
def serving(app: App, host: str, port: int, *, closing: Closing | None = None) -> Iterator[str]:
    """Serve `app` while the context lasts, and end with `closing`; the address at which it is reached.

    Raises:
        UsageError: the address is taken, or is none of this machine.
    """
    _check_free(host, port)
    thread = _Thread(app, host, port, closing)
    thread.start()
    thread.begun.wait()
    try:
        if thread.error is not None:
            raise UsageError(f"cannot listen at {host}:{port}: {thread.error}") from thread.error
        yield f"http://{socket.gethostname() if host in _EVERYWHERE else f'[{host}]' if ':' in host else host}:{port}"
    finally:
        thread.end()


class _Thread(threading.Thread):
    def __init__(self, app: App, host: str, port: int, closing: Closing | None) -> None:
        super().__init__(name=f"serve {host}:{port}", daemon=True)
        self.begun = threading.Event()
        self._app, self._host, self._port, self._closing = app, host, port, closing
        self._under_way = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        logging.getLogger("_granian").setLevel(logging.ERROR)
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 (raised by whoever started the thread)
            self.error = error
        finally:
            self.begun.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = Server(
            self._count,
            self._host,
            self._port,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=1024,
            backpressure=_AT_ONCE,
            log_enabled=False,
        )
        serving = self._loop.create_task(self._server.serve())
        while not serving.done() and not await self._listens():  # noqa: ASYNC110 (granian tells nobody when it listens)
            await asyncio.sleep(0.005)
        self.begun.set()
        try:
            await serving
        finally:
            if self._closing is not None:
                await self._closing()

    async def _count(self, scope: Scope, read: Read, send: Send) -> None:
        self._under_way += 1
        try:
            await self._app(scope, read, send)
        finally:
            self._under_way -= 1

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return False
        writer.close()
        return True

    def end(self) -> None:
        """Let answers go out, and stop."""
        until = clock.stopwatch() + _LEAVING
        while self._under_way and clock.stopwatch() < until:
            self.join(0.005)
        if self._loop is not None and self._server is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
        self.join()


def _check_free(host: str, port: int) -> None:
    """Say what is wrong with an address before anything is started; the server itself would share a port with others."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror or error}; give another address with --http") from error
