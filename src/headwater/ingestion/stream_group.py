"""The processes that read one stream into one store, where the stream's service has no groups: the store says which process reads what."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Final

import msgspec

from headwater import clock
from headwater.errors import FencedError, LostError, StoreError, listed
from headwater.ingestion.sibling_ids import PartitionCount, count_key
from headwater.ingestion.sources.stream_reader import Position
from headwater.online_stores import OnlineStore, keyspace
from headwater.online_stores.ownership import identified
from headwater.state.view_state import Progress, progresses, read_part

_LOG = logging.getLogger(__name__)

_SILENT: Final = 5.0  # seconds without a heartbeat after which the partitions of a process are given to others


class StreamGroup:
    """One process of those that read the stream of a source.

    Each process increments its heartbeat in the store. One whose heartbeat stands still for 5 s by the clock of another one is taken for
    dead. Partitions, by name, are dealt in turn to the processes that live. For a while two processes may take a partition for theirs: the
    commit of one of them is refused then, as after any takeover, so this costs time and never an event.

    A store with one writer has one process, which reads all partitions.

    source: its name in the store. corrected: whether its events can be corrected (`changes=`). views: the tiles fingerprints of its views.
    rules: as of `Progress.rules`, those of today; None are any.
    """

    def __init__(
        self, store: OnlineStore, source: str, *, corrected: bool = False, views: Sequence[str] = (), rules: Mapping[str, str] | None = None
    ) -> None:
        self._store, self._source, self._corrected, self._alone = store, source, corrected, store.capabilities.one_writer
        self._views, self._rules = views, rules
        self._count = 0
        self._begin = keyspace.MEMBER + keyspace.name(source)
        self._key = self._begin + secrets.token_hex(8).encode()
        self._beats = 0
        self._seen: dict[bytes, tuple[bytes, float]] = {}
        self._members: Sequence[bytes] = [self._key]

    @cached_property
    def identity(self) -> str:
        """See `PartitionGroup`."""
        return identified(self._store)

    def beat(self) -> None:
        """Say that this process lives, and look which others do."""
        if self._alone:
            return
        self._beats += 1
        try:
            self._store.commit({self._key: keyspace.number(self._beats)}, {})
            found, now = dict(self._store.scan(self._begin)), clock.stopwatch()
            self._seen = {key: was if (was := self._seen.get(key)) and was[0] == value else (value, now) for key, value in found.items()}
            dead = {key: value for key, (value, since) in self._seen.items() if now - since > _SILENT}
            for key, value in dead.items():
                with suppress(FencedError):  # it lives
                    self._store.commit({key: None}, {key: value})
            self._members = sorted(found.keys() - dead.keys())
        except StoreError as error:
            _LOG.warning("source %s: the store does not take the heartbeat of this process: %s", self._source, error)

    def leave(self) -> None:
        """Give the partitions of this process to others now."""
        if self._beats:
            with suppress(StoreError):
                self._store.commit({self._key: None}, {})

    def mine(self, partitions: Iterable[str]) -> set[str]:
        """Those of all partitions that this process reads."""
        if self._key not in self._members:
            return set()
        turn, count = self._members.index(self._key), len(self._members)
        return {name for n, name in enumerate(sorted(partitions)) if n % count == turn}

    def positions(self) -> Mapping[str, Position]:
        """By partition, from where to read on, whoever reads it."""
        begin = keyspace.offset(self._source, "")
        return {key[len(begin) :].decode(): value for key, value in self._store.scan(begin)}

    def needs_writer(self, partition: str) -> bool:
        """Whether a partition that is read to its end has still something to commit.

        That it is closed, events that are held, the past of new views or rules, or partitions that it folds. Not where it is folded.
        """
        if self._alone:
            return False
        every = progresses(self._store, self._source)
        progress = every.get(partition.encode(), Progress())
        if progress.heir is not None:
            return False
        if (
            not progress.closed
            or (self._rules is not None and progress.rules != self._rules)
            or any(done.heir == partition and not done.folded for done in every.values())
        ):
            return True
        held = self._store.sizes(keyspace.HELD + keyspace.name(f"{self._source}\0{partition}"))
        states = ((tiles, read_part(self._store, tiles, partition)) for tiles in self._views)
        return any(True for _ in held) or not all(state is not None and progress.covers(tiles, state) for tiles, state in states)

    def counted(self, partitions: int) -> None:
        """Keep how many partitions the stream has; where it has more than before, from now on their writers share ids for a while."""
        if self._alone or partitions <= self._count:
            return
        key = count_key(self._source)
        while self._count < partitions:
            stored = self._store.get([key])[0]
            known = PartitionCount() if stored is None else msgspec.msgpack.decode(stored, type=PartitionCount)
            before = known.count or len(self.positions())
            grows = 0 < before < partitions
            if self._corrected:
                self._share(f"its stream has {partitions} partitions instead of {before}" if grows else None)
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
                    "source %s: its stream has %d partitions instead of %d; their writers share ids for a while",
                    self._source,
                    partitions,
                    before,
                )
            self._count = partitions

    def descend(self, partition: str, parents: Collection[str]) -> None:
        """Keep the names of the partitions whose ids those of this one may repeat; before it is assigned."""
        if self._alone:
            return
        if self._corrected:
            self._share(f"the shard {partition} comes from {listed(parents)} by a split or a merge" if parents else None)
        if not parents:
            return
        key = keyspace.parents(self._source, partition)
        value = msgspec.msgpack.encode(sorted(parents))
        if self._store.get([key])[0] != value:
            self._store.commit({key: value}, {})

    def _share(self, why: str | None) -> None:
        """Have the partitions of a source with `changes=` share their events from now on, where a change may come by another one: `why`."""
        key = keyspace.turn(self._source)
        while True:
            stored = self._store.get([key])[0]
            if stored or (why is None and stored is not None):
                return
            try:
                self._store.commit({key: keyspace.UNSHARED if why is None else keyspace.FIRST_TURN}, {key: stored})
            except LostError:
                raise
            except FencedError:
                continue  # another process has seen it too
            if why is not None:
                _LOG.warning(
                    "source %s: %s; its partitions share their events, and their commits take turns from now on", self._source, why
                )
            return
