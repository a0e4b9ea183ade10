"""Limits of request bodies: size, memory of all bodies, and time. The JSON decoder limits the
depth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from headwater import clock
from headwater.serving.http.asgi import LARGEST, Message, Read, Refused

IN_FLIGHT: Final = 10 * LARGEST
"""Bytes of all bodies that a process holds concurrently; further requests are refused with 503."""
SECONDS: Final = 30.0
"""Within which a body must arrive."""

_PATIENCE: Final = 10  # times the largest body are read and dropped before the connection is closed


class BodyBudget:
    """Limits the bytes of all request bodies that a process holds concurrently.

    Args:
        most: bytes.

    >>> budget = BodyBudget(10)
    >>> budget.take(8), budget.take(3), budget.used
    (True, False, 8)
    """

    def __init__(self, most: int = IN_FLIGHT) -> None:
        self.most, self.used = most, 0

    def take(self, size: int) -> bool:
        """Reserve bytes; False, without a reservation, where too few are left."""
        if self.used + size > self.most:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Release reserved bytes."""
        self.used -= size


class BodyTimeouts:
    """Cancels reads that take too long: checked once a second, so that a fast read costs nearly
    nothing.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> asyncio.Task[object] | None:
        """Register the current task as reading a body."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        if task is not None:
            self._since[task] = clock.stopwatch()
            if self._watch is None:
                self._watch = self._loop.call_later(min(1.0, self._seconds / 4), self._look)
        return task

    def end(self, task: asyncio.Task[object] | None) -> None:
        """Unregister a task."""
        if task is not None:
            self._since.pop(task, None)

    def was_late(self, task: asyncio.Task[object] | None) -> bool:
        """Whether this object cancelled the task's read, and not another caller."""
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


async def read_body(
    read: Read,
    headers: Mapping[bytes, bytes],
    watch: BodyTimeouts,
    budget: BodyBudget,
    largest: int = LARGEST,
) -> bytes:
    """The body of a request; the caller returns its size to the budget after the response. A client
    that waits for `100 Continue` gets it here, unless its body is refused by what the header says.

    Raises:
        Refused: 413, too large; 415, compressed; 408, slower than `SECONDS`; 503, the budget is
            used up; 499, the client disconnected.
    """
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding.lower() not in (b"identity", b""):
        raise Refused(
            415,
            f"the body has the content encoding {encoding.decode('latin-1')!r}; send it without "
            "one",
        )
    if (
        b"expect" in headers
        and headers.get(b"content-length", b"").isdigit()
        and int(headers[b"content-length"]) > largest
    ):
        raise _large(largest)  # the client waits for the response before it sends the body
    task = watch.begin()
    try:
        message = await read()
        first = message.get("body", b"")
        if len(first) <= largest and (
            message.get("more_body") is False
            or b"%d" % len(first) == headers.get(b"content-length")
        ):
            if not budget.take(len(first)):
                raise _full(budget)
            # an empty last message is not awaited: it costs as much as the first
            return bytes(first)
        return await _collected(message, read, budget, largest)
    except asyncio.CancelledError:
        if watch.was_late(task):
            assert task is not None
            task.uncancel()
            raise Refused(
                408, f"the body did not arrive within {SECONDS:.0f} seconds; send it again"
            ) from None
        raise
    finally:
        watch.end(task)


async def _collected(message: Message, read: Read, budget: BodyBudget, largest: int) -> bytes:
    """A body of several messages. A refused one is read to its end and dropped: most clients read
    the response only after sending all.
    """
    held, size, chunks = 0, 0, list[bytes]()
    refused: Refused | None = None
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise Refused(499, "the client disconnected")
            chunk = bytes(message.get("body", b""))
            size += len(chunk)
            if refused is None and size > largest:
                refused = _large(largest)
            elif refused is None and not budget.take(len(chunk)):
                refused = _full(budget)
            if refused is None:
                held += len(chunk)
                chunks.append(chunk)
            else:
                budget.give(held)
                held = 0
                chunks.clear()
            if not message.get("more_body", False) or size > _PATIENCE * largest:
                break
            message = await read()
        if refused is not None:
            raise refused
        held = 0  # the caller returns it
        return b"".join(chunks)
    finally:
        budget.give(held)


def _large(largest: int) -> Refused:
    return Refused(413, f"the body is larger than {largest // 1_000_000} MB; send it in parts")


def _full(budget: BodyBudget) -> Refused:
    return Refused(
        503,
        f"request bodies in progress take {budget.most // 1_000_000} MB, which is the limit; send "
        "it again",
        again=1,
    )
