"""Shards that are split and merged under load, on answers like those of AWS: parents before
children, and no event twice or never.
"""

import random
import threading
import time

import pytest

from tests.aws.faithful import FaithfulKinesis
from tests.ingestion.world import World
from tests.stores.durable_stores import durable_store
from tests.stores.servers import serving
from tests.waiting import until

pytestmark = pytest.mark.services
IDS = ', id_field="n", id_horizon="1h"'


@pytest.fixture(params=["redis"])
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
            tmp_path,
            url,
            'headwater_aws.kinesis("clicks", region="eu-central-1", '
            f'endpoint_url="{kinesis.url}", schema=schema)',
            more,
        )

    return world


class Producer(threading.Thread):
    """Writes events until it is told to stop; one in five is sent again later, by the same key,
    wherever that goes by then.
    """

    def __init__(self, world, kinesis, rate=1000, repeated=0.2):
        super().__init__(daemon=True)
        self.world, self.kinesis, self.rate, self.repeated, self.over = (
            world,
            kinesis,
            rate,
            repeated,
            threading.Event(),
        )
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
    here.check()


@pytest.mark.slow
def test_a_process_that_stands_by_reads_all_shards_once_the_first_is_killed(
    kinesis, make, tmp_path
):
    with serving(tmp_path / "redis", "--appendonly", "yes") as server:
        here = make(server.url)
        first = here.start()
        with Producer(here, kinesis, rate=400):
            here.begun(first)
            here.port += 1
            second = here.start()
            until(
                lambda: "Standing by" in second.log.read_text(),
                "that the second process stands by",
                second,
                seconds=180,
            )
            kinesis.split()
            time.sleep(1)
            first.kill()
            first.wait()
            here.begun(second)
            time.sleep(1)
        second.terminate()
        assert second.wait(60) == 0, second.log.read_text()
        here.once()
        here.check()
