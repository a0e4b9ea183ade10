"""Duplicates across partitions, after partitions were added to a stream: two copies of an event may lie in two of them then.

A key goes to another partition once a topic has more of them, so a copy that is sent again may come by another writer than the first
one. For a while after the growth, writers of a stream share their ids: each reads those of the others before a commit, and the
store takes the commit only if none of the others has accepted an event since. So commits of one source take turns for that time.

The growth itself is a key that every commit expects: no commit is made by a writer that does not know of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from headwater.definitions.durations import micros
from headwater.definitions.source import Source
from headwater.definitions.streams import BrokerStream
from headwater.ingestion.dedup_index import DedupIndex
from headwater.ingestion.stored_values import StoredValues
from headwater.online_stores import Changes, keyspace


class PartitionCount(msgspec.Struct, frozen=True, array_like=True):
    """How many partitions a stream has, and when it was seen that some were added, microseconds; 0 where none were."""

    count: int = 0
    grown: int = 0


def count_key(source: str) -> bytes:
    """The key of the `PartitionCount` of a source's stream."""
    return keyspace.COUNT + keyspace.name(source)


@dataclass(frozen=True)
class SiblingIds:
    """What one writer knows of the ids of the other partitions; an immutable value.

    source, partition: of the writer. count: the stored `PartitionCount`, None where there is none. lasting: how long after a
    growth ids are shared, microseconds.
    marks: by partition, the last commit with ids, as it was read; None where there was none since the growth.
    """

    source: str
    partition: str
    lasting: int
    count: bytes | None = None
    marks: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def decoded(self) -> PartitionCount:
        """`count` as a value."""
        return PartitionCount() if self.count is None else msgspec.msgpack.decode(self.count, type=PartitionCount)

    def shared(self, now: int) -> bool:
        """Whether ids are shared at a time, microseconds."""
        grown = self.decoded.grown
        return bool(grown) and now < grown + self.lasting

    def read(self, stored: StoredValues, ids: DedupIndex, now: int) -> tuple[SiblingIds, DedupIndex]:
        """As the store is now; and the index with the ids that the others have accepted since it was read last."""
        found = replace(self, count=stored.get([count_key(self.source)])[0])
        if not found.shared(now):
            return found, ids
        others = [name for name in map(str, range(found.decoded.count)) if name != self.partition]
        marks = dict(zip(others, stored.get([_mark(self.source, name) for name in others]), strict=True))
        for name, mark in marks.items():
            if name in self.marks and self.marks[name] == mark:
                continue
            since = keyspace.as_number(self.marks.get(name), -1)
            for key, block in stored.scan(keyspace.IDS + keyspace.name(f"{self.source}\0{name}")):
                if keyspace.sequence_of(key) > since:
                    ids = ids.load(block, now)
        return replace(found, marks=marks), ids

    def changes(self, sequence: int, blocks: Sequence[bytes], now: int) -> Changes:
        """What a commit changes so that the others read the ids that it stores."""
        return {_mark(self.source, self.partition): keyspace.number(sequence)} if any(blocks) and self.shared(now) else {}

    def expected(self, *, events: bool) -> Changes:
        """What the store must hold for a commit; events: whether it accepts any."""
        marks = {_mark(self.source, name): mark for name, mark in self.marks.items()} if events else {}
        return {count_key(self.source): self.count, **marks}

    def have_moved(self, stored: StoredValues) -> bool:
        """Whether the store holds something else by now."""
        expected = self.expected(events=True)
        return stored.get(list(expected)) != list(expected.values())


def siblings_of(source: Source, partition: str | None, future: int) -> SiblingIds | None:
    """Of the writer of a partition; None where no other writer can get a copy of its events.

    source: as the store names it. future: how long an event may be held before its id is known, microseconds.
    """
    stream = source.stream
    if partition is None or not isinstance(stream, BrokerStream) or stream.divided_by_store:
        return None
    horizon = micros(source.id_horizon, "id_horizon")
    late = max(horizon, future)  # of records that were read late, or sent by a producer that did not know of the growth; of held events
    return SiblingIds(source.name, partition, horizon + late)


def _mark(source: str, partition: str) -> bytes:
    return keyspace.MARK + keyspace.name(source) + partition.encode()
