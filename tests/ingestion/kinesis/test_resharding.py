"""Shards that are split and merged under load, on answers like those of AWS: parents before children, and no event twice or never."""

import random
import threading
import time
from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.ingestion.archive import FOLDERS, Roller
from headwater.state.view_state import progresses
from tests.effort import FULL
from tests.ingestion.kinesis.faithful import FaithfulKinesis
from tests.ingestion.world import World, wait_until
from tests.online_stores.durable_stores import durable_store
from tests.online_stores.servers import serving

IDS = ', id_field="n", id_horizon="1h"'


@pytest.fixture(params=["lmdb", "redis"] if FULL else ["redis"])
def url(request, tmp_path):
    with durable_store(request.param, tmp_path) as address:
        yield address


@pytest.fixture
def kinesis():
    stream = FaithfulKinesis(2)
    yield stream
    stream.stop()


@pytest.fixture
def make(kinesis, tmp_path):
    def world(url, more=IDS):
        return World(
            tmp_path, url, f'headwater_aws.kinesis("clicks", region="eu-central-1", endpoint_url="{kinesis.url}", schema=schema)', more
        )

    return world


class Producer(threading.Thread):
    """Writes events until it is told to stop; one in five is sent again later, by the same key, wherever that goes by then."""

    def __init__(self, world, kinesis, rate=1000, repeated=0.2):
        super().__init__(daemon=True)
        self.world, self.kinesis, self.rate, self.repeated, self.over = world, kinesis, rate, repeated, threading.Event()
        self.chance, self.again = random.Random(5), []

    def run(self):
        while not self.over.wait(0.02):
            for payload, n in (self.world.event() for _ in range(self.rate // 50)):
                if n is None:
                    continue
                key = f"u{n % 20}"
                self.kinesis.put(payload, key)
                self.world.took([n])
                if self.chance.random() < self.repeated:
                    self.again.append((payload, key))
            for _ in range(len(self.again) // 8):
                self.kinesis.put(*self.again.pop(self.chance.randrange(len(self.again))))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        for payload, key in self.again:
            self.kinesis.put(payload, key)


def test_splits_and_merges_under_load(kinesis, make, url):
    here = make(url)
    process = here.start()
    with Producer(here, kinesis):
        here.begun(process)
        for change in (kinesis.split, kinesis.merge, kinesis.split):
            time.sleep(0.5)
            change()
            with kinesis.lock:
                kinesis.throttled += 3
                kinesis.expired += 3
        time.sleep(0.3)
    process.terminate()
    assert process.wait(60) == 0, process.log.read_text()
    here.once()
    here.check()
    assert kinesis.refused == 18


@pytest.mark.slow
def test_kills_during_splits(kinesis, make, url):
    here = make(url)
    with Producer(here, kinesis, rate=400):
        for n in range(3):
            process = here.start()
            here.begun(process)
            (kinesis.merge if n == 1 else kinesis.split)()
            time.sleep(0.1 + 0.2 * n)
            process.kill()
            process.wait()
    here.once()
    roll_closed(here, url)
    here.check()


def roll_closed(here, url):
    """Move what a killed process left of a shard that was closed by then into files, as its fold does, once its ids are out of reach."""
    with closing(hw.operations.open_store(url)) as store:
        for partition, done in progresses(store, "visits").items():
            if done.closed:
                for space, folder in FOLDERS.items():
                    Roller(store, space, here.folder / ".headwater" / folder, "visits", partition.decode() or None).roll()


@pytest.mark.slow
def test_kills_while_closed_shards_are_folded(kinesis, make, tmp_path):
    """Under load; every read while it lasts has counted what was committed, no less than the one before.

    Each read is by a new reader, which is refused while the part of a child begins; one that runs reads on.
    """
    with (
        serving(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server,
        closing(hw.operations.open_store(server.url)) as store,
    ):
        here = make(server.url, ', id_field="n", id_horizon="1s"')
        closed = [shard.name for shard in kinesis.shards]
        process, chance, kills, counted = here.start(), random.Random(2), 0, 0

        def folded():
            found = progresses(store, "visits")
            return [name for name in closed if name.encode() in found and found[name.encode()].folded]

        with Producer(here, kinesis, rate=200, repeated=0):
            here.begun(process)
            wait_until(lambda: len(progresses(store, "visits")) == len(closed), "a commit of each shard", process)  # each fills its part
            for _ in closed:
                kinesis.split()  # the first of the open shards
            until = time.monotonic() + 180
            while len(folded()) < len(closed):
                assert time.monotonic() < until, (folded(), process.log.read_text())
                try:
                    before, counted = counted, sum(count for count, _ in here.found().values())
                except StoreError as error:
                    assert "is not filled yet" in str(error)  # noqa: PT017 (it is not always raised)
                    continue
                assert counted >= before
                moving = any(done.heir and not done.folded for done in progresses(store, "visits").values())
                if moving and kills < 3 and chance.random() < 0.2:
                    kills += 1
                    process.kill()
                    process.wait()
                    process = here.start()
                    here.begun(process)
                time.sleep(0.1)
        process.terminate()
        assert process.wait(60) == 0, process.log.read_text()
        here.once()
        here.check()


@pytest.mark.slow
def test_two_processes_divide_the_shards(kinesis, make, tmp_path):
    with serving(tmp_path / "redis", "--appendonly", "yes") as server:
        here = make(server.url)
        first = here.start()
        with Producer(here, kinesis, rate=400):
            here.begun(first)
            here.port += 1
            second = here.start()
            here.begun(second)
            kinesis.split()
            time.sleep(1)
            first.kill()
            first.wait()
            time.sleep(1)
        second.terminate()
        assert second.wait(60) == 0, second.log.read_text()
        here.once()
        here.check()
