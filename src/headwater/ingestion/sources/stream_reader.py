"""Feeds: records as they come, from every partition of a stream, read on from the position where
one left off.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from headwater.definitions.connectors import AppendedFiles, BrokerStream
from headwater.definitions.source import Source, bottom_of
from headwater.errors import DefinitionError
from headwater.ingestion.serde.deserialize import Decoded, in_one
from headwater.ingestion.serde.json import concatenated, taken
from headwater.kernel.arrays import I64
from headwater.plugins import Rows

if TYPE_CHECKING:
    import polars as pl

Position = bytes
"""A place in a partition, as its feed writes it: from there on it reads. Others store positions,
and compare them for equality alone.
"""
Assigned = Callable[[Sequence[str]], Mapping[str, Position]]
Revoked = Callable[[Sequence[str]], None]
OriginOf = Callable[[str], str]
"""What the known position of a partition counts in, as `RecordBatch.origins` gave it; "" where
nothing is known.
"""

FEEDS: Final = Rows(
    {
        "KafkaTopic": "headwater.ingestion.sources.kafka",
        "AppendedFiles": "headwater.ingestion.sources.appended_files",
        "KinesisStream": "headwater.ingestion.sources.kinesis",
    }
)
"""By the class of a stream, the module whose `open_feed` reads it."""


@dataclass(frozen=True)
class RecordBatch:
    """The n records of one poll; each partition's stand in their order there. n may be 0, where
    only positions moved.

    partitions: names unique in the stream, such as "3" (Kafka) or a file's path. partition: int64
    (n), index into partitions.
    offset: int64 (n), what identifies a record in its partition: for the archive and dead letters,
    compared with nothing.
    at: int64 (n), microseconds UTC, when the broker (or receiver) took it in.
    positions: partition name -> the position from which its records were read, and the one to read
    on from, also past skipped records (aborted transactions and the broker's own marks). The next
    poll's first position is this one's second.
    payloads: (n) raw, None for a tombstone; or frame: a polars frame (n), where the records come as
    rows. decoded: what payloads hold, where they are decoded already.
    origins: partition name -> what its offsets count in, where a stream may be replaced by another
    one of its name (Kafka: the topic's id).
    received: when the last of them was taken in by the clock of a broker, microseconds; 0 where the
    broker reports no time.
    ids: strings (n) that identify records which may come twice at different offsets, null where
    missing; None if the stream has none.
    """

    partitions: Sequence[str]
    partition: I64
    offset: I64
    at: I64
    positions: Mapping[str, tuple[Position, Position]]
    payloads: Sequence[bytes | None] = field(default_factory=list)
    frame: pl.DataFrame | None = None
    ids: pl.Series | None = None
    decoded: Decoded | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    received: int = 0

    def take(self, index: I64) -> RecordBatch:
        """Some of the records, by index; `positions` stay."""
        return replace(
            self,
            partition=self.partition[index],
            offset=self.offset[index],
            at=self.at[index],
            payloads=taken(self.payloads, index) if len(self.payloads) else [],
            frame=None if self.frame is None else self.frame[index],
            ids=None if self.ids is None else self.ids.gather(index),
            decoded=None if self.decoded is None else self.decoded.take(index, len(self.offset)),
        )

    def misplaced(self, stored: Mapping[str, Position]) -> set[str]:
        """The partitions whose records do not follow the stored position: they were read before, or
        what comes first is missing.
        """
        return {
            name for name, (first, _) in self.positions.items() if stored.get(name, first) != first
        }

    def unread(self, misplaced: set[str], since: int) -> RecordBatch:
        """Those of other partitions, and that were not received before `since`."""
        fresh = self.at >= since
        if misplaced:
            fresh &= ~np.array([name in misplaced for name in self.partitions], np.bool_)[
                self.partition
            ]
        return self if fresh.all() else self.take(np.flatnonzero(fresh))

    def of(self, partition: str) -> Iterator[RecordBatch]:
        """Those of one partition; nothing where it does not move."""
        if partition not in self.positions:
            return
        names = list(self.partitions)
        index = (
            np.flatnonzero(self.partition == names.index(partition))
            if partition in names
            else np.empty(0, np.int64)
        )
        own = self.take(index)
        yield replace(
            own,
            partitions=[partition],
            partition=np.zeros(len(index), np.int64),
            positions={partition: self.positions[partition]},
        )  # origins stay: those of others are not looked at


def integer_position(offset: int) -> Position:
    """The position of a partition that counts its records, or bytes, by integers: the offset to
    read next.
    """
    return offset.to_bytes(8, "little", signed=True)


def offset_at(position: Position) -> int:
    """The offset that `integer_position` was given.

    >>> offset_at(integer_position(41))
    41
    """
    return int.from_bytes(position, "little", signed=True)


def between(first: int, end: int) -> tuple[Position, Position]:
    """The positions before and after the records with offsets in [first, end)."""
    return integer_position(first), integer_position(end)


def joined(polls: Sequence[RecordBatch]) -> list[RecordBatch]:
    """Polls merged into one without positions, the earlier first, where that is safe: a small poll
    costs as much as a large one.

    Polls with ids are acknowledged separately, and undecoded polls are left as they are.
    """
    if len(polls) < 2 or any(poll.decoded is None or poll.ids is not None for poll in polls):
        return list(polls)
    position = {
        name: n
        for n, name in enumerate(dict.fromkeys(name for poll in polls for name in poll.partitions))
    }
    mine = [
        np.array([position[name] for name in poll.partitions], np.int64)[poll.partition]
        for poll in polls
    ]
    return [
        RecordBatch(
            list(position),
            np.concatenate(mine),
            np.concatenate([poll.offset for poll in polls]),
            np.concatenate([poll.at for poll in polls]),
            {},
            concatenated([poll.payloads for poll in polls]),
            decoded=in_one(
                [(poll.decoded, len(poll.offset)) for poll in polls if poll.decoded is not None]
            ),
            origins={name: origin for poll in polls for name, origin in poll.origins.items()},
        )
    ]


class StoredStream(Protocol):
    """What the online store knows of a stream that is read into it.

    whole: whether this process reads every partition; otherwise its consumer group says which.
    """

    @property
    def whole(self) -> bool: ...

    @property
    def identity(self) -> str:
        """A name of the store that no other one has."""
        ...

    def positions(self) -> Mapping[str, Position]:
        """By partition, from where to read on, for any reader."""
        ...

    def counted(self, partitions: int) -> None:
        """Keep how many partitions the stream has, before records are passed on that were read when
        it had them.
        """
        ...


class Feed(Protocol):
    """An open stream. It is polled from one thread; it says when it calls the callbacks of
    `open_feed`.
    """

    def poll(self, most: int, timeout: float) -> RecordBatch | None:
        """What there is, at most `most` records; waits up to `timeout` seconds for the first, and
        gives None if nothing came.

        Raises:
            RetentionError: the stream no longer has the next record.
            ConnectError: no answer any more, or access refused.
        """
        ...

    def lag(self) -> Mapping[str, int]:
        """How far each assigned partition is behind its end: records (Kafka), bytes (files) or
        milliseconds (Kinesis).
        """
        ...

    def elsewhere(self) -> int:
        """How many partitions of the stream at opening are not assigned to this feed: others of its
        group read them, or none yet.
        """
        ...

    def acknowledge(self, positions: Mapping[str, Position]) -> None:
        """Report to the stream up to where records have been committed, for monitoring only."""
        ...

    def close(self) -> None:
        """Leave the stream; gives every partition back."""
        ...


def open_feed(
    source: Source,
    assigned: Assigned,
    revoked: Revoked,
    origin_of: OriginOf = lambda _: "",
    stored: StoredStream | None = None,
) -> Feed:
    """Begin to read the stream of a source.

    Args:
        source: whose stream is read.
        assigned: called with the partitions that are to be read from now on; gives the position
            from which to read each. Those that it does not name begin where the stream's `start`
            says. It may take long (views are filled with their past), so a feed that others wait
            for calls it in a thread of its own, and goes on with its other partitions meanwhile.
        revoked: called with the partitions that others read from now on; also while `assigned` is
            still running for them.
        origin_of: see `OriginOf`.
        stored: what the store knows of the stream of a broker, or of files; needed for Kinesis.

    Raises:
        DefinitionError: the source has no stream that can be read here.
        ConnectError: no answer at its address, access refused, or the topic does not exist.
        MissingExtraError: its library is not installed.
    """
    stream = bottom_of(source).stream
    if type(stream).__name__ not in FEEDS:
        raise DefinitionError(
            f"source {source.name!r}: {stream or 'it has no stream, which'} is not read from "
            "anywhere; `headwater ingest` receives pushed events"
        )
    more = (stored,) if isinstance(stream, BrokerStream | AppendedFiles) else ()
    feed: Feed = importlib.import_module(FEEDS[type(stream).__name__]).open_feed(
        bottom_of(source), assigned, revoked, origin_of, *more
    )
    return feed
