"""The ids of accepted events, for finding duplicates: in memory, and in blocks that commits store."""

from __future__ import annotations

from dataclasses import dataclass, field

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.kernel.arrays import I64, Bool
from headwater.kernel.hashes import hashes_of_strings, mixed

_LEAST = 1 << 12
_FREE = np.iinfo(np.int64).min
WIDTH = 4  # two words of the id, when it was accepted, and a hash of what it said


class _IndexVersion:
    """The rows of one version of a table: the table itself, or those rows of it that differ from another version's."""

    def __init__(self, table: NDArray[np.int64]) -> None:
        self.table: NDArray[np.int64] | None = table
        self.other: _IndexVersion | None = None
        self.slots = self.rows = table[:0]

    def become(self, other: _IndexVersion, slots: I64, rows: NDArray[np.int64]) -> None:
        """Leave the table to another version, in which these slots hold others than these rows."""
        self.table, self.other, self.slots, self.rows = None, other, slots, rows

    def restored(self) -> NDArray[np.int64]:
        """The table as it is in this version; the versions between this one and the table's are changed to say what differs."""
        path = [self]
        while path[-1].other is not None:
            path.append(path[-1].other)
        for mine, other in zip(path[-2::-1], path[:0:-1], strict=True):
            table = other.table
            assert table is not None
            slots, rows, held = mine.slots, mine.rows, table[mine.slots]
            table[slots[::-1]] = rows[::-1]  # of a slot that was written twice, the first row is the oldest
            mine.table, mine.other, mine.slots, mine.rows = table, None, slots[:0], rows[:0]
            other.become(mine, slots, held)
        assert self.table is not None
        return self.table


@dataclass(frozen=True)
class DedupResult:
    """Which events are accepted, bool (n); how many of the duplicates differ from the first; the ids to store; the index with these ids."""

    accepted: Bool
    conflicts: int
    block: bytes
    index: DedupIndex


@dataclass(frozen=True, eq=False)
class DedupIndex:
    """Ids accepted within `horizon` microseconds, an immutable value; 32 bytes an id, in a table that is at most half full.

    All versions share one table, which is that of the version used last; another one restores its own rows when it is used. So adding ids
    costs no copy, and an older version, such as that before a commit that failed, stays valid. Not safe to use from several threads.
    """

    horizon: int
    count: int = 0
    version: _IndexVersion = field(default_factory=lambda: _IndexVersion(_empty(_LEAST)))

    def accept(self, ids: pl.Series, content: I64, known: int | I64) -> DedupResult:
        """Events in the order in which they came, known at `known`: a duplicate is one whose id was accepted less than the horizon before.

        Args:
            ids: integers or strings, none null. content: int64 (n), a hash of each event's content. known: microseconds, of all or of each.

        >>> ids = DedupIndex(10)
        >>> first = ids.accept(pl.Series([7, 7, 8]), np.array([1, 2, 3]), known=0)
        >>> first.accepted.tolist()
        [True, False, True]
        >>> [first.index.accept(pl.Series([7]), np.array([1]), known=at).accepted.item() for at in (9, 10)]
        [False, True]
        >>> ids.accept(pl.Series([7]), np.array([1]), known=9).accepted.item()  # the first version does not have it
        True
        """
        first, second = words(ids)
        rows = np.column_stack([first, second, np.full(len(ids), known), content])
        accepted, conflicts, index = self._add(rows, int(np.min(known)) if len(ids) else 0)
        return DedupResult(accepted, conflicts, rows[accepted].tobytes(), index)

    def load(self, block: bytes, now: int) -> DedupIndex:
        """The index with the ids of a stored block, without those accepted a horizon ago."""
        rows = np.frombuffer(block, np.int64).reshape(-1, WIDTH)
        return self._add(rows[rows[:, 2] > now - self.horizon], now)[2]

    def __len__(self) -> int:
        return self.count

    def _add(self, rows: NDArray[np.int64], now: int) -> tuple[Bool, int, DedupIndex]:
        table, count = self.version.restored(), self.count
        larger = self._larger(table, len(rows), now)
        if larger is not None:
            table, count = larger
        accepted, slots, before = np.zeros(len(rows), np.bool_), np.empty(len(rows), np.int64), np.empty((len(rows), WIDTH), np.int64)
        added, conflicts = _accept(table, rows, self.horizon, accepted, slots, before)
        version = _IndexVersion(table)
        if larger is None:
            written = int(accepted.sum())
            self.version.become(version, slots[:written], before[:written])
        return accepted, conflicts, DedupIndex(self.horizon, count + added, version)

    def _larger(self, table: NDArray[np.int64], more: int, now: int) -> tuple[NDArray[np.int64], int] | None:
        """A table with room for more ids and without those accepted a horizon ago, and how many it holds; None where this one has room."""
        if 2 * (self.count + more) <= len(table):
            return None
        live = table[(table[:, 2] != _FREE) & (table[:, 2] > now - self.horizon)]
        size = _LEAST
        while size < 4 * (len(live) + more):
            size *= 2
        larger, n = _empty(size), len(live)
        count = _accept(larger, live, self.horizon, np.zeros(n, np.bool_), np.empty(n, np.int64), np.empty((n, WIDTH), np.int64))[0]
        return larger, count


def words(ids: pl.Series) -> tuple[I64, I64]:
    """Two words of 64 bits for each id: of an integer itself, so no two share them; of a text, two hashes."""
    if ids.dtype.is_integer():
        whole = ids.cast(pl.Int64).to_numpy() if ids.dtype != pl.UInt64 else ids.reinterpret(signed=True).to_numpy()
        return whole, mixed(whole)
    texts = ids.cast(pl.String)
    return hashes_of_strings(texts), hashes_of_strings("\0" + texts)


def _empty(size: int) -> NDArray[np.int64]:
    table = np.empty((size, WIDTH), np.int64)
    table[:, 2] = _FREE
    return table


@nb.njit(nogil=True, cache=True)
def _accept(table, rows, horizon, accepted, slots, before):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """Put in the rows that are no duplicates; how many new ids, and how many duplicates differ from the first.

    slots, before: are given the slots that were written, and what each held.
    """
    mask = len(table) - 1
    added, conflicts, written = 0, 0, 0
    for i in range(len(rows)):
        a, b = rows[i, 0], rows[i, 1]
        h = (a ^ (b * 2862933555777941757 + 3037000493)) * -7046029254386353131
        p = (h ^ (h >> 29)) & mask
        while table[p, 2] != _FREE and (table[p, 0] != a or table[p, 1] != b):
            p = (p + 1) & mask
        if table[p, 2] != _FREE and rows[i, 2] - table[p, 2] < horizon:
            conflicts += rows[i, 3] != table[p, 3]
            continue
        slots[written], before[written, 2] = p, _FREE
        if table[p, 2] == _FREE:
            added += 1
        else:
            before[written] = table[p]
        written += 1
        table[p] = rows[i]
        accepted[i] = True
    return added, conflicts
