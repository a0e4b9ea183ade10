"""Streams of Amazon Kinesis, by boto3.

The online store holds the positions, in the commits of the records; one process reads all shards,
each in a thread. A shard is read once those that it comes from, by a split or a merge, have been
committed to their end. Beyond what one process reads there is Spark Structured Streaming.

Records that the Kinesis Producer Library has aggregated: many records of users in one of the
stream.

Shards of a Kinesis stream: which there are, what comes from what, and positions in them.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.errors import ConnectError, HeadwaterError, RecreatedError, RetentionError, nearest
from headwater.plugins import (
    Assigned,
    Env,
    OriginOf,
    Position,
    RecordBatch,
    Revoked,
    Source,
    StoredStream,
    TopicSample,
    now_micros,
    secret,
    stopwatch,
    wait,
)
from headwater_aws.aws_client import Answer, AwsClient, AwsRefusedError
from headwater_aws.kinesis_stream import KinesisStream

I64 = npt.NDArray[np.int64]

_LISTED: Final = 5.0  # seconds between two looks at which shards there are

# seconds between two looks at whether the shards that others come from are committed to their end
_LOOK: Final = 0.2

# seconds in which the stream must answer when it is opened; later it may be away for longer
_OPENED: Final = 20.0

_WAITING: Final = 64  # answers that wait to be polled, of all shards


def open_feed(
    source: Source, assigned: Assigned, revoked: Revoked, origin_of: OriginOf, stored: StoredStream
) -> KinesisFeed:
    """See `feeds.open_feed`; the callbacks are called inside `poll` and `close`."""
    return KinesisFeed(source, assigned, revoked, origin_of, stored)


class KinesisFeed:
    """The shards of a stream, each read in a thread of its own."""

    def __init__(
        self,
        source: Source,
        assigned: Assigned,
        revoked: Revoked,
        origin_of: OriginOf,
        stored: StoredStream,
    ) -> None:
        spec = source.stream
        assert isinstance(spec, KinesisStream)
        self._spec, self._assigned, self._revoked, self._origin_of, self._in_store = (
            spec,
            assigned,
            revoked,
            origin_of,
            stored,
        )
        self._client = connected(spec)
        self._stream = described(self._client, spec, patience=_OPENED)
        self._stored: Mapping[str, ShardPosition] = {}
        now = now_micros() // 1000
        self._start = (
            FIRST
            if spec.start == "earliest"
            else f"@{now if spec.start == 'latest' else int(spec.start) // 1000}"
        )
        self._queue: queue.Queue[ShardRecords] = queue.Queue(_WAITING)
        # of the shards that are read; None for one that is read to its end
        self._readers: dict[str, ShardReader | None] = {}
        self._behind: dict[str, int] = {}
        # positions to commit without records
        self._ends: list[tuple[str, ShardPosition, ShardPosition]] = []
        # shards that were committed to their end before this feed was opened
        self._ended: set[str] = set()
        self._looked = -_LOOK
        self._failure: HeadwaterError | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._watch, name=f"watch {spec.stream}", daemon=True
        )
        self._thread.start()

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """See `Feed`."""
        self._take_up()
        read: list[ShardRecords] = []
        try:
            read.append(self._queue.get(timeout=0.0 if self._ends else timeout))
            while sum(len(records.payloads) for records in read) < most:
                read.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        if self._failure:
            raise self._failure
        current = [
            records for records in read if self._readers.get(records.reader.name) is records.reader
        ]
        for records in current:
            self._behind[records.reader.name] = 0 if records.next.ended else records.behind
            if records.next.ended:
                self._readers[records.reader.name] = None
            if records.error is not None:
                self._failure = records.error
        ends, self._ends = self._ends, []
        batch = self._batch([records for records in current if records.error is None], ends)
        if self._failure and batch is None:
            raise self._failure
        return batch

    def lag(self) -> Mapping[str, int]:
        """See `Feed`; in milliseconds, of a shard that is not read yet at least one."""
        return {
            **self._behind,
            **{
                name: 1
                for name in self._every()
                if name not in self._behind and name not in self._ended
            },
        }

    def elsewhere(self) -> int:
        """See `Feed`; one process reads all shards."""
        return 0

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; the stream is told nothing."""

    def close(self) -> None:
        """See `Feed`."""
        self._closing.set()
        self._drop_shards(list(self._readers))
        self._thread.join(_LISTED)

    # ---- records

    def _batch(
        self, read: Sequence[ShardRecords], ends: Sequence[tuple[str, ShardPosition, ShardPosition]]
    ) -> RecordBatch | None:
        """One batch of the records of several shards."""
        moves = [
            *(
                (records.reader.name, records.first, records.next)
                for records in read
                if records.first != records.next
            ),
            *ends,
        ]
        if not moves:
            return None
        positions: dict[str, tuple[Position, Position]] = {}
        for name, first, following in moves:
            positions[name] = positions.get(name, (first.encoded(),))[0], following.encoded()
        names = list(positions)
        filled = [records for records in read if records.payloads]
        index = _joined(
            [np.full(len(records.payloads), names.index(records.reader.name)) for records in filled]
        )
        number = _joined(
            [records.first.count + np.arange(len(records.payloads)) for records in filled]
        )
        at = _joined([np.array(records.at, np.int64) for records in filled])
        payloads = [payload for records in filled for payload in records.payloads]
        origins = {name: str(following.stream) for name, _, following in moves}
        return RecordBatch(names, index, number, at, positions, payloads, origins=origins)

    # ---- shards

    def _watch(self) -> None:
        """Look for new shards, in a thread of its own, until closed."""
        while not wait(_LISTED, self._closing):
            try:
                self._describe()
            except HeadwaterError as error:
                self._failure = error
                return

    def _describe(self) -> StreamDescription:
        """How the stream is now; also called by the threads that read."""
        with self._lock:
            self._stream = described(self._client, self._spec)
            for reader in self._readers.copy().values():
                if reader is not None:
                    reader.stream = self._stream
            return self._stream

    def _take_up(self) -> None:
        """Begin to read the shards that may be read now."""
        if stopwatch() - self._looked < _LOOK:
            return
        self._looked = stopwatch()
        self._stored = {
            name: ShardPosition.decoded(position)
            for name, position in self._in_store.positions().items()
        }
        self._ended |= {
            name
            for name, position in self._stored.items()
            if position.ended and name not in self._readers
        }
        for name in sorted(self._every() - self._readers.keys() - self._ended):
            if self._may_be_read(name):
                self._begin(name)

    def _begin(self, name: str) -> None:
        """Read a shard from the position that its writer knows."""
        stored, stream, parents = self._stored, self._stream, self._parents(name)
        stored_position = self._assigned([name]).get(name)
        self._readers[name], self._behind[name] = None, 1
        if stored_position is None:
            first = ShardPosition(
                0,
                0,
                FIRST if any(parent in stored for parent in parents) else self._start,
                stream.created,
            )
        else:
            first = ShardPosition.decoded(stored_position)
        origin = self._origin_of(name)
        if origin not in ("", str(stream.created)):
            raise self._recreated(origin)
        if first.stream != stream.created:  # the records of the old stream were given up
            following = ShardPosition(
                first.count, 0, FIRST if name in stream.shards else ENDED, stream.created
            )
            self._ends.append((name, first, following))
            first = following
        if first.ended:
            self._behind[name] = 0
            self._ends.append((name, first, first))
            return
        reader = ShardReader(
            self._client,
            self._spec,
            name,
            first,
            stream,
            self._describe,
            self._queue,
        )
        self._readers[name] = reader
        reader.start()

    def _may_be_read(self, name: str) -> bool:
        """Whether each shard that this one comes from is committed to its end, or is not known any
        more.
        """
        stored = self._stored
        return all(
            stored[parent].ended if parent in stored else parent not in self._stream.shards
            for parent in self._parents(name)
        )

    def _parents(self, name: str) -> Sequence[str]:
        return self._stream.shards[name].parents if name in self._stream.shards else ()

    def _recreated(self, was: str) -> RecreatedError:
        now = self._stream.created
        origins = {
            name: str(now)
            for name, position in self._stored.items()
            if position.stream != now and not position.ended
        }
        return RecreatedError(str(self._spec), origins, was=was, now=str(now))

    def _every(self) -> set[str]:
        """The listed shards, and the shards that were not read to their end and are no longer
        listed.
        """
        return {
            *self._stream.shards,
            *(name for name, position in self._stored.items() if not position.ended),
        }

    def _drop_shards(self, names: Sequence[str]) -> None:
        """Stop reading these shards, and say so."""
        if not names:
            return
        for name in names:
            reader = self._readers.pop(name)
            self._behind.pop(name, None)
            if reader is not None:
                reader.stop.set()
        self._revoked(list(names))


def _joined(arrays: Sequence[I64]) -> I64:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


_LOG = logging.getLogger(__name__)

_PACE: Final = 0.2  # seconds between two requests of a shard: a shard answers five a second

_LIMIT: Final = 10_000  # records of an answer

# milliseconds after which the position of a quiet shard is committed again, with the time
_RENEWED: Final = 3_600_000

_EXPIRED: Final = "ExpiredIteratorException"


@dataclass(frozen=True)
class ShardRecords:
    """The next records of a shard.

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
    tip: when the end of the shard was last reached, milliseconds; 0 where it was not.
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
        for answer in self._polled():
            at_tip = self._take(answer, at_tip=at_tip)
            if self.position.ended:
                return

    def _polled(self) -> Iterator[Answer]:
        """The answers to requests, until the shard is gone or `stop`."""
        iterator = None
        while not self.stop.is_set():
            since = stopwatch()
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
            wait(max(0.0, _PACE - (stopwatch() - since)), self.stop)

    def _iterator(self) -> str:
        request = {
            "StreamName": self.spec.stream,
            "ShardId": self.name,
            **self.position.starting,
        }
        return str(
            self.client.call("get_shard_iterator", request, expected=[NOT_FOUND])["ShardIterator"]
        )

    def _take(self, answer: Answer, *, at_tip: bool) -> bool:
        """Pass records on. at_tip: whether the last answer was at the end of the shard, and whether
        this one is.
        """
        shard, now = self._shard(), now_micros() // 1000
        behind, records = int(answer.get("MillisBehindLatest") or 0), answer["Records"]
        by_record = [
            payloads_of(record["Data"], shard.first_hash, shard.last_hash) for record in records
        ]
        arrived = [
            round(record["ApproximateArrivalTimestamp"].timestamp() * 1e6) for record in records
        ]
        payloads = [payload for some in by_record for payload in some]
        at = [time for time, some in zip(arrived, by_record, strict=True) for _ in some]
        first = self.position
        number = records[-1]["SequenceNumber"] if records else first.place
        following = replace(first, count=first.count + len(payloads), at=now - behind, place=number)
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
        age = now_micros() // 1000 - self.position.at
        if self.position.at and age > self.stream.retention:
            raise self._lost(replace(self.position, at=now_micros() // 1000, place=FIRST), age)

    def _is_gone(self) -> bool:
        """Whether the stream does not have the shard any more, and it was read to its end."""
        self.stream = self.describe()
        if self.name in self.stream.shards:
            return False
        read = max(self.position.at, self.tip)
        age = now_micros() // 1000 - read
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


NOT_FOUND: Final = "ResourceNotFoundException"

_MAGIC: Final = b"\xf3\x89\x9a\xc2"

_DIGEST: Final = 16  # bytes

_KEYS, _HASHES, _RECORDS = 1, 2, 3  # fields of an AggregatedRecord

_KEY_INDEX, _HASH_INDEX, _DATA = 1, 2, 3  # fields of its Record


def payloads_of(data: bytes, first_hash: int, last_hash: int) -> list[bytes]:
    """The payloads in a record of the stream: the record itself, or the users' records with hash
    keys of the shard.

    An aggregate may have been made for the shard as it was before a split. Its producer sends the
    records of other shards again, so they are left out here.

    Args:
        data: of the record. first_hash, last_hash: of the hash keys that the shard gets.

    Source: the message `AggregatedRecord` of the Kinesis Producer Library: four magic bytes,
    Protobuf, an MD5 digest of the Protobuf.

    >>> payloads_of(b'{"user": 7}', 0, 2**128 - 1)
    [b'{"user": 7}']
    """
    body = data[len(_MAGIC) : -_DIGEST]
    if (
        not data.startswith(_MAGIC)
        or hashlib.md5(body, usedforsecurity=False).digest() != data[-_DIGEST:]
    ):
        return [data]
    keys, hashes, records = list[bytes](), list[bytes](), list[bytes]()
    for number, value in _fields(body):
        if isinstance(value, bytes):
            {_KEYS: keys, _HASHES: hashes, _RECORDS: records}.get(number, []).append(value)
    payloads = []
    for record in records:
        fields = dict(_fields(record))
        key, explicit, payload = (
            fields.get(_KEY_INDEX, 0),
            fields.get(_HASH_INDEX),
            fields.get(_DATA, b""),
        )
        digest = hashlib.md5(keys[int(key)], usedforsecurity=False).digest()
        hashed = int(hashes[explicit]) if isinstance(explicit, int) else int.from_bytes(digest)
        if first_hash <= hashed <= last_hash:
            payloads.append(bytes(payload))
    return payloads


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a Protobuf message that are numbers or bytes, in their order."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        if tag & 7 == 2:
            size, at = _number(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif tag & 7 == 0:
            value, at = _number(message, at)
            yield tag >> 3, value
        else:
            at += {1: 8, 5: 4}[tag & 7]


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


FIRST, ENDED = "first", "ended"

StartingPosition = Mapping[str, object]
"""As requests of Kinesis name a position."""


@dataclass(frozen=True)
class ShardPosition:
    """A place in a shard.

    count: how many records were read before it. at: by when all that had arrived was read,
    milliseconds; 0 where that is not known.
    place: FIRST, "@" and the milliseconds of the first arrival to read, the sequence number of the
    last record that was read, or ENDED.
    stream: when the stream was created, milliseconds; another stream of its name has other sequence
    numbers.

    >>> ShardPosition(7, 1000, "4956", 12).encoded()
    b'7 1000 4956 12'
    >>> ShardPosition.decoded(b"7 1000 4956 12").place
    '4956'
    """

    count: int
    at: int
    place: str
    stream: int

    def encoded(self) -> Position:
        return f"{self.count} {self.at} {self.place} {self.stream}".encode()

    @staticmethod
    def decoded(position: Position) -> ShardPosition:
        count, at, place, stream = position.decode().split(" ")
        return ShardPosition(int(count), int(at), place, int(stream))

    @property
    def ended(self) -> bool:
        """Whether the shard is closed, and was read to its end."""
        return self.place == ENDED

    @property
    def starting(self) -> StartingPosition:
        """From where an iterator begins."""
        if self.place == FIRST:
            return {"ShardIteratorType": "TRIM_HORIZON"}
        if self.place.startswith("@"):
            at = int(self.place[1:]) / 1000
            return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at}
        return {
            "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
            "StartingSequenceNumber": self.place,
        }

    def end(self) -> ShardPosition:
        """The end of the shard."""
        return replace(self, place=ENDED)


@dataclass(frozen=True)
class Shard:
    """A shard in the stream's list. closed: whether it gets no more records. first_hash, last_hash:
    of the keys that it gets.
    """

    name: str
    parents: Sequence[str]
    closed: bool
    first_hash: int
    last_hash: int


@dataclass(frozen=True)
class StreamDescription:
    """created: when, milliseconds. retention: how long records are kept, milliseconds. shards: by
    name, in their order.
    """

    created: int
    retention: int
    shards: Mapping[str, Shard]


def connected(spec: KinesisStream, *, patience: float = 300.0) -> AwsClient:
    """A client for a stream.

    Raises:
        MissingExtraError: boto3 is not installed. ConnectError: no region or credentials.
            UsageError: the environment lacks a variable.
    """
    url = spec.endpoint_url
    return AwsClient(
        "kinesis",
        spec.region,
        secret(url.name) if isinstance(url, Env) else url,
        patience=patience,
        connections=128,
    )


def described(
    client: AwsClient, spec: KinesisStream, *, patience: float | None = None
) -> StreamDescription:
    """How a stream is configured, and its shards, also closed ones that it still has records of.

    Raises:
        ConnectError: no answer, access refused, or the stream does not exist.
    """
    try:
        summary = client.call(
            "describe_stream_summary",
            {"StreamName": spec.stream},
            expected=[NOT_FOUND],
            patience=patience,
        )["StreamDescriptionSummary"]
        answers = [client.call("list_shards", {"StreamName": spec.stream}, expected=[NOT_FOUND])]
        while token := answers[-1].get("NextToken"):
            answers.append(client.call("list_shards", {"NextToken": token}, expected=[NOT_FOUND]))
    except AwsRefusedError as error:
        raise ConnectError(
            f"{spec} does not exist at {client.endpoint_url} in the region {client.region}: it "
            "was deleted, or region= or the account of the credentials is another one; "
            f"{_others(client, spec)}"
        ) from error
    shards = sorted(
        (_shard(item) for answer in answers for item in answer["Shards"]),
        key=lambda shard: shard.name,
    )
    return StreamDescription(
        round(summary["StreamCreationTimestamp"].timestamp() * 1000),
        int(summary["RetentionPeriodHours"]) * 3_600_000,
        {shard.name: shard for shard in shards},
    )


def _others(client: AwsClient, spec: KinesisStream) -> str:
    return nearest(spec.stream, client.call("list_streams", {})["StreamNames"])


def _shard(item: Answer) -> Shard:
    parents = [item[name] for name in ("ParentShardId", "AdjacentParentShardId") if item.get(name)]
    keys = item["HashKeyRange"]
    closed = "EndingSequenceNumber" in item["SequenceNumberRange"]
    return Shard(
        item["ShardId"], parents, closed, int(keys["StartingHashKey"]), int(keys["EndingHashKey"])
    )


# seconds: a stream is only read forwards, so from a minute ago, then from longer ago
_BACK: Final = (60.0, 600.0, 3_600.0, 86_400.0)


class _Row(NamedTuple):
    key: bytes
    payload: bytes
    arrived: int


def look(spec: KinesisStream, *, records: int, watch: float) -> TopicSample:  # noqa: ARG001 (each record says when it arrived)
    """Read about the last `records` of a stream; nothing of it changes.

    Raises:
        ConnectError: no answer, access refused, or the stream does not exist. MissingExtraError:
            boto3 is not installed.
    """
    client = connected(spec, patience=10.0)
    stream = described(client, spec)
    per_shard = max(1, records // max(1, len(stream.shards)))
    rows = [_last(client, spec, shard, per_shard) for shard in stream.shards.values()]
    settings = {
        "retention.ms": str(stream.retention),
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
    }
    every = [row for some in rows for row in some]
    stamp = np.array([row.arrived for row in every], np.int64)
    return TopicSample(
        settings,
        dict.fromkeys(range(len(rows)), 0),
        {n: len(some) for n, some in enumerate(rows)},
        np.repeat(np.arange(len(rows)), [len(some) for some in rows]),
        np.concatenate([np.arange(len(some)) for some in rows]) if rows else stamp,
        stamp,
        [row.key for row in every],
        [row.payload for row in every],
        np.full(len(every), -1),
        0.0,
    )


def _last(client: AwsClient, spec: KinesisStream, shard: Shard, count: int) -> list[_Row]:
    """The records of a shard since a minute ago, at most so many; since longer ago where these are
    fewer.
    """
    rows: list[_Row] = []
    for seconds in _BACK:
        rows = _since(client, spec, shard, now_micros() / 1e6 - seconds, count)
        if len(rows) >= count:
            break
    return rows[-count:]


def _since(
    client: AwsClient, spec: KinesisStream, shard: Shard, since: float, count: int
) -> list[_Row]:
    rows: list[_Row] = []
    request = {
        "StreamName": spec.stream,
        "ShardId": shard.name,
        "ShardIteratorType": "AT_TIMESTAMP",
        "Timestamp": since,
    }
    iterator = client.call("get_shard_iterator", request)["ShardIterator"]
    while iterator and len(rows) < count:
        answer = client.call(
            "get_records", {"ShardIterator": iterator, "Limit": min(_LIMIT, count)}
        )
        for record in answer["Records"]:
            at, key = (
                round(record["ApproximateArrivalTimestamp"].timestamp() * 1e6),
                record["PartitionKey"].encode(),
            )
            rows += [
                _Row(key, payload, at)
                for payload in payloads_of(record["Data"], shard.first_hash, shard.last_hash)
            ]
        iterator = answer.get("NextShardIterator")
        if not answer["Records"] and not answer.get("MillisBehindLatest"):
            break
    return rows
