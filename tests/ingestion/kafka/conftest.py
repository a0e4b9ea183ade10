"""A broker of Apache Kafka, and what tests do with topics; `broker` of tests/conftest.py is one for
all tests of a process.
"""

import os
import shutil
import subprocess
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import headwater as hw
from tests import services
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "kafka.sh"


@dataclass
class Broker:
    """A running broker."""

    folder: Path
    servers: str

    def run(self, verb):
        """scripts/kafka.sh FOLDER VERB."""
        done = subprocess.run(
            [SCRIPT, self.folder, verb], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def admin(self):
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.servers})

    def topic(self, partitions=1, **config):
        """A new topic of a name of its own."""
        from confluent_kafka.admin import NewTopic

        name, admin = f"topic-{uuid.uuid4().hex[:12]}", self.admin()
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result()
        return name

    def grow(self, topic, partitions):
        from confluent_kafka.admin import NewPartitions

        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()
        until(
            lambda: len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == partitions
        )

    def recreate(self, topic, partitions=1):
        """Delete a topic and create another one of its name."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import NewTopic

        admin = self.admin()
        admin.delete_topics([topic])[topic].result()

        def created():
            with suppress(KafkaException):  # it is still being deleted
                admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()
                return True

        until(created)

    def delete_before(self, topic, partition, offset):
        """What retention does."""
        from confluent_kafka import TopicPartition

        where, admin = TopicPartition(topic, partition, offset), self.admin()
        for made in admin.delete_records([where]).values():
            made.result()

    def produce(self, topic, values, partition=0, **also):
        from confluent_kafka import Producer

        failed = []
        producer = Producer({"bootstrap.servers": self.servers})
        for value in values:
            producer.produce(
                topic,
                value,
                partition=partition,
                on_delivery=lambda e, _: e and failed.append(e),
                **also,
            )
        assert producer.flush(30) == 0
        assert not failed, failed

    def source(self, topic, **given):
        """A source of the topic, in a consumer group of its own unless one is given."""
        schema = {"n": int, "at": hw.definitions.connectors.datetime}
        given = {"group": uuid.uuid4().hex, "schema": schema, "servers": self.servers} | given
        return hw.Source("events", timestamp_field="at", stream=hw.kafka(topic, **given))


@pytest.fixture(params=["batches", "objects"])
def fetching(request, monkeypatch):
    """How records are taken from the consumer: in batches by the C API, or by an object for each,
    as where that API cannot be called.
    """
    pytest.importorskip("confluent_kafka")
    from headwater.ingestion.sources import kafka_batches

    assert not isinstance(kafka_batches.loaded(), str), "the C API cannot be called here"
    if request.param == "objects":
        monkeypatch.setattr(kafka_batches, "loaded", lambda: "not in this test")
    return request.param


@contextmanager
def broker_of(folder):
    """A broker with its data in a folder; skips where something that it needs is missing."""
    services.starts("Kafka")
    pytest.importorskip(
        "confluent_kafka", reason="needs confluent-kafka: pip install 'headwater[kafka]'"
    )
    jars = Path(os.environ.get("HEADWATER_KAFKA_JARS", ROOT / "build" / "kafka"))
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if "mvn" in missing and list(jars.glob("*/.complete")):
        missing.remove("mvn")
    if missing:
        pytest.skip(f"needs a broker of Apache Kafka, and for it: {', '.join(missing)}")
    made = Broker(folder, "")
    try:
        made.servers = made.run("start")
        yield made
    finally:
        made.run("stop")
