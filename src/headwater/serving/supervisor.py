"""One command, several processes: they are started, watched, started again when they die, and told to end in the right order."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from headwater import clock
from headwater.serving.leash import Heard, Lines, Told

Say = Callable[[str], None]

_LOOK: Final = 0.05  # seconds
_FIRST: Final = 0.1  # seconds before a child is started again
_LONGEST: Final = 30.0
_OFTEN: Final = 3  # deaths: it keeps dying
_LONG: Final = 60.0  # seconds; a child that lives so long does not
_KILL: Final = 2.0  # seconds after the grace, in which a child has to be gone
_CALLED_WRONGLY: Final = 2
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Wanted:
    """A process that is to run: its name, and the command line of headwater that it is. worker: whether it answers requests."""

    name: str
    argv: Sequence[str]
    worker: bool = False


class _Child:
    """A process under way. reasons: what it says that keeps it from being ready; None where it has said nothing yet."""

    def __init__(self, wanted: Wanted, door: socket.socket | None, grace: float, folder: str) -> None:
        self.wanted, self.since = wanted, clock.stopwatch()
        self.reasons: list[str] | None = None
        self.heard: list[str] = []
        self.killed_at: float | None = None
        self.lines = Lines()
        self.socket, theirs = socket.socketpair()
        numbers = str(Path(folder, f"{wanted.name.replace(' ', '-')}.prom"))
        shared = [theirs.fileno()] + ([door.fileno()] if door is not None and wanted.worker else [])
        self.process = subprocess.Popen(  # noqa: S603 (our own command line)
            [sys.executable, "-m", "headwater.cli.child", str(grace), ",".join(map(str, shared)), numbers, *wanted.argv],
            pass_fds=shared,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # what is typed at the terminal reaches the supervisor alone
        )
        theirs.close()
        self.socket.settimeout(0)

    @property
    def ready(self) -> bool:
        return self.reasons == []

    def tell(self, others: list[str]) -> None:
        if others != self.heard:
            with contextlib.suppress(OSError):
                self.socket.send(msgspec.json.encode(Heard(others)) + b"\n")
                self.heard = others

    def read(self) -> None:
        """Take in what it told."""
        with contextlib.suppress(OSError):
            for line in self.lines.cut(self.socket.recv(1 << 16)):
                self.reasons = msgspec.json.decode(line, type=Told).reasons


class _Place:
    """Where one of the wanted processes runs, and how often it has died."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.child: _Child | None = None
        self.next: _Child | None = None  # which takes over once it is ready
        self.deaths = 0  # since one lived long
        self.start_at = 0.0
        self.wait = _FIRST
        self.said = ""

    def keeps_dying(self) -> bool:
        return self.deaths >= _OFTEN


class Supervisor:
    """Runs processes until it is told to stop.

    SIGTERM and SIGINT end the service: workers first, which finish what is under way; then the others, so that events which workers pass
    on are still committed. A second signal kills. SIGHUP replaces one worker after the other, each by one that is ready. A child that
    dies is started again, later each time. The service is ready once every worker is, and no longer when a child keeps dying.

    Args:
        wanted: the processes.
        door: a socket that listens, which the workers share: while one is being replaced, connections wait for the others.
        say: gets sentences about what happens.
        grace: seconds in which a child has to end.
    """

    def __init__(self, wanted: Sequence[Wanted], *, door: socket.socket | None, say: Say, grace: float = 10.0) -> None:
        self._places = [_Place(one) for one in wanted]
        self._door, self._say, self._grace = door, say, grace
        self._selector = selectors.DefaultSelector()
        self._folder = tempfile.TemporaryDirectory(prefix="headwater-")
        self._was_ready = False
        self._leaving: list[_Child] = []  # that others have taken over from
        self._told = 0  # signals to end
        self._rolling: deque[_Place] = deque()

    def run(self) -> int:
        """Run until told to stop; the exit code: 0, or that of a child that was called wrongly."""
        with self._signals():
            while not self._told:
                code = self._turn()
                if code is not None:
                    self._say("stopping, since no further try would end otherwise")
                    self._end()
                    return code
            self._say("stopping")
            self._end()
        return 0

    def unready(self) -> list[str]:
        """What is wrong with the whole, in sentences."""
        if self._told:
            return ["the service is stopping"]
        found = [f"{place.wanted.name} keeps dying: {place.said}" for place in self._places if place.keeps_dying()]
        workers = [place for place in self._places if place.wanted.worker]
        ready = sum(place.child is not None and place.child.ready for place in workers)
        if ready == len(workers):
            self._was_ready = True
        elif not self._was_ready:
            found.append(f"{ready} of {len(workers)} workers are ready")
        return found

    def _turn(self) -> int | None:
        """Look once at everything; the exit code where the service has to end."""
        for key, _ in self._selector.select(_LOOK):
            before = key.data.ready
            key.data.read()
            if key.data.ready and not before:
                self._say(f"{key.data.wanted.name} is ready after {clock.stopwatch() - key.data.since:.1f} s")
        for place in self._places:
            code = self._look_at(place)
            if code is not None:
                return code
        self._roll()
        self._leaving = [child for child in self._leaving if not self._gone(child)]
        others = self.unready()
        for child in self._children():
            child.tell(others)
        return None

    def _look_at(self, place: _Place) -> int | None:
        """Start what should run and does not, and see what has died."""
        if place.next is not None:
            if place.next.process.poll() is not None:
                self._say(f"the new {place.wanted.name} {_how(place.next.process)}; the one before goes on")
                self._forget(place.next)
                place.next = None
                self._rolling.clear()
            elif place.next.ready:
                before, place.child, place.next = place.child, place.next, None
                if before is not None:
                    self._tell_to_end(before)
                    self._leaving.append(before)
        child, now = place.child, clock.stopwatch()
        if child is None:
            if now >= place.start_at:
                place.child = self._start(place.wanted)
            return None
        if child.process.poll() is None:
            if now - child.since > _LONG:
                place.deaths, place.wait = 0, _FIRST
            return None
        self._forget(child)
        place.child, place.said = None, _how(child.process)
        if child.process.returncode == _CALLED_WRONGLY and child.reasons is None and not place.deaths:
            return _CALLED_WRONGLY
        place.deaths += 1
        place.start_at = now + place.wait
        self._say(f"{place.wanted.name} {place.said} after {now - child.since:.0f} s; it is started again in {place.wait:.1f} s")
        place.wait = min(2 * place.wait, _LONGEST)
        return None

    def _roll(self) -> None:
        """Go on with replacing workers, one at a time."""
        if self._rolling and not self._leaving and all(place.next is None for place in self._places):
            place = self._rolling.popleft()
            if place.child is not None:
                place.next = self._start(place.wanted)

    def _start(self, wanted: Wanted) -> _Child:
        child = _Child(wanted, self._door, self._grace, self._folder.name)
        self._selector.register(child.socket, selectors.EVENT_READ, child)
        return child

    def _children(self) -> Iterator[_Child]:
        for place in self._places:
            yield from (child for child in (place.child, place.next) if child is not None)
        yield from self._leaving

    def _tell_to_end(self, child: _Child) -> None:
        child.process.terminate()
        child.killed_at = clock.stopwatch() + self._grace + _KILL

    def _gone(self, child: _Child) -> bool:
        """Whether a child that was told to end has; one that takes too long is killed."""
        if child.process.poll() is None:
            if child.killed_at is not None and (clock.stopwatch() > child.killed_at or self._told > 1):
                self._say(f"{child.wanted.name} does not end; it is killed")
                child.process.kill()
                child.process.wait()
            else:
                return False
        self._forget(child)
        return True

    def _forget(self, child: _Child) -> None:
        self._selector.unregister(child.socket)
        child.socket.close()

    def _end(self) -> None:
        """Have every child end, the workers first."""
        self._told = max(self._told, 1)
        for child in self._children():
            child.tell(self.unready())
        every = list(self._children())
        for group in ([one for one in every if one.wanted.worker], [one for one in every if not one.wanted.worker]):
            for child in group:
                if child.killed_at is None:
                    self._tell_to_end(child)
            if self._door is not None:
                self._door.close()
            while group := [child for child in group if not self._gone(child)]:
                for key, _ in self._selector.select(_LOOK):
                    key.data.read()
        self._selector.close()
        self._folder.cleanup()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def told(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                self._rolling.extend(place for place in self._places if place.wanted.worker and place not in self._rolling)
            else:
                self._told += 1

        before = {one: signal.signal(one, told) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, old in before.items():
                signal.signal(one, old)


def _how(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"ended with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
