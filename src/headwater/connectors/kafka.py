"""Topics of Apache Kafka, by librdkafka.

The online store holds the offsets: partitions are assigned by hand at those, nothing is committed but for whoever watches the group, and
an offset that the topic no longer has is an error, never a jump.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Final

import numpy as np

from headwater import clock, settings
from headwater.compute.arrays import I64
from headwater.connectors.feeds import Assigned, Records, Revoked
from headwater.definitions.source import Source
from headwater.definitions.streams import Env, KafkaTopic
from headwater.errors import ConnectError, DataError, DefinitionError, HeadwaterError, MissingExtraError, RetentionError, nearest

try:
    import confluent_kafka as ck
except ImportError as error:
    raise MissingExtraError("confluent-kafka", "kafka") from error

_LOG = logging.getLogger(__name__)

PATIENCE: Final = 10.0  # seconds in which a broker must answer when a feed is opened
_RETURN: Final = 60.0  # seconds in which one must be back when partitions are given out
_QUERY: Final = 2.0

_DEFAULTS: Final = {
    "partition.assignment.strategy": "cooperative-sticky",
    "topic.metadata.refresh.interval.ms": 10_000,  # in which a growing topic's new partitions are found
    "fetch.queue.backoff.ms": 20,  # the default of a second stalls a reader that is quicker than that
    "reconnect.backoff.max.ms": 1_000,  # so that events are fresh soon after a broker is back
    "log_level": 2,  # what matters comes as an error, and is logged here
}
_FIXED: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # says that records which nobody reads have been passed
}
# librdkafka's own errors begin with an underscore; they are as public as the others.
_EOF, _RESET, _LATE, _DOWN, _ALL_DOWN = (
    getattr(ck.KafkaError, f"_{name}")
    for name in ("PARTITION_EOF", "AUTO_OFFSET_RESET", "MAX_POLL_EXCEEDED", "TRANSPORT", "ALL_BROKERS_DOWN")
)
_HOPELESS: Final = frozenset(
    {
        *(getattr(ck.KafkaError, name) for name in ("_AUTHENTICATION", "_SSL")),
        ck.KafkaError.SASL_AUTHENTICATION_FAILED,
        ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ck.KafkaError.GROUP_AUTHORIZATION_FAILED,
        ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_PASSING: Final = frozenset({_ALL_DOWN, _DOWN})


def settings_of(spec: KafkaTopic) -> dict[str, object]:
    """What librdkafka is told to connect by; secrets are read here.

    Raises:
        UsageError: a secret is not set.
    """
    given = {name: _told(value) for name, value in spec.options.items()}
    return {"bootstrap.servers": _told(spec.servers), "client.id": "headwater", **given}


@contextmanager
def bare(spec: KafkaTopic) -> Iterator[ck.Consumer]:
    """A consumer that joins no group and commits nothing, for whoever only looks; partitions are assigned to it by hand.

    Raises:
        ConnectError: nobody answers, or access is refused, in what is asked of it here.
        DefinitionError: an option that does not exist.
    """
    told = {**_DEFAULTS, **settings_of(spec), **_FIXED, "group.id": f"headwater-look-{uuid.uuid4().hex}", "auto.offset.reset": "earliest"}
    told.pop("group.protocol", None)
    try:
        consumer = ck.Consumer(told)
    except ck.KafkaException as error:
        raise DefinitionError(f"{spec}: {error.args[0].str()}; see options= of hw.kafka") from error
    try:
        yield consumer
    except ck.KafkaException as error:
        raise ConnectError(f"{spec}: no broker at {spec.servers!r} answers, or it refuses: {error.args[0].str()}") from error
    finally:
        consumer.close()


def place(spec: KafkaTopic, partition: int, offset: int = 0) -> ck.TopicPartition:
    """A partition of the topic, and an offset in it."""
    return ck.TopicPartition(spec.topic, partition, offset)


def configured(spec: KafkaTopic) -> dict[str, str]:
    """How the topic is configured, as its broker says: `retention.ms`, `cleanup.policy` and the rest.

    Raises:
        ConnectError: nobody answers, or may not say.
    """
    from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # it is public

    resource = ConfigResource(ConfigResource.Type.TOPIC, spec.topic)
    client = AdminClient(settings_of(spec))  # type: ignore[arg-type]  # kept until it has answered
    try:
        found = client.describe_configs([resource], request_timeout=PATIENCE)[resource].result()
    except ck.KafkaException as error:
        raise ConnectError(f"{spec}: its settings cannot be read: {error.args[0].str()}") from error
    return {name: str(entry.value) for name, entry in found.items()}


def open_feed(source: Source, assigned: Assigned, revoked: Revoked) -> KafkaFeed:
    """See `feeds.open_feed`."""
    return KafkaFeed(source, assigned, revoked)


class KafkaFeed:
    """One member of the consumer group that shares a topic's partitions."""

    def __init__(self, source: Source, assigned: Assigned, revoked: Revoked) -> None:
        spec = source.stream
        assert isinstance(spec, KafkaTopic)
        self._spec, self._assigned, self._revoked = spec, assigned, revoked
        self._ends: dict[int, int] = {}  # of the partitions that are assigned: the offset to read on from
        self._highs: dict[int, int] = {}  # where each ended when it was assigned
        self._moved: set[int] = set()  # those of whose end nobody has been told
        self._reached: dict[int, int] = {}  # the ends of partitions that this poll came to
        self._failure: HeadwaterError | None = None
        self._complaint: ck.KafkaError | None = None
        self._down = self._closing = False
        self._any_known = False
        told = {**_DEFAULTS, "group.id": spec.group or f"headwater-{source.name}", **settings_of(spec), **_FIXED}
        self._incremental = told["partition.assignment.strategy"] == "cooperative-sticky" or told.get("group.protocol") == "consumer"
        if told.get("group.protocol") == "consumer":
            told.pop("partition.assignment.strategy")  # the broker's matter
        try:
            self._consumer = ck.Consumer({**told, "error_cb": self._complained, "on_commit": _committed})
        except ck.KafkaException as error:
            raise DefinitionError(f"{spec}: {error.args[0].str()}; see options= of hw.kafka") from error
        try:
            self._first_partitions = self._found()
            self._consumer.subscribe([spec.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, most: int, timeout: float) -> Records | None:
        """See `Feed`."""
        messages = self._consumer.consume(most, 0)
        if not messages and not self._failure and not self._moved:
            messages = self._consumer.consume(1, timeout)
            if messages and most > 1:
                messages += self._consumer.consume(most - 1, 0)
        stamps = _stamps(messages)
        if not stamps[:, 0].all():  # no time is given for errors, nor for records of before 2016
            messages = self._told_of_errors(messages)
            stamps = _stamps(messages)
        if self._failure:
            raise self._failure
        if not messages and not self._moved and not self._reached:
            return None
        records = self._records(messages, stamps[:, 1] * 1000)
        return records if records.ends else None

    def lag(self) -> Mapping[str, int]:
        """See `Feed`."""
        return {str(p): max(0, self._high(p) - end) for p, end in self._ends.items()}

    def elsewhere(self) -> int:
        """See `Feed`; a member that was killed keeps its partitions until its session ends."""
        return len(set(self._first_partitions) - self._ends.keys())

    def acknowledge(self, ends: Mapping[str, int]) -> None:
        """See `Feed`."""
        mine = [ck.TopicPartition(self._spec.topic, int(p), end) for p, end in ends.items() if int(p) in self._ends]
        if mine:
            self._consumer.commit(offsets=mine, asynchronous=True)

    def close(self) -> None:
        """See `Feed`."""
        self._closing = True
        self._consumer.close()

    # ---- records

    def _records(self, messages: Sequence[ck.Message], at: I64) -> Records:
        n = len(messages)
        number = np.fromiter(map(ck.Message.partition, messages), np.int64, n)
        offset = np.fromiter(map(ck.Message.offset, messages), np.int64, n)
        payloads = list(map(ck.Message.value, messages))
        fresh = self._not_yet(number, offset)
        if not fresh.all():
            number, offset, at = number[fresh], offset[fresh], at[fresh]
            payloads = [payload for payload, is_fresh in zip(payloads, fresh.tolist(), strict=True) if is_fresh]
        if (at < 0).any():  # a record that says no time
            at = np.where(at < 0, round(clock.now().timestamp() * 1e6), at)
        self._down = self._down and not n
        here = np.flatnonzero(np.bincount(number)) if len(number) else np.empty(0, np.int64)
        index = np.searchsorted(here, number)
        last = np.zeros(len(here), np.int64)
        np.maximum.at(last, index, offset)
        for p, o in zip(here.tolist(), last.tolist(), strict=True):
            self._ends[p] = max(self._ends[p], o + 1)
        self._moved.update(here.tolist())
        for p, o in self._reached.items():  # only now: the records before it stood in the same batch
            if o > self._ends.get(p, o):
                self._ends[p] = o
                self._moved.add(p)
        self._reached.clear()
        ends = {str(p): self._ends[p] for p in sorted(self._moved)}
        self._moved.clear()
        return Records([str(p) for p in here.tolist()], index, offset, at, ends, payloads)

    def _not_yet(self, number: I64, offset: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which records are to be read: not those of a partition that was lost while they were fetched, nor those that came before."""
        beyond = np.iinfo(np.int64).max
        wanted = np.full(int(number.max(initial=-1)) + 1, beyond)
        for p, end in self._ends.items():
            if p < len(wanted):
                wanted[p] = end
        return np.asarray(offset >= wanted[number])

    def _told_of_errors(self, messages: Iterable[ck.Message]) -> list[ck.Message]:
        """The messages that are records; the others say that an end was reached, or that something is wrong."""
        records = []
        for message in messages:
            error, p = message.error(), message.partition() or 0
            if error is None:
                records.append(message)
            elif error.code() == _EOF:
                self._reached[p] = message.offset() or 0
            elif error.code() == _RESET:
                self._failure = self._failure or self._gone(p, self._ends[p], *self._watermarks(p))
            elif error.code() == _LATE:  # every partition is another reader's by now, and what was fetched before is no longer ours
                _LOG.warning("%s: %s; joining its readers again", self._spec, error.str())
                self._lose(list(self._ends))
            elif error.code() in _PASSING or error.retriable():
                _LOG.warning("%s: %s", self._spec, error.str())
            else:
                self._failure = self._failure or ConnectError(f"{self._spec}: {error.str()} ({error.name()})")
        return records

    # ---- partitions

    def _on_assign(self, consumer: ck.Consumer, given: list[ck.TopicPartition]) -> None:
        if self._closing:  # it was under way, and is taken back at once
            (consumer.incremental_assign if self._incremental else consumer.assign)(given)
            return
        begun = []
        try:
            known = self._assigned([str(tp.partition) for tp in given]) if given else {}
            self._any_known |= bool(known)
            begun = [ck.TopicPartition(tp.topic, tp.partition, self._start(tp.partition, known.get(str(tp.partition)))) for tp in given]
        except HeadwaterError as error:  # this is called inside librdkafka; `poll` raises it
            self._failure = error
        self._ends |= {tp.partition: tp.offset for tp in begun}
        (consumer.incremental_assign if self._incremental else consumer.assign)(begun)

    def _on_revoke(self, consumer: ck.Consumer, given: list[ck.TopicPartition]) -> None:
        try:
            self._lose([tp.partition for tp in given])  # first: others get them as soon as they are given up
        finally:
            if self._incremental:
                consumer.incremental_unassign(given)
            else:
                consumer.unassign()

    def _lose(self, partitions: Sequence[int]) -> None:
        """Take these partitions for another reader's, and say so; once."""
        mine = [p for p in partitions if p in self._ends]
        for p in mine:
            del self._ends[p]
            self._moved.discard(p)
        if mine:
            self._revoked([str(p) for p in mine])

    def _start(self, partition: int, wanted: int | None) -> int:
        """The offset at which to begin, for certain one that the topic has or will have next.

        A partition begins at the end only if no partition was known yet and it was there when this feed was opened: one that a topic has
        grown holds records that nobody has seen.
        """
        low, high = self._watermarks(partition)
        if wanted is None:
            self._moved.add(partition)
            return high if self._spec.start == "latest" and not self._any_known and partition in self._first_partitions else low
        since = clock.stopwatch()
        while wanted > high and clock.stopwatch() - since < PATIENCE:  # a new leader may not know yet how far it is
            time.sleep(0.2)
            low, high = self._watermarks(partition)
        if not low <= wanted <= high:
            raise self._gone(partition, wanted, low, high)
        return wanted

    def _gone(self, partition: int, wanted: int, low: int, high: int) -> DataError:
        """What is wrong where a partition does not have the offset that is to be read next."""
        if wanted < low:
            return RetentionError(str(self._spec), str(partition), wanted=wanted, first=low)
        return DataError(
            f"{self._spec}, partition {partition}: offset {wanted} is to be read next, and it ends at {high}: the topic was made anew, or its brokers "
            "lost records. What was read of it no longer fits; rebuild the view from its archive or history, or name the new topic otherwise"
        )

    def _watermarks(self, partition: int) -> tuple[int, int]:
        """The first offset that the partition has, and the one after its last; waits for a leader where it has none for a moment."""
        since = clock.stopwatch()
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(ck.TopicPartition(self._spec.topic, partition), timeout=_QUERY)
            except ck.KafkaException as error:
                told: ck.KafkaError = error.args[0]
                if told.code() in _HOPELESS or clock.stopwatch() - since > _RETURN:
                    raise ConnectError(f"{self._spec}, partition {partition}: {told.str()}") from error
                time.sleep(0.1)
                with suppress(ck.KafkaException):
                    self._consumer.list_topics(self._spec.topic, timeout=1.0)  # else it goes by what it knew before a broker restarted
            else:
                self._highs[partition] = int(high)
                return int(low), int(high)

    def _high(self, partition: int) -> int:
        """The offset after the last record, as the latest answer of a broker said."""
        _, high = self._consumer.get_watermark_offsets(ck.TopicPartition(self._spec.topic, partition), cached=True)
        return max(int(high), self._highs[partition])

    # ---- brokers

    def _found(self) -> set[int]:
        """The topic's partitions; waits for a broker, and for a topic that was made just now."""
        spec, since, found = self._spec, clock.stopwatch(), None
        while clock.stopwatch() - since < PATIENCE and not self._failure:
            try:
                found = self._consumer.list_topics(spec.topic, timeout=1.0).topics[spec.topic]
                if found.error is None:
                    return set(found.partitions)
                if clock.stopwatch() - since > PATIENCE / 5:
                    break
                time.sleep(0.1)
            except ck.KafkaException as error:
                self._complaint = self._complaint or error.args[0]
                self._consumer.poll(0)  # tells of what is wrong
        if self._failure:
            raise self._failure
        if found is None:
            why = f": {self._complaint.str()}" if self._complaint else ""
            raise ConnectError(
                f"{spec}: no broker at {spec.servers!r} answers{why}. Start it, or mend servers= or the security settings in options= of hw.kafka"
            )
        names = [name for name in self._consumer.list_topics(timeout=PATIENCE).topics if not name.startswith("__")]
        raise ConnectError(f"{spec}: {found.error.str()}; {nearest(spec.topic, names)}")

    def _complained(self, error: ck.KafkaError) -> None:
        """Called by librdkafka with what is wrong beyond a single partition; it tries again by itself, unless that is of no use."""
        if error.fatal() or error.code() in _HOPELESS:
            self._failure = self._failure or ConnectError(f"{self._spec}: {error.str()} ({error.name()}); see options= of hw.kafka")
        elif not self._down:
            self._down = True
            _LOG.warning("%s: %s; trying again until a broker answers", self._spec, error.str())
        if error.code() != _ALL_DOWN:  # which says less than what comes before it
            self._complaint = error


def _stamps(messages: Sequence[ck.Message]) -> I64:
    """int64 (n, 2): what kind of time each message gives, 0 for none, and the time in milliseconds."""
    return np.fromiter(chain.from_iterable(map(ck.Message.timestamp, messages)), np.int64, 2 * len(messages)).reshape(-1, 2)


def _committed(error: ck.KafkaError | None, partitions: Sequence[ck.TopicPartition]) -> None:
    if error is not None:
        _LOG.warning("the offsets of %d partitions were not told to the group: %s", len(partitions), error.str())


def _told(value: str | Env) -> str:
    return settings.secret(value.name) if isinstance(value, Env) else value
