"""A process that ingests is stopped while a view is filled again, and while readers go over to the
new generation; or another process takes partitions from it. What is served meanwhile is whole, and
what is served in the end is as of one process that was not disturbed.
"""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater.testing import faults
from tests.effort import LONG
from tests.laws import shop
from tests.laws.slow_ingest import project_of
from tests.laws.test_generations import Corrections, filled, size, status

FIRST = 30  # events before the fill
PATIENCE = 180
NUMBERS = 200  # bytes by which numbers in a store may grow
SERVERS = [
    pytest.param("redis", marks=pytest.mark.services),
    *(
        pytest.param(name, marks=[pytest.mark.services, pytest.mark.long])
        for name in ("postgres", "cluster")
    ),
]
QUICK = [("lmdb", "corrected"), ("redis", "events")]
"""Stores and sources of the full form; the others are of the long one."""

pytestmark = pytest.mark.slow


class Visits:
    """Events of a place that come one by one; `holds` those that count."""

    def __init__(self, place):
        self.place, self.holds = place, set()

    def step(self):
        self.holds |= {len(self.holds)}
        last = max(self.holds)
        shop.append(self.place, [json.dumps(shop.event(last, since=self.place.since))])


class Records(Visits):
    """As events of three partitions of a topic."""

    def __init__(self, place, broker):
        super().__init__(place)
        self.broker, self.topic = broker, broker.topic(partitions=3)

    def step(self):
        last = len(self.holds)
        self.holds |= {last}
        line = json.dumps(shop.event(last, since=self.place.since))
        self.broker.produce(self.topic, [line.encode()], last % 3)


class World:
    """A place, the processes that ingest into it, and its events.

    make, stream: as of `project_of`.
    """

    def __init__(self, events, make="events", stream=""):
        self.events, self.place, self.make, self.stream = events, events.place, make, stream
        self.project, self.views = project_of(self.place, make, stream)
        self.processes, self.notes = [], []

    def start(self, seconds):
        place, log = self.place, self.place.folder / f"log-{len(self.processes)}"
        since = place.since.isoformat()
        how = [str(place.folder), place.url, since, self.make, self.stream, str(seconds)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.laws.slow_ingest", *how],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=str(shop.__file__).partition("/tests/")[0],
            )
        process.log = log
        self.processes.append(process)
        return process

    def until(self, holds, what):
        """Wait until something holds; a process that ends on its own is an error."""
        until = time.monotonic() + PATIENCE
        while not holds():
            logs = [process.log.read_text() for process in self.processes]
            for process, log in zip(self.processes, logs, strict=True):
                assert process.poll() in (None, 0, -signal.SIGKILL), log
            assert time.monotonic() < until, (what, self.note(), self.read(), *logs)
            time.sleep(0.05)

    def read(self):
        """The events that each view counts; None where there is nothing to serve, or something is
        missing.
        """
        served = shop.values(self.place, self.views) or [[], []]
        return [
            shop.counted(rows, view.name)
            if rows and not any(row[f"{view.name}__count_30d__incomplete"] for row in rows)
            else None
            for view, rows in zip(self.views, served, strict=True)
        ]

    def step(self):
        """One event more: it counts in both views at once."""
        before = set(self.events.holds)
        self.events.step()

        def counts():
            first, again = self.read()
            assert again in (before, self.events.holds), (before, again)
            return first == again == self.events.holds

        self.until(counts, "that an event counts")

    def note(self):
        self.notes.append(status(self.place, self.project).note)
        return self.notes[-1]

    def parts(self):
        """How many parts of the new generation are done, and of how many."""
        found = re.match(r"filling again: (\d+) of (\d+) parts", self.note())
        return (0, 0) if found is None else tuple(map(int, found.groups()))

    def fills_on(self, done):
        """Wait until more parts are done, or all."""
        self.until(lambda: not self.note() or self.parts()[0] > done, "that it is filled")

    def is_almost_filled(self):
        done, every = self.parts()
        return 0 < every <= done + 2

    def said(self, process):
        """Whether a process has committed something."""
        return "first commit" in process.log.read_text()

    def ask(self):
        """Ask for a new generation of the view, while nobody ingests; who asked is stopped."""
        with (
            closing(hw.operations.open_store(self.place.url)) as store,
            pytest.raises(hw.errors.StoreError, match="for a test"),
        ):
            hw.operations.fill(
                self.project, ["spent"], store=OneCommit(store), data_dir=self.place.home
            )

    def check(self, places):
        """All is as of one process that was not disturbed, and one generation is left."""
        for process in self.processes:
            if process.poll() is None:
                stop(process, signal.SIGTERM)
        ingest_all(self.place, self.project)
        assert self.note() == ""
        other, at = places(), datetime.now(UTC)
        if not self.stream:
            shutil.copy(self.place.folder / "visits.jsonl", other.folder)
        project, views = project_of(other, self.make, self.stream)
        ingest_all(other, project)
        filled(faults.Watch(), other, project)
        assert self.read() == [self.events.holds, self.events.holds]
        assert shop.values(self.place, self.views, at=at) == shop.values(other, views, at=at)
        assert shop.files(self.place) == shop.files(other)
        assert size(self.place) <= size(other) + NUMBERS


class OneCommit:
    """A store that takes one commit, and no more."""

    def __init__(self, store):
        self.store, self.is_made = store, False

    def __getattr__(self, name):
        return getattr(self.store, name)

    def commit(self, changes, expect):
        if self.is_made:
            raise hw.errors.StoreError("no more commits for a test")
        self.store.commit(changes, expect)
        self.is_made = True


def ingest_all(place, project):
    shop.ingest(faults.Watch(), place, project)


def stop(process, how):
    process.send_signal(how)
    assert process.wait(PATIENCE) in (0, -signal.SIGKILL), process.log.read_text()


@contextmanager
def world(here):
    """Ends the processes of a world."""
    try:
        yield here
    finally:
        for process in here.processes:
            process.kill()
            process.wait()


def prepared(place, make):
    """A place with events, all of them ingested."""
    events = Corrections(place) if make == "corrected" else Visits(place)
    if make == "corrected":
        shop.append(place, [shop.image(place, number, 0) for number in sorted(events.holds)])
    here = World(events, make)
    for _ in range(3 if make == "corrected" else FIRST):
        events.step()
    ingest_all(place, here.project)
    assert here.read() == [events.holds] * 2
    return here


@pytest.mark.parametrize(
    ("places", "make"),
    [
        pytest.param(
            place,
            make,
            marks=[
                *([pytest.mark.services] if place != "lmdb" else []),
                *([] if (place, make) in QUICK else [pytest.mark.long]),
            ],
        )
        for place in ("lmdb", "redis", "postgres", "cluster")
        for make in ("events", "corrected")
    ],
    indirect=["places"],
)
def test_ingestion_is_stopped_while_a_view_is_filled_again(places, make):
    """And while readers go over to the new generation: it goes on each time, and the stream too."""
    chance = random.Random(0)
    with world(prepared(places(), make)) as here:
        for hows in ([signal.SIGKILL, signal.SIGTERM],) * (5 if LONG else 1):
            here.ask()
            amid = 0
            for how in chance.sample(hows, len(hows)):
                done, process = here.parts()[0], here.start(1)
                here.fills_on(done)
                here.step()
                time.sleep(chance.uniform(0, 0.3))
                amid += bool(here.note())
                stop(process, how)
                assert here.read() == [here.events.holds] * 2
            assert amid > 0
            process = here.start(0.01)
            here.until(lambda: not here.note() or here.is_almost_filled(), "that it is filled")
            time.sleep(chance.uniform(0, 1.5))
            stop(process, chance.choice(hows))
            assert here.read() == [here.events.holds] * 2
            process = here.start(0.01)
            here.until(lambda: not here.note(), "that readers read it")
            here.step()
            stop(process, chance.choice(hows))
        here.check(places)


@pytest.mark.services
@pytest.mark.parametrize("places", SERVERS, indirect=True)
def test_partitions_change_hands_while_a_view_is_filled_again(broker, places):
    """A process joins the consumer group while the new generation is filled, and one leaves while
    readers go over to it.
    """
    chance, events = random.Random(0), Records(places(), broker)
    with (
        world(World(events, stream=f"{broker.servers}/{events.topic}")) as here,
        ThreadPoolExecutor(1) as threads,
    ):
        first = here.start(1)
        for _ in range(FIRST):
            events.step()
        here.until(lambda: here.read() == [events.holds] * 2, "that all count")
        rounds = 5 if LONG else 1
        for done in range(1, rounds + 1):
            room = FIRST + (50 - FIRST) * done // rounds  # a sum has a bit for each of 60 events
            asked = threads.submit(
                hw.operations.fill,
                here.project,
                ["spent"],
                store=here.place.url,
                data_dir=here.place.home,
            )
            here.until(lambda: here.parts()[0] > 0, "that it is filled")
            second = here.start(1)
            while here.note() and not here.said(second):
                if len(events.holds) < room:
                    here.step()
            assert not here.is_almost_filled(), here.notes
            here.until(lambda: asked.done() or here.is_almost_filled(), "that it is filled")  # noqa: B023
            time.sleep(chance.uniform(0, 1))
            stop(first, signal.SIGTERM)
            here.step()
            asked.result(PATIENCE)
            here.step()
            first = second
        here.check(places)
