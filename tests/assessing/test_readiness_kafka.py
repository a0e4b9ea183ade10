"""Readiness of topics of a real broker: each check green, amber and red on data that was planted;
and nothing of the broker changes.
"""

import polars as pl
import pytest

import headwater as hw
from headwater.assessing.readiness import readiness
from tests.assessing.conftest import NOW, SCHEMA, ago, of, payments, project, records, source, view

QUIET = hw.operations.Locations(watch=0.0)
COUNT = 2000


def over(broker, topic, history=None, *, windows=("1h",), places=QUIET, stream=None, **given):
    """The readiness of a view over a topic."""
    stream = stream or hw.kafka(topic, servers=broker.servers, schema=SCHEMA)
    return readiness(
        project(view(source(history, stream=stream, **given), windows=windows)), places
    )


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "state"), [(0, "green"), (10, "amber"), (100, "red")])
def test_a_share_of_records_without_a_key(broker, bad, state):
    topic = broker.topic()
    frame = payments(COUNT).with_columns(
        pl.when(pl.int_range(COUNT) >= bad).then("card").alias("card")
    )
    broker.produce(topic, records(frame))
    found = over(broker, topic)
    assert of(found, "E1").state == state, of(found, "E1").said
    assert of(found, "E1").reading.value == pytest.approx(1 - bad / COUNT)
    assert of(found, "E2").state == "green"


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "state"), [(0, "green"), (10, "amber"), (100, "red")])
@pytest.mark.parametrize("kind", ["future", "older than retention", "naive"])
def test_event_times_that_are_none(broker, bad, state, kind):
    topic = broker.topic(**{"retention.ms": str(3 * 86_400_000)})
    wrong = {"future": ago(-3600), "older than retention": ago(5 * 86_400), "naive": ago(60)}[kind]
    lines = records(payments(COUNT - bad))
    text = wrong.isoformat().removesuffix("+00:00") if kind == "naive" else wrong.isoformat()
    lines += [
        f'{{"id": "x{n}", "card": "c{n}", "at": "{text}", "amount": 1}}'.encode()
        for n in range(bad)
    ]
    broker.produce(topic, lines, timestamp=int(NOW.timestamp() * 1000))
    assert of(over(broker, topic), "E2").state == state


@pytest.mark.parametrize(
    ("hours", "policy", "state"),
    [
        (49, "delete", "green"),
        (30, "delete", "amber"),
        (20, "delete", "red"),
        (49, "compact", "red"),
        (49, "compact,delete", "amber"),
        (-1, "delete", "green"),
    ],
)
def test_retention_against_the_longest_window(broker, hours, policy, state):
    topic = broker.topic(
        **{"retention.ms": str(hours * 3_600_000 if hours > 0 else -1), "cleanup.policy": policy}
    )
    found = of(over(broker, topic, windows=("1h", "1d")), "E6")
    assert found.state == state


@pytest.mark.parametrize(("lost", "state"), [(0, "green"), (3, "amber"), (60, "red")])
def test_stream_and_archive_by_key_hour(broker, lost, state):
    topic = broker.topic()
    frame = payments(COUNT, every=15.0)
    broker.produce(topic, records(frame))
    history = frame.with_columns(
        pl.when((pl.int_range(COUNT) >= 600) & (pl.int_range(COUNT) < 600 + lost))
        .then(99.5)
        .otherwise("amount")
        .alias("amount")
    )
    found = of(over(broker, topic, history), "E9")
    assert found.state == state, found.said


def test_nothing_of_the_broker_changes(broker):
    """Groups, their offsets, topics, their settings and ends are what they were."""
    topic = broker.topic(2)
    for partition in (0, 1):
        broker.produce(topic, records(payments(50)), partition=partition)
    feed_group = _read_to_the_end(broker, topic)
    before = _all_of(broker, topic, feed_group)
    assert before["offsets"] == {0: 50, 1: 50}
    over(broker, topic, payments(50), places=hw.operations.Locations(watch=0.5))
    missing = over(broker, "no-such-topic")
    assert "does not exist" in of(missing, "E1").said or "no topic" in of(missing, "E6").said
    assert _all_of(broker, topic, feed_group) == before


def _read_to_the_end(broker, topic):
    from confluent_kafka import Consumer, TopicPartition

    group = f"group-{topic}"
    consumer = Consumer(
        {"bootstrap.servers": broker.servers, "group.id": group, "enable.auto.commit": False}
    )
    consumer.commit(offsets=[TopicPartition(topic, p, 50) for p in (0, 1)], asynchronous=False)
    consumer.close()
    return group


def _all_of(broker, topic, group):
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import ConfigResource, OffsetSpec

    admin = broker.admin()
    parts = [TopicPartition(topic, p) for p in (0, 1)]
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)])
    (offsets,) = [future.result() for future in asked.values()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    (config,) = [future.result() for future in admin.describe_configs([resource]).values()]
    ends = {
        (tp.topic, tp.partition): f.result().offset
        for tp, f in admin.list_offsets(dict.fromkeys(parts, OffsetSpec.latest())).items()
    }
    return {
        "groups": sorted(g.group_id for g in admin.list_consumer_groups().result().valid),
        "offsets": {tp.partition: tp.offset for tp in offsets.topic_partitions},
        "topics": sorted(name for name in admin.list_topics(timeout=5).topics),
        "settings": {name: entry.value for name, entry in config.items()},
        "ends": ends,
    }
