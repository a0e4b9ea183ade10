"""Connections of the blocking client: shared by threads, and bound to a request's deadline."""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
from collections import deque
from http.client import HTTPConnection, HTTPException
from typing import Any, Final, cast

from headwater import clock
from headwater.serving.client.address import CONNECT_SECONDS, IDLE_SECONDS, ServiceAddress
from headwater.serving.client.calls import Call, Reply

_IDLE_CONNECTIONS: Final = 100  # that are kept


class BlockingConnections:
    """Connections to a service. Threads may share them: each request has one to itself. A forked
    process opens its own.
    """

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self._idle: deque[tuple[float, HTTPConnection]] = deque()  # with the time of its last use
        self._process = os.getpid()

    def send(self, call: Call[Any], seconds: float) -> Reply:
        """Send a request, and return its response; it ends in time, however slowly the service
        sends or reads.

        Raises:
            OSError: no response; TimeoutError where it took too long.
        """
        until = clock.stopwatch() + seconds
        connection = self._taken() or self._opened(until)
        cast("_Deadline", connection.sock).until = until
        try:
            connection.sock.settimeout(_left(until))
            connection.request(
                call.method,
                self._address.path + call.target,
                call.body,
                {**self._address.headers, **call.headers},
            )
            with connection.getresponse() as response:
                headers = {name.lower(): value for name, value in response.getheaders()}
                reply = Reply(response.status, headers, response.read())
        except HTTPException as error:
            connection.close()
            raise ConnectionError(f"the response is not complete: {error!r}") from error
        except BaseException:
            connection.close()
            raise
        if connection.sock is not None:  # as it is where the response ends the connection
            self._keep(connection)
        return reply

    def close(self) -> None:
        """Close the unused connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _taken(self) -> HTTPConnection | None:
        """The connection used last that the service has not closed; None where there is none."""
        if self._process != os.getpid():
            self._process, self._idle = os.getpid(), deque()
        while True:
            try:
                used, connection = self._idle.pop()
            except IndexError:
                return None
            if clock.stopwatch() - used < IDLE_SECONDS and not _readable(connection.sock):
                return connection
            connection.close()

    def _keep(self, connection: HTTPConnection) -> None:
        if len(self._idle) >= _IDLE_CONNECTIONS:
            self._idle.popleft()[1].close()
        self._idle.append((clock.stopwatch(), connection))

    def _opened(self, until: float) -> HTTPConnection:
        address = self._address
        connection = HTTPConnection(address.host, address.port)
        opened: socket.socket = socket.create_connection(
            (address.host, address.port), min(CONNECT_SECONDS, _left(until))
        )
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.tls is None:
                connection.sock = _Socket(fileno=opened.detach())
            else:
                opened.settimeout(_left(until))
                address.tls.sslsocket_class = _TlsSocket
                connection.sock = address.tls.wrap_socket(opened, server_hostname=address.host)
        except BaseException:
            opened.close()
            raise
        return connection


class _Deadline:
    """A socket whose reads end at `until`: a timeout alone begins again with each part."""

    until: float

    def recv_into(self: Any, *arguments: Any) -> int:  # noqa: ANN401 (as of a socket)
        self.settimeout(_left(self.until))
        received: int = super().recv_into(*arguments)  # type: ignore[misc]
        return received


class _Socket(_Deadline, socket.socket):
    """A plain socket."""


class _TlsSocket(_Deadline, ssl.SSLSocket):
    """An encrypted one."""


def _left(until: float) -> float:
    """The seconds until a deadline.

    Raises:
        TimeoutError: it has passed.
    """
    seconds = until - clock.stopwatch()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _readable(connection: socket.socket) -> bool:
    """Whether an unused connection has something to read: its end, or unexpected bytes."""
    if sys.platform == "win32":
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()  # takes descriptors above 1024, as `select` does not
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
