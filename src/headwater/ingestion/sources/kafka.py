"""Topics of Apache Kafka, by librdkafka.

The online store holds the offsets: partitions are assigned manually at those offsets, group commits
only serve monitoring, and an offset that the topic no longer has is an error, never a jump.

What happens to a partition of a topic between its assignment and its first record: from where,
and in which topic of that name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from headwater import clock
from headwater.definitions.connectors import KafkaTopic
from headwater.definitions.source import Source
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    FencedError,
    HeadwaterError,
    RecreatedError,
    RetentionError,
    nearest,
)
from headwater.ingestion.sources.kafka_batches import Fault, Fetched, fetcher
from headwater.ingestion.sources.kafka_client import (
    ALL_DOWN,
    DEFAULTS,
    FIXED,
    HOPELESS,
    PASSING,
    PATIENCE,
    PAUSES,
    TopicIds,
    ck,
    close_within,
    note_of,
    settings_of,
    topic_partition,
)
from headwater.ingestion.sources.kafka_inspect import look as look  # noqa: PLC0414 (see `FEEDS`)
from headwater.ingestion.sources.stream_reader import (
    Assigned,
    OriginOf,
    Position,
    RecordBatch,
    Revoked,
    StoredStream,
    between,
    offset_at,
)
from headwater.kernel.arrays import I64
from headwater.retries import retry

_LOG = logging.getLogger(__name__)

_RETURN: Final = 60.0  # seconds in which one must be back when partitions are given out

_QUERY: Final = 2.0

# seconds between two looks at whether the topic is still the same, while nothing comes
_IDENTITY: Final = 1.0

# seconds before records were consumed that it was; to create a topic again and write to it takes
# longer
_CONFIRMED: Final = 0.05

# seconds after one look at which the next one begins while records come, so that none waits for its
# answer
_AGAIN: Final = 0.025

# librdkafka's own errors begin with an underscore; they are as public as the others.
_EOF, _RESET, _LATE = (
    getattr(ck.KafkaError, f"_{name}")
    for name in ("PARTITION_EOF", "AUTO_OFFSET_RESET", "MAX_POLL_EXCEEDED")
)


def open_feed(
    source: Source,
    assigned: Assigned,
    revoked: Revoked,
    origin_of: OriginOf,
    stored: StoredStream | None = None,
) -> KafkaFeed:
    """See `feeds.open_feed`; `assigned` is called in a thread of its own, `revoked` inside `poll`
    and `close`.
    """
    return KafkaFeed(source, assigned, revoked, origin_of, stored)


class KafkaFeed:
    """All partitions of a topic, or the partitions that its consumer group assigns to this member.

    Where one process reads all of them, they are assigned without the group, which would keep those
    of a killed process until its session ends. Such a process is the only one by the lease that it
    holds; the group's offsets are still committed, for monitoring.

    A partition that is assigned is paused until `assigned` has said from where to read it, which
    may take longer than the group waits for a member that is silent. Offsets are the topic's own
    inside, and outside the topic's plus the `shift` of their origin: it is not 0 where a topic was
    created again, so offsets of a partition always rise.
    """

    def __init__(
        self,
        source: Source,
        assigned: Assigned,
        revoked: Revoked,
        origin_of: OriginOf,
        stored: StoredStream | None,
    ) -> None:
        spec = source.stream
        assert isinstance(spec, KafkaTopic)
        self._spec, self._assigned, self._revoked, self._origin_of = (
            spec,
            assigned,
            revoked,
            origin_of,
        )
        self._assignments = 0
        # assigned, start offset not known yet -> the number of the assignment
        self._pending: dict[int, int] = {}
        self._lookup: tuple[Lookup, threading.Thread] | None = None
        self._origins: dict[int, str] = {}  # of the partitions that are read
        self._shift: dict[int, int] = {}
        self._count: Callable[[int], None] = (lambda _: None) if stored is None else stored.counted
        self._label = "" if stored is None else note_of(stored.identity)
        self._whole, self._assigned_count = stored is not None and stored.whole, 0
        self._checked = -_IDENTITY  # when the topic was last asked for its id
        self._unconfirmed: Fetched | None = None  # fetched, topic id not confirmed yet
        # of the partitions that are assigned: the offset to read on from
        self._ends: dict[int, int] = {}
        self._highs: dict[int, int] = {}  # where each ended when it was assigned
        self._moved: set[int] = set()  # partitions whose end has not been reported yet
        self._reached: dict[int, int] = {}  # the ends of partitions that this poll came to
        self._failure: HeadwaterError | None = None
        self._complaint: ck.KafkaError | None = None
        self._down = self._closing = False
        self._any_known = False
        options = {
            **DEFAULTS,
            "group.id": spec.group or f"headwater-{source.name}",
            **settings_of(spec),
            **FIXED,
        }
        self._incremental = (
            options["partition.assignment.strategy"] == "cooperative-sticky"
            or options.get("group.protocol") == "consumer"
        )
        if options.get("group.protocol") == "consumer":
            options.pop("partition.assignment.strategy")  # the broker's matter
        try:
            self._consumer = ck.Consumer(
                {**options, "error_cb": self._complained, "on_commit": _committed}
            )
        except ck.KafkaException as error:
            raise DefinitionError(
                f"{spec}: {error.args[0].str()}; see options= of hw.kafka"
            ) from error
        try:
            self._first_partitions = self._partitions()
            self._count(len(self._first_partitions))
            self._ids = TopicIds(spec)
            if self._whole:
                self._assign_up_to(max(self._first_partitions) + 1)
            else:
                self._consumer.subscribe(
                    [spec.topic],
                    on_assign=self._on_assign,
                    on_revoke=self._on_revoke,
                    on_lost=self._on_revoke,
                )
            self._fetcher = fetcher(self._consumer, str(options["client.id"]))
        except BaseException:
            self._consumer.close()
            raise

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""
        self._take_up(timeout)
        fetched, self._unconfirmed = self._unconfirmed or self._fetcher.fetch(most, 0.0), None
        if not fetched and not self._failure and not self._moved:
            fetched = self._fetcher.fetch(most, timeout)
        if (
            not self._confirmed(_CONFIRMED if fetched else _IDENTITY, timeout if fetched else 0.0)
            and fetched
            and not self._failure
        ):
            self._unconfirmed = fetched
            return None
        self._note(fetched.faults)
        if self._failure:
            raise self._failure
        if not len(fetched.offset) and not self._moved and not self._reached:
            return None
        records = self._records(fetched)
        if self._ends and clock.stopwatch() - self._checked > _AGAIN:
            self._ids.ask()
        return records if records.positions else None

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; of a partition that is not read yet at least one record."""
        return {str(p): max(0, self._high(p) - end) for p, end in self._ends.items()} | {
            str(p): 1 for p in self._pending
        }

    def elsewhere(self) -> int:
        """See `Feed`; a member that was killed keeps its partitions until its session ends."""
        return len(set(self._first_partitions) - self._ends.keys() - self._pending.keys())

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`."""
        ends = {int(name): offset_at(position) for name, position in positions.items()}
        if offsets := [
            topic_partition(self._spec, p, end - self._shift[p], self._label)
            for p, end in ends.items()
            if p in self._ends
        ]:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        """See `Feed`."""
        self._closing = True
        self._fetcher.close()
        if not close_within(self._consumer):
            _LOG.warning(
                "%s: the group's coordinator does not answer; left without it, so others get the "
                "partitions later",
                self._spec,
            )
            self._drop_partitions([*self._ends, *self._pending])
        if self._whole:
            self._drop_partitions([*self._ends, *self._pending])
        if self._lookup is not None:
            self._lookup[1].join()  # its partitions were revoked, so it ends soon

    # ---- records

    def _records(self, fetched: Fetched) -> RecordBatch:
        n, before = len(fetched.offset), dict(self._ends)
        received = int(fetched.stamp[fetched.by_broker].max(initial=0)) * 1000
        fresh = self._not_yet(fetched.partition, fetched.offset)
        if not fresh.all():
            fetched = fetched.take(np.flatnonzero(fresh))
        number, offset, at = fetched.partition, fetched.offset, fetched.stamp * 1000
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
        # only now: the records before it stood in the same batch
        for p, o in self._reached.items():
            if o > self._ends.get(p, o):
                self._ends[p] = o
                self._moved.add(p)
        self._reached.clear()
        moved = sorted(self._moved)
        self._moved.clear()
        if any(self._shift.values()):
            offset = offset + np.array([self._shift[p] for p in here.tolist()], np.int64)[index]
        positions = {
            str(p): between(before[p] + self._shift[p], self._ends[p] + self._shift[p])
            for p in moved
        }
        origins = {str(p): self._origins[p] for p in moved if self._origins[p]}
        return RecordBatch(
            [str(p) for p in here.tolist()],
            index,
            offset,
            at,
            positions,
            fetched.payloads,
            origins=origins,
            received=received,
        )

    def _not_yet(self, number: I64, offset: I64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which records are to be read: neither records of a partition that was lost while they
        were fetched, nor earlier ones.
        """
        wanted = np.full(int(number.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        for p, end in self._ends.items():
            if p < len(wanted):
                wanted[p] = end
        return np.asarray(offset >= wanted[number])

    def _note(self, faults: Iterable[Fault]) -> None:
        """Note the end of a partition, or an error."""
        for error, p, offset in faults:
            if error.code() == _EOF:
                self._reached[p] = offset
            elif error.code() == _RESET:
                if p in self._ends:  # else it is not being read yet
                    self._failure = self._failure or self._retention_error(
                        p, self._ends[p], *self._watermarks(p)
                    )
            elif error.code() == _LATE and not self._whole:
                # every partition has another owner by now, fetched messages are no longer ours
                _LOG.warning("%s: %s; joining its readers again", self._spec, error.str())
                self._drop_partitions([*self._ends, *self._pending])
            elif error.code() in (*PASSING, _LATE) or error.retriable():
                _LOG.warning("%s: %s", self._spec, error.str())
            else:
                self._failure = self._failure or ConnectError(
                    f"{self._spec}: {error.str()} ({error.name()})"
                )

    # ---- partitions

    def _assign_up_to(self, count: int) -> None:
        """Read the partitions that are not assigned yet, of so many."""
        added = [ck.TopicPartition(self._spec.topic, p) for p in range(self._assigned_count, count)]
        self._assigned_count = max(count, self._assigned_count)
        if added:
            self._on_assign(self._consumer, added)

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        if self._closing:  # it was in flight, and is revoked right away
            (consumer.incremental_assign if self._incremental else consumer.assign)(partitions)
            return
        self._assignments += 1
        self._pending |= {tp.partition: self._assignments for tp in partitions}
        begun = [
            ck.TopicPartition(tp.topic, tp.partition, ck.OFFSET_BEGINNING) for tp in partitions
        ]
        (consumer.incremental_assign if self._incremental else consumer.assign)(begun)
        consumer.pause(begun)

    def _take_up(self, timeout: float) -> None:
        """Look up start offsets of assigned partitions, and start the partitions whose offsets are
        known.
        """
        if self._lookup is None and self._pending:
            lookup = Lookup(self._assigned, self._ids, dict(self._pending))
            self._lookup = lookup, lookup.start()
        if self._lookup is None:
            return
        lookup, thread = self._lookup
        thread.join(timeout)
        if thread.is_alive():
            return
        self._lookup = None
        assigned = [p for p, number in lookup.number.items() if self._pending.get(p) == number]
        if isinstance(lookup.failure, FencedError) and len(assigned) < len(lookup.number):
            return  # of one that is another reader's by now; the others are asked for again
        self._failure = self._failure or lookup.failure
        if self._failure or not assigned:
            return
        self._any_known |= bool(lookup.known)
        try:
            self._begin(assigned, lookup.known, lookup.topic_id)
        except HeadwaterError as error:
            self._failure = error

    def _begin(self, partitions: Sequence[int], offsets: Mapping[int, int], topic_id: str) -> None:
        """Read these partitions from now on."""
        origins = {p: self._origin_of(str(p)) if p in offsets else "" for p in partitions}
        others = {
            p: origin
            for p, origin in origins.items()
            if origin and topic_id and parts_of(origin)[0] != topic_id
        }
        if others:
            raise self._recreated(
                {p: offsets[p] for p in others}, parts_of(next(iter(others.values())))[0], topic_id
            )
        for p in partitions:
            self._shift[p] = parts_of(origins[p])[1]
            self._origins[p] = origins[p] or topic_id
            start = self._start(p, offsets[p] - self._shift[p] if p in offsets else None)
            # before the seek, which drops earlier messages
            self._fetcher.forward(self._spec.topic, p)
            self._consumer.seek(begin := topic_partition(self._spec, p, start))
            self._consumer.resume([begin])
            self._ends[p] = start
            del self._pending[p]

    def _confirmed(self, age: float, timeout: float) -> bool:
        """Whether the topic was still the one that is read so many seconds ago; waits `timeout`
        seconds for an answer.
        """
        least = clock.stopwatch() - age
        while self._ends and self._checked < least and not self._failure:
            try:
                answer = self._ids.answer(timeout)
                if answer is None:
                    return False
                self._checked, topic = answer
                self._count(topic.partitions)
                if self._whole:
                    self._assign_up_to(topic.partitions)
                self._failure = self._another(topic.id)
            except HeadwaterError as error:
                self._failure = error
        return True

    def _another(self, topic_id: str) -> RecreatedError | None:
        """The error if the topic's id has changed to this one; None where it has not."""
        others = {
            p: parts_of(origin)[0]
            for p, origin in self._origins.items()
            if p in self._ends and origin and topic_id
        }
        others = {p: was for p, was in others.items() if was != topic_id}
        if not others:
            return None
        return self._recreated(
            {p: self._ends[p] + self._shift[p] for p in others},
            next(iter(others.values())),
            topic_id,
        )

    def _recreated(self, ends: Mapping[int, int], was: str, now: str) -> RecreatedError:
        """ends: by partition, the outside offset that the first record of the new topic is to
        have.
        """
        origins = {str(p): origin(now, end - self._watermarks(p)[0]) for p, end in ends.items()}
        return RecreatedError(str(self._spec), origins, was=was, now=now)

    def _on_revoke(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        try:
            # first: others get them as soon as they are given up
            self._drop_partitions([tp.partition for tp in partitions])
        finally:
            if self._incremental:
                consumer.incremental_unassign(partitions)
            else:
                consumer.unassign()

    def _drop_partitions(self, partitions: Sequence[int]) -> None:
        """Take these partitions for another reader's, and say so; once."""
        revoked = [p for p in partitions if p in self._ends or p in self._pending]
        for p in revoked:
            self._ends.pop(p, None)
            self._pending.pop(p, None)
            self._moved.discard(p)
        if revoked:
            self._revoked([str(p) for p in revoked])

    def _start(self, partition: int, wanted: int | None) -> int:
        """The offset at which to begin, for certain one that the topic has or will have next.

        A partition begins at the end only if no partition was known yet and it was there when this
        feed was opened: one that a topic has grown holds unread records.
        """
        low, high = self._watermarks(partition)
        if wanted is None:
            self._moved.add(partition)
            return (
                high
                if self._spec.start == "latest"
                and not self._any_known
                and partition in self._first_partitions
                else low
            )
        since = clock.stopwatch()
        # a new leader may not know yet how far it is
        while wanted > high and clock.stopwatch() - since < PATIENCE:
            clock.wait(0.2)
            low, high = self._watermarks(partition)
        if not low <= wanted <= high:
            raise self._retention_error(partition, wanted, low, high)
        return wanted

    def _retention_error(self, partition: int, wanted: int, low: int, high: int) -> DataError:
        """The error for a partition that no longer has the next offset."""
        with suppress(ConnectError):
            another = self._another(self._ids.now().id)
            if another is not None:
                return another
        shift = self._shift[partition]
        if wanted < low:
            wanted, first = wanted + shift, low + shift
            position = between(wanted, first)[1]
            return RetentionError(
                str(self._spec),
                str(partition),
                wanted=wanted,
                first=first,
                position=position,
                lost=first - wanted,
            )
        return DataError(
            f"{self._spec}, partition {partition}: offset {wanted} is to be read next, and it "
            f"ends at {high}: the topic was recreated, or its brokers lost records. What was read "
            "of it no longer fits; rebuild the view from its archive or history, or name the new "
            "topic otherwise"
        )

    def _watermarks(self, partition: int) -> tuple[int, int]:
        """The first offset that the partition has, and the one after its last; waits for a leader
        while it has none.
        """

        def read() -> tuple[int, int]:
            low, high = self._consumer.get_watermark_offsets(
                ck.TopicPartition(self._spec.topic, partition), timeout=_QUERY
            )
            return int(low), int(high)

        def wait(seconds: float) -> None:
            clock.wait(seconds)
            with suppress(ck.KafkaException):
                # else it uses its metadata of before a broker restarted
                self._consumer.list_topics(self._spec.topic, timeout=1.0)

        def passes(error: Exception) -> bool:
            return error.args[0].code() not in HOPELESS

        try:
            low, high = retry(
                read, on=ck.KafkaException, pauses=PAUSES.within(_RETURN), passes=passes, wait=wait
            )
        except ck.KafkaException as error:
            raise ConnectError(
                f"{self._spec}, partition {partition}: {error.args[0].str()}"
            ) from error
        self._highs[partition] = high
        return low, high

    def _high(self, partition: int) -> int:
        """The offset after the last record, as the latest answer of a broker said."""
        _, high = self._consumer.get_watermark_offsets(
            ck.TopicPartition(self._spec.topic, partition), cached=True
        )
        return max(int(high), self._highs[partition])

    # ---- brokers

    def _partitions(self) -> set[int]:
        """The topic's partitions; waits for a broker, and for a topic that was made just now."""
        spec, since, topic = self._spec, clock.stopwatch(), None

        def read() -> set[int]:
            nonlocal topic
            topic = self._consumer.list_topics(spec.topic, timeout=1.0).topics[spec.topic]
            if topic.error is not None:
                raise ck.KafkaException(topic.error)
            return set(topic.partitions)

        def passes(error: Exception) -> bool:
            if topic is None:
                self._complaint = self._complaint or error.args[0]
            self._consumer.poll(0)  # reports errors by callback
            return not self._failure and (
                topic is None or clock.stopwatch() - since <= PATIENCE / 5
            )

        with suppress(ck.KafkaException):
            return retry(read, on=ck.KafkaException, pauses=PAUSES.within(PATIENCE), passes=passes)
        if self._failure:
            raise self._failure
        if topic is None:
            why = f": {self._complaint.str()}" if self._complaint else ""
            raise ConnectError(
                f"{spec}: no broker at {spec.servers!r} answers{why}. Start it, or mend servers= "
                "or the security settings in options= of hw.kafka"
            )
        names = [
            name
            for name in self._consumer.list_topics(timeout=PATIENCE).topics
            if not name.startswith("__")
        ]
        raise ConnectError(f"{spec}: {topic.error.str()}; {nearest(spec.topic, names)}")

    def _complained(self, error: ck.KafkaError) -> None:
        """Called by librdkafka with errors beyond a single partition; it retries by itself, unless
        the error is permanent.
        """
        if error.fatal() or error.code() in HOPELESS:
            self._failure = self._failure or ConnectError(
                f"{self._spec}: {error.str()} ({error.name()}); see options= of hw.kafka"
            )
        elif not self._down:
            self._down = True
            _LOG.warning("%s: %s; trying again until a broker answers", self._spec, error.str())
        if error.code() != ALL_DOWN:  # which says less than what comes before it
            self._complaint = error


def _committed(error: ck.KafkaError | None, partitions: Sequence[ck.TopicPartition]) -> None:
    if error is not None:
        _LOG.warning(
            "the offsets of %d partitions were not told to the group: %s",
            len(partitions),
            error.str(),
        )


@dataclass
class Lookup:
    """Asks, in a thread of its own, from where to read partitions that were assigned; number: of
    each assignment. Others are read on.
    """

    assigned: Assigned
    ids: TopicIds
    number: Mapping[int, int]
    known: dict[int, int] = field(default_factory=dict)
    topic_id: str = ""
    failure: HeadwaterError | None = None

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="assigned", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            self.topic_id = self.ids.now().id
            self.known = {
                int(name): offset_at(position)
                for name, position in self.assigned([str(p) for p in self.number]).items()
            }
        except HeadwaterError as error:  # `poll` raises it
            self.failure = error
        except Exception as error:  # noqa: BLE001 (likewise; a thread would end without a word)
            self.failure = HeadwaterError(
                f"partitions {sorted(self.number)} cannot be taken up: {error}"
            )
            self.failure.__cause__ = error


_SHIFT = "@"  # in no base64


def origin(topic_id: str, shift: int) -> str:
    """The origin of a partition's offsets: the topic with this id, plus `shift`."""
    return f"{topic_id}{_SHIFT}{shift}" if shift else topic_id


def parts_of(text: str) -> tuple[str, int]:
    """The arguments that `origin` was called with.

    >>> parts_of("WQ+iT"), parts_of("WQ+iT@200"), parts_of("")
    (('WQ+iT', 0), ('WQ+iT', 200), ('', 0))
    """
    topic_id, _, shift = text.partition(_SHIFT)
    return topic_id, int(shift or 0)
