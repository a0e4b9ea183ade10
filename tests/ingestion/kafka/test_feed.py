"""The feed of a topic, on a real broker: nothing twice, nothing left out, nothing skipped in
silence.
"""

import time
from collections import defaultdict

import pytest

import headwater as hw
from headwater.errors import ConnectError, UsageError
from headwater.ingestion.sources import stream_reader
from headwater.ingestion.sources.stream_reader import integer_position, offset_at
from tests import waiting

pytestmark = pytest.mark.usefixtures("fetching")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    pytest.importorskip("confluent_kafka")
    from headwater.ingestion.sources import kafka

    monkeypatch.setattr(kafka, "PATIENCE", 2.0)


class Reader:
    """A feed whose offsets lie in a dict that readers share, as they do in an online store."""

    def __init__(self, source, store=None):
        self.store, self.origins = {} if store is None else store, {}
        self.mine, self.taken, self.left = set(), [], []
        self.read = defaultdict(list)
        self.feed = stream_reader.open_feed(
            source, self._assigned, self._revoked, lambda p: self.origins.get(p, "")
        )

    def _assigned(self, partitions):
        self.mine |= set(partitions)
        self.taken.append(sorted(partitions))
        return {p: integer_position(self.store[p]) for p in partitions if p in self.store}

    def _revoked(self, partitions):
        self.mine -= set(partitions)
        self.left.append(sorted(partitions))

    def poll(self, timeout=0.2, most=1000):
        records = self.feed.poll(most, timeout)
        if records is None:
            return 0
        assert set(records.positions) <= self.mine, (
            "records of a partition that another reader has now"
        )
        assert (
            len(records.partition)
            == len(records.offset)
            == len(records.at)
            == len(records.payloads)
            <= most
        )
        for p, offset, payload in zip(
            records.partition.tolist(), records.offset.tolist(), records.payloads, strict=True
        ):
            name = records.partitions[p]
            first, end = map(offset_at, records.positions[name])
            assert self.store.get(name, first) == first <= offset < end
            self.read[name].append((offset, payload))
        self.store.update({name: offset_at(end) for name, (_, end) in records.positions.items()})
        self.origins.update(records.origins)
        return len(records.payloads)

    def until(self, done, seconds=60):
        waiting.until(
            lambda: done() or (self.poll() and done()),
            "the events",
            seconds=seconds,
            said=lambda: f"read {dict(self.read)}, has {self.mine}",
        )

    @property
    def values(self):
        return [payload for name in sorted(self.read) for _, payload in self.read[name]]


@pytest.fixture
def reader(broker):
    made = []

    def make(source, store=None):
        made.append(Reader(source, store))
        return made[-1]

    yield make
    for one in made:
        one.feed.close()


def numbers(begin, end):
    return [str(n).encode() for n in range(begin, end)]


# ---------------------------------------------------------------- where it begins


@pytest.mark.slow
def test_records_say_when_the_broker_had_them_and_a_tombstone_is_none(broker, reader):
    topic = broker.topic(**{"message.timestamp.type": "LogAppendTime"})
    before = time.time()
    broker.produce(topic, [b"a"], timestamp=1)
    broker.produce(topic, [None], key=b"k")
    feed = stream_reader.open_feed(broker.source(topic), lambda _: {}, lambda _: None)
    found = []
    while sum(len(r.payloads) for r in found) < 2:
        found += [r for r in [feed.poll(10, 1.0)] if r]
    feed.close()
    assert [payload for r in found for payload in r.payloads] == [b"a", None]
    assert all(before - 1 < at / 1e6 < time.time() + 1 for r in found for at in r.at.tolist())


# ---------------------------------------------------------------- several readers


@pytest.mark.slow
def test_partitions_that_others_hold_are_elsewhere(broker, reader):
    topic = broker.topic(3)
    options = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "300"}
    source = broker.source(topic, options=options)
    one = reader(source)
    assert one.feed.elsewhere() == 3
    one.until(lambda: len(one.mine) == 3)
    assert one.feed.elsewhere() == 0
    two = reader(source, one.store)
    one.until(lambda: not two.poll(0.05) and {len(one.mine), len(two.mine)} == {1, 2})
    assert one.feed.elsewhere() + two.feed.elsewhere() == 3


class LosingFetcher:
    """Takes records while the feed loses their partition, or gets it back where another reader left
    it.
    """

    def __init__(self, reader, then):
        self.feed, self.fetcher, self.store, self.then = (
            reader.feed,
            reader.feed._fetcher,
            reader.store,
            then,
        )

    def fetch(self, *given):
        found = self.fetcher.fetch(*given)
        if len(found.offset):
            self.feed._ends.clear()
            self.feed._ends.update(self.then)
            self.store.update({str(p): end for p, end in self.then.items()})
        return found

    def __getattr__(self, name):
        return getattr(self.fetcher, name)


@pytest.mark.slow
@pytest.mark.parametrize(("then", "read"), [({}, []), ({0: 7}, [7, 8, 9])])
def test_records_of_a_partition_that_is_lost_while_they_are_fetched_are_not_given(
    broker, reader, then, read
):
    topic = broker.topic()
    one = reader(broker.source(topic))
    one.until(lambda: one.store == {"0": 0})
    one.feed._fetcher = LosingFetcher(one, then)
    broker.produce(topic, numbers(0, 10))
    for _ in range(5):
        one.poll()
    assert [offset for offset, _ in one.read["0"]] == read


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_an_open_transaction_waits(broker, reader):
    from confluent_kafka import Producer

    topic = broker.topic()
    producer = Producer({"bootstrap.servers": broker.servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"0")
    producer.flush()
    one = reader(broker.source(topic))
    one.until(lambda: one.mine)
    for _ in range(3):
        one.poll()
    assert one.values == []
    assert one.store == {"0": 0}
    producer.commit_transaction()
    one.until(lambda: one.values == [b"0"])


def test_security_settings_are_passed_on_and_what_does_not_fit_is_said_soon(broker, monkeypatch):
    monkeypatch.setenv("BROKER_PASSWORD", "hunter2")
    options = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "sasl.password": hw.env("BROKER_PASSWORD"),
    }
    with pytest.raises(ConnectError, match=r"handshake failed.*see options=") as caught:
        stream_reader.open_feed(broker.source(broker.topic(), options=options), dict, list)
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("BROKER_PASSWORD")
    with pytest.raises(UsageError, match="BROKER_PASSWORD is not set"):
        stream_reader.open_feed(broker.source(broker.topic(), options=options), dict, list)
