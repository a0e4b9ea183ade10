"""What the writer of a partition has committed, as an immutable value: a commit makes the next one
of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from headwater.definitions.checks import micros
from headwater.definitions.connectors import Pushed
from headwater.definitions.source import Source
from headwater.ingestion.change_state import ChangeState
from headwater.ingestion.dedup_blocks import IdBlocks
from headwater.ingestion.dedup_index import DedupIndex
from headwater.ingestion.held_events import HeldEvents
from headwater.ingestion.partition_count import count_key, incomplete_until
from headwater.ingestion.sources.stream_reader import Position
from headwater.ingestion.stored_values import StoredValues
from headwater.ingestion.validate import Acceptance
from headwater.state.view_state import Progress, read_progress
from headwater.stores import keyspace


@dataclass(frozen=True)
class WriterRules:
    """What stays as it is while a writer runs.

    acceptance: how records become events. partition: the partition's name; None for the whole
    stream.
    archive: whether accepted events are kept for training. filtered: whether rows that the source's
    filter leaves out are kept.
    """

    acceptance: Acceptance
    partition: str | None = None
    archive: bool = True
    filtered: bool = True

    @property
    def source(self) -> Source:
        """The source whose stream is written."""
        return self.acceptance.source

    @property
    def name(self) -> str:
        """The writer's name in keys of the store."""
        return (
            self.source.name if self.partition is None else f"{self.source.name}\0{self.partition}"
        )

    @property
    def promised(self) -> bool:
        """Whether ids are exact only if equal ones share a partition, as `writers="partition"`
        promises.
        """
        return self.partition is not None and self.source.id_field is not None

    @property
    def place(self) -> bytes:
        """The key of the progress."""
        return keyspace.PROGRESS + keyspace.name(self.name)


@dataclass(frozen=True, eq=False)
class WriterState:
    """The state after a commit.

    stored: the values that the store holds then, such as the records of views. progress: how far
    the stream has been read; encoded, as it stands in the store, None where nothing does.
    positions: by partition, from where to read on. origins: by partition, what its position counts
    in; see `RecordBatch.origins`.
    ids: of accepted events, None where events have none; id_blocks: where these are stored. held:
    events of the future.
    changes: the events that can be retracted, of a source with `changes=`.
    partitions: the encoded `PartitionCount`, as the store holds it, where each partition has a
    writer although events have ids.
    views: the tiles fingerprints of all streaming views that the store has a state of; the sections
    of others are dropped from records.
    unfilled: those of views that are being filled; commits do not maintain them yet.
    """

    rules: WriterRules
    stored: StoredValues
    progress: Progress
    encoded: bytes | None
    positions: Mapping[str, Position]
    origins: Mapping[str, str]
    ids: DedupIndex | None
    id_blocks: IdBlocks
    held: HeldEvents
    changes: ChangeState | None
    partitions: bytes | None = None
    views: frozenset[str] = frozenset()
    unfilled: frozenset[str] = frozenset()

    @classmethod
    def load(
        cls, rules: WriterRules, stored: StoredValues, noted: Progress | None = None
    ) -> WriterState:
        """As the store has it; noted: the progress where the store has none yet."""
        source, writer = rules.source, keyspace.name(rules.name)
        encoded = stored.get([rules.place])[0]
        progress = noted if encoded is None and noted is not None else read_progress(encoded)
        (partitions,) = stored.get([count_key(source.name)]) if rules.promised else (None,)
        if partitions is not None:
            until = incomplete_until(
                partitions, micros(source.id_horizon, "id_horizon") + rules.acceptance.future
            )
            progress = msgspec.structs.replace(progress, gap=max(progress.gap, until))
        positions = _positions(rules, stored)
        origins = stored.get([keyspace.origin(source.name, name) for name in positions])
        changes = (
            None
            if source.changes is None
            else ChangeState.load(rules.acceptance, stored, rules.name, rules.partition)
        )
        horizon = micros(source.id_horizon, "id_horizon")
        ids, id_blocks = None, IdBlocks(horizon)
        if (source.id_field is not None and changes is None) or isinstance(source.stream, Pushed):
            size = sum(size for _, size in stored.sizes(keyspace.IDS + writer))
            ids = DedupIndex.for_blocks(horizon, size, progress.at)
            for key, value in stored.scan(keyspace.IDS + writer):
                ids, id_blocks = ids.load(value, progress.at), id_blocks.load(key, value)
        return cls(
            rules,
            stored,
            progress,
            encoded,
            positions,
            {
                name: origin.decode()
                for name, origin in zip(positions, origins, strict=True)
                if origin is not None
            },
            ids,
            id_blocks,
            HeldEvents.load(dict(stored.scan(keyspace.HELD + writer)), progress.at),
            changes,
            partitions,
            frozenset(key[1:9].hex() for key, _ in stored.scan(keyspace.STREAM_STATE)),
        )


def _positions(rules: WriterRules, stored: StoredValues) -> dict[str, Position]:
    """By partition, from where to read on: of the writer's own, or of all."""
    if rules.partition is not None:
        (position,) = stored.get([keyspace.offset(rules.source.name, rules.partition)])
        return {} if position is None else {rules.partition: position}
    begin = keyspace.offset(rules.source.name, "")
    return {key[len(begin) :].decode(): position for key, position in stored.scan(begin)}
