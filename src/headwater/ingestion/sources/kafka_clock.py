"""The clock of a Kafka broker: a record is written to a small topic of headwater's own, and the
acknowledgement says when it came in.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import TimeoutError as NoAnswer
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from headwater import clock
from headwater.definitions.connectors import KafkaTopic
from headwater.errors import ConnectError
from headwater.ingestion.sources.kafka_client import DEFAULTS, ck, settings_of, there_or_made
from headwater.kernel.arrays import I64

TOPIC: Final = "__headwater_clock"
_HOUR: Final = "3600000"  # milliseconds
_SETTINGS: Final = {
    "message.timestamp.type": "LogAppendTime",
    "cleanup.policy": "delete",
    "retention.ms": _HOUR,
    "segment.ms": _HOUR,
}
_SECONDS: Final = 3.0  # in which a broker must answer each of the three questions
_ALIASES: Final = (
    "transactional.id",
    "request.required.acks",
    "delivery.timeout.ms",
    "queue.buffering.max.ms",
)


@dataclass(frozen=True)
class Seen:
    """A look at a broker's clock: how far the wall clock was ahead of it, and what it and the
    steady clocks showed; microseconds.
    """

    ahead: int
    wall: int
    steady: tuple[int, ...]


def probe(spec: KafkaTopic) -> Seen:
    """Compare the wall clock with that of the broker which a topic's settings name; takes 9 seconds
    at most.

    How long the broker takes is never a difference: its time lies between those of asking and of
    its answer.

    Raises:
        ConnectError: no answer, access refused, or the topic is one that its writers stamp.
        UsageError: a secret is not set.
    """
    options: dict[str, object] = {**settings_of(spec), "log_level": DEFAULTS["log_level"]}
    try:
        there_or_made(options, TOPIC, _SETTINGS, _SECONDS)
        began = clock.steady_micros()
        stamp = _written(options)
        wall, steady = clock.now_micros(), clock.steady_micros()
    except NoAnswer as error:
        raise ConnectError(f"no broker at {spec.servers!r} answers") from error
    except ck.KafkaException as error:
        raise ConnectError(
            f"the broker at {spec.servers!r} answers: {error.args[0].str()}"
        ) from error
    earliest = wall - max(now - then for now, then in zip(steady, began, strict=True)) - stamp
    return Seen(max(0, earliest) + min(0, wall - stamp), wall, steady)


def _written(options: dict[str, object]) -> int:
    """When the broker took in a record that is written now, microseconds by its clock."""
    deliveries: list[tuple[ck.KafkaError | None, tuple[int, int]]] = []
    own = {name: value for name, value in options.items() if name not in _ALIASES}
    own |= {
        "acks": 1,
        "enable.idempotence": False,
        "linger.ms": 0,
        "message.timeout.ms": round(_SECONDS * 1000),
    }
    producer = ck.Producer(own)
    producer.produce(
        TOPIC,
        b"",
        on_delivery=lambda error, message: deliveries.append((error, message.timestamp())),
    )
    producer.flush(2 * _SECONDS)
    if not deliveries:
        producer.purge()
        raise NoAnswer
    error, (kind, stamp) = deliveries[0]
    if error is not None:
        raise ck.KafkaException(error)
    if kind != ck.TIMESTAMP_LOG_APPEND_TIME:
        raise ConnectError(
            f"the records of the topic {TOPIC} carry the time of who writes them; set its "
            "message.timestamp.type=LogAppendTime"
        )
    return stamp * 1000


def stamps_of(messages: Sequence[ck.Message]) -> I64:
    """int64 (n, 2): what kind of time each message gives, 0 for none, and the time in
    milliseconds.
    """
    return np.fromiter(
        chain.from_iterable(map(ck.Message.timestamp, messages)), np.int64, 2 * len(messages)
    ).reshape(-1, 2)
