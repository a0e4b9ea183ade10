"""Supervises the processes of a service: start, health checks, restart with backoff, replacement
and ordered shutdown.
"""

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
from headwater.retries import Backoff
from headwater.serving.metrics.process_metrics import ProcessMetrics
from headwater.serving.process.child_process import Child, ProcessSpec, Timeouts
from headwater.serving.process.supervisor_link import SupervisorMessage
from headwater.serving.process.systemd import Notifier

Say = Callable[[str], None]

_LOOK: Final = 0.05  # seconds
_BACKOFF: Final = Backoff(first=0.1, longest=30.0)  # until a child is restarted
_LONG: Final = 60.0  # seconds; a child that runs longer resets its backoff
_KILL: Final = 2.0  # seconds after the grace until a child is killed
_CALLED_WRONGLY: Final = 2
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _ProcessSlot:
    """The slot of a process: its current child, its replacement, and its restarts."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.child: Child | None = None
        self.next: Child | None = None  # the replacement, until it is ready
        self.deaths, self.all_deaths = 0, 0  # since the last reset, and in total
        self.start_at = 0.0
        self.pauses = iter(_BACKOFF)

    def died(self) -> float:
        """Count a death; the seconds until the restart."""
        self.deaths, self.all_deaths = self.deaths + 1, self.all_deaths + 1
        wait = next(self.pauses)
        self.start_at = clock.stopwatch() + wait
        return wait


class Supervisor:
    """Runs processes until a signal stops it.

    SIGTERM and SIGINT end the service: first the workers, which finish their requests; then the
    others, so that forwarded events are still committed. A second signal kills. SIGHUP replaces the
    workers one at a time, each after its replacement is ready; if one is not ready in time, the old
    worker stays and the others are not replaced. A child that dies is restarted with backoff, and
    so is a worker that reports nothing after its start, or whose event loop does not answer.
    Workers report their own readiness; deaths of jobs and ingestion are in the metrics.

    Args:
        specs: the processes to run.
        listener: a listening socket that the workers share: while one is being replaced, the others
            accept its connections.
        say: receives log messages.
        timeouts: of child processes.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        listener: socket.socket | None,
        say: Say,
        timeouts: Timeouts | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._slots = [_ProcessSlot(spec) for spec in specs]
        self._listener, self._say, self._timeouts = listener, say, timeouts or Timeouts()
        self._selector = selectors.DefaultSelector()
        self._metrics = ProcessMetrics()
        self._notifier = notifier or Notifier(None)
        self._leaving: list[Child] = []  # replaced, and stopping
        self._stop_signals = 0  # stop signals received
        self._rolling: deque[_ProcessSlot] = deque()

    def run(self) -> int:
        """Run until a signal; the exit code: 0, or that of a child whose command or project is
        wrong.
        """
        with self._signals():
            while not self._stop_signals:
                code = self._turn()
                if code is not None:
                    self._say("stopping: a restart would fail the same way")
                    self._end()
                    return code
            self._say("stopping")
            self._end()
        return 0

    def roll(self) -> None:
        """Replace the workers, one at a time."""
        self._rolling.extend(
            slot for slot in self._slots if slot.spec.worker and slot not in self._rolling
        )

    def unready(self) -> list[str]:
        """Reasons why the service as a whole is not ready, in sentences."""
        return ["the service is stopping"] if self._stop_signals else []

    def _turn(self) -> int | None:
        """One iteration of the main loop; an exit code ends the service."""
        for key, _ in self._selector.select(_LOOK):
            self._receive(key.data)
        for slot in self._slots:
            code = self._look_at(slot)
            if code is not None:
                return code
        self._roll()
        self._leaving = [child for child in self._leaving if not self._ended(child)]
        others, now = self.unready(), clock.stopwatch()
        for child in self._children():
            child.tell(others)
            if child.spec.worker and child.reasons is not None:
                child.ping(now)
            child.flush()
        self._notifier.alive(now)
        return None

    def _receive(self, child: Child) -> None:
        """Handle the messages of a child."""
        before = child.ready
        for message in child.read():
            if message.metrics is not None:
                name = child.spec.name.replace(" ", "-")
                self._metrics.update(
                    name,
                    child.process.pid,
                    message.metrics,
                    labels={"worker": name} if child.spec.worker else {},
                )
            if message.scrape:
                child.send(
                    SupervisorMessage(metrics=self._metrics.text(self._own_metrics()).decode())
                )
        if child.ready and not before:
            self._say(f"{child.spec.name} is ready after {clock.stopwatch() - child.since:.1f} s")

    def _own_metrics(self) -> list[Metric]:
        """Metrics of the child processes."""
        up = GaugeMetricFamily(
            "headwater_process_up", "whether a process of the service runs", labels=["process"]
        )
        deaths = CounterMetricFamily(
            "headwater_process_deaths", "number of times that a process ended", labels=["process"]
        )
        for slot in self._slots:
            name = slot.spec.name.replace(" ", "-")
            up.add_metric([name], float(slot.child is not None))
            deaths.add_metric([name], slot.all_deaths)
        return [up, deaths]

    def _look_at(self, slot: _ProcessSlot) -> int | None:
        """Check a slot: start or restart its child; an exit code where a restart would fail
        the same way.
        """
        self._look_at_next(slot)
        child, now = slot.child, clock.stopwatch()
        if child is None:
            if now >= slot.start_at:
                slot.child = self._start(slot)
            return None
        if child.process.poll() is None:
            if why := self._silent(child, now):
                child.process.kill()  # its end is handled in the next iteration
                self._say(f"{child.spec.name} {why}; killing it")
                child.killed_at = math.inf
            elif now - child.since > _LONG:
                slot.deaths, slot.pauses = 0, iter(_BACKOFF)
            return None
        self._forget(child)
        slot.child, ending = None, _exit_status(child.process)
        if (
            child.process.returncode == _CALLED_WRONGLY
            and child.reasons is None
            and not slot.deaths
        ):
            return _CALLED_WRONGLY
        wait = slot.died()
        if slot.next is not None:  # the replacement takes over now
            slot.child, slot.next = slot.next, None
        self._say(
            f"{slot.spec.name} {ending} after {now - child.since:.0f} s; "
            f"restarting it in {wait:.1f} s"
        )
        return None

    def _look_at_next(self, slot: _ProcessSlot) -> None:
        """Check a replacement: ready, late, or ended."""
        if slot.next is None:
            return
        late = clock.stopwatch() - slot.next.since > self._timeouts.start
        if slot.next.process.poll() is None and not slot.next.ready and late:
            reasons = "; ".join(slot.next.reasons or ["it reported nothing"])
            self._end_roll(slot, f"is not ready after {self._timeouts.start:.0f} s ({reasons})")
        elif slot.next.process.poll() is not None:
            self._end_roll(slot, _exit_status(slot.next.process))
        elif slot.next.ready:
            before, slot.child, slot.next = slot.child, slot.next, None
            if before is not None:
                self._tell_to_end(before)
                self._leaving.append(before)

    def _end_roll(self, slot: _ProcessSlot, why: str) -> None:
        """Abandon the replacement of workers; the old ones stay."""
        assert slot.next is not None
        slot.next.process.kill()
        slot.next.process.wait()
        self._forget(slot.next)
        slot.next = None
        self._rolling.clear()
        self._say(
            f"error: the new {slot.spec.name} {why}; the old one stays, and no other worker is "
            "replaced"
        )

    def _silent(self, child: Child, now: float) -> str | None:
        """Why a running worker counts as hung; None where it does not."""
        if not child.spec.worker or child.killed_at is not None:
            return None
        if child.reasons is None:
            late = now - child.since > self._timeouts.start
            return (
                f"has reported nothing for {self._timeouts.start:.0f} s after its start"
                if late
                else None
            )
        late = child.pinged is not None and now - child.pinged > self._timeouts.silence
        return f"has not answered for {self._timeouts.silence:.0f} s" if late else None

    def _roll(self) -> None:
        """Start the next replacement of a worker."""
        if self._rolling and not self._leaving and all(slot.next is None for slot in self._slots):
            slot = self._rolling.popleft()
            if slot.child is not None:
                slot.next = self._start(slot)
                if slot.next is None:
                    self._rolling.clear()

    def _start(self, slot: _ProcessSlot) -> Child | None:
        """Start a process; None where the operating system refuses, which counts as a death."""
        try:
            child = Child(slot.spec, self._listener, self._timeouts.grace)
        except OSError as error:
            reason = f"could not be started: {error.strerror or error}"
            self._say(f"error: {slot.spec.name} {reason}; retry in {slot.died():.1f} s")
            return None
        self._selector.register(child.socket, selectors.EVENT_READ, child)
        return child

    def _children(self) -> Iterator[Child]:
        for slot in self._slots:
            yield from (child for child in (slot.child, slot.next) if child is not None)
        yield from self._leaving

    def _tell_to_end(self, child: Child) -> None:
        child.process.terminate()
        child.killed_at = clock.stopwatch() + self._timeouts.grace + _KILL

    def _ended(self, child: Child) -> bool:
        """Whether a stopping child has ended; one that takes too long is killed."""
        if child.process.poll() is None:
            if child.killed_at is not None and (
                clock.stopwatch() > child.killed_at or self._stop_signals > 1
            ):
                self._say(f"{child.spec.name} does not end; killing it")
                child.process.kill()
                child.process.wait()
            else:
                return False
        self._forget(child)
        return True

    def _forget(self, child: Child) -> None:
        self._receive(child)
        self._metrics.end(child.spec.name.replace(" ", "-"), child.process.pid)
        self._selector.unregister(child.socket)
        child.socket.close()

    def _end(self) -> None:
        """Stop all children, the workers first."""
        self._stop_signals = max(self._stop_signals, 1)
        self._notifier.stopping()
        for child in self._children():
            child.tell(self.unready())
        every = list(self._children())
        for group in (
            [member for member in every if member.spec.worker],
            [member for member in every if not member.spec.worker],
        ):
            for child in group:
                if child.killed_at is None:
                    self._tell_to_end(child)
            if self._listener is not None:
                self._listener.close()
            while group := [child for child in group if not self._ended(child)]:
                for key, _ in self._selector.select(_LOOK):
                    self._receive(key.data)
                for child in group:
                    child.flush()
        self._selector.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def on_signal(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGHUP:
                self.roll()
            else:
                self._stop_signals += 1

        before = {signum: signal.signal(signum, on_signal) for signum in _SIGNALS}
        try:
            yield
        finally:
            for signum, old in before.items():
                signal.signal(signum, old)


def _exit_status(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    return f"ended with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
