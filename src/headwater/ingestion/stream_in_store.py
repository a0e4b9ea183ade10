"""What the online store knows of the stream of a source, for the feed that reads it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property

import msgspec

from headwater import clock
from headwater.errors import FencedError, LostError
from headwater.ingestion.partition_count import PartitionCount, count_key, partition_count
from headwater.ingestion.sources.stream_reader import Position
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import identified

_LOG = logging.getLogger(__name__)


class StreamInStore:
    """See `StoredStream`; the same for all feeds of a source.

    source: its name in the store. with_ids: whether its events have ids.
    """

    def __init__(self, store: OnlineStore, source: str, *, whole: bool, with_ids: bool) -> None:
        self._store, self._source, self.whole = store, source, whole
        self._counts, self._count = with_ids and not whole, 0

    @cached_property
    def identity(self) -> str:
        """See `StoredStream`."""
        return identified(self._store)

    def positions(self) -> Mapping[str, Position]:
        """See `StoredStream`."""
        begin = keyspace.offset(self._source, "")
        return {key[len(begin) :].decode(): value for key, value in self._store.scan(begin)}

    def counted(self, partitions: int) -> None:
        """See `StoredStream`: where ids are exact only if equal ones share a partition."""
        key = count_key(self._source)
        while self._counts and self._count < partitions:
            stored = self._store.get([key])[0]
            known = partition_count(stored)
            before = known.count or len(self.positions())
            grows = 0 < before < partitions
            if known.count < partitions:
                found = PartitionCount(partitions, clock.now_micros() if grows else known.grown)
                try:
                    self._store.commit({key: msgspec.msgpack.encode(found)}, {key: stored})
                except LostError:
                    raise
                except FencedError:
                    continue  # another process has seen it too
                if grows:
                    _LOG.warning(
                        "source %s: its stream has %d partitions instead of %d, so copies may "
                        "count twice; its views are incomplete",
                        self._source,
                        partitions,
                        before,
                    )
            self._count = partitions
