"""What ties a child process to the one that supervises it: lines of JSON over a pair of sockets, whose end is the end of the child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final

import msgspec

from headwater import clock
from headwater.errors import HeadwaterError
from headwater.serving.metrics.process_metrics import Family

_UNREADY: Final = 0.25  # seconds between two looks at what is not ready yet
_READY: Final = 2.0
_LONGEST: Final = 1 << 24  # bytes of a line
_WAITING: Final = 8  # messages to a supervisor that does not read; more metrics wait for the next time


class Told(msgspec.Struct, omit_defaults=True):
    """What a child tells.

    reasons: what keeps it from answering everything, and nothing once it is ready. pong: the number of a ping, sent by its event loop.
    metrics: its metrics as they are now. scrape: whether it wants those of all children.
    """

    reasons: list[str] | None = None
    pong: int | None = None
    metrics: list[Family] | None = None
    scrape: bool = False


class Heard(msgspec.Struct, omit_defaults=True):
    """What a child hears: what is wrong with the whole, of which it is a part; a ping; the metrics of all children, as text."""

    others: list[str] | None = None
    ping: int | None = None
    metrics: str | None = None


class Lines:
    """Cuts what comes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, data: bytes) -> list[bytes]:
        r"""The lines that are whole by now.

        >>> lines = Lines()
        >>> lines.cut(b"one\ntw"), lines.cut(b"o\n\n")
        ([b'one'], [b'two', b''])
        """
        self._rest += data
        if b"\n" not in data:
            whole: list[bytes] = []
        else:
            *whole, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
        if len(self._rest) > _LONGEST:
            raise HeadwaterError(f"a line of more than {_LONGEST:,} bytes came from another process")
        return whole


class Leash:
    """A child's end.

    When the supervisor is gone, whatever ended it, the child ends itself as if it had been told to: no child is orphaned.

    Args:
        fd: the child's socket.
        door: a socket that listens already, which all workers share; None where this child is no worker.
        grace: seconds in which the child has to end once it was told to.
    """

    def __init__(self, fd: int, *, door: int | None = None, grace: float = 10.0) -> None:
        self.door, self.grace = door, grace
        self._socket = socket.socket(fileno=fd)
        self._others: list[str] = []
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: int | None = None  # a ping that came before there was an event loop
        self._sending: SimpleQueue[Told] = SimpleQueue()
        self._scrapes: list[Future[str]] = []
        self._lock = threading.Lock()
        for name, work in (("listen", self._listen), ("send", self._send)):
            threading.Thread(target=work, name=f"supervisor {name}", daemon=True).start()

    def others(self) -> list[str]:
        """What is wrong elsewhere in the service, in sentences."""
        return self._others

    def tell(self, told: Told) -> None:
        """Tell the supervisor something; this waits for nothing."""
        if told.metrics is None or self._sending.qsize() < _WAITING:
            self._sending.put(told)

    def watch(self, unready: Callable[[], list[str]]) -> None:
        """Tell from now on, in a thread, whatever `unready` says."""
        threading.Thread(target=self._watch, args=(unready,), name="readiness", daemon=True).start()

    def answer_pings(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have an event loop answer the supervisor's pings, which then knows that it turns."""
        self._loop = loop
        if self._early is not None:
            self._ping(self._early)

    def report(self, collect: Callable[[], list[Family]], every: float = 2.0) -> None:
        """Tell the supervisor this process's metrics from now on, from a thread."""

        def work() -> None:
            while True:
                self.tell(Told(metrics=collect()))
                if self._stop.wait(every):
                    self.tell(Told(metrics=collect()))
                    return

        threading.Thread(target=work, name="metrics", daemon=True).start()

    def scrape(self) -> Future[str]:
        """The metrics of all children, in the text format of Prometheus, as soon as the supervisor has answered."""
        wanted: Future[str] = Future()
        with self._lock:
            self._scrapes.append(wanted)
        self.tell(Told(scrape=True))
        return wanted

    def let_go(self) -> None:
        """Tell no more."""
        self._stop.set()

    def _watch(self, unready: Callable[[], list[str]]) -> None:
        reasons: list[str] | None = None
        while True:
            found = unready()
            if found != reasons:
                self.tell(Told(reasons=found))
                reasons = found
            if self._stop.wait(_UNREADY if reasons else _READY):
                return

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone, which is noticed where it is listened to
            while True:
                self._socket.sendall(msgspec.json.encode(self._sending.get()) + b"\n")

    def _listen(self) -> None:
        lines = Lines()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                for line in lines.cut(data):
                    self._hear(msgspec.json.decode(line, type=Heard))
        os.kill(os.getpid(), signal.SIGTERM)
        until = clock.stopwatch() + self.grace + 1
        while clock.stopwatch() < until:
            threading.Event().wait(0.1)
        os._exit(1)

    def _hear(self, heard: Heard) -> None:
        if heard.others is not None:
            self._others = heard.others
        if heard.ping is not None:
            self._ping(heard.ping)
        if heard.metrics is not None:
            with self._lock:
                wanted, self._scrapes = self._scrapes, []
            for one in wanted:
                with contextlib.suppress(Exception):  # who asked has given up
                    one.set_result(heard.metrics)

    def _ping(self, number: int) -> None:
        if self._loop is None:
            self._early = number
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so will the process
            self._loop.call_soon_threadsafe(self.tell, Told(pong=number))
