"""The writer of a source's stream, or of one partition of it: each commit is built from its state, written, and becomes its next state.

A commit holds the records of views, the positions to read on from, the ids, the held events, the accepted events for the archive, the rows
that the source's filter leaves out, the dead letters with their reasons, and the counts: all of it or nothing. It is made only if the
store stands where this writer left it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from headwater import clock
from headwater.errors import FencedError, LostError
from headwater.ingestion.archive import FOLDERS
from headwater.ingestion.build_commit import Adopt, Commit, CommitBatch, Skip, build_commit
from headwater.ingestion.change_state import ChangeState
from headwater.ingestion.committed import Committed
from headwater.ingestion.freed_memory import keep_freed_memory
from headwater.ingestion.sources.stream_reader import Position, RecordBatch
from headwater.ingestion.validate import Acceptance
from headwater.ingestion.writer_state import WriterRules, WriterState, with_siblings
from headwater.online_stores import Changes, OnlineStore, keyspace
from headwater.state.view_state import Progress, read_progress

if TYPE_CHECKING:
    import polars as pl

KNOWN = 2.0
"""Seconds after which every reader knows of a new partition, and that events move between partitions; they look every second."""
_WAIT: Final = 600.0  # seconds for the commits of others

MoreChanges = Callable[[Committed], Changes]
"""What else a commit changes, by its result."""


class PartitionWriter:
    """Writes the part of a source's stream that one writer owns: all of it, or one partition in a store of several writers.

    Args:
        acceptance: how records become events.
        store: the online store.
        partition: the partition's name; None for the whole stream.
        archive: whether accepted events are kept for training.
        filtered: whether rows that the source's filter leaves out are kept for `explain`.
        own: see `load`.

    blocks: by space, how many bytes wait in the store to be moved into files.
    abandoned: set when the partition is another writer's. filling: what the store holds at `keyspace.filling` until others fill views.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        store: OnlineStore,
        partition: str | None = None,
        *,
        archive: bool = True,
        filtered: bool = True,
        own: bool = True,
    ) -> None:
        self.acceptance, self.store, self.partition, self.archive = acceptance, store, partition, archive
        self.rules = WriterRules(acceptance, partition, archive, filtered)
        self.source, self.name, self.place = self.rules.source, self.rules.name, self.rules.place
        keep_freed_memory()
        self.abandoned, self.filling = threading.Event(), b""
        self._state: WriterState | None = None
        self._introduced, self._told = False, store.capabilities.keys_whole
        self.load(own=own)

    def load(self, *, own: bool = True) -> None:
        """Read where the store stands: at the start, and after another writer was here; `own` makes the partition this writer's."""
        if own and self.partition is not None:
            self.store.mend(keyspace.offset(self.source.name, self.partition))
        self._state = WriterState.load(self.rules, self.store, None if self._state is None else self.progress)
        self.blocks = {space: sum(size for _, size in self.store.sizes(space + keyspace.name(self.name))) for space in FOLDERS}

    @property
    def state(self) -> WriterState:
        """What has been committed."""
        assert self._state is not None
        return self._state

    @property
    def positions(self) -> Mapping[str, Position]:
        """By partition, from where to read on."""
        return self.state.positions

    @property
    def origins(self) -> Mapping[str, str]:
        """By partition, what its position counts in, where that is known; see `RecordBatch.origins`."""
        return self.state.origins

    @property
    def progress(self) -> Progress:
        """How far the stream has been read."""
        return self.state.progress

    @property
    def corrections(self) -> ChangeState | None:
        """The events that can be retracted, of a source with `changes=`."""
        return self.state.changes

    def note(self, progress: Progress, changes: Changes, expect: Changes) -> None:
        """Commit progress and other changes without records, if the store holds the expected values; raises as `apply` does."""
        if not progress.sequence:
            if changes:
                self.store.commit(changes, {self.place: None, **expect})
            self._state = replace(self.state, progress=progress)  # the first commit stores it
            return
        encoded = msgspec.msgpack.encode(progress)
        self.store.commit({**changes, self.place: encoded}, {self.place: self.state.encoded, **expect})
        self._state = replace(self.state, progress=progress, encoded=encoded)

    def commit_in_turn(self, changes: Callable[[], Changes], expect: Changes) -> None:
        """Commit changes of records that are made of what the store holds; made again where another partition's writer was first."""
        while True:
            with self.in_turn():
                shared = None if self.state.shared is None else self.state.shared.read(self.store)
                turn: Changes = {}
                if shared is not None:
                    after = shared.after_all(self.progress)
                    turn = shared.changes(after.sequence + 1, after.at)
                try:
                    self.store.commit({**changes(), **turn}, {**(shared.expected() if turn and shared is not None else {}), **expect})
                except LostError:
                    raise
                except FencedError:
                    if shared is None or not shared.have_moved(self.store):
                        raise
                else:
                    return

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Where partitions share their events in a store that is log first: have the source's log, with its last commit finished.

        Others wait meanwhile, so that no commit is taken over half made. Safety rests on what commits expect, not on that.

        Raises:
            StoreError: the others do not end.
        """
        shared = self.state.shared
        stored = None if shared is None or self.store.capabilities.atomic else self.store.get([shared.key])[0]
        if shared is None or not stored:
            yield
            return
        with self.store.lease(f"turn of {self.source.name}", wait=_WAIT):
            if not self._told and stored == keyspace.FIRST_TURN:
                self.wait_for_readers()  # until they read a key until two answers agree
                self._told = True
            self.store.mend(shared.key)
            yield

    def introduce(self, now: int) -> None:
        """Where partitions share their events, have readers know this one before the events of others move into its part.

        Its first commit is at `now`, microseconds, and holds nothing but its progress.
        """
        if self._introduced or self.state.shared is None or self.progress.counts.get("records"):
            return
        shared = self.state.shared.read(self.store)
        if shared.turn is None:
            return
        if not self.progress.sequence:
            received = [read_progress(done).received for done in shared.others.values()]
            self._commit(CommitBatch(known=min(received, default=0)), now)  # what it has not read was received later
        self.wait_for_readers()
        self._introduced = True

    def wait_for_readers(self) -> None:
        """Wait until every reader knows that a partition is new, or that events move; or until others are to go on."""
        self.abandoned.wait(KNOWN)

    def due(self) -> int | None:
        """When the first held event happens, microseconds; None where none is held."""
        return self.state.held.due

    def check_mine(self) -> None:
        """Raise FencedError where others are to go on."""
        if self.abandoned.is_set():
            raise FencedError(f"source {self.source.name!r}: partition {self.partition!r} was given to another process, or ingestion ends")

    def begin(self, since: int, ids: pl.Series, now: int) -> None:
        """Read the stream from what was received at `since` on, and take events with these ids for duplicates; before the first commit.

        Of events that can be retracted, ids are not looked at.
        """
        changes = {self.place: msgspec.msgpack.encode(msgspec.structs.replace(self.progress, sequence=1, at=now, since=since))}
        if self.corrections is None:
            assert self.state.ids is not None
            block = self.state.ids.accept(ids, np.zeros(len(ids), np.int64), now).block
            changes |= {keyspace.block(keyspace.IDS, self.name, 0): block} if block else {}
        self.store.commit(changes, {self.place: None})
        self.load()

    def apply(self, records: Sequence[RecordBatch], now: int, known: int | None = None, more: MoreChanges = lambda _: {}) -> Committed:
        """Commit some records, the earlier first, and release the held events that are due at `now` (microseconds).

        known: with these, all that was received by then has been read, microseconds; None is `now`. more: changes of the same commit.

        Raises:
            FencedError: another writer has been here; nothing was written. Call `load`, and read on from `positions`.
            StoreError: nothing was written, and the same records can be committed again.
        """
        if records:
            self.introduce(now)
        return self._commit(CommitBatch(records, known), now, more)

    def skip(self, skip: Skip, now: int) -> Committed:
        """Commit that a partition is read on behind lost records, and count these; raises as `apply` does."""
        return self._commit(CommitBatch(known=0, skip=skip), now)

    def adopt(self, adopt: Adopt, now: int) -> Committed:
        """Commit that the topic of a partition was created again; raises as `apply` does."""
        return self._commit(CommitBatch(known=0, adopt=adopt), now)

    def _commit(self, batch: CommitBatch, now: int, more: MoreChanges = lambda _: {}) -> Committed:
        since = clock.stopwatch()
        commit = self._committed(batch, now, more)
        self._state = commit.state
        for space in FOLDERS:
            self.blocks[space] += _block_size(commit, space)
        return replace(commit.result, seconds=clock.stopwatch() - since)

    def _committed(self, batch: CommitBatch, now: int, more: MoreChanges) -> Commit:
        """The commit that the store has taken, built again as often as another partition has accepted events that may be in it too."""
        while True:
            with self.in_turn():
                state = with_siblings(self.state, now)
                commit = build_commit(state, batch, now)
                try:
                    self.store.commit({**commit.changes, **more(commit.result)}, commit.expect)
                except LostError:
                    raise
                except FencedError:
                    known = state.shared or state.siblings
                    if known is None or not known.have_moved(self.store):
                        raise
                    if state.siblings is not None:
                        self._state = state
                else:
                    return commit


def _block_size(commit: Commit, space: bytes) -> int:
    """How many bytes of rows a commit adds to a space."""
    state = commit.state
    return len(commit.changes.get(keyspace.block(space, state.rules.name, state.progress.sequence)) or b"")
