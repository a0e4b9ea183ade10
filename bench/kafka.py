"""A topic of JSON events: reading them with their values, and making rows of them.

python -m bench.kafka EVENTS SERVERS      prints JSON; SERVERS from `scripts/kafka.sh DIR start`
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

PARTITIONS = 4
BATCH = 10_000


def produce(servers: str, topic: str, events: int) -> float:
    """Make the topic and fill it with events of about 100 bytes; gives events a second."""
    import random

    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers})  # a name: it must outlive what it is asked for
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 20, "batch.num.messages": 50_000, "queue.buffering.max.messages": 500_000}
    )
    draw, started = random.Random(1), time.perf_counter()
    for n in range(events):
        at = f"2024-05-01T{n // 3_600_000 % 24:02}:{n // 60_000 % 60:02}:{n // 1000 % 60:02}.{n % 1000:03}Z"
        event = f'{{"id":"p{n}","card":"c{int(draw.paretovariate(1.1)) % 100_000}","amount":{draw.lognormvariate(3, 1):.2f},"authorised_at":"{at}"}}'
        producer.produce(topic, event.encode(), partition=n % PARTITIONS)
        if n % 10_000 == 0:
            producer.poll(0)
    producer.flush()
    return events / (time.perf_counter() - started)


def consumed(servers: str, topic: str, events: int) -> float:
    """Events a second that `consume` and `value()` give: what nothing written in Python can exceed."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "bench-values", "enable.auto.commit": False, "fetch.queue.backoff.ms": 20}
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    found, started = 0, None
    while found < events:
        messages = consumer.consume(BATCH, 1.0)
        started = started or time.perf_counter()
        found += len([message.value() for message in messages])
    assert started is not None
    seconds = time.perf_counter() - started
    consumer.close()
    return events / seconds


def fed(servers: str, topic: str, events: int, *, decode: bool) -> float:
    """Events a second that a feed gives, as payloads or as rows."""
    import polars as pl

    import headwater as hw
    from headwater.connectors.decode import decoder
    from headwater.connectors.feeds import open_feed

    schema = {"id": str, "card": str, "amount": float, "authorised_at": pl.Datetime("us", "UTC")}
    stream = hw.kafka(topic, servers=servers, group=f"bench-{topic}-{decode}", schema=schema)
    source = hw.Source("payments", timestamp_field="authorised_at", stream=stream)
    made: Callable = decoder(source)
    feed = open_feed(source, lambda _: {}, lambda _: None)
    found, started = 0, None
    try:
        while found < events:
            records = feed.poll(BATCH, 1.0)
            started = started or (time.perf_counter() if records else None)
            if records is not None:
                found += made(records.payloads).frame.height if decode else len(records.payloads)
        assert started is not None
        return events / (time.perf_counter() - started)
    finally:
        feed.close()


def measure(events: int, servers: str, repeats: int = 3) -> dict:
    """Everything, in turns; the best of each, in events a second."""
    topic = f"bench-{time.time_ns()}"
    found: dict[str, float] = {"produced": produce(servers, topic, events)}
    sides: dict[str, Callable[[], float]] = {
        "consume with value()": lambda: consumed(servers, topic, events),
        "feed": lambda: fed(servers, topic, events, decode=False),
        "feed and rows": lambda: fed(servers, topic, events, decode=True),
    }
    for _ in range(repeats):
        for name, side in sides.items():
            found[name] = max(found.get(name, 0.0), side())
    return {"events": events, **{name: round(value) for name, value in found.items()}}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
