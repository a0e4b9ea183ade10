"""The connections of the blocking client: kept between requests, shared by threads, and given up at
a request's deadline.
"""

from __future__ import annotations

import select
import socket
import sys
from collections import deque
from typing import Final

from headwater import clock
from headwater.serving.client.protocol import Reply
from headwater.serving.client.wire import (
    CONNECT_SECONDS,
    IDLE_CONNECTIONS,
    IDLE_SECONDS,
    ResponseReader,
    ServiceAddress,
)

_PIECE: Final = 65_536  # bytes that are sent or received between two checks of the deadline


class BlockingConnections:
    """Connections to a service. Threads may share them: each request has one to itself.

    A request ends at its deadline, however slowly the service sends or reads.
    """

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self._idle: deque[tuple[float, socket.socket]] = deque()  # with the time of its last use

    def send(self, request: bytes, seconds: float) -> Reply:
        """Send a request, and return the response.

        Raises:
            OSError: no response; TimeoutError where it took too long.
        """
        until = clock.stopwatch() + seconds
        connection = self._taken() or self._opened(until)
        try:
            for start in range(0, len(request), _PIECE):
                connection.settimeout(_seconds_until(until))
                connection.sendall(request[start : start + _PIECE])
            reader = ResponseReader()
            complete = False
            while not complete:
                connection.settimeout(_seconds_until(until))
                complete = reader.feed(connection.recv(_PIECE))
        except BaseException:
            connection.close()
            raise
        assert reader.reply is not None
        if reader.keep_alive:
            self._keep(connection)
        else:
            connection.close()
        return reader.reply

    def close(self) -> None:
        """Close the unused connections."""
        while self._idle:
            self._idle.pop()[1].close()

    def _taken(self) -> socket.socket | None:
        """The connection used last that the service has not closed; None where there is none."""
        while True:
            try:
                used, connection = self._idle.pop()
            except IndexError:
                return None
            if clock.stopwatch() - used < IDLE_SECONDS and not _readable(connection):
                return connection
            connection.close()

    def _keep(self, connection: socket.socket) -> None:
        if len(self._idle) >= IDLE_CONNECTIONS:
            self._idle.popleft()[1].close()
        self._idle.append((clock.stopwatch(), connection))

    def _opened(self, until: float) -> socket.socket:
        address = self._address
        connection = socket.create_connection(
            (address.host, address.port), timeout=min(CONNECT_SECONDS, _seconds_until(until))
        )
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.tls is None:
                return connection
            connection.settimeout(_seconds_until(until))
            return address.tls.wrap_socket(connection, server_hostname=address.host)
        except BaseException:
            connection.close()
            raise


def _seconds_until(until: float) -> float:
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
