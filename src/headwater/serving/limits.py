"""How large, how deep and how slow a body may be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from headwater import clock
from headwater.serving.http import LARGEST, Read, Refused

DEEPEST: Final = 32
"""Arrays and objects within each other."""
SECONDS: Final = 30.0
"""In which a body has to come."""

_PATIENCE: Final = 10  # times the largest body are read before one is refused without being heard
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OPEN, _SHUT = frozenset(b"[{"), frozenset(b"]}")


class Clock:
    """Ends reads that take too long: looked at once a second, so that one that does not costs nearly nothing."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> asyncio.Task[object] | None:
        """Note that the task under way reads."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        if task is not None:
            self._since[task] = clock.stopwatch()
            if self._watch is None:
                self._watch = self._loop.call_later(min(1.0, self._seconds / 4), self._look)
        return task

    def end(self, task: asyncio.Task[object] | None) -> None:
        """Note that it has read."""
        if task is not None:
            self._since.pop(task, None)

    def was_late(self, task: asyncio.Task[object] | None) -> bool:
        """Whether a read was ended, and not by whoever cancels requests for a reason of their own."""
        if task in self._late:
            self._late.discard(task)
            return True
        return False

    def _look(self) -> None:
        self._watch = None
        now = clock.stopwatch()
        for task, since in list(self._since.items()):
            if now - since > self._seconds:
                self._late.add(task)
                self._since.pop(task)
                task.cancel()
        if self._since and self._loop is not None:
            self._watch = self._loop.call_later(min(1.0, self._seconds / 4), self._look)


async def read_body(read: Read, headers: Mapping[bytes, bytes], watch: Clock, largest: int = LARGEST) -> bytes:
    """The whole body of a request.

    Raises:
        Refused: it is too large, compressed, or slower than `SECONDS`; or the sender has gone (499).
    """
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding not in (b"identity", b""):
        raise Refused(415, f"the body is encoded as {encoding.decode('latin-1')!r}; send it as it is")
    task = watch.begin()
    try:
        message = await read()
        first = message.get("body", b"")
        if len(first) <= largest and (message.get("more_body") is False or b"%d" % len(first) == headers.get(b"content-length")):
            return bytes(first)  # the message that only says that this was all is not waited for: it costs as much as the first one
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise Refused(499, "the sender has gone")
            part = message.get("body", b"")
            size += len(part)
            if size <= largest:
                parts.append(bytes(part))
            else:
                parts.clear()  # the rest is read and let go: most senders listen only when they are done
            if not message.get("more_body", False) or size > _PATIENCE * largest:
                break
            message = await read()
    except asyncio.CancelledError:
        if watch.was_late(task):
            assert task is not None
            task.uncancel()
            raise Refused(408, f"the body has not come within {SECONDS:.0f} seconds; send it again") from None
        raise
    finally:
        watch.end(task)
    if size > largest:
        raise Refused(413, f"the body is larger than {largest // 1_000_000} MB; send it in parts")
    return b"".join(parts)


def check_depth(data: bytes, deepest: int = DEEPEST) -> None:
    """Refuse JSON whose arrays and objects lie deeper within each other than any request needs.

    Raises:
        Refused: 400.

    >>> check_depth(b'{"row": {"note": "[[[[[["}}', 3)
    >>> check_depth(b"[[[[1]]]]", 3)
    Traceback (most recent call last):
    headwater.serving.http.Refused: the body is nested deeper than 3 levels; no request needs that
    """
    if data.count(b"[") + data.count(b"{") <= deepest:
        return
    letters = np.frombuffer(_TEXTS.sub(b"", data), np.uint8)
    steps = np.isin(letters, list(_OPEN)).astype(np.int32) - np.isin(letters, list(_SHUT))
    if len(steps) and int(np.cumsum(steps).max()) > deepest:
        raise Refused(400, f"the body is nested deeper than {deepest} levels; no request needs that")
