"""`headwater ingest` on a real broker: no matter what happens to processes and brokers, every event
counts once.
"""

import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.ingestion.world import World
from tests.stores.durable_stores import durable_store
from tests.stores.servers import serving

PARTITIONS = 3
ONE_BY_ONE = Path(__file__).with_name("one_by_one.py")
KILLS = 3  # each takes until the group has noticed
PAIRS = [("lmdb", "batches"), ("redis", "objects")]

in_each_store = pytest.mark.parametrize(("url", "fetching"), PAIRS, indirect=True)
in_one_store = pytest.mark.parametrize(("url", "fetching"), PAIRS[:1], indirect=True)
in_each_way = pytest.mark.parametrize("fetching", ["batches"], indirect=True)


@pytest.fixture
def url(request, tmp_path):
    with durable_store(request.param, tmp_path) as address:
        yield address


@pytest.fixture
def redis_url(tmp_path):
    with serving(tmp_path / "redis", "--appendonly", "yes") as server:
        yield server.url


@pytest.fixture
def topic(broker):
    return broker.topic(PARTITIONS)


@pytest.fixture
def make(broker, topic, tmp_path, fetching):
    def world(url):
        options = '{"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000"}'
        stream = (
            f'hw.kafka("{topic}", servers="{broker.servers}", schema=schema, group="{topic}", '
            f"options={options})"
        )
        return World(tmp_path, url, stream, script=ONE_BY_ONE if fetching == "objects" else None)

    return world


class Stream(threading.Thread):
    """Writes events to a topic until it is told to stop: nine of ten to one partition, users spread
    over all.
    """

    def __init__(self, world, broker, topic, rate=2000):
        super().__init__(daemon=True)
        self.world, self.broker, self.topic, self.rate, self.over = (
            world,
            broker,
            topic,
            rate,
            threading.Event(),
        )
        self.chance = random.Random(7)

    def run(self):
        from confluent_kafka import Producer

        settings = {
            "bootstrap.servers": self.broker.servers,
            "log_level": 0,
            "enable.idempotence": True,
            "delivery.timeout.ms": 120_000,
        }
        producer, failed = Producer(settings), []
        while not self.over.wait(0.02):
            made = [self.world.event() for _ in range(self.rate // 50)]
            for line, _ in made:
                place = 0 if self.chance.random() < 0.9 else self.chance.randrange(PARTITIONS)
                producer.produce(
                    self.topic,
                    line,
                    partition=place,
                    on_delivery=lambda e, _: e and failed.append(e),
                )
            producer.poll(0)
            self.world.took([n for _, n in made])
        assert producer.flush(60) == 0
        assert not failed, failed

    def end(self):
        self.over.set()
        self.join()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end()


def end(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.log.read_text()


@pytest.mark.slow
@in_each_store
def test_a_broker_that_restarts(url, make, broker, topic):
    here = make(url)
    process = here.start()
    with Stream(here, broker, topic):
        here.begun(process)
        time.sleep(1)
        broker.run("stop")
        time.sleep(1)
        broker.run("start")
        time.sleep(2)
    assert process.poll() is None, process.log.read_text()
    end(process)
    here.once()
    here.check()


@pytest.mark.slow
@in_one_store
def test_killed_processes(url, make, broker, topic):
    here = make(url)
    with Stream(here, broker, topic):
        here.killed(KILLS)
    here.once()
    here.check()


@pytest.mark.slow
@in_each_way
def test_processes_that_come_and_go(redis_url, make, broker, topic):
    here = make(redis_url)
    with Stream(here, broker, topic):
        first = here.start()
        here.begun(first)
        second = here.start()
        here.begun(second)
        time.sleep(1)
        end(first)
        third = here.start()
        here.begun(third)
        second.send_signal(signal.SIGKILL)
        second.wait()
        time.sleep(8)  # until the group has noticed
    end(third)
    here.once()
    here.check()


@pytest.mark.slow
@in_each_way
def test_a_process_that_sleeps_through_a_rebalance(redis_url, make, broker, topic):
    here = make(redis_url)
    with Stream(here, broker, topic):
        sleeper, other = here.start(), here.start()
        here.begun(sleeper)
        here.begun(other)
        time.sleep(2)
        sleeper.send_signal(signal.SIGSTOP)
        time.sleep(9)  # its session ends after six
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(3)
    assert sleeper.poll() is None, sleeper.log.read_text()
    end(sleeper)
    end(other)
    here.once()
    here.check()


@pytest.mark.slow
@in_each_store
def test_aborted_transactions_never_count(url, make, broker, topic):
    from confluent_kafka import Producer

    here = make(url)
    producer = Producer({"bootstrap.servers": broker.servers, "transactional.id": topic})
    producer.init_transactions()
    for commits in (True, False, True, False, False, True):
        made = [here.event() for _ in range(500)]
        producer.begin_transaction()
        for n, (line, _) in enumerate(made):
            producer.produce(topic, line, partition=n % PARTITIONS)
        producer.flush()
        if commits:
            producer.commit_transaction()
            here.took([n for _, n in made])
        else:
            producer.abort_transaction()
    here.once()
    here.check()
    assert len(here.good) + here.refused == 1500


class Repeating(Stream):
    """Writes each event to the partition of its user, as many as the topic has; one in five again
    later, to the partition of then.
    """

    partitions, whole = PARTITIONS, False

    def run(self):
        from confluent_kafka import Producer

        settings = {
            "bootstrap.servers": self.broker.servers,
            "log_level": 0,
            "topic.metadata.refresh.interval.ms": 200,
        }
        producer, failed, again = Producer(settings), [], []

        def send(line, n):
            producer.produce(
                self.topic,
                line,
                partition=n % 20 % self.partitions,
                on_delivery=lambda e, _: e and failed.append(e),
            )

        while not self.over.wait(0.02):
            for line, n in (self.world.event() for _ in range(self.rate // 50)):
                if n is not None:
                    send(line, n)
                    self.world.took([n])
                    again += [(line, n)] if self.chance.random() < 0.2 else []
            for _ in range(len(again) // 8):
                send(*again.pop(self.chance.randrange(len(again))))
            producer.poll(0)
        for line, n in again:
            send(line, n)
        assert producer.flush(60) == 0
        assert not failed, failed
        self.whole = True


@pytest.mark.slow
def test_partitions_that_are_added_under_load(redis_url, broker, topic, tmp_path):
    stream = f'hw.kafka("{topic}", servers="{broker.servers}", schema=schema, group="{topic}")'
    here = World(tmp_path, redis_url, stream, ', id_field="n", id_horizon="1h"')
    first = here.start()
    with Repeating(here, broker, topic, rate=400) as producer:
        here.begun(first)
        here.port += 1
        second = here.start()  # events have ids, so it stands by
        time.sleep(2)
        broker.grow(topic, PARTITIONS + 2)
        time.sleep(1)
        producer.partitions = PARTITIONS + 2
        time.sleep(4)
    assert producer.whole
    end(first)
    end(second)
    here.once()
    here.check()
