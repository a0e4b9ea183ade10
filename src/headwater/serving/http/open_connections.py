"""All client connections of a server: their number, and when each is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from headwater.serving.http.connection_limits import OTHER_FILES, ConnectionLimits, open_files
from headwater.serving.http.turn_queue import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.serving.http.asgi import Take

# connections whose received bytes are parsed further in one turn of the event loop
_BACKLOG: Final = 2


class ClientConnection(Protocol):
    """A connection as the server closes it. due: when it is closed for inactivity, by the event
    loop's clock.
    """

    due: float

    def parse_further(self) -> None:
        """Parse more of the bytes that were received."""

    def may_go_on(self) -> bool:
        """Whether it is not closed yet, though its time is over."""

    def give_way(self) -> None:
        """Refuse its request, whose body has not arrived, in favour of another."""

    def shutdown(self) -> None:
        """Close it once no request is in progress."""

    def end(self) -> None:
        """Close it now."""


class Connections(ServerState):
    """All connections of one server.

    waiting: those without a request in progress, idle for longest first. leaving: each response
    closes its connection. taken: number of whole requests in progress; `tasks` are the others.
    dated: the Date header, as a line. backlog: those with received bytes that are not parsed yet.
    arriving: those with a request whose body has not arrived yet, and since when, the longest
    first.

    Args:
        limits: of the connections.
        take: answers whole requests; None leaves all to the ASGI app.
    """

    def __init__(self, limits: ConnectionLimits, take: Take | None = None) -> None:
        super().__init__()
        self.limits, self.take, self.leaving = limits, take, False
        self.taken, self.dated = 0, b""
        files = open_files(limits.connections + OTHER_FILES)
        self.most = min(limits.connections, max(files - OTHER_FILES, OTHER_FILES))
        self.waiting: dict[ClientConnection, None] = {}
        self.arriving: dict[ClientConnection, float] = {}
        self.backlog: TurnQueue[ClientConnection] = TurnQueue(_parse_further, _BACKLOG)

    @property
    def in_progress(self) -> int:
        """Number of requests that have begun and have no response yet."""
        return len(self.tasks) + self.taken

    @property
    def every(self) -> Sequence[ClientConnection]:
        """All open connections."""
        return [cast("ClientConnection", connection) for connection in self.connections]

    def shed(self) -> None:
        """Close the connections idle for longest, down to the limit."""
        while len(self.connections) > self.most and self.waiting:
            idle = next(iter(self.waiting))
            self.connections.discard(idle)
            idle.end()

    def has_room(self, path: bytes, now: float) -> bool:
        """Whether another request may begin; a slow body of an earlier one gives way where too many
        are in progress.
        """
        if self.in_progress < self.limits.requests or path in self.limits.always:
            return True
        slowest, since = next(iter(self.arriving.items()), (None, now))
        if slowest is None or now - since < self.limits.arrival_seconds:
            return False
        slowest.give_way()
        return True

    def sweep(self, now: float) -> None:
        """Close every connection whose time is over."""
        for connection in self.every:
            if connection.due < now and not connection.may_go_on():
                connection.end()

    def close_idle(self) -> None:
        """Close the connections without a request in progress."""
        for connection in self.every:
            connection.shutdown()


class Flow(FlowControl):
    """Pauses reading while the app does not read, as uvicorn does, and while received bytes wait to
    be parsed.
    """

    _held = False

    def hold(self) -> None:
        """Read nothing until `release`, even if the app reads."""
        self._held = True
        if not self.read_paused:
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again, unless the app has paused it."""
        self._held = False
        if not self.read_paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        """The app does not read."""
        if self._held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """The app reads again."""
        if self._held:
            self.read_paused = False
        else:
            super().resume_reading()


def _parse_further(connections: Sequence[ClientConnection]) -> None:
    for connection in connections:
        connection.parse_further()
