"""How large and how slow a body may be; the JSON decoder bounds how deep."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from headwater import clock
from headwater.serving.http.asgi import LARGEST, Message, Read, Refused

IN_FLIGHT: Final = 10 * LARGEST
"""Bytes of all bodies that a process holds at one time; a request beyond is refused with 503."""
SECONDS: Final = 30.0
"""In which a body has to come."""

_PATIENCE: Final = 10  # times the largest body are read before one is refused without being heard


class BodyBudget:
    """Bounds the bytes of all request bodies that a process holds at one time.

    Args:
        most: bytes.

    >>> budget = BodyBudget(10)
    >>> budget.take(8), budget.take(3), budget.used
    (True, False, 8)
    """

    def __init__(self, most: int = IN_FLIGHT) -> None:
        self.most, self.used = most, 0

    def take(self, size: int) -> bool:
        """Reserve bytes; False, and none are, where too few are left."""
        if self.used + size > self.most:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Return bytes that were taken."""
        self.used -= size


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


async def read_body(read: Read, headers: Mapping[bytes, bytes], watch: Clock, budget: BodyBudget, largest: int = LARGEST) -> bytes:
    """The body of a request; the caller gives its size back to the budget once the request is answered.

    Raises:
        Refused: it is too large, compressed, or slower than `SECONDS`; the budget is used up (503); or the client disconnected (499).
    """
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() not in (b"identity", b""):
        raise Refused(415, f"the body is encoded as {encoding.decode('latin-1')!r}; send it as it is")
    task = watch.begin()
    try:
        message = await read()
        first = message.get("body", b"")
        if len(first) <= largest and (message.get("more_body") is False or b"%d" % len(first) == headers.get(b"content-length")):
            if not budget.take(len(first)):
                raise _full(budget)
            return bytes(first)  # a last message that is empty is not waited for: it costs as much as the first one
        return await _collected(message, read, budget, largest)
    except asyncio.CancelledError:
        if watch.was_late(task):
            assert task is not None
            task.uncancel()
            raise Refused(408, f"the body has not come within {SECONDS:.0f} seconds; send it again") from None
        raise
    finally:
        watch.end(task)


async def _collected(message: Message, read: Read, budget: BodyBudget, largest: int) -> bytes:
    """A body of several messages. One that is refused is read on and dropped: most clients read an answer only after they have sent all."""
    held, size, parts = 0, 0, list[bytes]()
    refused: Refused | None = None
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise Refused(499, "the client disconnected")
            part = bytes(message.get("body", b""))
            size += len(part)
            if refused is None and size > largest:
                refused = Refused(413, f"the body is larger than {largest // 1_000_000} MB; send it in parts")
            elif refused is None and not budget.take(len(part)):
                refused = _full(budget)
            if refused is None:
                held += len(part)
                parts.append(part)
            else:
                budget.give(held)
                held = 0
                parts.clear()
            if not message.get("more_body", False) or size > _PATIENCE * largest:
                break
            message = await read()
        if refused is not None:
            raise refused
        held = 0  # the caller gives it back
        return b"".join(parts)
    finally:
        budget.give(held)


def _full(budget: BodyBudget) -> Refused:
    return Refused(
        503, f"the bodies of the requests under way take {budget.most // 1_000_000} MB, which is the limit; send it again", again=1
    )
