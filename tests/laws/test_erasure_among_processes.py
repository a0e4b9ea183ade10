"""A key is erased while other processes ingest and serve, and one of all these is killed at any
moment and started again: the erasure ends, or the same command ends it; the key is nowhere then,
and other keys have the values of an undisturbed run.

On LMDB nothing is ingested meanwhile, which is refused there.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime

import httpx
import pytest

import headwater as hw
from headwater.testing import faults
from tests.laws import shop
from tests.laws.test_erasure import (
    ERASED,
    HISTORY,
    STREAM,
    by_user,
    counts,
    others,
    project,
    write_history,
)
from tests.laws.test_writers import free_port, shop_root
from tests.laws.traces import traces
from tests.waiting import until

PATIENCE = 300
MOST = 24  # events
IDLE = 0.5  # seconds between two events
BUSY = 0.005  # seconds between two copies of an event
SEEDS = range(1)
MOMENTS = 1.0  # seconds from the first step of an erasure on, in which a process is killed
PROJECT = """
from datetime import datetime
from pathlib import Path

from tests.laws import shop
from tests.laws.test_erasure import project as project_of

project, _ = project_of(shop.Place(Path({folder!r}), {url!r}, since=datetime.fromisoformat({since!r})))
"""


class Processes:
    """The commands that run at a place."""

    def __init__(self, place):
        self.place, self.ports = place, {"ingest": free_port(), "serve": free_port()}
        self.running, self.logs, file = {}, [], place.folder / "features.py"
        self.given = ["--project", str(file), "--store", place.url, "--data-dir", str(place.home)]
        file.write_text(
            PROJECT.format(folder=str(place.folder), url=place.url, since=place.since.isoformat()),
            encoding="utf-8",
        )

    def start(self, verb, *options):
        """Start a command in place of one of its kind that has ended."""
        if verb in self.ports:
            options = (*options, "--listen", f"127.0.0.1:{self.ports[verb]}")
        log = self.place.folder / f"log-{len(self.logs)}"
        self.logs.append(log)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "headwater", verb, *options, *self.given],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=shop_root(),
                env=os.environ | {"HEADWATER_HOME": str(self.place.home)},
            )
        process.log = log
        self.running[verb] = process
        return process

    def ingest(self, *more):
        return self.start("ingest", "--allow-unapplied", "--batch", "3", *more)

    def erase(self):
        return self.start("erase", "--key", f"user={ERASED}", "--yes")

    def kill(self, verb):
        self.running[verb].send_signal(signal.SIGKILL)
        self.running.pop(verb).wait()

    def until(self, holds, what):
        """Wait until something holds; a process that ends on its own is an error."""

        def lives():
            for verb, process in self.running.items():
                assert verb == "erase" or process.poll() is None, process.log.read_text()
            return holds()

        until(lives, what, None, PATIENCE, lambda: [log.read_text() for log in self.logs])

    def ask(self, users):
        """Whether the service answers for users."""
        url = f"http://127.0.0.1:{self.ports['serve']}/v1/features/s"
        with suppress(httpx.TransportError):
            rows = [{"user": user, "n": 1} for user in users]
            answer = httpx.post(url, json={"rows": rows}, timeout=5, trust_env=False)
            return answer.status_code == 200
        return False

    def end(self):
        """End what runs still, by its own road."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            assert process.wait(PATIENCE) == 0, process.log.read_text()


@contextmanager
def processes(place):
    here = Processes(place)
    try:
        yield here
    finally:
        for process in here.running.values():
            process.kill()
            process.wait()


def lines(place, first, last):
    return shop.visits(first, last, since=place.since)


def copied(place, times):
    """Lines of an event that counts before anything is erased."""
    return times * lines(place, STREAM + 1, STREAM + 2)


@contextmanager
def busy(place):
    """Send copies of an event all the time; yields a list, which has their number at the end."""
    told, stop = [], threading.Event()

    def send():
        copies = 0
        while not stop.wait(BUSY):
            shop.append(place, copied(place, 1))
            copies += 1
        told.append(copies)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def without(every):
    return [line for line in every if ERASED not in line]


def disturbed(place, seed):
    """Erase while another process is killed; which one it was, how often the command was given,
    which events were sent meanwhile, and how many copies of one.
    """
    chance, several = random.Random(seed), not place.url.startswith("lmdb:")
    write_history(place, range(HISTORY))
    # the last line is of an event that counts, so that all before it are committed when it does
    begun = STREAM + 2
    shop.append(place, lines(place, HISTORY, STREAM) + lines(place, begun - 1, begun))
    with processes(place) as here:
        first = here.ingest(*(() if several else ("--once",)))
        if not several:
            assert first.wait(PATIENCE) == 0, first.log.read_text()
            del here.running["ingest"]
        all_counts = {*range(STREAM), begun - 1}
        here.until(lambda: ingested(place) == all_counts, "that all visits count")
        here.start("serve")
        here.until(lambda: here.ask(shop.USERS), "that the service answers")
        given = {"history.parquet", "visits.jsonl"}
        log = place.home / "served"
        here.until(
            lambda: any(log in getattr(path, "parents", ()) for path in traces(place, ERASED)),
            "that requests are in the serving log",
        )
        victim = chance.choice(["ingest", "serve", "erase"] if several else ["serve", "erase"])
        again = {"ingest": here.ingest, "erase": here.erase, "serve": lambda: here.start("serve")}
        here.erase()
        here.until(lambda: any(place.home.glob("erasures/*.json")), "that the erasure begins")
        moment, sent, times = time.monotonic() + chance.uniform(0, MOMENTS), begun, 1
        due = 0.0

        def ended():
            """Let others do more, kill the victim in time, and give the command until it ends."""
            nonlocal moment, sent, times, due
            if sent < MOST and time.monotonic() > due:
                due = time.monotonic() + IDLE
                shop.append(place, without(lines(place, sent, sent + 1)))
                sent += 1
            here.ask(shop.USERS[1:])
            if moment is not None and time.monotonic() > moment:
                moment = None
                if here.running[victim].poll() is None:
                    here.kill(victim)
                    again[victim]()
                    times += victim == "erase"
            code = here.running["erase"].poll()
            if code is None or moment is not None:
                return False
            if code != 0:
                assert times < 5, here.running["erase"].log.read_text()
                here.erase()
                times += 1
            return code == 0

        with busy(place) if several else nullcontext([]) as copies:
            here.until(ended, "that the erasure ends")
        del here.running["erase"]
        found = traces(place, ERASED, besides=given)
        assert found == [], (seed, victim, found)
        if several:
            here.until(lambda: ingested(place) == others(range(sent)), "that all else counts")
        here.until(lambda: here.ask(shop.USERS[1:]), "that the service answers again")
        here.end()
        here.running.clear()
        assert here.ingest("--once").wait(PATIENCE) == 0  # also the last copies
    return victim, times, sent, sum(copies)


def ingested(place):
    """Which events the view by number counts; None where it has nothing to serve yet."""
    with suppress(hw.errors.StoreError):
        return counts(place, "kind")
    return None


@pytest.mark.slow
def test_a_key_is_erased_among_processes_that_are_killed(places):
    told = []
    for seed in SEEDS:
        place, other = places(), places()
        victim, times, sent, copies = disturbed(place, seed)
        write_history(other, others(range(HISTORY)))
        shop.append(other, without(lines(other, HISTORY, sent)) + copied(other, copies))
        shop.ingest(faults.Watch(), other, project(other)[0])
        at = datetime.now(UTC)
        for each in (place, other):
            assert counts(each, "kind") == others(range(sent)), (seed, victim)
        values = [shop.values(each, project(each)[1][:1], at=at) for each in (place, other)]
        assert values[0] == values[1], (seed, victim)
        assert by_user(place, "user")[0]["user__count_30d"] == 0
        # lines of the key are not in the file of the other place, so offsets are others there
        files = [shop.files(each, besides=["headwater_offset"]) for each in (place, other)]
        assert files[0] == files[1], (seed, victim)
        left = traces(place, ERASED, besides={"history.parquet", "visits.jsonl"})
        assert left == [], (seed, victim)
        told.append((victim, times))
