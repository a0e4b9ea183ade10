"""The ids of accepted events, for finding duplicates: in memory, and in blocks that commits
store.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.ingestion.dedup_tables import IdTables
from headwater.kernel.arrays import I64, Bool
from headwater.kernel.hashes import OTHER, hashes_of_strings, mixed

# words of a row of a block: two of the id, when it was accepted, and a hash of the content
WIDTH = 4


@dataclass(frozen=True)
class DedupResult:
    """Which events are accepted, bool (n); how many of the duplicates differ from the first; the
    ids to store; the index with these ids.
    """

    accepted: Bool
    conflicts: int
    block: bytes
    index: DedupIndex


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
        """Events in the order in which they came, known at `known`: a duplicate is one whose id was
        accepted less than the horizon before.

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
        """Without ids, with room for those of stored blocks of so many bytes together."""
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
        """Of memory: of the tables; where these are a later version's, what this one holds in
        addition.
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
    return hashes_of_strings(texts), hashes_of_strings(texts, OTHER)
