"""One process under the supervisor: how it is started, what it tells, and how it is asked for a sign of life."""

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
from headwater.serving.process.supervisor_link import Heard, Lines, Told

_CHILD: Final = ("-m", "headwater.cli.child")
_PING: Final = 1.0  # seconds between two pings of a worker
_UNSENT: Final = 1 << 23  # bytes that wait for a child that does not read; more is not sent


@dataclass(frozen=True)
class Wanted:
    """A process that is to run: its name, and the command line of headwater that it is. worker: whether it answers requests."""

    name: str
    argv: Sequence[str]
    worker: bool = False


@dataclass(frozen=True)
class Timeouts:
    """Seconds that children may take.

    grace: to end. start: until a worker says how it stands, and until one that replaces another is ready. silence: until the event loop
    of a worker answers a ping; one that does not is killed and replaced.
    """

    grace: float = 10.0
    start: float = 300.0
    silence: float = 20.0


class Child:
    """A process under way. reasons: what it says that keeps it from being ready; None where it has said nothing yet.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, wanted: Wanted, door: socket.socket | None, grace: float) -> None:
        self.wanted, self.since = wanted, clock.stopwatch()
        self.reasons: list[str] | None = None
        self.heard: list[str] = []
        self.killed_at: float | None = None
        self.pinged: float | None = None  # when, as long as it has not answered
        self.answered = self.since
        self._lines, self._unsent, self._pings = Lines(), bytearray(), 0
        self.socket, theirs = socket.socketpair()
        shared = [theirs.fileno()] + ([door.fileno()] if door is not None and wanted.worker else [])
        try:
            self.process = subprocess.Popen(  # noqa: S603 (our own command line)
                [sys.executable, *_CHILD, str(grace), ",".join(map(str, shared)), *wanted.argv],
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # what is typed at the terminal reaches the supervisor alone
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
            self.send(Heard(others=others))
            self.heard = others

    def ping(self, now: float) -> None:
        """Ask its event loop for a sign of life, unless it owes one."""
        if self.pinged is None and now - self.answered > _PING:
            self.pinged, self._pings = now, self._pings + 1
            self.send(Heard(ping=self._pings))

    def send(self, heard: Heard) -> None:
        if len(self._unsent) < _UNSENT:
            self._unsent += msgspec.json.encode(heard) + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what it takes without being waited for."""
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # it is gone, which is noticed elsewhere
            self._unsent.clear()

    def read(self) -> list[Told]:
        """What it told since."""
        try:
            found = [msgspec.json.decode(line, type=Told) for line in self._lines.cut(self.socket.recv(1 << 18))]
        except (OSError, msgspec.MsgspecError, HeadwaterError):  # it is gone, or talks nonsense: its silence will tell
            return []
        for told in found:
            if told.reasons is not None:
                self.reasons = told.reasons
            if told.pong is not None:
                self.pinged, self.answered = None, clock.stopwatch()
        return found
