"""A thread that reads one shard of a Kinesis stream."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from headwater import clock
from headwater.aws import Answer, AwsClient, AwsRefusedError
from headwater.definitions.kinesis_stream import KinesisStream
from headwater.errors import ConnectError, HeadwaterError, RetentionError
from headwater.ingestion.sources.kinesis_aggregated import payloads_of
from headwater.ingestion.sources.kinesis_fan_out import pushed
from headwater.ingestion.sources.kinesis_shards import (
    FIRST,
    NOT_FOUND,
    Shard,
    ShardPosition,
    StreamDescription,
)

_LOG = logging.getLogger(__name__)

_PACE: Final = 0.2  # seconds between two requests of a shard: a shard answers five a second
_LIMIT: Final = 10_000  # records of an answer
# milliseconds after which the position of a quiet shard is committed again, with the time
_RENEWED: Final = 3_600_000
_EXPIRED: Final = "ExpiredIteratorException"


@dataclass(frozen=True)
class ShardRecords:
    """What was read of a shard next.

    first, next: the positions before and after. payloads; at: when each arrived, microseconds;
    number: of each record in its shard.
    behind: milliseconds to the end of the shard. error: what ended the reader, in place of records.
    """

    reader: ShardReader
    first: ShardPosition
    next: ShardPosition
    payloads: Sequence[bytes] = ()
    at: Sequence[int] = ()
    behind: int = 0
    error: HeadwaterError | None = None


@dataclass(eq=False)
class ShardReader:
    """Reads a shard from a position on, into a queue that is bounded, until its end or `stop`.

    describe: how the stream is now; called where a shard was closed, so that its children are known
    before its end is.
    tip: when the end of the shard was last reached, milliseconds; 0 where it was not. consumer: the
    ARN of a registered one; None polls.
    """

    client: AwsClient
    spec: KinesisStream
    name: str
    position: ShardPosition
    stream: StreamDescription
    describe: Callable[[], StreamDescription]
    out: queue.Queue[ShardRecords]
    stop: threading.Event = field(default_factory=threading.Event)
    tip: int = 0
    consumer: str | None = None

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._run, name=f"read {self.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._check_retention()
            self._read()
        except HeadwaterError as error:  # raised by `poll`
            self._put(ShardRecords(self, self.position, self.position, error=error))
        except Exception as error:  # noqa: BLE001 (likewise)
            failure = HeadwaterError(f"{self.spec}, shard {self.name}, cannot be read: {error}")
            failure.__cause__ = error
            self._put(ShardRecords(self, self.position, self.position, error=failure))

    def _read(self) -> None:
        at_tip = False
        for answer in self._polled() if self.consumer is None else self._pushed(self.consumer):
            at_tip = self._take(answer, at_tip=at_tip)
            if self.position.ended:
                return

    def _polled(self) -> Iterator[Answer]:
        """The answers to requests, until the shard is gone or `stop`."""
        iterator = None
        while not self.stop.is_set():
            since = clock.stopwatch()
            try:
                if iterator is None:
                    iterator = self._iterator()
                request = {"ShardIterator": iterator, "Limit": _LIMIT}
                answer = self.client.call("get_records", request, expected=[_EXPIRED, NOT_FOUND])
            except AwsRefusedError as error:
                if error.code == NOT_FOUND and self._is_gone():
                    return
                iterator = None  # it has expired: five minutes after it was given
                continue
            iterator = answer.get("NextShardIterator")
            yield answer
            self.stop.wait(max(0.0, _PACE - (clock.stopwatch() - since)))

    def _pushed(self, consumer: str) -> Iterator[Answer]:
        """What a registered consumer is pushed, in their form."""
        request = {"ConsumerARN": consumer, "ShardId": self.name}
        try:
            yield from pushed(
                self.client, self.spec, request, lambda: self.position.starting, self.stop
            )
        except AwsRefusedError as error:
            if not self._is_gone():
                raise ConnectError(
                    f"{self.spec}: its consumer {self.spec.consumer!r} was deregistered: {error}"
                ) from error

    def _iterator(self) -> str:
        start = self.position.starting
        request = {
            f"Starting{name}" if name == "SequenceNumber" else name: value
            for name, value in start.items()
            if name != "Type"
        }
        request |= {
            "StreamName": self.spec.stream,
            "ShardId": self.name,
            "ShardIteratorType": start["Type"],
        }
        return str(
            self.client.call("get_shard_iterator", request, expected=[NOT_FOUND])["ShardIterator"]
        )

    def _take(self, answer: Answer, *, at_tip: bool) -> bool:
        """Pass on what was read. at_tip: whether the last answer was at the end of the shard;
        whether this one is.
        """
        shard, now = self._shard(), clock.now_micros() // 1000
        behind, records = int(answer.get("MillisBehindLatest") or 0), answer["Records"]
        each = [
            payloads_of(record["Data"], shard.first_hash, shard.last_hash) for record in records
        ]
        arrived = [
            round(record["ApproximateArrivalTimestamp"].timestamp() * 1e6) for record in records
        ]
        payloads = [payload for some in each for payload in some]
        at = [time for time, some in zip(arrived, each, strict=True) for _ in some]
        first = self.position
        place = records[-1]["SequenceNumber"] if records else first.place
        following = replace(first, count=first.count + len(payloads), at=now - behind, place=place)
        self.tip = self.tip if behind else now
        ended = not answer.get("NextShardIterator") or (shard.closed and not records and not behind)
        if ended:
            self.stream = self.describe()
            following = following.end()
        elif not records and following.at - first.at <= _RENEWED:
            following = first
        if following != first or not (behind or at_tip):
            self.position = following
            self._put(ShardRecords(self, first, following, payloads, at, behind))
        return not behind

    def _shard(self) -> Shard:
        """The shard as the stream lists it; all keys are its own where it is not listed any
        more.
        """
        return self.stream.shards.get(self.name) or Shard(
            self.name, (), closed=True, first_hash=0, last_hash=2**128 - 1
        )

    def _put(self, records: ShardRecords) -> None:
        while not self.stop.is_set():
            try:
                self.out.put(records, timeout=0.1)
                return
            except queue.Full:
                continue

    def _check_retention(self) -> None:
        """Raise RetentionError where records may have been deleted before they were read."""
        age = clock.now_micros() // 1000 - self.position.at
        if self.position.at and age > self.stream.retention:
            raise self._lost(
                replace(self.position, at=clock.now_micros() // 1000, place=FIRST), age
            )

    def _is_gone(self) -> bool:
        """Whether the stream does not have the shard any more, and it was read to its end."""
        self.stream = self.describe()
        if self.name in self.stream.shards:
            return False
        read = max(self.position.at, self.tip)
        age = clock.now_micros() // 1000 - read
        if not read or age > self.stream.retention:
            raise self._lost(self.position.end(), age)
        _LOG.warning(
            "%s has no shard %s any more; it was read to its end %.1f s ago, so it counts as "
            "closed",
            self.spec,
            self.name,
            age / 1000,
        )
        first, self.position = self.position, self.position.end()
        self._put(ShardRecords(self, first, self.position))
        return True

    def _lost(self, position: ShardPosition, age: int) -> RetentionError:
        read = (
            f"was read last {age / 3_600_000:,.1f} h ago" if self.position.at else "was never read"
        )
        return RetentionError(
            str(self.spec),
            self.name,
            wanted=self.position.count,
            first=self.position.count,
            position=position.encoded(),
            lost=1,
            why=(
                f"it {read}, and records are kept for {self.stream.retention / 3_600_000:,.0f} h: "
                "what arrived between may have been deleted"
            ),
        )
