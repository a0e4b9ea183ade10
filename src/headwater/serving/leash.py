"""What ties a child process to the one that supervises it: lines of JSON over a pair of sockets, whose end is the end of the child."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headwater import clock
from headwater.errors import HeadwaterError

_UNREADY: Final = 0.25  # seconds between two looks at what is not ready yet
_READY: Final = 2.0
_LONGEST: Final = 1 << 20  # bytes of a line


class Told(msgspec.Struct, omit_defaults=True):
    """What a child tells: what keeps it from answering everything, and nothing once it is ready."""

    reasons: list[str]


class Heard(msgspec.Struct, omit_defaults=True):
    """What a child hears: what is wrong with the whole, of which it is a part."""

    others: list[str]


class Lines:
    """Cuts what comes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> list[bytes]:
        """The lines that are whole by now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise HeadwaterError(f"a child sends a line of more than {_LONGEST:,} bytes")
        return whole


class Leash:
    """A child's end.

    When the supervisor is gone, whatever ended it, the child ends itself as if it had been told to: no child is orphaned.

    Args:
        fd: the child's socket.
        door: a socket that listens already, which all workers share; None where this child is no worker.
        grace: seconds in which the child has to end once it was told to.
        numbers: the file in which a worker keeps its numbers for the others.
    """

    def __init__(self, fd: int, *, door: int | None = None, grace: float = 10.0, numbers: Path | None = None) -> None:
        self.door, self.grace, self.numbers = door, grace, numbers
        self._socket = socket.socket(fileno=fd)
        self._others: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="leash", daemon=True).start()

    def others(self) -> list[str]:
        """What is wrong elsewhere in the service, in sentences."""
        return self._others

    def tell(self, reasons: list[str]) -> None:
        """Say what keeps this child from answering everything."""
        try:
            with self._lock:
                self._socket.sendall(msgspec.json.encode(Told(reasons)) + b"\n")
        except OSError:  # the supervisor is gone, which is noticed where it is listened to
            return

    def watch(self, unready: Callable[[], list[str]]) -> None:
        """Tell from now on, in a thread, whatever `unready` says."""
        threading.Thread(target=self._watch, args=(unready,), name="readiness", daemon=True).start()

    def let_go(self) -> None:
        """Tell no more."""
        self._stop.set()

    def _watch(self, unready: Callable[[], list[str]]) -> None:
        reasons: list[str] | None = None
        while True:
            found = unready()
            if found != reasons:
                self.tell(found)
                reasons = found
            if self._stop.wait(_UNREADY if reasons else _READY):
                return

    def _listen(self) -> None:
        lines = Lines()
        try:
            while data := self._socket.recv(1 << 16):
                for line in lines.cut(data):
                    self._others = msgspec.json.decode(line, type=Heard).others
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        until = clock.stopwatch() + self.grace + 1
        while clock.stopwatch() < until:
            threading.Event().wait(0.1)
        os._exit(1)
