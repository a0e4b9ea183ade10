"""The ids of accepted events, so that their copies are known as such: in memory, and in blocks that commits keep."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.kernel.arrays import I64, Bool
from headwater.kernel.hashes import hashes_of_strings, mixed

_LEAST = 1 << 12
_FREE = np.iinfo(np.int64).min
WIDTH = 4  # two words of the id, when it was accepted, and a hash of what it said


@dataclass(frozen=True)
class DedupResult:
    """Which events are accepted, bool (n); how many of the duplicates differ from the first; and the ids to store, as bytes."""

    accepted: Bool
    conflicts: int
    block: bytes


class DedupIndex:
    """Ids accepted within `horizon` microseconds; 32 bytes an id, in a table that is at most half full."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self._table: NDArray[np.int64] = _empty(_LEAST)
        self._count = 0

    def accept(self, ids: pl.Series, content: I64, known: int | I64) -> DedupResult:
        """Events in the order in which they came, known at `known`: a copy is one whose id was accepted less than the horizon before.

        Args:
            ids: integers or strings, none null. content: int64 (n), a hash of each event's content. known: microseconds, of all or of each.

        >>> ids = DedupIndex(10)
        >>> ids.accept(pl.Series([7, 7, 8]), np.array([1, 2, 3]), known=0).accepted.tolist()
        [True, False, True]
        >>> [ids.accept(pl.Series([7]), np.array([1]), known=at).accepted.item() for at in (9, 10)]
        [False, True]
        """
        first, second = words(ids)
        rows = np.column_stack([first, second, np.full(len(ids), known), content])
        self._room(len(rows), int(np.min(known)) if len(ids) else 0)
        accepted = np.zeros(len(rows), np.bool_)
        added, conflicts = _accept(self._table, rows, self.horizon, accepted)
        self._count += added
        return DedupResult(accepted, conflicts, rows[accepted].tobytes())

    def load(self, block: bytes, now: int) -> None:
        """Take in what a commit kept; what was accepted a horizon ago is forgotten."""
        rows = np.frombuffer(block, np.int64).reshape(-1, WIDTH)
        rows = rows[rows[:, 2] > now - self.horizon]
        self._room(len(rows), now)
        self._count += _accept(self._table, rows, self.horizon, np.zeros(len(rows), np.bool_))[0]

    def __len__(self) -> int:
        return self._count

    def _room(self, more: int, now: int) -> None:
        if 2 * (self._count + more) <= len(self._table):
            return
        live = self._table[(self._table[:, 2] != _FREE) & (self._table[:, 2] > now - self.horizon)]
        size = _LEAST
        while size < 4 * (len(live) + more):
            size *= 2
        self._table = _empty(size)
        self._count = _accept(self._table, live, self.horizon, np.zeros(len(live), np.bool_))[0]


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
def _accept(table, rows, horizon, accepted):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (compiled)
    """Put in the rows that are no copies; how many new ids, and how many copies differ from the first."""
    mask = len(table) - 1
    added, conflicts = 0, 0
    for i in range(len(rows)):
        a, b = rows[i, 0], rows[i, 1]
        h = (a ^ (b * 2862933555777941757 + 3037000493)) * -7046029254386353131
        p = (h ^ (h >> 29)) & mask
        while table[p, 2] != _FREE and (table[p, 0] != a or table[p, 1] != b):
            p = (p + 1) & mask
        if table[p, 2] != _FREE and rows[i, 2] - table[p, 2] < horizon:
            conflicts += rows[i, 3] != table[p, 3]
            continue
        added += table[p, 2] == _FREE
        table[p] = rows[i]
        accepted[i] = True
    return added, conflicts
