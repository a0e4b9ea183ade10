"""Log first: a store that changes its records and its state of ingestion one after the other.

A commit of a partition's writer is made in three steps.
1. The state decides commit n by compare-and-set: offsets, ids, held events, and the log: the
   records and what readers look at.
2. The table applies the records of the log. Each shard notes n with them, so it applies a commit
   once, and never one after a later one.
3. The state publishes n: what readers look at changes, and the log is emptied.

A crash after step 1 is repaired by `mend`, which repeats steps 2 and 3 from the log: the bytes are
those of the commit that was decided, and nothing is cut into commits again. `mend` also takes the
partition over with the next turn, in the state and in every shard, so that a writer of an earlier
turn, which may only have been stopped, writes no more. A shard that is ahead of the state shows
that the state has lost commits, one that is behind it that records are lost: the store is refused
until `reconcile` has removed all records. The state is whole in itself, so views are then filled
from what was archived up to its commits.

The writer of a batch view or of precomputed predictions is the job that makes its cuts: it expects
the state of its cuts, and is mended and refused as the writer of a partition is.

A commit that expects no such key is of no writer: compaction, the removal of a view. Each of its
records is compared and written shard by shard, then the rest. It takes no commit forward, a reader
sees the same values before and after, and after a crash it is made again.

The logs of a store that is log first: their names, by what a commit expects, and the last known
commit of each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path

import msgspec

from headwater.errors import FencedError, LostError, StoreError
from headwater.stores import NO_MARKS, Capabilities, Changes, FeatureTable, IngestState, Marks
from headwater.stores.backup import back_up
from headwater.stores.keyspace import (
    LOG,
    OFFSET,
    PROGRESS,
    RECORD,
    REDO,
    STATE,
    STATE_OF_SOURCE,
    STREAM_STATE,
)

_PUBLISHED = (PROGRESS, STATE, STREAM_STATE)

_ATTEMPTS = 5  # each reads and decides again


class LogFirstStore:
    """An `OnlineStore` made of a table and a state; see above."""

    namespace = ""

    def __init__(self, table: FeatureTable, state: IngestState) -> None:
        self.table, self.state = table, state
        self.capabilities = Capabilities(atomic=False, multi_process=True, remote=True)
        self._heads: dict[bytes, bytes | None] = {}
        self._lapsed: set[bytes] = set()

    def __repr__(self) -> str:
        return f"LogFirstStore({self.table!r}, {self.state!r})"

    @property
    def outrun(self) -> int:
        """How many records were not written because the table's were complete through more."""
        return self.table.outrun

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`; the state is read first, so that records are as new as the progress
        read with them, or newer.
        """
        names, records = _parted(keys)
        values = dict(zip(names, self.state.get(names), strict=True)) if names else {}
        values |= zip(records, self.table.get(records), strict=True) if records else ()
        return [values[key] for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; records come last."""
        if not prefix.startswith(RECORD):
            yield from _shown(self.state.scan(prefix))
        if RECORD.startswith(prefix) or prefix.startswith(RECORD):
            yield from self.table.scan(prefix or RECORD)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`; not of records."""
        return self.state.sizes(prefix)

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`, and above.

        Raises:
            LostError: a part of the store has lost commits that another one depends on.
        """
        records = {key: value for key, value in changes.items() if key.startswith(RECORD)}
        rest = {key: value for key, value in changes.items() if not key.startswith(RECORD)}
        expected_records = {key: value for key, value in expect.items() if key.startswith(RECORD)}
        wanted = {key: value for key, value in expect.items() if not key.startswith(RECORD)}
        writer = log_of(wanted)
        if writer is None:
            self._commit_of_no_writer(records, expected_records, rest, wanted)
            return
        self._compare(expected_records)
        if not records:
            self.state.commit(rest, {**wanted, LOG + writer: self._settled(writer)})
            return
        head = self._owned(writer)
        old = head_of(head)
        new = LogHead(old.turn, old.n + 1, decided=old.turn)
        decided, log_key = msgspec.msgpack.encode(new), place_of(writer, new)
        redo = Redo(
            records, {key: value for key, value in rest.items() if key.startswith(_PUBLISHED)}
        )
        unpublished = {key: value for key, value in rest.items() if not key.startswith(_PUBLISHED)}
        log = {LOG + writer: decided, log_key: msgspec.msgpack.encode(redo)}
        # until the commit is known to be whole, or not to have been decided
        self._lapsed.add(writer)
        try:
            self.state.commit({**unpublished, **log}, {**wanted, LOG + writer: head})
        except FencedError:
            self._lapsed.discard(writer)
            raise
        self._heads[writer] = self._apply(writer, decided, redo)
        self._lapsed.discard(writer)

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`: take over the writer of this key, and finish its last commit.

        Raises:
            LostError: records are ahead of the state.
        """
        writer = writer_of(offset)
        if writer is None:
            return
        self._heads.pop(writer, None)
        self._heads[writer] = self._mended(writer)
        self._lapsed.discard(writer)

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """See `OnlineStore`. After a run that was stopped, the store is refused as before."""
        heads, applied, at_odds = self._compared()
        if dry_run or not at_odds:
            return at_odds
        writers = list(dict.fromkeys([*heads, *applied]))
        turn = 1 + max(
            [head.turn for head in heads.values()] + [turn for turn, _ in applied.values()],
            default=0,
        )
        for writer in writers:
            before, redo = self._read(writer)
            head = head_of(before)
            logs: dict[bytes, bytes | None] = {
                place_of(writer, LogHead(head.turn, head.n + 1, head.turn)): None
            }
            published = {} if redo is None else {**redo.published, place_of(writer, head): None}
            self.state.commit(
                {**published, **logs, LOG + writer: msgspec.msgpack.encode(LogHead(turn))},
                {LOG + writer: before},
            )
        views = [
            key
            for space in (STATE, STREAM_STATE)
            for key, _ in self.state.sizes(space)
            if not key.startswith(STATE_OF_SOURCE)
        ]
        self.state.commit(dict.fromkeys(views), {})
        self.table.empty(writers, turn, self.state.marks())
        self._heads.clear()
        self._lapsed.clear()
        return True

    def _compared(self) -> tuple[dict[bytes, LogHead], Mapping[bytes, tuple[int, int]], bool]:
        """The head of each writer's log, its turn and last commit in the table, and whether some of
        them do not belong together.
        """
        for _ in range(_ATTEMPTS):
            logs = dict(self.state.scan(LOG))
            applied, marks = self.table.writers(), self.state.marks()
            confirmed = self.table.confirmed() if marks else NO_MARKS
            if dict(self.state.scan(LOG)) == logs:
                heads = {key.removeprefix(LOG): head_of(value) for key, value in logs.items()}
                differ = (
                    is_at_odds(heads.get(writer, LogHead()), applied.get(writer, (0, 0)))
                    for writer in {*heads, *applied}
                )
                return (
                    heads,
                    applied,
                    any(differ)
                    or any(confirmed.get(shard, 0) < mark for shard, mark in marks.items()),
                )
        raise StoreError(f"{self.state!r} is being written; stop ingestion and jobs, and try again")

    def _mended(self, writer: bytes) -> bytes:
        for _ in range(_ATTEMPTS):
            try:
                return self._take_over(writer)
            except LostError:
                raise
            except FencedError:
                continue  # another one took it over meanwhile
        raise StoreError(
            f"{self.state!r} was written by others {_ATTEMPTS} times while a partition was taken "
            "over; is another process its writer?"
        )

    def _take_over(self, writer: bytes) -> bytes:
        """The head of a writer's log with the next turn, when its last commit is published."""
        before, redo = self._read(writer)
        head = head_of(before)
        turn = head.turn + 1
        new_head = msgspec.msgpack.encode(LogHead(turn, head.n, head.decided))
        undecided = (
            {}
            if head.decided
            else {place_of(writer, LogHead(head.turn, head.n + 1, head.turn)): None}
        )
        self.state.commit({LOG + writer: new_head, **undecided}, {LOG + writer: before})
        applied = self.table.fence(writer, turn)
        if applied is None or applied > head.n:
            if self.state.get([LOG + writer]) != [new_head]:
                raise FencedError(
                    f"the partition {writer!r} of {self.state!r} was taken over by another process"
                )
            raise LostError(
                f"{self.table!r} holds records of commits that {self.state!r} has lost offsets "
                f"of. {RECONCILE}"
            )
        if is_behind(applied, head):
            raise LostError(
                f"{self.table!r} has lost records of commits that {self.state!r} has published. "
                f"{RECONCILE}"
            )
        return new_head if redo is None else self._apply(writer, new_head, redo)

    def _owned(self, writer: bytes) -> bytes | None:
        """The head of the log of a partition taken over, as of its last published commit."""
        if writer not in self._heads:
            self._settled(writer)
            self._heads[writer] = self._mended(writer)
        return self._settled(writer)

    def _settled(self, writer: bytes) -> bytes | None:
        """The head of a writer's log; its last commit is published.

        Raises:
            FencedError: it was not; or a commit of this process failed, and it did not `mend`
                since.
        """
        if writer in self._lapsed:
            raise FencedError(
                f"a commit of {writer!r} in {self.state!r} failed; nothing was written. Call "
                "`mend`, and read what to go on from"
            )
        if writer in self._heads:
            return self._heads[writer]
        if self._finish(writer):
            raise FencedError(
                f"the last commit of {writer!r} in {self.state!r} was finished only now; nothing "
                "was written. Read what to go on from"
            )
        return self.state.get([LOG + writer])[0]

    def _finish(self, writer: bytes) -> bool:
        """Whether the last commit of a writer was decided, and not published; it is then."""
        head, redo = self._read(writer)
        if head is not None and redo is not None:
            self._apply(writer, head, redo)
        return redo is not None

    def _read(self, writer: bytes) -> tuple[bytes | None, Redo | None]:
        """The head of a writer's log, and the redo record of a commit that is decided but not
        published.

        Raises:
            LostError: the redo record is missing.
        """
        (before,) = self.state.get([LOG + writer])
        while True:
            head = head_of(before)
            if not head.decided:
                return before, None
            log, now = self.state.get([place_of(writer, head), LOG + writer])
            if log is not None:
                return before, msgspec.msgpack.decode(log, type=Redo)
            if now == before:
                raise LostError(
                    f"{self.state!r} has lost the log of commit {head.n} of {writer!r}. {REBUILD}"
                )
            before = now

    def _apply(self, writer: bytes, decided: bytes, redo: Redo) -> bytes:
        """Steps 2 and 3 of a decided commit: idempotent, and any process may take them. Returns the
        head of the log.
        """
        head = head_of(decided)
        marks = self.table.upsert(writer, head.turn, head.n, redo.records)
        done = msgspec.msgpack.encode(LogHead(head.turn, head.n))
        try:
            self.state.commit(
                {**redo.published, LOG + writer: done, place_of(writer, head): None},
                {LOG + writer: decided},
                marks,
            )
        except LostError:
            raise
        except FencedError:
            if self.state.get([LOG + writer]) != [done]:
                raise
        return done

    def _commit_of_no_writer(
        self, records: Changes, expected_records: Changes, rest: Changes, wanted: Changes
    ) -> None:
        marks: Marks = NO_MARKS
        if records or expected_records:
            self._compare(expected_records)
            for key, value in zip(wanted, self.state.get(list(wanted)), strict=True):
                if value != wanted[key]:
                    raise FencedError(
                        f"{self.state!r} was written by another process meanwhile ({key[:40]!r}); "
                        "nothing was written"
                    )
            marks = self.table.replace(records, expected_records)
        if rest or wanted or marks:
            self.state.commit(rest, wanted, marks)

    def _compare(self, expected_records: Changes) -> None:
        for key, value in zip(
            expected_records,
            self.table.get(list(expected_records)) if expected_records else [],
            strict=True,
        ):
            if value != expected_records[key]:
                raise FencedError(
                    f"{self.table!r} was written by another process meanwhile ({key[:40]!r}); "
                    "nothing was written"
                )

    def lease(self, name: str, *, wait: float) -> AbstractContextManager[None]:
        """See `OnlineStore`."""
        return self.state.lease(name, wait=wait)

    def server_time(self) -> int | None:
        """See `OnlineStore`."""
        return self.state.server_time()

    def size(self) -> int:
        """See `OnlineStore`."""
        return self.table.size() + self.state.size()

    def backup(self, to: Path) -> None:
        """See `OnlineStore`; the state is of one time; records are of that time or complete through
        more.

        So going on from the offsets of a backup is exact if nothing was committed while it was
        made.
        """
        for key, _ in self.state.scan(LOG):
            self._finish(key.removeprefix(LOG))
        back_up(self, to, chain(_shown(self.state.snapshot()), self.table.scan(RECORD)))

    def close(self) -> None:
        """See `OnlineStore`."""
        self.table.close()
        self.state.close()


RECONCILE = (
    "Nothing was written. Stop ingestion and jobs, and run `headwater store rewind`: it removes "
    "all records, which `headwater ingest` fills again from the archive, and `headwater "
    "materialize` from histories"
)

REBUILD = (
    "Nothing was written. Give the store an empty database or another prefix=, and rebuild it "
    "from the archive (see `headwater materialize` and the page on operations)"
)


def _parted(keys: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Keys of the state, and of records."""
    return [key for key in keys if not key.startswith(RECORD)], [
        key for key in keys if key.startswith(RECORD)
    ]


def _shown(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    # a Redis state also scans the table's records
    return ((key, value) for key, value in pairs if not key.startswith((LOG, REDO, RECORD)))


class LogHead(msgspec.Struct, frozen=True, array_like=True):
    """The last commit of a writer.

    turn: how often its partition or job was taken over. decided: the turn in which the commit was
    decided; 0 once it is published.
    """

    turn: int = 0
    n: int = 0
    decided: int = 0


class Redo(msgspec.Struct, frozen=True, array_like=True):
    """The writes of steps 2 and 3 of a decided commit."""

    records: dict[bytes, bytes | None]
    published: dict[bytes, bytes | None]


def writer_of(key: bytes) -> bytes | None:
    """The source and partition of a key of an offset or progress, or the job of a key of cuts."""
    if key.startswith(STATE) and not key.startswith(STATE_OF_SOURCE):
        return b"\0" + key  # which no source's name begins with
    return key[1:] if key.startswith(OFFSET) else key[1:-1] if key.startswith(PROGRESS) else None


def log_of(expected: Iterable[bytes]) -> bytes | None:
    """The log of a commit that expects these keys; None where it is of no writer."""
    keys = list(expected)
    by_progress = {writer_of(key) for key in keys if key.startswith(PROGRESS)}
    writers = by_progress or {writer_of(key) for key in keys} - {None}
    return next(iter(writers)) if len(writers) == 1 else None


def head_of(value: bytes | None) -> LogHead:
    """The stored head of a log; that of one without commits where none is stored."""
    return LogHead() if value is None else msgspec.msgpack.decode(value, type=LogHead)


def is_at_odds(head: LogHead, applied: tuple[int, int]) -> bool:
    """Whether a table, by its last applied turn and commit, is ahead of a writer's log, or behind
    its published commits.
    """
    turn, n = applied
    return turn > head.turn or n > head.n or is_behind(n, head)


def is_behind(n: int, head: LogHead) -> bool:
    """Whether a table whose last commit is `n` lacks a published one."""
    return n < head.n - (head.decided > 0)


def place_of(writer: bytes, head: LogHead) -> bytes:
    """The key of the log of a decided commit: no other process writes it."""
    return REDO + writer + struct.pack(">qq", head.decided, head.n)
