"""A handler served by granian, in a thread of this process."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from granian import net
from granian.constants import Interfaces
from granian.server.embed import Server

from headwater import clock
from headwater.errors import UsageError
from headwater.serving.http import App, Message, Read, Scope, Send

_AT_ONCE: Final = 4096  # requests; one whose body comes slowly takes a place, and nothing else
_BACKLOG: Final = 1024
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 (compared, not bound)

Closing = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Door:
    """How a server comes and goes.

    fd: a socket that listens already and that other processes share; None opens one. drain: seconds before it stops, in which every
    answer says that its connection ends, so that whoever asks goes elsewhere. grace: seconds that answers under way may take then.
    """

    fd: int | None = None
    drain: float = 0.0
    grace: float = 2.0


@contextmanager
def serving(app: App, host: str, port: int, *, closing: Closing | None = None, door: Door = Door()) -> Iterator[str]:
    """Serve `app` while the context lasts, and end with `closing`; the address at which it is reached.

    Raises:
        UsageError: the address is taken, or is none of this machine.
    """
    if door.fd is None:
        _check_free(host, port)
    thread = _Thread(app, host, port, closing, door)
    thread.start()
    thread.begun.wait()
    try:
        if thread.error is not None:
            raise UsageError(f"cannot listen at {host}:{port}: {thread.error}") from thread.error
        yield f"http://{socket.gethostname() if host in _EVERYWHERE else f'[{host}]' if ':' in host else host}:{port}"
    finally:
        thread.end()


class _Thread(threading.Thread):
    def __init__(self, app: App, host: str, port: int, closing: Closing | None, door: Door) -> None:
        super().__init__(name=f"serve {host}:{port}", daemon=True)
        self.begun = threading.Event()
        self._app, self._host, self._port, self._closing, self._door = app, host, port, closing, door
        self._under_way, self._leaving = 0, False
        self._serving: asyncio.Task[None] | None = None
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
        kind = Server if self._door.fd is None else _Shared
        self._server = kind(
            self._count,
            self._host,
            self._port,
            interface=Interfaces.ASGINL,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_AT_ONCE,
            log_enabled=False,
        )
        if isinstance(self._server, _Shared):
            self._server.fd = self._door.fd
        self._serving = self._loop.create_task(self._server.serve())
        while self._door.fd is None and not self._serving.done() and not await self._listens():  # noqa: ASYNC110 (granian tells nobody)
            await asyncio.sleep(0.005)
        self.begun.set()
        try:
            await self._serving
        except asyncio.CancelledError:  # answers took longer than they may
            pass
        finally:
            if self._closing is not None:
                await self._closing()

    async def _count(self, scope: Scope, read: Read, send: Send) -> None:
        self._under_way += 1
        try:
            await self._app(scope, read, _last(send) if self._leaving else send)
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
        """Let connections end and answers go out, and stop."""
        self._leaving, now = True, clock.stopwatch()
        drained, until = now + self._door.drain, now + self._door.drain + self._door.grace
        while (self._under_way or clock.stopwatch() < drained) and clock.stopwatch() < until:
            self.join(0.005)
            if not self.is_alive():
                return
        if self._loop is not None and self._server is not None and self._serving is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
            self.join(max(until - clock.stopwatch(), 0.2))
            if self.is_alive():
                self._loop.call_soon_threadsafe(self._serving.cancel)
        self.join()


class _Shared(Server):
    """Granian's server at a socket that listens already."""

    fd: int | None = None

    def _init_shared_socket(self) -> None:
        holder = net.SocketHolder(self.fd, uds=False, backlog=_BACKLOG)  # type: ignore[attr-defined, call-arg]  # as granian unpickles it
        self._ssp, self._shd, self._sfd = None, holder, self.fd  # type: ignore[assignment]  # on Linux it would open one of its own


def _last(send: Send) -> Send:
    """Have an answer say that it is the last of its connection."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    return sent


def _check_free(host: str, port: int) -> None:
    """Say what is wrong with an address before anything is started; the server itself would share a port with others."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror or error}; give another address with --http") from error
