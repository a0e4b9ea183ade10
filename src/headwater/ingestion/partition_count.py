"""How many partitions a stream has, where each has a writer although events have ids.

When a topic gets more partitions, keys move, and a copy may come by another partition than its
event: the writer there does not know its id. So the growth is a key that every commit of such a
source expects: no commit is made by a writer that does not know of it, and from then on the views
are incomplete for as long as a window reaches what may have been counted twice.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.stores import keyspace

PARTITIONS_GREW: Final = (
    "partitions grew: copies of earlier events may come by other partitions and count twice, "
    "until no window reaches that time any more, or until `headwater store fill` has filled all "
    "views of the source at once, after id_horizon and max_future_skew"
)


class PartitionCount(msgspec.Struct, frozen=True, array_like=True):
    """The number of a stream's partitions, and when a growth was seen, microseconds; 0 where there
    was none.

    first: when that was seen for the first time. settled: whether all views have been filled since
    without the copies that came by other partitions. Later fills leave them out too.
    """

    count: int = 0
    grown: int = 0
    first: int = 0
    settled: bool = False

    def with_more(self, count: int, now: int) -> PartitionCount:
        """After more partitions are seen."""
        return PartitionCount(count, now, self.first or now)


def count_key(source: str) -> bytes:
    """The key of the `PartitionCount` of a source's stream."""
    return keyspace.COUNT + keyspace.name(source)


def partition_count(stored: bytes | None) -> PartitionCount:
    """The stored count; that of no partitions where none is stored."""
    return (
        PartitionCount() if stored is None else msgspec.msgpack.decode(stored, type=PartitionCount)
    )


def incomplete_until(stored: bytes | None, lasting: int) -> int:
    """By when events have happened that may count twice, microseconds; 0 where no partitions were
    added, or views were filled since.

    lasting: how long after a growth a copy of an earlier event can come, and how far its time may
    lie ahead.
    """
    count = partition_count(stored)
    return count.grown + lasting if count.grown and not count.settled else 0
