"""Streams of Amazon Kinesis, by boto3.

The online store holds the positions, and says which process reads which shard. A shard is read once those that it comes from, by a split
or a merge, have been committed to their end.
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
from headwater.ingestion.sources.kinesis_shards import ENDED, FIRST, ShardPosition, StreamDescription, connected, described
from headwater.ingestion.sources.stream_reader import Assigned, OriginOf, PartitionGroup, Position, RecordBatch, Revoked
from headwater.kernel.arrays import I64

_BEAT: Final = 0.5  # seconds between two heartbeats
_LISTED: Final = 5.0  # seconds between two looks at which shards there are
_LOOK: Final = 0.2  # seconds between two looks at whether the shards that others come from are committed to their end
_OPENED: Final = 20.0  # seconds in which the stream must answer when it is opened; later it may be away for longer
_WAITING: Final = 64  # answers that wait to be polled, of all shards


def open_feed(source: Source, assigned: Assigned, revoked: Revoked, origin_of: OriginOf, group: PartitionGroup) -> KinesisFeed:
    """See `feeds.open_feed`; the callbacks are called inside `poll` and `close`."""
    return KinesisFeed(source, assigned, revoked, origin_of, group)


class KinesisFeed:
    """The shards of a stream that this process reads, each in a thread of its own."""

    def __init__(self, source: Source, assigned: Assigned, revoked: Revoked, origin_of: OriginOf, group: PartitionGroup) -> None:
        spec = source.stream
        assert isinstance(spec, KinesisStream)
        self._spec, self._assigned, self._revoked, self._origin_of, self._group = spec, assigned, revoked, origin_of, group
        self._client = connected(spec)
        self._stream = described(self._client, spec, patience=_OPENED)
        self._consumer = consumer_arn(self._client, spec, self._stream.arn)
        self._stored: Mapping[str, ShardPosition] = {}
        now = clock.now_micros() // 1000
        self._start = FIRST if spec.start == "earliest" else f"@{now if spec.start == 'latest' else int(spec.start) // 1000}"
        self._queue: queue.Queue[ShardRecords] = queue.Queue(_WAITING)
        self._readers: dict[str, ShardReader | None] = {}  # of the shards that are assigned; None for one that is read to its end
        self._behind: dict[str, int] = {}
        self._ends: list[tuple[str, ShardPosition, ShardPosition]] = []  # positions to commit without records
        self._ended: set[str] = set()  # shards that need no writer any more
        self._looked = -_LOOK
        self._failure: HeadwaterError | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._group.beat()
        self._thread = threading.Thread(target=self._watch, name=f"watch {spec.stream}", daemon=True)
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
        mine = [records for records in read if self._readers.get(records.reader.name) is records.reader]
        for records in mine:
            self._behind[records.reader.name] = records.behind
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
        return {**self._behind, **{name: 1 for name in self._mine() if name not in self._behind and name not in self._ended}}

    def elsewhere(self) -> int:
        """See `Feed`; a process that was killed keeps its shards until others miss its heartbeat."""
        return len(self._every() - self._mine() - {name for name, position in self._stored.items() if position.ended})

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """See `Feed`; the stream is told nothing."""

    def close(self) -> None:
        """See `Feed`."""
        self._closing.set()
        self._lose(list(self._readers))
        self._thread.join(_LISTED)
        self._group.leave()

    # ---- records

    def _batch(self, read: Sequence[ShardRecords], ends: Sequence[tuple[str, ShardPosition, ShardPosition]]) -> RecordBatch | None:
        """One batch of what several shards brought."""
        moves = [*((records.reader.name, records.first, records.next) for records in read if records.first != records.next), *ends]
        if not moves:
            return None
        positions: dict[str, tuple[Position, Position]] = {}
        for name, first, following in moves:
            positions[name] = positions.get(name, (first.encoded(),))[0], following.encoded()
        names = list(positions)
        filled = [records for records in read if records.payloads]
        index = _joined([np.full(len(records.payloads), names.index(records.reader.name)) for records in filled])
        number = _joined([records.first.count + np.arange(len(records.payloads)) for records in filled])
        at = _joined([np.array(records.at, np.int64) for records in filled])
        payloads = [payload for records in filled for payload in records.payloads]
        origins = {name: str(following.stream) for name, _, following in moves}
        closed = frozenset(name for name, _, following in moves if following.ended)
        return RecordBatch(names, index, number, at, positions, payloads, origins=origins, closed=closed)

    # ---- shards

    def _watch(self) -> None:
        """Send heartbeats and look for new shards, in a thread of its own, until closed."""
        listed = clock.stopwatch()
        while not self._closing.wait(_BEAT):
            self._group.beat()
            if clock.stopwatch() - listed < _LISTED:
                continue
            try:
                self._describe()
            except HeadwaterError as error:
                self._failure = error
                return
            listed = clock.stopwatch()

    def _describe(self) -> StreamDescription:
        """How the stream is now; also called by the threads that read."""
        with self._lock:
            self._stream = described(self._client, self._spec)
            for reader in self._readers.copy().values():
                if reader is not None:
                    reader.stream = self._stream
            return self._stream

    def _take_up(self) -> None:
        """Begin to read the shards that are this process's now and may be read, and give up those that are not any more."""
        if clock.stopwatch() - self._looked < _LOOK:
            return
        self._looked = clock.stopwatch()
        self._stored = {name: ShardPosition.decoded(position) for name, position in self._group.positions().items()}
        mine = self._mine()
        self._lose([name for name in self._readers if name not in mine])
        done = [name for name, reader in self._readers.items() if reader is None and not self._group.needs_writer(name)]
        self._ended |= set(done)
        self._lose(done)
        ahead = sorted(mine - self._readers.keys() - self._ended)
        if not ahead:
            return
        ahead = [name for name in ahead if self._may_be_read(name)]
        self._ended |= {name for name in ahead if _is_done(self._stored.get(name)) and not self._group.needs_writer(name)}
        for name in ahead:
            if name not in self._ended:
                self._begin(name)

    def _begin(self, name: str) -> None:
        """Read a shard from the position that its writer knows."""
        stored, stream, parents = self._stored, self._stream, self._parents(name)
        self._group.descend(name, [parent for parent in parents if parent in stored])
        known = self._assigned([name]).get(name)
        self._readers[name], self._behind[name] = None, 1
        if known is None:
            first = ShardPosition(0, 0, FIRST if any(parent in stored for parent in parents) else self._start, stream.created)
        else:
            first = ShardPosition.decoded(known)
        origin = self._origin_of(name)
        if origin not in ("", str(stream.created)):
            raise self._recreated(origin)
        if first.stream != stream.created:  # the records of the old stream were given up
            following = ShardPosition(first.count, 0, FIRST if name in stream.shards else ENDED, stream.created)
            self._ends.append((name, first, following))
            first = following
        if first.ended:
            self._behind[name] = 0
            self._ends.append((name, first, first))
            return
        reader = ShardReader(self._client, self._spec, name, first, stream, self._describe, self._queue, consumer=self._consumer)
        self._readers[name] = reader
        reader.start()

    def _may_be_read(self, name: str) -> bool:
        """Whether each shard that this one comes from is committed to its end, or is not known any more."""
        stored = self._stored
        return all(stored[parent].ended if parent in stored else parent not in self._stream.shards for parent in self._parents(name))

    def _parents(self, name: str) -> Sequence[str]:
        return self._stream.shards[name].parents if name in self._stream.shards else ()

    def _recreated(self, was: str) -> RecreatedError:
        now = self._stream.created
        origins = {name: str(now) for name, position in self._stored.items() if position.stream != now and not position.ended}
        return RecreatedError(str(self._spec), origins, was=was, now=str(now))

    def _every(self) -> set[str]:
        """The shards that are listed, and those that were not read to their end and are not listed any more."""
        return {*self._stream.shards, *(name for name, position in self._stored.items() if not position.ended)}

    def _mine(self) -> set[str]:
        return self._group.mine(self._every())

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


def _is_done(position: ShardPosition | None) -> bool:
    return position is not None and position.ended


def _joined(arrays: Sequence[I64]) -> I64:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
