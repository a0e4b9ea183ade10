"""The writer of a source's stream, or of one partition of it: each commit is built from its state,
written, and becomes its next state.

A commit holds the records of views, the positions to read on from, the ids, the held events, the
accepted events for the archive, the rows that the source's filter leaves out, the dead letters with
their reasons, and the counts: all of it or nothing. It is made only if the store stands where this
writer left it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headwater import clock
from headwater.errors import FencedError
from headwater.ingestion.archive import FOLDERS
from headwater.ingestion.build_commit import Adopt, Commit, CommitBatch, Skip, build_commit
from headwater.ingestion.change_state import ChangeState
from headwater.ingestion.committed import Committed
from headwater.ingestion.freed_memory import keep_freed_memory
from headwater.ingestion.sources.stream_reader import Position, RecordBatch
from headwater.ingestion.validate import Acceptance
from headwater.ingestion.writer_state import WriterRules, WriterState
from headwater.state.view_state import Progress
from headwater.stores import Changes, OnlineStore, keyspace

if TYPE_CHECKING:
    import polars as pl

MoreChanges = Callable[[Committed], Changes]
"""What else a commit changes, by its result."""


class PartitionWriter:
    """Writes the part of a source's stream that one writer owns: all of it, or one partition.

    Args:
        acceptance: how records become events.
        store: the online store.
        partition: the partition's name; None for the whole stream.
        archive: whether accepted events are kept for training.
        filtered: whether rows that the source's filter leaves out are kept for `explain`.
        own: see `load`.

    blocks: by space, how many bytes wait in the store to be moved into files.
    abandoned: set when the partition is another writer's. filling: what the store holds at
    `keyspace.filling` until others fill views.
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
        self.acceptance, self.store, self.partition, self.archive = (
            acceptance,
            store,
            partition,
            archive,
        )
        self.rules = WriterRules(acceptance, partition, archive, filtered)
        self.source, self.name, self.place = self.rules.source, self.rules.name, self.rules.place
        keep_freed_memory()
        self.abandoned, self.filling = threading.Event(), b""
        self._state: WriterState | None = None
        self.load(own=own)

    def load(self, *, own: bool = True) -> None:
        """Read where the store stands: at the start, and after another writer was here; `own` makes
        what it writes this writer's.
        """
        if own:
            self.store.mend(self.place)
        self._state = WriterState.load(
            self.rules, self.store, None if self._state is None else self.progress
        )
        self.blocks = {
            space: sum(size for _, size in self.store.sizes(space + keyspace.name(self.name)))
            for space in FOLDERS
        }

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
        """By partition, what its position counts in, where that is known; see
        `RecordBatch.origins`.
        """
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
        """Commit progress and other changes without records, if the store also holds the expected
        values; raises as `apply` does.
        """
        if not progress.sequence:
            if changes:
                self.store.commit(changes, {self.place: None, **expect})
            self._state = replace(self.state, progress=progress)  # the first commit stores it
            return
        encoded = msgspec.msgpack.encode(progress)
        self.store.commit(
            {**changes, self.place: encoded}, {**expect, self.place: self.state.encoded}
        )
        self._state = replace(self.state, progress=progress, encoded=encoded)

    def hold_back(self, names: Collection[str]) -> None:
        """Have commits not maintain these views, by tiles fingerprint, and keep their sections of
        records, until each is `filled`.
        """
        self._state = replace(
            self.state,
            views=self.state.views | set(names),
            unfilled=self.state.unfilled | set(names),
        )

    def filled(self, name: str) -> None:
        """Have commits maintain a view, from the next one on."""
        self._state = replace(self.state, unfilled=self.state.unfilled - {name})

    def retire(self, names: Collection[str]) -> None:
        """Have commits no longer maintain some views, by tiles fingerprint, and say so; their
        sections of records stay.

        Raises:
            FencedError: another writer has been here.
        """
        kept = {
            name: coverage for name, coverage in self.progress.views.items() if name not in names
        }
        if kept != self.progress.views:
            progress = msgspec.structs.replace(self.progress, views=kept)
            self.note(progress, {}, self.unmoved())
        self._state = replace(self.state, unfilled=self.state.unfilled | set(names))

    def due(self) -> int | None:
        """When the first held event happens, microseconds; None where none is held."""
        return self.state.held.due

    def check_mine(self) -> None:
        """Raise FencedError where others are to go on."""
        if self.abandoned.is_set():
            raise FencedError(
                f"source {self.source.name!r}: partition {self.partition!r} was given to another "
                "process, or ingestion ends"
            )

    def unmoved(self) -> Changes:
        """What the store holds unless another process writes here, or fills the views.

        Raises:
            FencedError: the partition was given to another process, or ingestion is to end.
        """
        self.check_mine()
        filling = (
            {keyspace.filling(self.source.name, self.partition): self.filling}
            if self.filling
            else {}
        )
        return {self.place: self.state.encoded, **filling}

    def begin(self, since: int, ids: pl.Series, now: int) -> None:
        """Read the stream from what was received at `since` on, and take events with these ids for
        duplicates; before the first commit.

        Of events that can be retracted, ids are not looked at.
        """
        changes = {
            self.place: msgspec.msgpack.encode(
                msgspec.structs.replace(self.progress, sequence=1, at=now, since=since)
            )
        }
        if self.corrections is None:
            assert self.state.ids is not None
            block = self.state.ids.accept(ids, np.zeros(len(ids), np.int64), now).block
            changes |= {keyspace.block(keyspace.IDS, self.name, 0): block} if block else {}
        self.store.commit(changes, {self.place: None})
        self.load()

    def apply(
        self,
        records: Sequence[RecordBatch],
        now: int,
        known: int | None = None,
        more: MoreChanges = lambda _: {},
    ) -> Committed:
        """Commit some records, the earlier first, and release the held events that are due at `now`
        (microseconds).

        known: with these, all that was received by then has been read, microseconds; None is `now`.
        more: changes of the same commit.

        Raises:
            FencedError: another writer has been here; nothing was written. Call `load`, and read on
                from `positions`.
            StoreError: nothing was written, and the same records can be committed again.
        """
        return self._commit(CommitBatch(records, known), now, more)

    def skip(self, skip: Skip, now: int) -> Committed:
        """Commit that a partition is read on behind lost records, and count these; raises as
        `apply` does.
        """
        return self._commit(CommitBatch(known=0, skip=skip), now)

    def adopt(self, adopt: Adopt, now: int) -> Committed:
        """Commit that the topic of a partition was created again; raises as `apply` does."""
        return self._commit(CommitBatch(known=0, adopt=adopt), now)

    def _commit(self, batch: CommitBatch, now: int, more: MoreChanges = lambda _: {}) -> Committed:
        since = clock.stopwatch()
        commit = build_commit(self.state, batch, now)
        self.store.commit({**commit.changes, **more(commit.result)}, commit.expect)
        self._state = commit.state
        for space in FOLDERS:
            self.blocks[space] += _block_size(commit, space)
        return replace(commit.result, seconds=clock.stopwatch() - since)


def _block_size(commit: Commit, space: bytes) -> int:
    """How many bytes of rows a commit adds to a space."""
    state = commit.state
    return len(
        commit.changes.get(keyspace.block(space, state.rules.name, state.progress.sequence)) or b""
    )
