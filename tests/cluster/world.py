"""Several processes of one consumer group, events that keep coming, and what must have been counted
in the end.
"""

import contextlib
import json
import random
import signal
import threading
import time
from collections import deque
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl

import headwater as hw
from headwater.online.view_reader import OnlineView
from headwater.state.view_state import progresses
from headwater.testing.naive import agree, evaluate
from tests.ingestion.world import World, names

PARTITIONS = 4

PROJECT = """
import headwater as hw
import polars as pl

schema = {{"user": str, "n": int, "word": str, "at": pl.Datetime("us", "UTC")}}
source = hw.Source("visits", timestamp_field="at", stream={stream}, id_field="n", id_horizon="1d"{writers})
features = [hw.count(), hw.sum("n"), hw.max("n"), hw.mean("n"), hw.last("word"), hw.last_n("n", k=3), hw.count_distinct("word")]
view = hw.FeatureView("user", source=source, keys=["user"], windows=["1h", "7d"], features=features, freshness=hw.streaming("2s"))
words = hw.FeatureView("word", source=source, keys=["word"], windows=["7d"], features=[hw.count(), hw.sum("n")], freshness=hw.streaming("2s"))
table = pl.DataFrame({{"user": ["u0"], "word": ["a"], "asked": [0], "y": [1]}}).with_columns(pl.col("asked").cast(pl.Datetime("us", "UTC")))
labels = hw.Labels("left", table=table, timestamp_field="asked", label="y", known_after="1d")
project = hw.Project("shop", [hw.Model("m", task="binary", features=hw.FeatureService("s", [view, words]), labels=labels)])
"""
WORDS = ["a", "b", "ü", "dd", ""]


class Group(World):
    """A project of two views over a source with ids, the processes that ingest it, and all events
    that were sent.

    writers: as of `hw.Source`; equal ids share a partition.
    """

    def __init__(self, folder, url, stream, *, writers=', writers="partition"', **options):
        super().__init__(folder, url, stream, **options)
        (folder / "features.py").write_text(
            PROJECT.format(stream=stream, writers=writers), encoding="utf-8"
        )
        self.sent_rows = []
        self.processes = []

    def begin(self, *urls):
        """Start a process for each URL of the store, one after the other; each has joined and
        committed when the next one starts.
        """
        started = []
        for url in urls or [None]:
            started.append(self.start(*(["--store", url] if url else [])))
            self.processes.append(started[-1])
            self.begun(started[-1])
        return started

    def commits(self):
        """How many commits the store has made, of all partitions."""
        with contextlib.closing(hw.operations.open_store(self.url, readonly=True)) as store:
            return sum(progress.sequence for progress in progresses(store, "visits").values())

    def kill(self):
        """End all that run, where a test failed."""
        for process in self.processes:
            process.kill()
            process.wait()

    def event(self):
        n = next(self.numbers)
        if n % 97 == 13:
            return f'{{"user": "u1", "n": "bad {n}"}}'.encode(), None
        at = datetime.now(UTC) - timedelta(seconds=(n * 7919) % 1200)
        row = {"user": f"u{n % 20}", "n": n, "word": WORDS[n % len(WORDS)], "at": at}
        self.sent_rows.append(row)
        return json.dumps({**row, "at": at.isoformat()}).encode(), n

    def end(self):
        """Stop all that run, take in the rest, and compare everything."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            assert process.wait(60) in (0, -signal.SIGKILL), process.log.read_text()
        self.once()
        self.check()

    def check(self):
        """Every feature of every key is that of the naive reference; archive and dead letters have
        each record once.
        """
        store = hw.operations.open_store(self.url, readonly=True)
        try:
            for name, keys in (("view", [*names(), "nobody"]), ("words", [*WORDS, "none"])):
                view = self.view(name)
                served = OnlineView(view, store).read(
                    pl.DataFrame({view.keys[0]: keys}), int(time.time() * 1e6)
                )
                assert not served.read_version.incomplete
                asked = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
                    microseconds=served.read_version.T
                )
                wanted = [_wanted(view, self.sent_rows, key, asked) for key in keys]
                for feature, values in zip(view.outputs, served.features, strict=True):
                    for key, value, answer in zip(keys, values.to_list(), wanted, strict=True):
                        assert agree(answer[f"{view.name}__{feature.name}"], value), (
                            feature.name,
                            key,
                            value,
                            answer,
                        )
        finally:
            store.close()
        super().check()


def _wanted(view, rows, key, asked):
    """The answers of the naive reference for one key."""
    (name,) = view.keys
    mine = [row for row in rows if row[name] == key]
    return evaluate(view, mine, [{name: key, "timestamp": asked}], freshness=hw.on_request())[0]


class Producer(threading.Thread):
    """Sends events until it is stopped, one of ten twice; equal ids share a partition. pause:
    seconds between thirty of them.
    """

    def __init__(self, group, servers, topic, pause=0.1):
        super().__init__(daemon=True)
        self.group, self.servers, self.topic, self.pause, self.over = (
            group,
            servers,
            topic,
            pause,
            threading.Event(),
        )
        self.failed = []

    def run(self):
        from confluent_kafka import Producer as Client

        client = Client(
            {
                "bootstrap.servers": self.servers,
                "log_level": 0,
                "enable.idempotence": True,
                "delivery.timeout.ms": 120_000,
            }
        )
        chance, recent = random.Random(3), deque(maxlen=2_000)
        while not self.over.wait(self.pause):
            made = [self.group.event() for _ in range(30)]
            recent.extend((line, n) for line, n in made if n is not None)
            again = [chance.choice(recent) for _ in range(3)]
            for line, n in [*made, *again]:
                client.produce(
                    self.topic,
                    line,
                    partition=(n or 0) % PARTITIONS,
                    on_delivery=lambda e, _: e and self.failed.append(e),
                )
            client.poll(0)
            self.group.took([n for _, n in made])
        assert client.flush(60) == 0
        assert not self.failed, self.failed


@contextmanager
def producing(group, servers, topic, **options):
    """Send events to a topic while the context lasts."""
    producer = Producer(group, servers, topic, **options)
    producer.start()
    try:
        yield producer
    finally:
        producer.over.set()
        producer.join(90)
    assert not producer.is_alive()
