"""Streams of Amazon Kinesis, by boto3.

The online store holds the positions; one process reads all shards. A shard is read once those that
it comes from, by a split or a merge, have been committed to their end.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from headwater import clock
from headwater.definitions.kinesis_stream import KinesisStream
from headwater.definitions.source import Source
from headwater.errors import HeadwaterError, RecreatedError
from headwater.ingestion.sources.kinesis_fan_out import consumer_arn
from headwater.ingestion.sources.kinesis_shard_reader import ShardReader, ShardRecords
from headwater.ingestion.sources.kinesis_shards import (
    ENDED,
    FIRST,
    ShardPosition,
    StreamDescription,
    connected,
    described,
)
from headwater.ingestion.sources.stream_reader import (
    Assigned,
    OriginOf,
    Position,
    RecordBatch,
    Revoked,
    StoredStream,
)
from headwater.kernel.arrays import I64

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
        self._consumer = consumer_arn(self._client, spec, self._stream.arn)
        self._stored: Mapping[str, ShardPosition] = {}
        now = clock.now_micros() // 1000
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
        mine = [
            records for records in read if self._readers.get(records.reader.name) is records.reader
        ]
        for records in mine:
            self._behind[records.reader.name] = 0 if records.next.ended else records.behind
            if records.next.ended:
                self._readers[records.reader.name] = None
            if records.error is not None:
                self._failure = records.error
        ends, self._ends = self._ends, []
        batch = self._batch([records for records in mine if records.error is None], ends)
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
        self._lose(list(self._readers))
        self._thread.join(_LISTED)

    # ---- records

    def _batch(
        self, read: Sequence[ShardRecords], ends: Sequence[tuple[str, ShardPosition, ShardPosition]]
    ) -> RecordBatch | None:
        """One batch of what several shards brought."""
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
        while not self._closing.wait(_LISTED):
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
        if clock.stopwatch() - self._looked < _LOOK:
            return
        self._looked = clock.stopwatch()
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
        known = self._assigned([name]).get(name)
        self._readers[name], self._behind[name] = None, 1
        if known is None:
            first = ShardPosition(
                0,
                0,
                FIRST if any(parent in stored for parent in parents) else self._start,
                stream.created,
            )
        else:
            first = ShardPosition.decoded(known)
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
            consumer=self._consumer,
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
        """The shards that are listed, and those that were not read to their end and are not listed
        any more.
        """
        return {
            *self._stream.shards,
            *(name for name, position in self._stored.items() if not position.ended),
        }

    def _lose(self, names: Sequence[str]) -> None:
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
