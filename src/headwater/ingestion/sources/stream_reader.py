"""Feeds: records as they come, from every partition of a stream, read on from where one left off."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from headwater.definitions.enriched import bottom_of
from headwater.definitions.source import Source
from headwater.errors import DefinitionError
from headwater.ingestion.serde.deserialize import Decoded, in_one
from headwater.kernel.arrays import I64

if TYPE_CHECKING:
    import polars as pl

Assigned = Callable[[Sequence[str]], Mapping[str, int]]
Revoked = Callable[[Sequence[str]], None]
OriginOf = Callable[[str], str]
"""What the known offset of a partition counts in, as `RecordBatch.origins` gave it; "" where nothing is known."""

_FEEDS: Final[Mapping[str, str]] = {
    "KafkaTopic": "headwater.ingestion.sources.kafka",
    "AppendedFiles": "headwater.ingestion.sources.appended_files",
}


@dataclass(frozen=True)
class RecordBatch:
    """The n records of one poll; each partition's stand in the order of their offsets. n may be 0, where only `ends` moved.

    partitions: names unique in the stream, such as "3" (Kafka) or a file's path. partition: int64 (n), index into partitions.
    offset: int64 (n). at: int64 (n), microseconds UTC, when the broker (or receiver) took it in.
    ends: partition name -> offset from which to read on after these records, also past skipped records (aborted transactions and the
    broker's own marks); at first, the offset at which a partition begins that no offset was known of.
    payloads: (n) raw, None for a tombstone; or frame: a polars frame (n), where the records come as rows. decoded: what payloads hold,
    where they are decoded already.
    origins: partition name -> what its offsets count in, where a stream may be replaced by another one of its name (Kafka: the topic's id).
    received: when the last of them was taken in by the clock of a broker, microseconds; 0 where the broker reports no time.
    ids: strings (n) that identify records which may come twice at different offsets, null where missing; None if the stream has none.
    """

    partitions: Sequence[str]
    partition: I64
    offset: I64
    at: I64
    ends: Mapping[str, int]
    payloads: Sequence[bytes | None] = field(default_factory=list)
    frame: pl.DataFrame | None = None
    ids: pl.Series | None = None
    decoded: Decoded | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    received: int = 0

    def take(self, index: I64) -> RecordBatch:
        """Some of the records, by position; `ends` stay."""
        return replace(
            self,
            partition=self.partition[index],
            offset=self.offset[index],
            at=self.at[index],
            payloads=[self.payloads[i] for i in index.tolist()] if len(self.payloads) else [],
            frame=None if self.frame is None else self.frame[index],
            ids=None if self.ids is None else self.ids.gather(index),
            decoded=None if self.decoded is None else self.decoded.take(index, len(self.offset)),
        )

    def unread(self, ends: Mapping[str, int], since: int) -> RecordBatch:
        """Those whose offsets are not below the ones that are to be read next, and that were not received before `since`."""
        floor = np.array([ends.get(name, -1) for name in self.partitions], np.int64)[self.partition]
        fresh = (self.offset >= floor) & (self.at >= since)
        return self if fresh.all() else self.take(np.flatnonzero(fresh))

    def of(self, partition: str) -> Iterator[RecordBatch]:
        """Those of one partition; nothing where it does not move."""
        if partition not in self.ends:
            return
        names = list(self.partitions)
        index = np.flatnonzero(self.partition == names.index(partition)) if partition in names else np.empty(0, np.int64)
        own = self.take(index)
        yield replace(
            own, partitions=[partition], partition=np.zeros(len(index), np.int64), ends={partition: self.ends[partition]}
        )  # origins stay: those of others are not looked at


def joined(polls: Sequence[RecordBatch]) -> list[RecordBatch]:
    """Polls merged into one, the earlier first, where that is safe: a small poll costs as much as a large one.

    Polls with ids are acknowledged separately, and undecoded polls are left as they are.
    """
    if len(polls) < 2 or any(poll.decoded is None or poll.ids is not None for poll in polls):
        return list(polls)
    position = {name: n for n, name in enumerate(dict.fromkeys(name for poll in polls for name in poll.partitions))}
    mine = [np.array([position[name] for name in poll.partitions], np.int64)[poll.partition] for poll in polls]
    return [
        RecordBatch(
            list(position),
            np.concatenate(mine),
            np.concatenate([poll.offset for poll in polls]),
            np.concatenate([poll.at for poll in polls]),
            {name: end for poll in polls for name, end in poll.ends.items()},
            [payload for poll in polls for payload in poll.payloads],
            decoded=in_one([(poll.decoded, len(poll.offset)) for poll in polls if poll.decoded is not None]),
            origins={name: origin for poll in polls for name, origin in poll.origins.items()},
        )
    ]


class Feed(Protocol):
    """An open stream. It is polled from one thread; it says when it calls the callbacks of `open_feed`."""

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """What there is, at most `most` records; waits up to `timeout` seconds for the first, and gives None if nothing came.

        Raises:
            RetentionError: the stream no longer has the next record.
            ConnectError: no answer any more, or access refused.
        """
        ...

    def lag(self) -> Mapping[str, int]:
        """How far each assigned partition is behind its end: records (Kafka) or bytes (files)."""
        ...

    def elsewhere(self) -> int:
        """How many partitions of the stream at opening are not assigned to this feed: another process reads them, or none yet."""
        ...

    def acknowledge(self, ends: Mapping[str, int]) -> None:
        """Commit the offsets read so far to the stream, for monitoring only."""
        ...

    def close(self) -> None:
        """Leave the stream; gives every partition back."""
        ...


def open_feed(source: Source, assigned: Assigned, revoked: Revoked, origin_of: OriginOf = lambda _: "") -> Feed:
    """Begin to read the stream of a source.

    Args:
        source: whose stream is read.
        assigned: called with the partitions that are to be read from now on; gives the offset from which on to read each. Those that it
            does not name begin where the stream's `start` says. It may take long (views are filled with their past), so a feed that others
            wait for calls it in a thread of its own, and goes on with its other partitions meanwhile.
        revoked: called with the partitions that others read from now on; also while `assigned` is still running for them.
        origin_of: see `OriginOf`.

    Raises:
        DefinitionError: the source has no stream that can be read here.
        ConnectError: no answer at its address, access refused, or the topic does not exist.
        MissingExtraError: its library is not installed.
    """
    stream = bottom_of(source).stream
    if type(stream).__name__ not in _FEEDS:
        raise DefinitionError(
            f"source {source.name!r}: {stream or 'it has no stream, which'} is not read from anywhere; `headwater ingest` receives pushed events"
        )
    feed: Feed = importlib.import_module(_FEEDS[type(stream).__name__]).open_feed(bottom_of(source), assigned, revoked, origin_of)
    return feed
