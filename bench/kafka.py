"""A topic of JSON payments into durable tiles, compared with a consumer that only takes values out
of messages.

python -m bench.kafka fill SERVERS TOPIC EVENTS
python -m bench.kafka produce SERVERS TOPIC EVENTS PARTITIONS   into a topic that exists
python -m bench.kafka measure SERVERS TOPIC EVENTS REPEATS      prints JSON; SERVERS from
                                                                `scripts/kafka.sh DIR start`
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from bench.measure import ROOT, Skipped, peak_mb

if TYPE_CHECKING:
    import headwater as hw

PARTITIONS = 4
USERS = 100_000
LATE = 5_000  # ms that one event in twenty comes late, at most
BATCH = 10_000
WINDOWS = ["10m", "1h", "1d"]


@contextmanager
def broker() -> Iterator[str]:
    """The address of a broker of its own."""
    script = str(ROOT / "scripts" / "kafka.sh")
    with tempfile.TemporaryDirectory() as folder:
        started = subprocess.run(
            [script, folder, "start"], capture_output=True, text=True, check=False
        )
        if started.returncode:
            raise Skipped(f"no broker: {started.stderr.strip()[-300:]}")
        try:
            yield started.stdout.strip()
        finally:
            subprocess.run([script, folder, "stop"], check=False, capture_output=True)


def make_topic(servers: str, topic: str, partitions: int = PARTITIONS) -> None:
    """A topic without events."""
    from confluent_kafka.admin import AdminClient, NewTopic

    # a name: it must outlive what it is asked for
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()


def fill(servers: str, topic: str, events: int) -> None:
    """Make the topic with payments of the last minutes, one a millisecond, of about 100 bytes; some
    cards pay far more often.
    """
    make_topic(servers, topic)
    produce(servers, topic, events, PARTITIONS)


def produce(servers: str, topic: str, events: int, partitions: int) -> None:
    """Write these payments to a topic."""
    import numpy as np
    from confluent_kafka import Producer

    room = {"queue.buffering.max.messages": 2_000_000, "queue.buffering.max.kbytes": 1_000_000}
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 20, "batch.num.messages": 50_000, **room}
    )
    r = np.random.default_rng(1)
    share = np.cumsum(1 / np.arange(1, USERS + 1) ** 1.1)
    cards = r.permutation(USERS)[np.searchsorted(share / share[-1], r.random(events) * (1 - 1e-9))]
    at = int(time.time() * 1000) - events + np.arange(events)
    at -= np.where(r.random(events) < 0.05, r.integers(0, LATE, events), 0)
    moments = np.datetime_as_string(at.astype("datetime64[ms]")).tolist()
    amounts = np.round(r.lognormal(3, 1, events), 2).tolist()
    for n, (card, amount, moment) in enumerate(zip(cards.tolist(), amounts, moments, strict=True)):
        value = (
            f'{{"id":"p{n:07}","card":"c{card:05}","amount":{amount},"authorised_at":"{moment}Z"}}'
        )
        producer.produce(topic, value.encode(), f"c{card:05}", partition=card % partitions)
        if n % BATCH == 0:
            producer.poll(0)
    producer.flush()


def project(
    servers: str,
    topic: str,
    *,
    probed: bool = False,
    pushed: bool = False,
    group: str | None = None,
) -> hw.Project:
    """Count, sum and maximum of a card's payments over three windows; if probed, the latest
    `sent_at` too.
    """
    import polars as pl

    import headwater as hw

    schema = {
        "id": str,
        "card": str,
        "amount": float,
        "authorised_at": pl.Datetime("us", "UTC"),
    } | ({"sent_at": int} if probed else {})
    topic_of = hw.kafka(
        topic,
        servers=servers,
        group=group or f"bench-{time.time_ns()}",
        schema=schema,
        start="earliest",
    )
    stream = hw.push(schema=schema, at_least_once=True) if pushed else topic_of
    source = hw.Source("payments", timestamp_field="authorised_at", stream=stream)
    features = [
        hw.count(),
        hw.sum("amount"),
        hw.max("amount"),
        *([hw.last("sent_at")] if probed else []),
    ]
    view = hw.FeatureView(
        "card",
        source=source,
        keys=["card"],
        features=features,
        windows=WINDOWS,
        freshness=hw.streaming("2s"),
    )
    table = pl.DataFrame({"card": ["c"], "asked": [0], "y": [1]}).with_columns(
        pl.col("asked").cast(pl.Datetime("us", "UTC"))
    )
    labels = hw.Labels("l", table=table, timestamp_field="asked", label="y", known_after="1d")
    return hw.Project(
        "bench",
        [hw.Model("m", task="binary", features=hw.FeatureService("cards", [view]), labels=labels)],
    )


def consumed(servers: str, topic: str, events: int) -> tuple[float, float]:
    """Thousands of events a second that `consume` and `value()` give, by the clock and by how long
    processors were busy.
    """
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench-values",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 20,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    count, since = 0, None
    while count < events:
        messages = consumer.consume(BATCH, 1.0)
        since = since or (time.perf_counter(), time.process_time())
        count += len([message.value() for message in messages])
    assert since is not None
    rates = _rates(events, since)
    consumer.close()
    return rates


def ingested(
    servers: str, topic: str, events: int, *, archive: bool = False, seldom: bool = True
) -> tuple[float, float]:
    """The same of ingestion, as `headwater ingest` does it: from the first records that are read to
    the end of the last commit.
    """
    from contextlib import nullcontext

    from headwater.cli.ingest import seldom_collected
    from headwater.ingestion.ingest import ingest
    from headwater.ingestion.sources import kafka
    from headwater.stores import open_store

    since: list[tuple[float, float]] = []
    last: list[tuple[float, float]] = []
    counts: list[int] = []
    poll, stop = kafka.KafkaFeed.poll, threading.Event()

    def told(feed: kafka.KafkaFeed, most: int, timeout: float) -> object:
        records = poll(feed, most, timeout)
        if records is not None and len(records.offset) and not since:
            since.append((time.perf_counter(), time.process_time()))
        return records

    def committed(_source: object, commit: object, _lag: object) -> None:
        counts.append(commit.counts.get("accepted", 0))  # type: ignore[attr-defined]
        last[:] = [_rates(events, since[0])] if since else []
        if sum(counts) >= events:
            stop.set()

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(kafka.KafkaFeed, "poll", told):
        store = open_store(f"lmdb:{folder}/store")
        with seldom_collected() if seldom else nullcontext():
            ingest(
                project(servers, topic),
                store,
                data_dir=Path(folder) if archive else None,
                stop=stop,
                on_commit=committed,
            )
        store.close()
    assert sum(counts) >= events, f"{sum(counts)} of {events} events were accepted"
    return last[0]


def _rates(events: int, since: tuple[float, float]) -> tuple[float, float]:
    return events / (time.perf_counter() - since[0]) / 1000, events / (
        time.process_time() - since[1]
    ) / 1000


def measure(servers: str, topic: str, events: int, repeats: int) -> dict[str, list[float]]:
    """Each side in turns; the first of ours unmeasured, since it loads kernels."""
    ingested(servers, topic, min(events, 50_000))
    sides = {
        "values": lambda: consumed(servers, topic, events),
        "ours": lambda: ingested(servers, topic, events),
        "archive": lambda: ingested(servers, topic, events, archive=True),
        "often": lambda: ingested(servers, topic, events, seldom=False),
    }
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for side, work in sides.items():
            rate, busy = work()
            rates.setdefault(side, []).append(rate)
            rates.setdefault(f"{side} busy", []).append(busy)
    return rates


if __name__ == "__main__":
    verb, servers, topic, events, *rest = sys.argv[1:]
    if verb == "fill":
        fill(servers, topic, int(events))
        print("{}")
    elif verb == "produce":
        produce(servers, topic, int(events), int(rest[0]))
        print("{}")
    else:
        print(
            json.dumps({**measure(servers, topic, int(events), int(rest[0])), "peak_mb": peak_mb()})
        )
