"""A heap of events, and processes that wait: for time, for a processor, for what a queue holds.

A process is a generator. What it yields takes a function and calls it, with a value, when the
process is to go on.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

Resume = Callable[[Any], None]
Command = Callable[[Resume], None]
Process = Generator[Command, Any, None]


class Simulation:
    """Time, and the events to come; two events at one time happen in the order in which they were
    planned.

    >>> simulation, seen = Simulation(), []
    >>> def process():
    ...     yield simulation.wait(2.0)
    ...     seen.append(simulation.now)
    >>> simulation.start(process())
    >>> simulation.run(until=10.0)
    >>> seen
    [2.0]
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Resume, Any]] = []
        self._planned = 0

    def at(self, delay: float, call: Resume, value: Any = None) -> None:
        """Call a function with a value, so many seconds from now."""
        self._planned += 1
        heapq.heappush(self._heap, (self.now + delay, self._planned, call, value))

    def wait(self, seconds: float) -> Command:
        """Go on after so many seconds."""
        return lambda resume: self.at(seconds, resume)

    def start(self, process: Process) -> None:
        """Begin a process now."""

        def step(value: Any) -> None:
            try:
                command = process.send(value)
            except StopIteration:
                return
            command(step)

        step(None)

    def run(self, until: float) -> None:
        """Let everything happen that is planned before a time."""
        heap = self._heap
        while heap and heap[0][0] < until:
            self.now, _, call, value = heapq.heappop(heap)
            call(value)
        self.now = until


class Queue:
    """Items that wait, first in, first out; `most` of them concurrently, further ones are dropped
    and counted.
    """

    def __init__(self, simulation: Simulation, most: float = float("inf")) -> None:
        self.items: deque[Any] = deque()
        self.dropped = 0
        self._simulation, self._most = simulation, most
        self._taker: tuple[int, Resume] | None = None

    def put(self, item: Any) -> bool:
        """Whether there was room."""
        if len(self.items) >= self._most:
            self.dropped += 1
            return False
        self.items.append(item)
        if self._taker is not None:
            (count, resume), self._taker = self._taker, None
            self._simulation.at(0.0, lambda _: resume(self._taken(count)))
        return True

    def take(self, count: int = 1) -> Command:
        """Wait until something is there, and take up to so many."""

        def command(resume: Resume) -> None:
            if self.items:
                self._simulation.at(0.0, lambda _: resume(self._taken(count)))
            else:
                self._taker = count, resume

        return command

    def _taken(self, count: int) -> list[Any]:
        return [self.items.popleft() for _ in range(min(count, len(self.items)))]


class Servers:
    """So many alike servers, and one line before them."""

    def __init__(self, simulation: Simulation, count: int = 1) -> None:
        self.free = count
        self.line: deque[Resume] = deque()
        self.simulation = simulation

    def acquire(self) -> Command:
        """Wait for one."""

        def command(resume: Resume) -> None:
            if self.free:
                self.free -= 1
                resume(None)
            else:
                self.line.append(resume)

        return command

    def release(self) -> None:
        """Give one back, to the first in line."""
        if self.line:
            self.simulation.at(0.0, self.line.popleft())
        else:
            self.free += 1

    def use(self, seconds: float) -> Process:
        """Wait for one, keep it for so many seconds, and give it back."""
        yield self.acquire()
        yield self.simulation.wait(seconds)
        self.release()


class Processors:
    """Processors with a line each.

    A thread stands in the line of the processor on which it ran last, even while another one is
    idle: above a load of about 0.6, Linux does not look for one (`SIS_UTIL`; few threads are moved
    by an idle processor either). A processor that is idle at a tick takes from the longest line.
    """

    TICK = 0.004
    """Seconds: of a kernel with `CONFIG_HZ=250`. Two processors are balanced once a tick."""

    def __init__(self, simulation: Simulation, count: int) -> None:
        self.simulation = simulation
        self._lines: list[deque[Resume]] = [deque() for _ in range(count)]
        self._idle = set(range(count))
        self._placed = 0
        self._planned = False

    def place(self) -> int:
        """The processor of a new thread: each in turn."""
        self._placed += 1
        return (self._placed - 1) % len(self._lines)

    def acquire(self, last: int) -> Command:
        """Wait for this processor; the value is the one that was given, which may be another."""

        def command(resume: Resume) -> None:
            if last in self._idle:
                self._idle.remove(last)
                resume(last)
            else:
                self._lines[last].append(resume)
                self._balance_at_tick()

        return command

    def waited_for(self, number: int) -> bool:
        """Whether threads are in its line."""
        return bool(self._lines[number])

    def release(self, number: int) -> None:
        """Give it back, to the first in its line."""
        if self._lines[number]:
            self._give(number, self._lines[number])
        else:
            self._idle.add(number)
            self._balance_at_tick()

    def _give(self, number: int, line: deque[Resume]) -> None:
        self.simulation.at(0.0, line.popleft(), number)

    def _balance_at_tick(self) -> None:
        if self._idle and any(self._lines) and not self._planned:
            self._planned, now = True, self.simulation.now
            self.simulation.at((int(now / self.TICK + 1e-6) + 1) * self.TICK - now, self._balance)

    def _balance(self, _: Any) -> None:
        self._planned = False
        while self._idle and any(self._lines):
            self._give(self._idle.pop(), max(self._lines, key=len))


class Thread:
    """What runs on one of some processors: it keeps a processor until it waits, or a tick has
    passed and others are in line.

    lock: of its interpreter, which threads of one process share.
    """

    SLICE = Processors.TICK
    """Seconds: Linux's base slice is less (1.4 ms with two processors), and is checked at ticks."""
    SWITCH = 0.005
    """Seconds after which Python asks a thread for the interpreter's lock
    (`sys.getswitchinterval`).
    """

    def __init__(self, processors: Processors, lock: Servers | None = None) -> None:
        self._processors, self._simulation, self._lock = processors, processors.simulation, lock
        self._holds, self._left, self._last = False, self.SLICE, processors.place()

    def run(self, seconds: float, locked: float = 0.0) -> Process:
        """Keep a processor busy for so many seconds; a share of them holds the lock."""
        held = seconds * locked if self._lock is not None else 0.0
        if held:
            yield from self._hold(held)
        yield from self._run(seconds - held)

    def _hold(self, seconds: float) -> Process:
        """Run with the lock; it goes to a thread that wants it after a switch interval."""
        lock = self._lock
        assert lock is not None
        while seconds > 1e-12:
            if not lock.free:
                self.pause()
            yield lock.acquire()
            left = self.SWITCH
            while seconds > 1e-12 and (left > 0 or not lock.line):
                part = min(seconds, left if left > 0 else self.SWITCH)
                yield from self._run(part)
                seconds -= part
                left -= part
            lock.release()

    def _run(self, seconds: float) -> Process:
        while seconds > 0:
            if not self._holds:
                self._last = yield self._processors.acquire(self._last)
                self._holds, self._left = True, self.SLICE
            part = min(seconds, self._left)
            yield self._simulation.wait(part)
            seconds -= part
            self._left -= part
            if self._left <= 1e-12:
                self._left = self.SLICE
                if self._processors.waited_for(self._last):
                    self.pause()

    def take(self, queue: Queue, count: int) -> Generator[Command, Any, list[Any]]:
        """Take from a queue; the processor is given back where nothing is there."""
        if not queue.items:
            self.pause()
        return (yield queue.take(count))

    def pause(self) -> None:
        """Give the processor back."""
        if self._holds:
            self._holds = False
            self._processors.release(self._last)
