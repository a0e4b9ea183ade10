"""A child process of the supervisor: start, messages and health checks."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from headwater import clock
from headwater.errors import HeadwaterError
from headwater.serving.process.supervisor_link import ChildMessage, LineSplitter, SupervisorMessage

_CHILD: Final = ("-m", "headwater.cli.child")
_PING: Final = 1.0  # seconds between two pings of a worker
# bytes queued for a child that does not read; further messages are dropped
_UNSENT: Final = 1 << 23


@dataclass(frozen=True)
class ProcessSpec:
    """A process to run: its name, and its headwater command line.

    worker: whether it serves requests, on the socket that workers share. listener: a listening
    socket of its own, which outlives it.
    """

    name: str
    argv: Sequence[str]
    worker: bool = False
    listener: socket.socket | None = None


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of child processes, in seconds.

    grace: for shutdown. start: until a worker reports its readiness, and until a replacement is
    ready. silence: until the event loop of a worker answers a ping; after it, the worker is killed
    and replaced.
    """

    grace: float = 10.0
    start: float = 300.0
    silence: float = 20.0


class Child:
    """A running process. reasons: why it is not ready, as it reported; None before its first
    report.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, spec: ProcessSpec, listener: socket.socket | None, grace: float) -> None:
        self.spec, self.since = spec, clock.stopwatch()
        self.reasons: list[str] | None = None
        self.heard: list[str] = []
        self.killed_at: float | None = None
        self.pinged: float | None = None  # time of an unanswered ping
        self.answered = self.since
        self._lines, self._unsent, self._pings = LineSplitter(), bytearray(), 0
        self.socket, theirs = socket.socketpair()
        inherited = listener if spec.worker else spec.listener
        shared = [theirs.fileno()] + ([] if inherited is None else [inherited.fileno()])
        try:
            self.process = subprocess.Popen(  # noqa: S603 (our own command line)
                [sys.executable, *_CHILD, str(grace), ",".join(map(str, shared)), *spec.argv],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # signals of the terminal reach only the supervisor
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self.socket.settimeout(0)

    @property
    def ready(self) -> bool:
        return self.reasons == []

    def tell(self, others: list[str]) -> None:
        if others != self.heard:
            self.send(SupervisorMessage(others=others))
            self.heard = others

    def ping(self, now: float) -> None:
        """Ping its event loop, unless a ping is unanswered."""
        if self.pinged is None and now - self.answered > _PING:
            self.pinged, self._pings = now, self._pings + 1
            self.send(SupervisorMessage(ping=self._pings))

    def send(self, heard: SupervisorMessage) -> None:
        if len(self._unsent) < _UNSENT:
            self._unsent += msgspec.json.encode(heard) + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send queued bytes, without blocking."""
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # it has ended, which the supervisor detects
            self._unsent.clear()

    def read(self) -> list[ChildMessage]:
        """The messages received since the last read."""
        try:
            messages = [
                msgspec.json.decode(line, type=ChildMessage)
                for line in self._lines.cut(self.socket.recv(1 << 18))
            ]
        except (OSError, msgspec.MsgspecError, HeadwaterError):
            # it has ended or sends invalid messages: the timeouts handle it
            return []
        for message in messages:
            if message.reasons is not None:
                self.reasons = message.reasons
            if message.pong is not None:
                self.pinged, self.answered = None, clock.stopwatch()
        return messages
