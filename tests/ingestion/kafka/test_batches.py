"""Records by librdkafka's C API: the same as by objects, and given up with one line in the log
where it cannot be called.
"""

import ctypes
import logging
import time
import uuid

import numpy as np
import pytest

pytest.importorskip("confluent_kafka")

from headwater.ingestion.sources import kafka_batches
from headwater.ingestion.sources.kafka_batches import (
    BatchFetcher,
    Fetcher,
    RawMessage,
    copied,
    fetcher,
    loaded,
    measured,
)
from headwater.ingestion.sources.kafka_client import ck


@pytest.fixture(autouse=True)
def looked_at_again():
    loaded.cache_clear()
    yield
    loaded.cache_clear()


def consumer(servers="127.0.0.1:1", **options):
    return ck.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": uuid.uuid4().hex,
            "client.id": "headwater",
            "log_level": 0,
            **options,
        }
    )


def made(**options):
    """The fetcher of a consumer without a broker; both are closed."""
    one = consumer(**options)
    own = fetcher(one, options.get("client.id", "headwater"))
    own.close()
    one.close()
    return own


class Shifted(ctypes.Structure):
    """A message with another field between."""

    _fields_ = (
        *RawMessage._fields_[:3],
        ("leader_epoch", ctypes.c_int64),
        *RawMessage._fields_[3:],
    )


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("RawMessage", Shifted, "messages of librdkafka are laid out in another way"),
        ("_VERSIONS", (0x03000000, 0x04000000), "librdkafka 2"),
        ("_FUNCTIONS", {"consume_batches": (None,)}, "rd_kafka_consume_batches"),
    ],
)
def test_where_it_cannot_be_called_records_are_read_one_by_one(
    monkeypatch, caplog, name, value, why
):
    monkeypatch.setattr(kafka_batches, name, value)
    with caplog.at_level(logging.WARNING, "headwater"):
        assert [type(made()) for _ in range(3)] == [Fetcher] * 3
    (record,) = caplog.records
    assert why in record.getMessage()
    assert "read one by one" in record.getMessage()


def test_messages_are_copied():
    payloads = [b"first", b"", None, b"\x00" * 300]
    kept = [
        ctypes.create_string_buffer(payload or b"", max(len(payload or b""), 1))
        for payload in payloads
    ]
    raw = [
        RawMessage(
            payload=None if payload is None else ctypes.addressof(room),
            len=len(payload or b""),
            partition=n,
            offset=10**12 + n,
        )
        for n, (payload, room) in enumerate(zip(payloads, kept, strict=True))
    ]
    raw.append(RawMessage(err=-191, partition=7, offset=9, len=50))
    addresses = np.array([ctypes.addressof(message) for message in raw])
    failed, size = measured(addresses)
    assert failed.tolist() == [False] * 4 + [True]
    assert size == 305
    stamped = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))(
        lambda message, kind: kind.__setitem__(0, 2) or 77
    )
    numbers, data = np.empty((6, 4), np.int64), np.empty(size, np.uint8)
    copied(addresses[:4], ctypes.cast(stamped, ctypes.c_void_p).value, numbers, data)
    assert numbers.tolist() == [
        [0, 1, 2, 3],
        [10**12 + n for n in range(4)],
        [0, 5, 5, 5],
        [5, 0, -1, 300],
        [2] * 4,
        [77] * 4,
    ]
    assert data.tobytes() == b"first" + b"\x00" * 300


@pytest.mark.slow
def test_both_take_the_same(broker):
    topic = broker.topic(2, **{"message.timestamp.type": "LogAppendTime"})
    values = [b"x" * (n % 50) if n % 7 else None for n in range(3_000)]
    broker.produce(topic, values[:2_000], 0, key=b"k", headers={"h": b"v"})
    broker.produce(topic, values[2_000:], 1)
    found = []
    for kind in (Fetcher, BatchFetcher):
        one = consumer(broker.servers, **{"enable.partition.eof": True})
        own = Fetcher(one) if kind is Fetcher else fetcher(one, "headwater")
        assert type(own) is kind
        one.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in (0, 1)])
        rows, ends = [], set()
        one.pause([ck.TopicPartition(topic, p) for p in (0, 1)])
        for p in (0, 1):
            own.forward(topic, p)
            one.seek(ck.TopicPartition(topic, p, 5))
            one.resume([ck.TopicPartition(topic, p)])
        since = time.monotonic()
        while len(ends) < 2:
            assert time.monotonic() - since < 20, "the ends of partitions do not come"
            got = own.fetch(700, 0.5)
            assert len(got.offset) <= 700
            rows += zip(
                got.partition.tolist(),
                got.offset.tolist(),
                got.stamp.tolist(),
                got.by_broker.tolist(),
                got.payloads,
                strict=True,
            )
            ends |= {
                (fault.partition, fault.offset)
                for fault in got.faults
                if fault.error.code() == ck.KafkaError._PARTITION_EOF
            }
        own.close()
        one.close()
        found.append((sorted(rows, key=lambda row: row[:2]), ends))
    assert found[0] == found[1]
    assert found[0][1] == {(0, 2_000), (1, 1_000)}
    assert [row[4] for row in found[0][0]] == values[5:2_000] + values[2_005:]
    assert all(row[3] for row in found[0][0])
