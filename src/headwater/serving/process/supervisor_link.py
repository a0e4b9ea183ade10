"""The link between a child process and its supervisor: JSON lines over a socket pair; the child
ends when it is closed.
"""

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
from headwater.serving.metrics.process_metrics import MetricValues

_UNREADY: Final = 0.25  # seconds between two readiness checks while not ready
_READY: Final = 2.0
_LONGEST: Final = 1 << 24  # bytes of a line
_WAITING: Final = 8  # messages queued for the supervisor; beyond it, metrics are dropped


class ChildMessage(msgspec.Struct, omit_defaults=True):
    """A message of a child to the supervisor.

    reasons: why it is not ready; empty once it is. pong: the number of a ping, sent by its event
    loop. metrics: its current metrics.
    scrape: whether it requests the metrics of all children.
    """

    reasons: list[str] | None = None
    pong: int | None = None
    metrics: list[MetricValues] | None = None
    scrape: bool = False


class SupervisorMessage(msgspec.Struct, omit_defaults=True):
    """A message of the supervisor to a child. others: why the rest of the service is not ready.
    metrics: of all children, as text.
    """

    others: list[str] | None = None
    ping: int | None = None
    metrics: str | None = None


class LineSplitter:
    """Splits received bytes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, data: bytes) -> list[bytes]:
        r"""The complete lines.

        >>> lines = LineSplitter()
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
            raise HeadwaterError(f"another process sent a line of more than {_LONGEST:,} bytes")
        return whole


class SupervisorLink:
    """The child's side of the link.

    When the supervisor ends for any reason, the child stops as after SIGTERM, so that no child is
    orphaned.

    Args:
        fd: the child's socket.
        listener: file descriptor of the listening socket that all workers share, or of its own;
            None for a child that does not listen.
        grace: seconds that the child may take to stop.
    """

    def __init__(self, fd: int, *, listener: int | None = None, grace: float = 10.0) -> None:
        self.listener, self.grace = listener, grace
        self._socket = socket.socket(fileno=fd)
        self._others: list[str] = []
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: int | None = None  # a ping received before there was an event loop
        self._sending: SimpleQueue[ChildMessage] = SimpleQueue()
        self._scrapes: list[Future[str]] = []
        self._lock = threading.Lock()
        for name, work in (("listen", self._listen), ("send", self._send)):
            threading.Thread(target=work, name=f"supervisor {name}", daemon=True).start()

    def others(self) -> list[str]:
        """Reasons why the rest of the service is not ready, in sentences."""
        return self._others

    def tell(self, message: ChildMessage) -> None:
        """Queue a message to the supervisor; never blocks."""
        if message.metrics is None or self._sending.qsize() < _WAITING:
            self._sending.put(message)

    def watch(self, unready: Callable[[], list[str]]) -> None:
        """Start a thread that reports changes of readiness. unready: returns the reasons."""
        threading.Thread(target=self._watch, args=(unready,), name="readiness", daemon=True).start()

    def answer_pings(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer the supervisor's pings from an event loop, to show that it is responsive."""
        self._loop = loop
        if self._early is not None:
            self._ping(self._early)

    def report(self, collect: Callable[[], list[MetricValues]], every: float = 2.0) -> None:
        """Start a thread that sends this process's metrics to the supervisor."""

        def work() -> None:
            while True:
                self.tell(ChildMessage(metrics=collect()))
                if clock.wait(every, self._stop):
                    self.tell(ChildMessage(metrics=collect()))
                    return

        threading.Thread(target=work, name="metrics", daemon=True).start()

    def scrape(self) -> Future[str]:
        """A future of the metrics of all children, in Prometheus text format."""
        metrics: Future[str] = Future()
        with self._lock:
            self._scrapes.append(metrics)
        self.tell(ChildMessage(scrape=True))
        return metrics

    def let_go(self) -> None:
        """Stop the threads that report."""
        self._stop.set()

    def _watch(self, unready: Callable[[], list[str]]) -> None:
        reasons: list[str] | None = None
        while True:
            current = unready()
            if current != reasons:
                self.tell(ChildMessage(reasons=current))
                reasons = current
            if clock.wait(_UNREADY if reasons else _READY, self._stop):
                return

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # the supervisor has ended, which `_listen` handles
            while True:
                self._socket.sendall(msgspec.json.encode(self._sending.get()) + b"\n")

    def _listen(self) -> None:
        lines = LineSplitter()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                for line in lines.cut(data):
                    self._receive(msgspec.json.decode(line, type=SupervisorMessage))
        os.kill(os.getpid(), signal.SIGTERM)
        until = clock.stopwatch() + self.grace + 1
        while clock.stopwatch() < until:
            clock.wait(0.1)
        os._exit(1)

    def _receive(self, heard: SupervisorMessage) -> None:
        if heard.others is not None:
            self._others = heard.others
        if heard.ping is not None:
            self._ping(heard.ping)
        if heard.metrics is not None:
            with self._lock:
                waiters, self._scrapes = self._scrapes, []
            for waiter in waiters:
                with contextlib.suppress(Exception):  # the waiting request was cancelled
                    waiter.set_result(heard.metrics)

    def _ping(self, number: int) -> None:
        if self._loop is None:
            self._early = number
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so will the process
            self._loop.call_soon_threadsafe(self.tell, ChildMessage(pong=number))
