"""The feed of a stream: nothing twice, nothing left out, parents before children, and errors that
say what to do.
"""

import hashlib
import time
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from faithful import HASHES, FaithfulKinesis

import headwater as hw
import headwater_aws
from headwater.errors import ConnectError, DefinitionError, RecreatedError, RetentionError
from headwater_aws import kinesis_feed
from headwater_aws.kinesis_feed import ShardPosition, look, payloads_of
from tests import waiting

HOUR = 3_600_000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(kinesis_feed, "_PACE", 0.02)
    monkeypatch.setattr(kinesis_feed, "_LOOK", 0.02)
    monkeypatch.setattr(kinesis_feed, "_OPENED", 1.0)


@pytest.fixture
def stream():
    made = FaithfulKinesis()
    yield made
    made.stop()


def spec(stream, name="clicks", **options):
    return headwater_aws.kinesis(
        name, region="eu-central-1", endpoint_url=stream.url, schema={"n": int}, **options
    )


class Reader:
    """A feed, and a store of positions in a dict; it is the only process."""

    def __init__(self, stream, store=None, **options):
        self.store, self.origins = {} if store is None else store, {}
        self.read, self.order = defaultdict(list), []
        source = hw.Source("clicks", timestamp_field="n", stream=spec(stream, **options))
        self.feed = kinesis_feed.open_feed(
            source,
            self._assigned,
            lambda names: None,
            lambda name: self.origins.get(name, ""),
            self,
        )

    def _assigned(self, names):
        self.order += names
        return {name: self.store[name] for name in names if name in self.store}

    # ---- what the store knows

    whole, identity = True, "store"

    def positions(self):
        return dict(self.store)

    def counted(self, partitions):
        pass

    @property
    def closed(self):
        return {
            name for name, position in self.store.items() if ShardPosition.decoded(position).ended
        }

    # ---- reading

    def poll(self):
        records = self.feed.poll(1000, 0.05)
        if records is None:
            return
        for p, offset, payload in zip(
            records.partition.tolist(), records.offset.tolist(), records.payloads, strict=True
        ):
            assert offset == len(self.read[records.partitions[p]])
            self.read[records.partitions[p]].append(payload)
        for name, (first, after) in records.positions.items():
            assert self.store.get(name, first) == first
            self.store[name] = after
        self.origins.update(records.origins)

    def until(self, done):
        waiting.until(
            lambda: done() or self.poll(), "the records", said=lambda: (dict(self.read), self.store)
        )

    def all(self):
        return [payload for payloads in self.read.values() for payload in payloads]


def put(stream, *numbers):
    for n in numbers:
        stream.put(b"%d" % n, f"u{n}")


def test_parents_are_read_to_their_end_before_their_children(stream):
    put(stream, *range(10))
    stream.split()
    put(stream, *range(10, 20))
    stream.merge()
    put(stream, *range(20, 30))
    reader = Reader(stream)
    reader.until(lambda: len(reader.all()) == 30)
    first, one, other, last = (shard.name for shard in stream.shards)
    assert reader.order[0] == first
    assert set(reader.order[1:3]) == {one, other}
    assert reader.order[3] == last
    assert reader.closed == {first, one, other}
    assert sorted(map(int, reader.all())) == list(range(30))
    reader.until(lambda: not any(reader.feed.lag().values()))
    reader.feed.close()


def test_a_feed_reads_on_from_the_stored_positions(stream):
    put(stream, *range(5))
    before = Reader(stream)
    before.until(lambda: len(before.all()) == 5)
    before.feed.close()
    put(stream, *range(5, 8))
    stream.throttled, stream.expired = 2, 2
    reader = Reader(stream, before.store)
    reader.read = before.read
    reader.until(lambda: len(reader.all()) == 8)
    assert stream.refused == 4
    reader.feed.close()


@pytest.mark.parametrize(("start", "count"), [("earliest", 5), ("latest", 2), ("later", 2)])
def test_where_a_stream_is_begun(stream, start, count):
    put(stream, 1, 2, 3)
    time.sleep(0.05)
    reader = Reader(stream, start=datetime.now(UTC) if start == "later" else start)
    time.sleep(0.05)
    put(stream, 4, 5)
    reader.until(lambda: len(reader.all()) == count)
    reader.feed.close()


def test_what_was_deleted_before_it_was_read_is_an_error(stream):
    name, now = stream.shards[0].name, round(time.time() * 1000)
    old = ShardPosition(7, now - 25 * HOUR, "4956", round(stream.created * 1000))
    reader = Reader(stream, {name: old.encoded()})
    with pytest.raises(
        RetentionError,
        match=r"was read last 25.0 h ago, and records are kept for 24 h.*--accept-loss",
    ) as caught:
        reader.until(lambda: False)
    reader.feed.close()
    put(stream, 1)
    after = Reader(stream, {name: caught.value.position})
    after.read[name] = [b""] * 7
    after.until(lambda: len(after.all()) == 8)
    after.feed.close()


def test_a_closed_shard_that_expired_unread_is_an_error(stream):
    name, now = stream.shards[0].name, round(time.time() * 1000)
    stream.split()
    del stream.shards[0]
    old = ShardPosition(7, 0, "4956", round(stream.created * 1000))
    reader = Reader(stream, {name: old.encoded()})
    with pytest.raises(RetentionError, match=f"{name}: it was never read") as caught:
        reader.until(lambda: False)
    assert ShardPosition.decoded(caught.value.position).ended
    reader.feed.close()
    # to its tip, less than its retention ago: an emulator drops it
    read = ShardPosition(7, now, "4956", round(stream.created * 1000))
    reader = Reader(stream, {name: read.encoded()})
    put(stream, 1)
    reader.until(lambda: len(reader.all()) == 1)
    assert reader.closed == {name}
    reader.feed.close()


def test_a_stream_that_was_created_again_is_an_error(stream):
    name = stream.shards[0].name
    put(stream, 1)
    reader = Reader(stream)
    reader.until(lambda: len(reader.all()) == 1)
    reader.feed.close()
    stream.created += 1000
    again = Reader(stream, reader.store)
    again.origins, again.read = reader.origins, reader.read
    with pytest.raises(RecreatedError, match="created again") as caught:
        again.until(lambda: False)
    again.feed.close()
    adopted = Reader(stream, reader.store)
    adopted.origins, adopted.read = dict(caught.value.origins), reader.read
    adopted.until(lambda: len(adopted.all()) == 2)  # from its beginning
    assert list(adopted.read) == [name]
    adopted.feed.close()


def test_errors_say_what_to_do(stream, monkeypatch):
    with pytest.raises(
        ConnectError,
        match=r"the Kinesis stream 'click' does not exist at http.*; did you mean 'clicks'\?",
    ):
        Reader(stream, name="click")
    stream.stop()
    with pytest.raises(
        ConnectError, match=r"no answer: .* Check the region, the endpoint and the network"
    ):
        Reader(stream)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a b", {}, "give a name of 1 to 128 letters"),
        ("arn:aws:kinesis:eu:1:stream/a", {}, "no ARN"),
        ("a", {"endpoint_url": "localhost:4566"}, "endpoint_url is 'localhost:4566'; give a URL"),
        (
            "a",
            {"start": "begin"},
            "start is 'begin'; give 'earliest', 'latest', or a timestamp with an offset",
        ),
        (
            "a",
            {"start": "2026-01-31T08:00"},
            "give 'earliest', 'latest', or a timestamp with an offset",
        ),
        ("a", {"format": "avro"}, "needs either registry="),
        (
            "a",
            {"format": "debezium", "schema": {"__op": str}},
            "the schema names '__op', which every envelope gives",
        ),
    ],
)
def test_definitions_are_checked(name, options, message):
    with pytest.raises(DefinitionError, match=message):
        headwater_aws.kinesis(name, **options)


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, value):
    return (
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
    )


def aggregated(records, keys, hashes=()):
    """As the Kinesis Producer Library writes it; records: index of the key, index of the hash key
    or None, payload.
    """
    body = b"".join(field(1, key.encode()) for key in keys) + b"".join(
        field(2, str(h).encode()) for h in hashes
    )
    for key, hashed, payload in records:
        body += field(
            3, field(1, key) + (b"" if hashed is None else field(2, hashed)) + field(3, payload)
        )
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


def test_aggregated_records(stream):
    long = b"x" * 300
    data = aggregated([(0, None, b"1"), (1, None, long), (0, 0, b"3")], ["a", "b"], [HASHES - 1])
    assert payloads_of(data, 0, HASHES - 1) == [b"1", long, b"3"]
    half = int(hashlib.md5(b"a").hexdigest(), 16)
    assert payloads_of(data, half, half) == [b"1"]
    assert payloads_of(data, HASHES - 1, HASHES - 1) == [b"3"]
    # its digest is wrong: no aggregate
    assert payloads_of(data[:-1] + b"?", 0, HASHES - 1) == [data[:-1] + b"?"]
    stream.put(data, "a")
    put(stream, 4)
    reader = Reader(stream)
    reader.until(lambda: len(reader.all()) == 4)
    assert reader.all() == [b"1", long, b"3", b"4"]
    reader.feed.close()


@pytest.mark.slow
def test_a_look_from_outside(stream):
    put(stream, *range(30))
    stream.split()
    put(stream, *range(30, 40))
    seen = look(spec(stream), records=90, watch=1.0)
    assert sorted(map(int, seen.payloads)) == list(range(40))
    assert seen.settings["retention.ms"] == str(24 * HOUR)
    assert max(seen.last.values()) == 30
    assert {key.decode() for key in seen.keys} == {f"u{n}" for n in range(40)}
    assert len(look(spec(stream), records=6, watch=0.0).payloads) == 6
