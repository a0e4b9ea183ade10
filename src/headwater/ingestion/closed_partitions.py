"""Closed partitions are folded: the writer of a partition that comes from them takes their records into its own.

In a store of several writers a key has a record for each partition, and reads merge these. A shard that was split or merged gets no more
records, so its part would be merged by every read for ever. Once nothing needs it apart any more, it is folded:

1. Its progress says which partition's writer folds it, its heir: by compare-and-set, so there is one, and for good.
2. The heir's writer makes commits of its own, each of some keys: what the closed partition's records hold is added to the heir's, and they
   are dropped. So at any time an event is in one record of its key. After a crash the next writer of the heir goes on.
3. Its progress says that it is folded. Nobody reads it any more, and its ids are dropped.

A partition may be folded when it is closed, holds no event back, its views are whole, and id_horizon has passed since its last commit.
Steps begin some time after the one before, so that every reader knows by then of the heir, and of what moves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Final

import msgspec

from headwater import clock
from headwater.definitions.durations import SECOND, micros
from headwater.errors import FencedError, LostError, StoreError
from headwater.ingestion.partition_writer import PartitionWriter
from headwater.ingestion.writer_state import ancestors
from headwater.online_stores import Changes, keyspace
from headwater.state.key_record import KeyRecords, sections
from headwater.state.view_state import Progress, progresses, read_part

_LOG = logging.getLogger(__name__)

_LOOK: Final = 5.0  # seconds between two looks for partitions to fold
_AGAIN: Final = 60.0  # seconds after which what failed is tried again
_SETTLED: Final = 10 * SECOND  # in microseconds, after which every reader knows what the store said; they look every second
_PIECE, _BYTES = 1_000, 16_000_000  # records of all partitions that one commit looks at, and their bytes but for the last one


class ClosedPartitions:
    """Folds closed partitions into the one of a writer, piece by piece."""

    def __init__(self, writer: PartitionWriter) -> None:
        self._writer, self._store, self._source = writer, writer.store, writer.source.name
        self._next_look = 0.0
        self._closed = ""  # the partition that is being folded
        self._left: Iterator[tuple[bytes, bytes]] = iter(())  # the records that were not looked at

    def fold(self, now: int) -> str | None:
        """Take the next step at `now`, microseconds; the name of a partition that is folded with it.

        Raises:
            FencedError: another process writes to the partition.
        """
        if not self._closed and clock.stopwatch() < self._next_look:
            return None
        try:
            if not self._closed:
                self._next_look = clock.stopwatch() + _LOOK
                self._find(now)
            return self._step(now) if self._closed else None
        except LostError:
            raise
        except FencedError:
            self._closed = ""
            if self._store.get([self._writer.place]) != [self._writer.state.encoded]:
                raise
        except StoreError as error:
            self._next_look = clock.stopwatch() + _AGAIN
            _LOG.warning("source %s: the closed partition %s is not folded: %s", self._source, self._closed, error)
            self._closed = ""
        return None

    def _find(self, now: int) -> None:
        """Look for a partition to fold: one that is this writer's to fold, else one that nobody folds yet."""
        progress = {name.decode(): done for name, done in progresses(self._store, self._source).items()}
        mine = [name for name, done in progress.items() if done.heir == self._writer.partition and not done.folded]
        if mine:
            since = progress[mine[0]].heir_since
            if now - since >= _SETTLED:
                self._closed, self._left = mine[0], self._records()
            return
        if self._writer.progress.closed or not self._writer.progress.sequence:
            return
        for name in ancestors(self._store, self._source, self._writer.partition):
            if name in progress and self._may_be_folded(name, progress, now):
                self._settle(name, progress[name], heir=self._writer.partition, heir_since=now)
                _LOG.info("source %s: the closed partition %s is folded into %s", self._source, name, self._writer.partition)
                return

    def _may_be_folded(self, name: str, progress: Mapping[str, Progress], now: int) -> bool:
        done, source = progress[name], self._writer.source
        if source.changes is not None:
            return False  # its events leave it one by one, when they are changed
        horizon = micros(source.id_horizon, "id_horizon") if source.id_field is not None else 0
        if not done.closed or done.heir is not None or done.rules != self._writer.progress.rules or now - done.at < max(horizon, _SETTLED):
            return False
        if any(other.heir == name and not other.folded for other in progress.values()):
            return False  # it folds others first
        held = self._store.sizes(keyspace.HELD + keyspace.name(f"{source.name}\0{name}"))
        return not any(True for _ in held) and all(self._is_whole(tiles, name, done) for tiles in self._views)

    def _is_whole(self, tiles: str, name: str, done: Progress) -> bool:
        state = read_part(self._store, tiles, name)
        return state is not None and done.covers(tiles, state)

    @property
    def _views(self) -> list[str]:
        return [tiles.view.tiles_fingerprint for tiles in self._writer.acceptance.tiles]

    @property
    def _groups(self) -> list[str]:
        return sorted({tiles.view.record_group for tiles in self._writer.acceptance.tiles})

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        return chain.from_iterable(self._store.scan(keyspace.records(group)) for group in self._groups)

    def _settle(self, name: str, done: Progress, more: Changes | None = None, **changed: object) -> None:
        """Commit a change of a closed partition's progress."""
        place = keyspace.PROGRESS + keyspace.name(f"{self._source}\0{name}")
        new = msgspec.structs.replace(done, **changed)
        (stored,) = self._store.get([place])
        if stored is None or msgspec.msgpack.decode(stored, type=Progress) != done:
            raise FencedError(f"source {self._source!r}: the progress of partition {name!r} was changed by another process")
        self._store.commit({place: msgspec.msgpack.encode(new), **(more or {})}, {place: stored})

    def _step(self, now: int) -> str | None:
        """Fold the next records; or, where none is left, say so."""
        piece = list(_until(islice(self._left, _PIECE), _BYTES))
        end = b"\0" + self._closed.encode()
        records = {place: record for place, record in piece if place.endswith(end)}
        if records or not piece:
            self._move(records, now)
        return None if piece else self._finish()

    def _move(self, records: Mapping[bytes, bytes], now: int) -> None:
        """Commit that some records of the closed partition are in this one's; and what it has lost, this one has."""
        writer, own = self._writer, self._writer.progress
        writer.check_mine()
        done = progresses(self._store, self._source)[self._closed.encode()]
        T, sequence = max(now, own.at, done.at), own.sequence + 1
        changes: dict[bytes, bytes | None] = {}
        for group in self._groups:
            begin = keyspace.records(group)
            changes |= self._added(group, {place: record for place, record in records.items() if place.startswith(begin)}, T)
        progress = msgspec.structs.replace(
            own,
            sequence=sequence,
            at=T,
            views=own.maintained(self._views),
            lost=max(own.lost, done.lost),
            gap=max(own.gap, done.gap),
        )
        writer.note(progress, changes, dict(records))

    def _added(self, group: str, closed: Mapping[bytes, bytes], T: int) -> dict[bytes, bytes | None]:
        """The changes that add some records of the closed partition to this one's, of one group of views."""
        writer, sequence = self._writer, self._writer.progress.sequence + 1
        if not closed:
            return {}
        begin, end = len(keyspace.records(group)), len(self._closed.encode()) + 1
        keys = [place[begin:-end] for place in closed]
        records = KeyRecords(self._store.get, group, writer.partition)
        for tiles in writer.acceptance.tiles:
            if tiles.view.record_group == group:
                name = tiles.view.tiles_fingerprint
                states = tiles.stored(keys, sections(list(closed.values()), name), T)
                records.put(name, tiles.add(states, T, sequence, records.fetcher(name)))
        return {**records.changes(sequence, writer.state.views), **dict.fromkeys(closed)}

    def _finish(self) -> str:
        """Commit that the closed partition is folded, without its ids."""
        name, self._closed, self._next_look = self._closed, "", 0.0
        ids = self._store.sizes(keyspace.IDS + keyspace.name(f"{self._source}\0{name}"))
        self._settle(name, progresses(self._store, self._source)[name.encode()], dict.fromkeys(key for key, _ in ids), folded=True)
        _LOG.info("source %s: the closed partition %s is folded", self._source, name)
        return name


def _until(pairs: Iterator[tuple[bytes, bytes]], size: int) -> Iterator[tuple[bytes, bytes]]:
    """The next records, until they have so many bytes."""
    total = 0
    while total < size and (pair := next(pairs, None)) is not None:
        total += len(pair[1])
        yield pair
