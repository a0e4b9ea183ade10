"""One command, several processes: they are started, watched, started again when they die, and told to end in the right order."""

from __future__ import annotations

import math
import selectors
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater import clock
from headwater.serving.metrics.process_metrics import ProcessMetrics
from headwater.serving.process.child_process import Child, Timeouts, Wanted
from headwater.serving.process.supervisor_link import Heard
from headwater.serving.process.systemd import Notifier

Say = Callable[[str], None]

_LOOK: Final = 0.05  # seconds
_FIRST: Final = 0.1  # seconds before a child is started again
_LONGEST: Final = 30.0
_LONG: Final = 60.0  # seconds; a child that lives so long does not
_KILL: Final = 2.0  # seconds after the grace, in which a child has to be gone
_CALLED_WRONGLY: Final = 2
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Place:
    """Where one of the wanted processes runs, and how often it has died."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.child: Child | None = None
        self.next: Child | None = None  # which takes over once it is ready
        self.deaths, self.all_deaths = 0, 0  # since one lived long, and since the service began
        self.start_at = 0.0
        self.wait = _FIRST

    def died(self) -> float:
        """Count a death; in how many seconds another one is started."""
        self.deaths, self.all_deaths = self.deaths + 1, self.all_deaths + 1
        wait, self.wait = self.wait, min(2 * self.wait, _LONGEST)
        self.start_at = clock.stopwatch() + wait
        return wait


class Supervisor:
    """Runs processes until it is told to stop.

    SIGTERM and SIGINT end the service: workers first, which finish what is under way; then the others, so that events which workers pass
    on are still committed. A second signal kills. SIGHUP replaces one worker after the other, each by one that is ready; where one does
    not get ready in time, the one before goes on and the others are not replaced. A child that dies is started again, later each time,
    and so is a worker that is started and says nothing, or whose event loop does not answer. Whether a worker is ready is for itself to
    say: a job or an ingestion that keeps dying shows in the metrics.

    Args:
        wanted: the processes.
        door: a socket that listens, which the workers share: while one is being replaced, connections wait for the others.
        say: gets sentences about what happens.
        timeouts: seconds that children may take.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        door: socket.socket | None,
        say: Say,
        timeouts: Timeouts | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._places = [_Place(one) for one in wanted]
        self._door, self._say, self._timeouts = door, say, timeouts or Timeouts()
        self._selector = selectors.DefaultSelector()
        self._metrics = ProcessMetrics()
        self._notifier = notifier or Notifier(None)
        self._leaving: list[Child] = []  # that others have taken over from
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

    def roll(self) -> None:
        """Replace the workers, one after the other."""
        self._rolling.extend(place for place in self._places if place.wanted.worker and place not in self._rolling)

    def unready(self) -> list[str]:
        """What is wrong with the whole, in sentences, that a worker cannot know."""
        return ["the service is stopping"] if self._told else []

    def _turn(self) -> int | None:
        """Look once at everything; the exit code where the service has to end."""
        for key, _ in self._selector.select(_LOOK):
            self._hear(key.data)
        for place in self._places:
            code = self._look_at(place)
            if code is not None:
                return code
        self._roll()
        self._leaving = [child for child in self._leaving if not self._gone(child)]
        others, now = self.unready(), clock.stopwatch()
        for child in self._children():
            child.tell(others)
            if child.wanted.worker and child.reasons is not None:
                child.ping(now)
            child.flush()
        self._notifier.alive(now)
        return None

    def _hear(self, child: Child) -> None:
        """Take in what a child tells."""
        before = child.ready
        for told in child.read():
            if told.metrics is not None:
                name = child.wanted.name.replace(" ", "-")
                self._metrics.update(name, child.process.pid, told.metrics, labels={"worker": name} if child.wanted.worker else {})
            if told.scrape:
                child.send(Heard(metrics=self._metrics.text(self._own_metrics()).decode()))
        if child.ready and not before:
            self._say(f"{child.wanted.name} is ready after {clock.stopwatch() - child.since:.1f} s")

    def _own_metrics(self) -> list[Metric]:
        """What the supervisor knows of its children."""
        up = GaugeMetricFamily("headwater_process_up", "whether a process of the service runs", labels=["process"])
        deaths = CounterMetricFamily("headwater_process_deaths", "times that a process ended by itself or was replaced", labels=["process"])
        for place in self._places:
            name = place.wanted.name.replace(" ", "-")
            up.add_metric([name], float(place.child is not None))
            deaths.add_metric([name], place.all_deaths)
        return [up, deaths]

    def _look_at(self, place: _Place) -> int | None:
        """Start what should run and does not, and see what has died."""
        self._look_at_next(place)
        child, now = place.child, clock.stopwatch()
        if child is None:
            if now >= place.start_at:
                place.child = self._start(place)
            return None
        if child.process.poll() is None:
            if why := self._silent(child, now):
                child.process.kill()  # its end is seen the next time
                self._say(f"{child.wanted.name} {why}; it is killed")
                child.killed_at = math.inf
            elif now - child.since > _LONG:
                place.deaths, place.wait = 0, _FIRST
            return None
        self._forget(child)
        place.child, said = None, _how(child.process)
        if child.process.returncode == _CALLED_WRONGLY and child.reasons is None and not place.deaths:
            return _CALLED_WRONGLY
        wait = place.died()
        if place.next is not None:  # which replaces it anyway
            place.child, place.next = place.next, None
        self._say(f"{place.wanted.name} {said} after {now - child.since:.0f} s; it is started again in {wait:.1f} s")
        return None

    def _look_at_next(self, place: _Place) -> None:
        """See whether what is to take over can, or never will."""
        if place.next is None:
            return
        late = clock.stopwatch() - place.next.since > self._timeouts.start
        if place.next.process.poll() is None and not place.next.ready and late:
            reasons = "; ".join(place.next.reasons or ["it said nothing"])
            self._end_roll(place, f"is not ready after {self._timeouts.start:.0f} s ({reasons})")
        elif place.next.process.poll() is not None:
            self._end_roll(place, _how(place.next.process))
        elif place.next.ready:
            before, place.child, place.next = place.child, place.next, None
            if before is not None:
                self._tell_to_end(before)
                self._leaving.append(before)

    def _end_roll(self, place: _Place, why: str) -> None:
        """Let the processes before go on."""
        assert place.next is not None
        place.next.process.kill()
        place.next.process.wait()
        self._forget(place.next)
        place.next = None
        self._rolling.clear()
        self._say(f"error: the new {place.wanted.name} {why}; the one before goes on, and no other worker is replaced")

    def _silent(self, child: Child, now: float) -> str | None:
        """Why a child that runs is as good as dead; None where it is not."""
        if not child.wanted.worker or child.killed_at is not None:
            return None
        if child.reasons is None:
            late = now - child.since > self._timeouts.start
            return f"has said nothing for {self._timeouts.start:.0f} s after its start" if late else None
        late = child.pinged is not None and now - child.pinged > self._timeouts.silence
        return f"has not answered for {self._timeouts.silence:.0f} s" if late else None

    def _roll(self) -> None:
        """Go on with replacing workers, one at a time."""
        if self._rolling and not self._leaving and all(place.next is None for place in self._places):
            place = self._rolling.popleft()
            if place.child is not None:
                place.next = self._start(place)
                if place.next is None:
                    self._rolling.clear()

    def _start(self, place: _Place) -> Child | None:
        """Start a process; None where the operating system has no room for one, which counts as a death."""
        try:
            child = Child(place.wanted, self._door, self._timeouts.grace)
        except OSError as error:
            said = f"could not be started: {error.strerror or error}"
            self._say(f"error: {place.wanted.name} {said}; it is tried again in {place.died():.1f} s")
            return None
        self._selector.register(child.socket, selectors.EVENT_READ, child)
        return child

    def _children(self) -> Iterator[Child]:
        for place in self._places:
            yield from (child for child in (place.child, place.next) if child is not None)
        yield from self._leaving

    def _tell_to_end(self, child: Child) -> None:
        child.process.terminate()
        child.killed_at = clock.stopwatch() + self._timeouts.grace + _KILL

    def _gone(self, child: Child) -> bool:
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

    def _forget(self, child: Child) -> None:
        self._hear(child)
        self._metrics.end(child.wanted.name.replace(" ", "-"), child.process.pid)
        self._selector.unregister(child.socket)
        child.socket.close()

    def _end(self) -> None:
        """Have every child end, the workers first."""
        self._told = max(self._told, 1)
        self._notifier.stopping()
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
                    self._hear(key.data)
                for child in group:
                    child.flush()
        self._selector.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def told(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                self.roll()
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
