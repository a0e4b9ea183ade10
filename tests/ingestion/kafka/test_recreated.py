"""A topic that is deleted and created again under its name: never read on from offsets of the old
one; and slow assignments.
"""

import threading
import time

import pytest

from headwater.errors import DataError, RecreatedError
from headwater.ingestion.sources import stream_reader
from headwater.ingestion.sources.stream_reader import integer_position
from tests.ingestion.kafka.test_feed import Reader, numbers, reader  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("fetching")


def until_failure(one):
    with pytest.raises(RecreatedError) as caught:
        one.until(lambda: False)
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 3, 7, 500], ids=lambda n: f"{n} records")
def test_offsets_of_a_deleted_topic_are_refused(broker, reader, size):
    """Whether the new topic has fewer, as many, or more records than were read of the old one."""
    topic = broker.topic(2)
    for p in (0, 1):
        broker.produce(topic, numbers(0, 7), p)
    one = reader(broker.source(topic))
    one.until(lambda: one.store == {"0": 7, "1": 7})
    one.feed.close()
    broker.recreate(topic, 2)
    for p in (0, 1):
        broker.produce(topic, numbers(100, 100 + size), p)
    again = Reader(broker.source(topic), one.store)
    again.origins = one.origins
    error = until_failure(again)
    again.feed.close()
    for words in (
        topic,
        "deleted and created again",
        "--accept-loss",
        "another name",
        *(origin.split("@")[0] for origin in error.origins.values()),
    ):
        assert words in str(error)
    assert again.values == []

    third = reader(broker.source(topic), one.store)  # as with --accept-loss: offsets go on rising
    third.origins = dict(error.origins)
    third.until(
        lambda: (
            {len(third.read[p]) for p in "01"} == {size} and third.feed.lag() == {"0": 0, "1": 0}
        )
    )
    assert third.read["0"] == [(7 + n, b"%d" % (100 + n)) for n in range(size)]
    third.feed.acknowledge({p: integer_position(end) for p, end in third.store.items()})
    third.feed.close()
    fourth = reader(broker.source(topic), third.store)
    fourth.origins = third.origins
    broker.produce(topic, [b"last"], 1)
    fourth.until(lambda: fourth.values == [b"last"])


@pytest.mark.slow
def test_a_topic_created_again_while_it_is_read_is_noticed(broker, reader):
    topic = broker.topic()
    broker.produce(topic, numbers(0, 5))
    one = reader(broker.source(topic))
    one.until(lambda: one.store == {"0": 5})
    broker.recreate(topic)
    broker.produce(topic, numbers(100, 300))
    error = until_failure(one)
    assert (one.values, list(error.origins)) == (numbers(0, 5), ["0"])


@pytest.mark.slow
def test_a_topic_whose_id_was_never_stored_is_read_on(broker, reader):
    """Offsets that an earlier version stored; what lies beyond the end is refused in any case."""
    topic = broker.topic()
    broker.produce(topic, numbers(0, 5))
    one = reader(broker.source(topic), {"0": 3})
    one.until(lambda: one.values == numbers(3, 5))
    assert one.origins["0"]
    beyond = reader(broker.source(topic), {"0": 9})
    with pytest.raises(DataError, match="offset 9 is to be read next, and it ends at 5"):
        beyond.until(lambda: False)


# ---------------------------------------------------------------- partitions that take long to take up


AWAY = {
    "session.timeout.ms": "6000",
    "max.poll.interval.ms": "6000",
    "heartbeat.interval.ms": "300",
}


@pytest.mark.slow
def test_a_partition_that_takes_long_to_take_up_holds_nobody_up(broker):
    """Longer than a member of the group may be silent: it stays a member, is asked once, and reads
    every record.
    """
    topic = broker.topic(2)
    broker.produce(topic, numbers(0, 5), 1)
    asked, revoked, go, read = [], [], threading.Event(), []

    def assigned(partitions):
        asked.append(sorted(partitions))
        assert go.wait(30)
        return {}

    feed = stream_reader.open_feed(broker.source(topic, options=AWAY), assigned, revoked.extend)
    since, longest = time.monotonic(), 0.0
    while time.monotonic() - since < 8:
        before = time.monotonic()
        assert feed.poll(100, 0.05) is None
        longest = max(longest, time.monotonic() - before)
        if asked:
            assert any(feed.lag().values()), "there may be more to read"
    assert longest < 5
    go.set()
    while len(read) < 5:
        records = feed.poll(100, 0.05)
        read += [] if records is None else records.payloads
    assert (read, asked, revoked) == (numbers(0, 5), [["0", "1"]], [])
    feed.close()


@pytest.mark.slow
def test_a_partition_that_is_taken_away_meanwhile_goes_to_the_other(broker):
    topic = broker.topic(2)
    for p in (0, 1):
        broker.produce(topic, numbers(0, 5), p)
    source, go, revoked, lists = broker.source(topic, options=AWAY), threading.Event(), [], ([], [])

    def slowly(_):
        go.wait(30)
        return {}

    one = stream_reader.open_feed(source, slowly, revoked.extend)
    since = time.monotonic()
    while len(one.lag()) < 2:
        assert time.monotonic() - since < 15
        one.poll(10, 0.05)
    two = stream_reader.open_feed(source, lambda _: {}, lambda _: None)
    while sum(map(len, lists)) < 10:
        assert time.monotonic() - since < 30, lists
        for feed, mine in zip((one, two), lists, strict=True):
            records = feed.poll(10, 0.05)
            mine.extend([] if records is None else records.payloads)
        if lists[1]:
            go.set()
    assert lists == (numbers(0, 5), numbers(0, 5))
    assert len(revoked) == 1
    one.close()
    two.close()
