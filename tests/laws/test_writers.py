"""Two processes of one source: one writes, the other stands by and goes on for it, and what is
served is as of one that ran undisturbed.

The one that writes is killed, stopped for a while, or has a wrong clock, in the middle of its work.
On LMDB, whose folder one process holds, a process that is only stopped keeps it.
"""

import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

import headwater as hw
from headwater.testing import clock, faults
from tests.laws import shop
from tests.waiting import until

PATIENCE = 120
PROJECT = """
from datetime import datetime
from pathlib import Path

import headwater as hw
from tests.laws import shop

project, _ = shop.shop(shop.Place(Path({folder!r}), {url!r}, since=datetime.fromisoformat({since!r})), stream={stream})
"""
PUSHED = hw.push(schema=shop.SCHEMA)


class World:
    """A place, the processes that ingest into it, and how many visits were appended to its file."""

    def __init__(self, place, stream=None):
        self.place, self.sent, self.processes, self.stream = place, 0, [], stream
        written = None if stream is None else "hw.push(schema=shop.SCHEMA)"
        text = PROJECT.format(
            folder=str(place.folder), url=place.url, since=place.since.isoformat(), stream=written
        )
        (place.folder / "features.py").write_text(text, encoding="utf-8")

    def start(self, *by):
        """Start `headwater ingest`; by: the clock that it reads instead of the machine's."""
        command = [
            sys.executable,
            "-m",
            *(("headwater.testing.clock", str(*by)) if by else ("headwater",)),
            "ingest",
        ]
        command += [
            "--store",
            self.place.url,
            "--data-dir",
            str(self.place.home),
            "--allow-unapplied",
            "--batch",
            "3",
            "--project",
        ]
        port, log = free_port(), self.place.folder / f"log-{len(self.processes)}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, str(self.place.folder / "features.py"), "--listen", f"127.0.0.1:{port}"],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=shop_root(),
            )
        process.log, process.port = log, port
        self.processes.append(process)
        return process

    def until(self, holds, what):
        """Wait until something holds; a process that ends on its own is an error."""

        def lives():
            for process in self.processes:
                assert process.poll() in (None, -signal.SIGKILL), process.log.read_text()
            return holds()

        logs = lambda: [process.log.read_text() for process in self.processes]  # noqa: E731
        until(lives, what, None, PATIENCE, logs)

    def said(self, process, what, times=1):
        self.until(lambda: process.log.read_text().count(what) >= times, what)

    def send(self, number):
        """Append more visits."""
        first, self.sent = self.sent, self.sent + number
        shop.append(self.place, shop.visits(first, self.sent, since=self.place.since))

    def push(self, port, number):
        """Push more visits to an address, again and again until they are committed."""
        first, self.sent = self.sent, self.sent + number
        lines = shop.visits(first, self.sent, since=self.place.since)
        self.until(
            lambda: self.pushed(port, lines) in (200, 422), "that what is pushed is committed"
        )

    def pushed(self, port, lines):
        """The status of the answer; None without one."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/events/visits", "\n".join(lines).encode()
        )
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except urllib.error.URLError:
            return None

    def counted(self):
        found = shop.values(self.place, shop.shop(self.place, stream=self.stream)[1])
        return None if found is None else shop.counted(found[0])

    def taken_in(self):
        """Wait until all that was appended counts."""
        self.until(
            lambda: self.counted() == set(range(self.sent)), f"that {self.sent} visits count"
        )

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            assert process.wait(PATIENCE) in (0, -signal.SIGKILL), process.log.read_text()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def shop_root():
    """The folder that the project's imports begin in."""
    return str(shop.__file__).partition("/tests/")[0]


@contextmanager
def world(place, stream=None):
    here = World(place, stream)
    try:
        yield here
    finally:
        for process in here.processes:
            process.kill()
            process.wait()


def begun(here):
    """The process that writes, and one that stands by."""
    first = here.start()
    here.send(4)
    here.taken_in()
    return first, stood_by(here)


def stood_by(here):
    process = here.start()
    here.said(process, "Standing by" if several_may_write(here.place) else "Waiting up to")
    return process


def several_may_write(place):
    return not place.url.startswith("lmdb:")


def check(here, places):
    """What is served, and the files, are those of one process that was not disturbed."""
    here.end()
    other = places()
    shop.append(other, shop.visits(0, here.sent, since=here.place.since))
    shop.ingest(faults.Watch(), other, shop.shop(other)[0])
    at = datetime.now(UTC)
    served, undisturbed = (
        shop.values(place, shop.shop(place)[1], at=at) for place in (here.place, other)
    )
    assert served == undisturbed
    assert shop.counted(served[0]) == set(range(here.sent))
    assert shop.files(here.place) == shop.files(other)


def test_one_that_stands_by_goes_on_for_one_that_was_killed(places):
    with world(places()) as here:
        first, _ = begun(here)
        here.send(3)
        first.send_signal(signal.SIGKILL)
        first.wait()
        here.send(3)
        here.taken_in()
        stood_by(here)
        check(here, places)


@pytest.mark.slow
def test_one_that_was_stopped_for_a_while_writes_no_more(places):
    """The other one goes on; when the first one comes back, its commit is refused, and it stands by
    until the other one ends.
    """
    chance = random.Random(1)
    with world(places()) as here:
        first, second = begun(here)
        for _ in range(1):
            here.send(3)
            time.sleep(chance.uniform(0, 0.3))
            first.send_signal(signal.SIGSTOP)
            here.send(3)
            if not several_may_write(here.place):
                time.sleep(chance.uniform(0.5, 2))
                assert "first commit" not in second.log.read_text()
                first.send_signal(signal.SIGCONT)
                here.taken_in()
                continue
            here.taken_in()
            said = first.log.read_text().count("Standing by")
            first.send_signal(signal.SIGCONT)
            here.send(3)
            here.said(first, "Standing by", said + 1)
            here.taken_in()
            first, second = second, first
        first.send_signal(signal.SIGKILL)
        first.wait()
        here.send(3)
        here.taken_in()
        check(here, places)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["1h", "-1h"])
def test_one_whose_clock_is_wrong_lets_another_one_write(places, wrong):
    """It commits nothing, and lets go of the source; on LMDB it keeps the store, and nothing is
    committed until its clock is right.
    """
    place = places()
    with world(place) as here:
        now = clock.StandingClock(datetime.now(UTC), place.folder / "time")
        first = here.start(place.folder / "time")
        here.send(4)
        here.until(
            lambda: (now.set(datetime.now(UTC)), here.counted() == set(range(4)))[1],
            "that 4 visits count",
        )
        second = stood_by(here)
        now.set(datetime.now(UTC) + timedelta(hours=1 if wrong == "1h" else -1))
        here.said(first, "the wall clock")
        here.send(4)
        if several_may_write(place):
            here.taken_in()
            now.set(datetime.now(UTC))
            here.said(first, "Standing by")
            second.send_signal(signal.SIGKILL)
            second.wait()
        else:
            assert here.counted() in (None, set(range(4)))
            now.set(datetime.now(UTC))
        here.send(4)
        here.until(
            lambda: (now.set(datetime.now(UTC)), here.counted() == set(range(12)))[1],
            "that 12 visits count",
        )
        check(here, places)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_pushed_events_go_to_the_one_that_writes(places, how):
    """A service passes them on; what is pushed to one that writes no more is turned away, and
    counts nowhere.
    """
    place, port = places(), free_port()
    project, views = shop.shop(place, stream=PUSHED)
    serving = partial(hw.operations.serve, project, listen=f"127.0.0.1:{port}", models={})
    with (
        world(place, PUSHED) as here,
        closing(hw.operations.open_store(place.url)) as store,
        serving(store),
    ):
        place.store = store
        first = here.start()
        here.push(port, 4)
        second = stood_by(here)
        first.send_signal(how if several_may_write(place) else signal.SIGKILL)
        here.push(port, 4)
        first.send_signal(signal.SIGCONT)
        if how == signal.SIGSTOP and several_may_write(place):
            late = shop.visits(here.sent, here.sent + 4, since=place.since)
            assert here.pushed(first.port, late) == here.pushed(first.port, late) == 503
            here.push(port, 2)
            second.send_signal(signal.SIGKILL)
        here.push(port, 4)
        assert here.counted() == set(range(here.sent))
        here.end()
        other = places()
        shop.push(
            other, shop.shop(other, stream=PUSHED)[0], shop.visits(0, here.sent, since=place.since)
        )
        at = datetime.now(UTC)
        assert shop.values(place, views, at=at) == shop.values(
            other, shop.shop(other, stream=PUSHED)[1], at=at
        )
