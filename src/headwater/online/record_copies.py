"""The records of a read, copied by the store one after the other into an array that is kept for the
next read.

Only an LMDB store copies them (`lmdb_pages`). Others give each record as bytes, and
`CompiledReader` joins these.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from headwater.kernel.arrays import I64
from headwater.online.read_layout import ReadLayout
from headwater.state import record
from headwater.state.read_plan import ReadPlan
from headwater.state.tiles import NONE
from headwater.stores import OnlineStore
from headwater.stores.lmdb_pages import FULL, U8, RecordCopier

_NOTHING = np.frombuffer(record.EMPTY, np.int64).copy()
_FIRST_ROOM = 4_096  # words
_MOST_ROOM = 1 << 23  # words that are kept: 64 MB


Copied = tuple[Sequence[bytes | None], int]
"""The values of a layout's version keys, and the word after the last record."""


class RecordCopies:
    """The array of one reader. It holds the words that `state.read_kernels.answer` takes: times, a
    section of no tiles, room, records.

    Attributes:
        words: int64; they hold the last read.
    """

    def __init__(self, copy: RecordCopier) -> None:
        self._copy = copy
        self._plan: ReadPlan | None = None
        self._layout: ReadLayout | None = None
        self._snapshot = -1  # that `_values` are of
        self._values: list[bytes | None] = []
        self._take(_FIRST_ROOM)

    @staticmethod
    def from_store(store: OnlineStore) -> RecordCopies | None:
        """The copies of a store that can copy records; None for another store."""
        copy: RecordCopier | None = getattr(store, "copy_records", None)
        return None if copy is None else RecordCopies(copy)

    def one(
        self, layout: ReadLayout, plan: ReadPlan, keys: Sequence[bytes | None]
    ) -> Copied | None:
        """Copy the records of one key of each group, in the order of `ReadLayout.record_keys`; None
        where the store has to give them.
        """
        if None in keys or not layout.plain:
            return self.joined(layout, plan, layout.record_keys_of_one(keys)[layout.heads :])
        letters, ends = layout.letters_of_one(keys)  # type: ignore[arg-type]
        return self.packed(layout, plan, np.frombuffer(letters, np.uint8), ends)

    def integers(self, layout: ReadLayout, plan: ReadPlan, keys: Sequence[object]) -> Copied | None:
        """As `one`, of integers, of a layout with `pack_integers`; None also where one has more
        than 64 bits.
        """
        pieces = layout.pieces.copy()
        pieces[1::2] = keys
        try:
            layout.pack_integers(layout.letters, 0, *pieces)  # type: ignore[misc, arg-type]
        except struct.error:
            return None
        return self.packed(layout, plan, layout.letters, layout.ends_of_words)

    def at_times(self, plan: ReadPlan, times: Sequence[int]) -> I64:
        """The words, with the times of a read."""
        plan.times_into(self._bytes, 0, *times)
        if plan is not self._plan:
            at = 8 * len(times)
            self._bytes[at : at + len(NONE)] = NONE
            self._plan = plan
        return self.words

    def joined(self, layout: ReadLayout, plan: ReadPlan, keys: Sequence[bytes]) -> Copied | None:
        """As `one`, of any keys, as they are in the store."""
        ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
        return self.packed(layout, plan, np.frombuffer(b"".join(keys), np.uint8), ends)

    def packed(self, layout: ReadLayout, plan: ReadPlan, keys: U8, ends: I64) -> Copied | None:
        """As `joined`, of keys one after the other; `ends`: where each ends."""
        while True:
            known_snapshot = self._snapshot if layout is self._layout else -1
            snapshot, values, end = self._copy(
                known_snapshot,
                layout.version_keys,
                keys,
                ends,
                _NOTHING,
                self.words,
                plan.records_at,
            )
            if values is not None:
                self._layout, self._snapshot, self._values = layout, snapshot, values
            if end is None:
                return None
            if end != FULL:
                return self._values, end
            if len(self.words) >= _MOST_ROOM:
                return None
            self._take(2 * len(self.words))

    def _take(self, room: int) -> None:
        self.words = np.empty(room, np.int64)
        self._bytes = memoryview(self.words.data).cast("B")
        self._plan = None
