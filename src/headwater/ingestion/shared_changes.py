"""Changes of events across partitions, in a store of several writers: after a split or a merge of shards, or a growth of a topic.

A key goes to another partition then, so a correction or deletion may come by another one than its event. From then on the partitions of a
source with `changes=` share their events: a writer looks for the event in every partition's part, and one whose last image is its own moves
into its part, in the commit that brings the image.

So writers of one source take turns: each commit with images expects the source's turn as it was read before the images, and is the next
one. It is refused, and built again, where another writer was first. Turns rise, and so do sequences and times of the commits of all
partitions together: the archives say in which order images were known. A store that is log first has such commits in one log of the
source (see `log_first`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from headwater.definitions.source import Source
from headwater.definitions.streams import BrokerStream
from headwater.ingestion.stored_values import StoredValues
from headwater.online_stores import Changes, keyspace
from headwater.state.view_state import Progress, read_progress


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """The sequence and the time of the last commit that changed events which partitions share, microseconds."""

    sequence: int = 0
    at: int = 0


@dataclass(frozen=True)
class SharedChanges:
    """What one writer knows of the turn of its source; an immutable value.

    source, partition: of the writer. stored: the encoded `Turn`, or what stands for none. others: the encoded progress of the
    other partitions, where these share their events.
    """

    source: str
    partition: str
    stored: bytes | None = None
    others: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        """The key of the turn."""
        return keyspace.turn(self.source)

    @property
    def turn(self) -> Turn | None:
        """`stored` as a value; None where partitions do not share their events."""
        return msgspec.msgpack.decode(self.stored, type=Turn) if self.stored else None

    def read(self, stored: StoredValues) -> SharedChanges:
        """As the store is now."""
        found = replace(self, stored=stored.get([self.key])[0], others={})
        if found.turn is None:
            return found
        begin = keyspace.PROGRESS + keyspace.name(self.source)
        every = {key[len(begin) : -1].decode(): value for key, value in stored.scan(begin)}
        return replace(found, others={name: value for name, value in every.items() if name != self.partition})

    def after_all(self, progress: Progress) -> Progress:
        """The writer's progress, so that the next commit comes after those of all partitions."""
        turn = self.turn
        if turn is None:
            return progress
        every = [progress, *map(read_progress, self.others.values())]
        sequence, at = max(turn.sequence, *(done.sequence for done in every)), max(turn.at, *(done.at for done in every))
        return msgspec.structs.replace(progress, sequence=sequence, at=at)

    def changes(self, sequence: int, at: int) -> Changes:
        """What a commit with images changes so that it is the last one."""
        return {} if self.turn is None else {self.key: msgspec.msgpack.encode(Turn(sequence, at))}

    def after(self, changes: Changes) -> SharedChanges:
        """As it is after a commit of these changes."""
        return replace(self, stored=changes.get(self.key, self.stored))

    def expected(self) -> Changes:
        """What the store must hold for a commit with images."""
        return {self.key: self.stored}

    def have_moved(self, stored: StoredValues) -> bool:
        """Whether the turn is another one by now."""
        return stored.get([self.key]) != [self.stored]

    def dropped(self, partition: str, views: Mapping[str, object]) -> tuple[Changes, Changes]:
        """What a commit that maintains only these views changes in another partition's progress, and expects there."""
        place = keyspace.PROGRESS + keyspace.name(f"{self.source}\0{partition}")
        done = read_progress(self.others[partition])
        if done.views.keys() <= views.keys():
            return {}, {}
        changed = msgspec.structs.replace(done, views=done.maintained(name for name in done.views if name in views))
        return {place: msgspec.msgpack.encode(changed)}, {place: self.others[partition]}


def shared_of(source: Source, partition: str | None) -> SharedChanges | None:
    """Of the writer of a partition; None where a change never comes by another one. source: as the store names it."""
    if partition is None or source.changes is None or not isinstance(source.stream, BrokerStream):
        return None
    return SharedChanges(source.name, partition)
