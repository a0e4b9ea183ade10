"""Kafka clients: connection settings, topic metadata requests, the schema registry's client. The
only module that imports the library.

The clock of a Kafka broker: a record is written to a small topic of headwater's own, and the
acknowledgement says when it came in.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from headwater import clock, settings
from headwater.definitions.connectors import Env, KafkaTopic
from headwater.errors import ConnectError, DefinitionError, MissingExtraError
from headwater.kernel.arrays import I64
from headwater.retries import Backoff, retry

if TYPE_CHECKING:
    from confluent_kafka.admin import TopicDescription  # type: ignore[attr-defined]  # it is public

__all__ = [
    "ALL_DOWN",
    "DEFAULTS",
    "FIXED",
    "HOPELESS",
    "PASSING",
    "PATIENCE",
    "PAUSES",
    "TopicIds",
    "TopicState",
    "bare",
    "ck",
    "configured",
    "note_of",
    "registry_library",
    "seen_group",
    "settings_of",
    "there_or_made",
    "topic_partition",
]

try:
    import confluent_kafka as ck
except ImportError as error:
    raise MissingExtraError("confluent-kafka", "kafka") from error

PATIENCE: Final = 10.0  # seconds in which a broker must answer when a feed is opened

PAUSES: Final = Backoff(first=0.1, longest=0.5)  # between two requests

_SOON: Final = 2.0  # and while one is read: it is asked again

DEFAULTS: Final = {
    "partition.assignment.strategy": "cooperative-sticky",
    # in which a growing topic's new partitions are found
    "topic.metadata.refresh.interval.ms": 10_000,
    # the default of a second stalls a reader that is quicker than that
    "fetch.queue.backoff.ms": 20,
    "reconnect.backoff.max.ms": 1_000,  # so that events are fresh soon after a broker is back
    "log_level": 2,  # what matters comes as an error, and is logged here
}

FIXED: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # reports that skipped records have been passed
}

HOPELESS: Final = frozenset(
    {
        *(getattr(ck.KafkaError, name) for name in ("_AUTHENTICATION", "_SSL")),
        ck.KafkaError.SASL_AUTHENTICATION_FAILED,
        ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
        ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

# librdkafka's own errors begin with an underscore; they are as public as the others.
ALL_DOWN, _DOWN, _LEFT, _TIMED_OUT, _UNSUPPORTED = (
    getattr(ck.KafkaError, f"_{name}")
    for name in (
        "ALL_BROKERS_DOWN",
        "TRANSPORT",
        "DESTROY_BROKER",
        "TIMED_OUT",
        "UNSUPPORTED_FEATURE",
    )
)

PASSING: Final = frozenset({ALL_DOWN, _DOWN, _LEFT})


def settings_of(spec: KafkaTopic) -> dict[str, object]:
    """The connection settings of librdkafka; secrets are read here.

    Raises:
        UsageError: a secret is not set.
    """
    options = {name: _secret(value) for name, value in spec.options.items()}
    return {"bootstrap.servers": _secret(spec.servers), "client.id": "headwater", **options}


@contextmanager
def bare(spec: KafkaTopic) -> Iterator[ck.Consumer]:
    """A consumer that joins no group and commits nothing, to look at a topic only; partitions are
    assigned manually.

    Raises:
        ConnectError: no answer, or access refused, by the requests made here.
        DefinitionError: an option that does not exist.
    """
    options = {
        **DEFAULTS,
        **settings_of(spec),
        **FIXED,
        "group.id": f"headwater-look-{uuid.uuid4().hex}",
        "auto.offset.reset": "earliest",
    }
    options.pop("group.protocol", None)
    try:
        consumer = ck.Consumer(options)
    except ck.KafkaException as error:
        raise DefinitionError(f"{spec}: {error.args[0].str()}; see options= of hw.kafka") from error
    try:
        yield consumer
    except ck.KafkaException as error:
        raise ConnectError(
            f"{spec}: no broker at {spec.servers!r} answers, or it refuses: {error.args[0].str()}"
        ) from error
    finally:
        consumer.close()


def _passes(error: ck.KafkaException) -> bool:
    """Whether another request may be answered: the connection was lost, or the broker was slow."""
    return bool(error.args[0].code() in {*PASSING, _TIMED_OUT} or error.args[0].retriable())


def close_within(consumer: ck.Consumer, seconds: float = PATIENCE) -> bool:
    """Close a consumer, and say whether it closed in time; its callbacks are called in another
    thread meanwhile.

    librdkafka waits for the coordinator of the group, and where that was away it can wait without
    end. A consumer that is left behind takes no memory with it that the process does not free at
    its end, and the group gives its partitions to others after the session timeout.
    """
    failures: list[BaseException] = []

    def close() -> None:
        try:
            consumer.close()
        except BaseException as error:  # noqa: BLE001 (raised below)
            failures.append(error)

    thread = threading.Thread(target=close, name="closing a consumer", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    return not thread.is_alive()


def topic_partition(
    spec: KafkaTopic, partition: int, offset: int = 0, note: str = ""
) -> ck.TopicPartition:
    """A partition of the topic, an offset in it, and the metadata that is committed with the
    offset.
    """
    return ck.TopicPartition(spec.topic, partition, offset, metadata=note)


def configured(spec: KafkaTopic) -> dict[str, str]:
    """How the topic is configured, as its broker says: `retention.ms`, `cleanup.policy` and the
    rest.

    Raises:
        ConnectError: no answer, or access refused.
    """
    from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # it is public

    resource = ConfigResource(ConfigResource.Type.TOPIC, spec.topic)
    client = AdminClient(settings_of(spec))  # type: ignore[arg-type]  # kept until it has answered
    try:
        entries = client.describe_configs([resource], request_timeout=PATIENCE)[resource].result()
    except ck.KafkaException as error:
        raise ConnectError(f"{spec}: its settings cannot be read: {error.args[0].str()}") from error
    return {name: str(entry.value) for name, entry in entries.items()}


def there_or_made(
    options: Mapping[str, object], topic: str, config: Mapping[str, str], seconds: float
) -> None:
    """Create a topic of one partition where there is none; a broker that creates topics by itself
    would make one of other settings.

    options: what librdkafka is told to connect by. seconds: in which a broker must answer each of
    two questions.

    Raises:
        ConnectError: there is none, and it may not be created. KafkaException, TimeoutError: no
            answer, or access refused.
    """
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # it is public

    client = AdminClient(dict(options))  # type: ignore[arg-type]  # kept until it has answered
    try:
        client.describe_topics(TopicCollection([topic]), request_timeout=seconds)[topic].result(
            2 * seconds
        )
    except ck.KafkaException as error:
        if error.args[0].code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
    else:
        return
    wanted = NewTopic(topic, num_partitions=1, replication_factor=-1, config=dict(config))
    try:
        client.create_topics([wanted], request_timeout=seconds)[topic].result(2 * seconds)
    except ck.KafkaException as error:
        if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:  # another process was first
            raise ConnectError(
                f"the topic {topic} does not exist, and may not be created: {error.args[0].str()}"
            ) from error


def registry_library() -> ModuleType:
    """The schema registry client of the library.

    Raises:
        MissingExtraError: the library was installed without what that client needs.
    """
    try:
        import confluent_kafka.schema_registry
    except ImportError as error:
        raise MissingExtraError("confluent-kafka[schemaregistry]", "kafka") from error
    return confluent_kafka.schema_registry


def note_of(identity: str) -> str:
    """The metadata of each offset that a group commits: the store that its members write to."""
    return f"headwater store {identity}"


class GroupSeen(NamedTuple):
    """A consumer group from outside: how many members it has, and the notes next to its offsets of
    a topic.
    """

    members: int
    notes: frozenset[str]


def seen_group(spec: KafkaTopic, group: str) -> GroupSeen:
    """A consumer group as the broker knows it.

    Raises:
        ConnectError: no answer, or access refused.
    """
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AdminClient

    client = AdminClient(settings_of(spec))  # type: ignore[arg-type]  # kept until it has answered
    try:
        described = client.describe_consumer_groups([group], request_timeout=PATIENCE)[
            group
        ].result()
        request = [ConsumerGroupTopicPartitions(group)]
        offsets = (
            client.list_consumer_group_offsets(request, request_timeout=PATIENCE)[group]
            .result()
            .topic_partitions
        )
    except ck.KafkaException as error:
        if error.args[0].code() == ck.KafkaError.GROUP_ID_NOT_FOUND:
            return GroupSeen(0, frozenset())
        raise ConnectError(
            f"{spec}: the consumer group {group} cannot be described: {error.args[0].str()}"
        ) from error
    return GroupSeen(
        len(described.members),
        frozenset(o.metadata for o in offsets if o.topic == spec.topic and o.metadata),
    )


class TopicState(NamedTuple):
    """The id of a topic, which is another one after the topic was deleted and created again under
    its name; "" for none. Its partitions.
    """

    id: str
    partitions: int


class TopicIds:
    """A topic's current id and number of partitions."""

    def __init__(self, spec: KafkaTopic) -> None:
        from confluent_kafka.admin import AdminClient

        self._spec = spec
        options: dict[str, object] = {**settings_of(spec), "log_level": DEFAULTS["log_level"]}
        self._client = AdminClient(options)  # type: ignore[arg-type]
        self._requested: tuple[float, Future[TopicDescription]] | None = None

    def now(self) -> TopicState:
        """The topic; without an id where the broker gives topics none (before Kafka 2.8).

        Raises:
            ConnectError: no answer, access refused, or the topic does not exist.
        """
        try:
            return retry(
                lambda: _state_of(self._ask(PATIENCE).result()),
                on=ck.KafkaException,
                pauses=PAUSES.within(PATIENCE),
                passes=_passes,
            )
        except ck.KafkaException as error:
            return self._refused(error)

    def ask(self) -> tuple[float, Future[TopicDescription]]:
        """Request the id, unless an answer is awaited already; when it was requested, and the
        answer.
        """
        if self._requested is None:
            self._requested = clock.stopwatch(), self._ask(_SOON)
        return self._requested

    def answer(self, timeout: float) -> tuple[float, TopicState] | None:
        """The topic, and when it was requested by `clock.stopwatch`; None where no answer came
        within so many seconds.

        Raises:
            ConnectError: access refused, or the topic does not exist any more.
        """
        at, pending = self.ask()
        try:
            topic = _state_of(pending.result(timeout))
        except TimeoutError:
            return None
        except ck.KafkaException as error:
            self._requested = None
            if _passes(error):
                return None
            topic = self._refused(error)
        self._requested = None
        return at, topic

    def _refused(self, error: ck.KafkaException) -> TopicState:
        if error.args[0].code() == _UNSUPPORTED:
            return TopicState("", 0)
        raise ConnectError(
            f"{self._spec}: the topic cannot be described: {error.args[0].str()}"
        ) from error

    def _ask(self, timeout: float) -> Future[TopicDescription]:
        from confluent_kafka import TopicCollection

        description: Future[TopicDescription] = self._client.describe_topics(
            TopicCollection([self._spec.topic]), request_timeout=timeout
        )[self._spec.topic]
        return description


def _state_of(described: TopicDescription) -> TopicState:
    topic_id = str(described.topic_id)
    # all bits are zero: none
    return TopicState("" if set(topic_id) == {"A"} else topic_id, len(described.partitions))


def _secret(value: str | Env) -> str:
    return settings.secret(value.name) if isinstance(value, Env) else value


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
    """A reading of a broker's clock: how far the wall clock was ahead, and the values of the wall
    clock and the steady clocks; microseconds.
    """

    ahead: int
    wall: int
    steady: tuple[int, ...]


def probe(spec: KafkaTopic) -> Seen:
    """Compare the wall clock with the clock of the broker in a topic's settings; takes 9 seconds at
    most.

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
    producer_options = {name: value for name, value in options.items() if name not in _ALIASES}
    producer_options |= {
        "acks": 1,
        "enable.idempotence": False,
        "linger.ms": 0,
        "message.timeout.ms": round(_SECONDS * 1000),
    }
    producer = ck.Producer(producer_options)
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
    """int64 (n, 2): the kind of time of each message, 0 for none, and the time in milliseconds."""
    return np.fromiter(
        chain.from_iterable(map(ck.Message.timestamp, messages)), np.int64, 2 * len(messages)
    ).reshape(-1, 2)
