"""The ids of accepted events: in memory, and as blocks in the online store.

The ids of accepted events, for finding duplicates: in memory, and in blocks that commits
store.

Where ids of accepted events are stored: one block a commit, merged so that a day of small
commits is a few dozen blocks.

The tables in memory that hold the ids of accepted events: 24 bytes a row, and versions that
share the tables.

A row is two words of the id, and a third word: the number of the commit that the id was known at
(upper half, never 0 in a row), and a hash of the event's content (lower half). The rows are spread
over 64 hash tables by the id. A full table alone is made again, in the order of the old one and
without the ids whose horizon has passed, so no moment needs memory for all of them twice.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.kernel.arrays import I64, Bool
from headwater.kernel.compile_cache import njit
from headwater.kernel.hashes import GOLDEN, hashes_of_strings, mixed

# words of a row of a block: two of the id, when it was accepted, and a hash of the content
WIDTH = 4


@dataclass(frozen=True)
class DedupResult:
    """Which events are accepted, bool (n); the number of duplicates that differ from the first
    event; the ids to store; the index with these ids.
    """

    accepted: Bool
    conflicts: int
    block: bytes
    index: DedupIndex


@dataclass(frozen=True, eq=False)
class IdTables:
    """Rows of ids, an immutable value.

    version: the tables, and after them the times of commits, microseconds. counts: of rows in each
    table, expired ones included.
    bases: of each table, the commit that its rows count from. made: when each was made.
    first: the number of the first commit whose time is kept; commits: how many times are kept.
    """

    version: TableVersion
    counts: I64
    bases: I64
    made: I64
    first: int = 1
    commits: int = 0

    @classmethod
    def empty(cls) -> IdTables:
        """Without rows."""
        arrays = [np.zeros((0, 3), np.int64) for _ in range(TABLES)]
        counts, bases, made = np.zeros((3, TABLES), np.int64)
        return cls(TableVersion([*arrays, np.zeros(0, np.int64)]), counts, bases, made)

    @classmethod
    def for_rows(cls, count: int, now: int) -> IdTables:
        """Without rows, with room for so many, which come at `now`, microseconds."""
        arrays = [_table(-(-count // TABLES), n) for n in range(TABLES)]
        counts, bases = np.zeros((2, TABLES), np.int64)
        return cls(
            TableVersion([*arrays, np.zeros(0, np.int64)]), counts, bases, np.full(TABLES, now)
        )

    def put(self, rows: Words, horizon: int, now: int) -> tuple[Bool, int, IdTables]:
        """Put in the rows that are no duplicates.

        rows: two words of the id, when it is known, a hash of its content. now: ids known a horizon
        before may be dropped, microseconds.

        Returns:
            Which rows were put in, bool (n); how many of the others differ from the first; the
            tables with these rows.
        """
        arrays = self.version.restored()
        order, ends = _by_table(rows)
        sizes = np.diff(ends, prepend=0)
        places, times, first, kept_times, new = self._times(
            arrays[TABLES], rows[:, 2], now - horizon
        )
        counts, bases, made = self.counts.copy(), self.bases.copy(), self.made.copy()
        changes = [] if times is arrays[TABLES] else [_ArrayChange(TABLES, None, times)]
        for n in self._to_make(arrays, sizes, first + kept_times, horizon, now):
            old = arrays[n], times, int(bases[n]) - first, now - horizon
            live = _live(*old)
            size = int(sizes[n])
            table = _table(live + size * (_ROOM if size * _GROWS > live else 1), n)
            _move(*old, table)
            changes.append(_ArrayChange(n, None, table))
            counts[n], bases[n], made[n] = live, first - 1, now
        if len(new):
            changes.append(_ArrayChange(TABLES, np.arange(kept_times - len(new), kept_times), new))
        accepted, conflicts, written = np.zeros(len(rows), np.bool_), 0, 0
        slots, before = np.empty(len(rows), np.int64), np.empty((len(rows), 3), np.int64)
        later = self.version.next()
        for change in changes:
            self.version.undo(change.applied(arrays))
        for n in np.flatnonzero(sizes).tolist():
            some = order[ends[n] - sizes[n] : ends[n]]
            added, differ, more = _accept(
                arrays[n],
                rows,
                some,
                places,
                times,
                bases[n] - first,
                horizon,
                accepted,
                slots[written:],
                before[written:],
            )
            counts[n] += added
            conflicts += differ
            if more:
                self.version.undo(
                    _ArrayChange(
                        n, slots[written : written + more], before[written : written + more]
                    )
                )
                written += more
        return accepted, conflicts, IdTables(later, counts, bases, made, first, kept_times)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def _times(self, times: Words, known: I64, expired: int) -> tuple[I64, Words, int, int, Words]:
        """The place of each row's commit among the times; an array with room for the new ones;
        `first`; `commits`; and the new ones.
        """
        last = times[self.commits - 1] if self.commits else None
        fresh = np.empty(len(known), np.bool_)
        fresh[:1] = known[:1] != last if last is not None else True
        fresh[1:] = known[1:] != known[:-1]
        new = known[fresh]
        places = np.cumsum(fresh, dtype=np.int64) + (self.commits - 1)
        if self.commits + len(new) <= len(times):
            return places, times, self.first, self.commits + len(new), new
        late = np.flatnonzero(times[: self.commits] > expired)
        # the last one may be that of these rows
        passed = int(late[0]) if len(late) else max(self.commits - 1, 0)
        kept_times = self.commits - passed + len(new)
        larger = np.zeros(max(_LEAST, kept_times * 5 // 4), np.int64)
        larger[: self.commits - passed] = times[passed : self.commits]
        return places - passed, larger, self.first + passed, kept_times, new

    def _to_make(
        self, arrays: list[Words], sizes: I64, commits: int, horizon: int, now: int
    ) -> list[int]:
        """The tables to make again before so many more rows are put in each, up to a commit of this
        number.
        """
        lengths = np.array([len(table) for table in arrays[:TABLES]])
        full = (self.counts + sizes > lengths * _FULL) | (commits - self.bases > _COMMITS)
        aged = np.flatnonzero(~full & (sizes > 0) & (self.made <= now - horizon // _AGES))
        full[aged[np.argsort(self.made[aged], kind="stable")][:_AGED]] = True
        return np.flatnonzero(full & (sizes > 0)).tolist()


@dataclass(frozen=True, eq=False)
class DedupIndex:
    """Ids accepted within `horizon` microseconds, an immutable value; at most 32 bytes of memory
    for each.

    All versions share the tables, which are those of the version used last; another one restores
    its rows when it is used. So adding ids costs no copy, and an older version, such as that before
    a commit that failed, stays valid. Not safe to use from several threads.
    """

    horizon: int
    tables: IdTables = field(default_factory=IdTables.empty)

    def accept(
        self, ids: pl.Series, content: I64, known: int | I64, now: int | None = None
    ) -> DedupResult:
        """Accept events, in the order of their arrival, known at `known`: a duplicate is an event
        whose id was accepted less than the horizon before.

        Args:
            ids: integers or strings, none null. content: int64 (n), a hash of each event's content.
                known: microseconds, of all or of each.
            now: ids that were accepted a horizon before are forgotten; None is when the first of
                these is known.

        >>> ids = DedupIndex(10)
        >>> first = ids.accept(pl.Series([7, 7, 8]), np.array([1, 2, 3]), known=0)
        >>> first.accepted.tolist()
        [True, False, True]
        >>> [
        ...     first.index.accept(pl.Series([7]), np.array([1]), known=at).accepted.item()
        ...     for at in (9, 10)
        ... ]
        [False, True]
        >>> ids.accept(
        ...     pl.Series([7]), np.array([1]), known=9
        ... ).accepted.item()  # the first version does not have it
        True
        """
        if not len(ids):
            return DedupResult(np.zeros(0, np.bool_), 0, b"", self)
        first, second = words(ids)
        rows = np.column_stack([first, second, np.full(len(ids), known), content])
        accepted, conflicts, index = self._add(rows, int(np.min(known)) if now is None else now)
        return DedupResult(accepted, conflicts, rows[accepted].tobytes(), index)

    @classmethod
    def for_blocks(cls, horizon: int, size: int, now: int) -> DedupIndex:
        """An empty index with room for the ids of stored blocks of `size` bytes together."""
        return cls(horizon, IdTables.for_rows(size // (8 * WIDTH), now)) if size else cls(horizon)

    def load(self, block: bytes, now: int) -> DedupIndex:
        """The index with the ids of a stored block, without those accepted a horizon ago."""
        rows = np.frombuffer(block, np.int64).reshape(-1, WIDTH)
        live = rows[rows[:, 2] > now - self.horizon]
        return self._add(live, now)[2] if len(live) else self

    def __len__(self) -> int:
        return len(self.tables)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the tables; where these are a later version's, the bytes of the
        differences.
        """
        return self.tables.version.nbytes

    def _add(self, rows: NDArray[np.int64], now: int) -> tuple[Bool, int, DedupIndex]:
        accepted, conflicts, tables = self.tables.put(rows, self.horizon, now)
        return accepted, conflicts, DedupIndex(self.horizon, tables)


def words(ids: pl.Series) -> tuple[I64, I64]:
    """Two words of 64 bits for each id: of an integer itself, so no two share them; of a text, two
    hashes.
    """
    if ids.dtype.is_integer():
        whole = (
            ids.cast(pl.Int64).to_numpy()
            if ids.dtype != pl.UInt64
            else ids.reinterpret(signed=True).to_numpy()
        )
        return whole, mixed(whole)
    texts = ids.cast(pl.String)
    return hashes_of_strings(texts), hashes_of_strings(texts, GOLDEN)


Read = Callable[[Sequence[bytes]], Sequence[bytes | None]]

_MERGED = 32  # neighbours of one level that become one of the next

_LARGEST = 1 << 20  # bytes that a merge makes at most

# of the horizon: a merged block holds ids of one of these parts of it at most (an hour of a day)
_SPANS = 24


@dataclass(frozen=True)
class _IdBlock:
    """One key of the store: the times of its first and last commit in microseconds, its bytes, how
    many commits made it.
    """

    key: bytes
    first: int
    last: int
    size: int
    commits: int

    @property
    def level(self) -> int:
        commits, level = self.commits, 0
        while commits >= _MERGED:
            commits, level = commits // _MERGED, level + 1
        return level


@dataclass(frozen=True)
class IdBlocks:
    """The stored ids of one partition writer, oldest first; an immutable value.

    Each id is copied O(log n) times, a commit costs O(1) amortised.

    horizon: how long ids are kept, microseconds. copied: how many blocks have been read again to be
    merged so far: the work done.

    >>> rows = lambda at: np.array([[1, 2, at, 3]], np.int64).tobytes()
    >>> read = lambda keys: [rows(0) for _ in keys]
    >>> first, blocks = IdBlocks(100).put(b"a", rows(0), 0, read)
    >>> second, blocks = blocks.put(b"b", rows(60), 60, read)
    >>> sorted(first), sorted(second), blocks.put(b"c", b"", 100, read)[0]
    ([b'a'], [b'b'], {b'a': None})
    """

    horizon: int
    copied: int = 0
    _blocks: tuple[_IdBlock, ...] = ()

    def __len__(self) -> int:
        return len(self._blocks)

    def load(self, key: bytes, value: bytes) -> IdBlocks:
        """With a block that the store holds; blocks come in the order of their commits."""
        known_times = _times(value)
        block = _IdBlock(
            key,
            int(known_times.min()),
            int(known_times.max()),
            len(value),
            1 + int(np.count_nonzero(np.diff(known_times))),
        )
        return replace(self, _blocks=(*self._blocks, block))

    def put(
        self, key: bytes, value: bytes, now: int, read: Read
    ) -> tuple[dict[bytes, bytes | None], IdBlocks]:
        """Store the ids of a commit at `now` under a new key, and drop blocks of ids that are older
        than the horizon.

        read: the values of keys of the store.

        Returns:
            The changes of the store, and the blocks that it holds with them.
        """
        blocks = list(dropwhile(lambda block: block.last <= now - self.horizon, self._blocks))
        changes: dict[bytes, bytes | None] = {
            block.key: None for block in self._blocks[: len(self._blocks) - len(blocks)]
        }
        if not value:
            return changes, replace(self, _blocks=tuple(blocks)) if changes else self
        block, copied = _IdBlock(key, now, now, len(value), 1), self.copied
        while others := self._to_merge(blocks, block):
            stored = read([merged.key for merged in others])
            value = b"".join([*(ids or b"" for ids in stored), value])
            changes |= dict.fromkeys(merged.key for merged in others)
            del blocks[-len(others) :]
            block = _IdBlock(
                key,
                others[0].first,
                now,
                len(value),
                block.commits + sum(merged.commits for merged in others),
            )
            copied += len(others)
        return {**changes, key: value}, IdBlocks(self.horizon, copied, (*blocks, block))

    def _to_merge(self, blocks: list[_IdBlock], block: _IdBlock) -> list[_IdBlock]:
        """The last blocks, if with a new one they become one; the oldest first."""
        if len(blocks) < _MERGED - 1 or blocks[1 - _MERGED].level != block.level:
            return []
        others = blocks[1 - _MERGED :]
        fits = (
            sum(merged.size for merged in others) + block.size <= _LARGEST
            and block.last - others[0].first <= self.horizon // _SPANS
        )
        return others if fits and all(merged.level == block.level for merged in others) else []


def _times(value: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.frombuffer(value, np.int64).reshape(-1, WIDTH)[:, 2]


TABLES = 64  # a power of two; see `_table_of`

_BITS = 6

_LOAD, _FULL = 0.8, 0.92  # how full a table is after it was made, and before it is made again

# tables are made larger by up to one part in this many, so that they are not full at the same time
_SPREAD = 64

_LEAST = 16  # rows

# a commit that adds more than one part in this many to a table makes it with room for more like it
_GROWS, _ROOM = 16, 3

# bytes from which a table is a mapping, which returns to the system immediately; a heap keeps holes
# of former sizes
_MAPPED = 1 << 16

# the greatest number of a commit in a row; a table that would need a greater one is made again
_COMMITS = (1 << 32) - 1

_AGES = 5  # parts of the horizon after which a table is made again although it is not full

_AGED = 4  # such tables in a commit

Words = NDArray[np.int64]


@dataclass(frozen=True)
class _ArrayChange:
    """Other words at some positions of one array; or, where `positions` is None, another array."""

    array: int
    positions: I64 | None
    values: Words

    def applied(self, arrays: list[Words]) -> _ArrayChange:
        """Change the arrays; the change that takes this one back."""
        before = arrays[self.array]
        if self.positions is None:
            arrays[self.array] = self.values
            return _ArrayChange(self.array, None, before)
        held = before[self.positions]
        # of a row that was written twice, the first value is the oldest
        before[self.positions[::-1]] = self.values[::-1]
        return _ArrayChange(self.array, self.positions, held)


class TableVersion:
    """One version of arrays that all versions share: the arrays themselves, or the differences from
    another version.
    """

    def __init__(self, arrays: list[Words]) -> None:
        self.arrays: list[Words] | None = arrays
        self.base: TableVersion | None = None
        self.changes: list[_ArrayChange] = []

    def next(self) -> TableVersion:
        """Leave the arrays, in this state, to a later version; changes from now on are taken back
        by `changes`.
        """
        assert self.arrays is not None
        later = TableVersion(self.arrays)
        self.arrays, self.base, self.changes = None, later, []
        return later

    def undo(self, change: _ArrayChange) -> None:
        """Take this back first when this version is restored."""
        self.changes.insert(0, change)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the arrays; of an older version, the bytes of its differences from
        them.
        """
        if self.arrays is not None:
            return sum(array.nbytes for array in self.arrays)
        return sum(
            change.values.nbytes + (0 if change.positions is None else change.positions.nbytes)
            for change in self.changes
        )

    def restored(self) -> list[Words]:
        """The arrays of this version; the versions on the way become differences from it."""
        path = [self]
        while path[-1].base is not None:
            path.append(path[-1].base)
        for older, newer in zip(path[-2::-1], path[:0:-1], strict=True):
            arrays = newer.arrays
            assert arrays is not None
            undo = [change.applied(arrays) for change in older.changes]
            older.arrays, older.base, older.changes = arrays, None, []
            newer.arrays, newer.base, newer.changes = None, older, undo[::-1]
        assert self.arrays is not None
        return self.arrays


def _table(count: int, n: int) -> Words:
    """The table `n`, without rows, for so many and some more."""
    rows = max(_LEAST, int(count / _LOAD * (1 + n / (_SPREAD * TABLES))) + 1)
    size = 24 * rows
    if size < _MAPPED or sys.platform == "win32":
        return np.zeros((rows, 3), np.int64)
    # page by page, the system takes as long as the rows themselves
    at_once = mmap.MAP_POPULATE if sys.platform == "linux" else 0
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | at_once)
    return np.frombuffer(mapped, np.int64).reshape(-1, 3)


@njit()
def _table_of(second):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    return np.int64(np.uint64(second) >> np.uint64(64 - _BITS))


@njit()
def _by_table(rows):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """The numbers of rows, by the table that each belongs to and then as they came; and where each
    table's end.
    """
    ends = np.zeros(TABLES, np.int64)
    for i in range(len(rows)):
        ends[_table_of(rows[i, 1])] += 1
    total = 0
    for n in range(TABLES):
        ends[n], total = total, total + ends[n]
    order = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        n = _table_of(rows[i, 1])
        order[ends[n]] = i
        ends[n] += 1
    return order, ends


@njit()
def _home(second, size):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """Where an id is looked for first; it rises with the second word, so tables of any size have
    their rows in one order.
    """
    return np.int64(
        (((np.uint64(second) << np.uint64(_BITS)) >> np.uint64(32)) * np.uint64(size))
        >> np.uint64(32)
    )


@njit()
def _expired(word, times, shift, until):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    place = np.int64(np.uint64(word) >> np.uint64(32)) + shift
    return place < 0 or times[place] <= until


@njit()
def _live(table, times, shift, until):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """How many rows are known later than `until`. shift: from a row's number of a commit to the
    place of its time.
    """
    count = 0
    for p in range(len(table)):
        if table[p, 2] != 0 and not _expired(table[p, 2], times, shift, until):
            count += 1
    return count


@njit()
def _move(table, times, shift, until, larger):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """Move the rows known later than `until` into another table, in which commits count from the
    first time on.
    """
    size = len(larger)
    for p in range(len(table)):
        word = table[p, 2]
        if word == 0 or _expired(word, times, shift, until):
            continue
        q = _home(table[p, 1], size)
        while larger[q, 2] != 0:
            q += 1
            if q == size:
                q = 0
        larger[q, 0], larger[q, 1] = table[p, 0], table[p, 1]
        larger[q, 2] = word + ((shift + 1) << 32)


@njit()
def _accept(table, rows, some, places, times, shift, horizon, accepted, slots, before):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0913, PLR0917 (compiled)
    """Add the rows that are no duplicates. Returns how many are of new ids, how many duplicates
    differ, and how many were added.

    places: of each row, that of its time. slots, before: are given the rows that were written, and
    what each held.
    """
    size = len(table)
    added, conflicts, written = 0, 0, 0
    for i in some:
        a, b, known, content = rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3]
        word = ((places[i] - shift) << 32) | ((content ^ (content >> 32)) & 0xFFFFFFFF)
        p = _home(b, size)
        while table[p, 2] != 0 and (table[p, 1] != b or table[p, 0] != a):
            p += 1
            if p == size:
                p = 0
        there = table[p, 2]
        if there == 0:
            added += 1
        else:
            place = np.int64(np.uint64(there) >> np.uint64(32)) + shift
            if place >= 0 and known - times[place] < horizon:
                conflicts += (there ^ word) & 0xFFFFFFFF != 0
                continue
        slots[written] = p
        before[written, 0], before[written, 1], before[written, 2] = table[p, 0], table[p, 1], there
        written += 1
        table[p, 0], table[p, 1], table[p, 2] = a, b, word
        accepted[i] = True
    return added, conflicts, written
