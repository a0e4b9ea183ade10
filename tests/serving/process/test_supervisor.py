"""The supervisor and children that do as they are told: what hangs, dies or never gets ready, and
their counts.
"""

import errno
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from headwater.serving.process import child_process
from headwater.serving.process.child_process import ProcessSpec, Timeouts
from headwater.serving.process.supervisor import Supervisor
from tests.waiting import until

PATIENCE = 60  # seconds, on a machine that others use


class Watched:
    """A supervisor, turned by the test."""

    def __init__(self, folder, *, workers=1, jobs=0, **timeouts):
        self.mode, self.said = folder / "mode", []
        self.job = folder / "job"
        self.be("ready")
        self.job.write_text("dies")
        specs = [ProcessSpec(f"job {n}", [str(self.job)]) for n in range(jobs)]
        specs += [ProcessSpec(f"worker {n}", [str(self.mode)], worker=True) for n in range(workers)]
        self.supervisor = Supervisor(specs, listener=None, say=self.said.append)
        self.wait(**timeouts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.supervisor._children():
            child.process.kill()
        self.supervisor._end()

    def wait(self, **timeouts):
        """Be so patient from now on."""
        self.supervisor._timeouts = Timeouts(
            **{"grace": 5.0, "start": 60.0, "silence": 60.0, **timeouts}
        )

    def be(self, mode):
        """What children that are started from now on do."""
        self.mode.write_text(mode)

    def until(self, holds, what):

        def turned():
            if holds():
                return True
            assert self.supervisor._turn() is None
            return False

        until(turned, what, None, PATIENCE, lambda: self.said)

    def workers(self):
        return [place.child for place in self.supervisor._slots if place.spec.worker]

    def ready(self):
        self.until(
            lambda: all(one is not None and one.ready for one in self.workers()), "readiness"
        )
        return [one.process.pid for one in self.workers()]

    def number(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.text(), re.MULTILINE)
        return None if found is None else float(found[1])

    def text(self):
        return self.supervisor._metrics.text(self.supervisor._own_metrics()).decode()


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(child_process, "_CHILD", (str(Path(__file__).with_name("fake_child.py")),))
    monkeypatch.setattr(child_process, "_PING", 0.1)


def test_a_worker_that_is_stopped_is_replaced(tmp_path):
    with Watched(tmp_path) as watched:
        (before,) = watched.ready()
        os.kill(before, signal.SIGSTOP)
        watched.wait(silence=1.0)
        watched.until(
            lambda: "worker 0 has not answered for 1 s; killing it" in watched.said, "a kill"
        )
        watched.wait()
        watched.until(
            lambda: watched.workers()[0] is not None and watched.workers()[0].process.pid != before,
            "another worker",
        )
        assert watched.ready() != [before]
        assert watched.number('headwater_process_deaths_total{process="worker-0"}') == 1


@pytest.mark.slow
def test_a_worker_whose_event_loop_is_blocked_is_replaced_though_its_threads_live(tmp_path):
    with Watched(tmp_path) as watched:
        watched.be("blocked")
        (before,) = watched.ready()
        watched.be("ready")
        watched.wait(silence=1.0)
        watched.until(
            lambda: "worker 0 has not answered for 1 s; killing it" in watched.said, "a kill"
        )
        watched.wait()
        watched.until(
            lambda: watched.workers()[0] is not None and watched.workers()[0].process.pid != before,
            "another worker",
        )
        (after,) = watched.ready()
        for _ in range(40):  # which stays
            watched.supervisor._turn()
        assert watched.ready() == [after]


@pytest.mark.slow
def test_a_worker_that_says_nothing_after_its_start_is_replaced(tmp_path):
    with Watched(tmp_path, start=1.5) as watched:
        watched.be("mute")
        watched.until(
            lambda: any(
                "has reported nothing for 2 s after its start; killing it" in one
                for one in watched.said
            ),
            "a kill",
        )
        watched.wait()
        watched.be("ready")
        watched.ready()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["never", "mute", "dies"])
def test_a_replacement_that_never_gets_ready_ends_the_roll_and_the_next_one_works(tmp_path, mode):
    with Watched(tmp_path, workers=2) as watched:
        before = watched.ready()
        watched.wait(start=2.0)
        watched.be(mode)
        watched.supervisor.roll()
        watched.until(
            lambda: any(one.startswith("error: the new worker 0") for one in watched.said),
            "an error",
        )
        for _ in range(5):
            watched.supervisor._turn()
        assert watched.ready() == before
        assert len(list(watched.supervisor._children())) == 2
        watched.wait()
        watched.be("ready")
        watched.supervisor.roll()
        watched.until(
            lambda: not set(before) & {one and one.process.pid for one in watched.workers()},
            "two others",
        )
        watched.ready()


def test_a_process_that_cannot_be_started_is_tried_again_and_leaks_nothing(tmp_path, monkeypatch):
    real, left = subprocess.Popen, [3]

    def popen(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(*args, **kwargs)

    with Watched(tmp_path) as watched:
        monkeypatch.setattr(subprocess, "Popen", popen)
        before = len(list(Path("/proc/self/fd").iterdir()))
        watched.until(lambda: not left[0], "tries")
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        (pid,) = watched.ready()
        assert watched.number('headwater_process_deaths_total{process="worker-0"}') == 3
        left[0] = 1
        watched.supervisor.roll()
        watched.until(lambda: not left[0], "a try")
        assert watched.ready() == [pid]
        assert (
            sum(
                "could not be started: Resource temporarily unavailable" in one
                for one in watched.said
            )
            == 4
        )


@pytest.mark.slow
def test_counters_never_go_back_when_a_worker_is_replaced_or_killed(tmp_path):
    name, seen = 'work_total{worker="worker-0"}', [0.0]

    def look():
        found = watched.number(name)
        seen.append(seen[-1] if found is None else found)
        return seen[-1]

    with Watched(tmp_path) as watched:
        (first,) = watched.ready()
        watched.until(lambda: look() > 5, "numbers")
        watched.supervisor.roll()
        watched.until(
            lambda: look() and watched.workers()[0].process.pid != first, "another worker"
        )
        rolled = seen[-1]
        watched.until(lambda: look() > rolled + 5, "more numbers")
        os.kill(watched.workers()[0].process.pid, signal.SIGKILL)
        watched.until(lambda: look() and watched.workers()[0] is None, "a death")
        killed = seen[-1]
        watched.until(lambda: look() > killed + 5, "more numbers")
    assert seen == sorted(seen)
