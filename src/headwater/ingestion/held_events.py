"""Events held until their time comes, ordered by due time: a commit reads those that are due,
however many wait behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from headwater.kernel.arrays import I64
from headwater.state import record

DUE, PAYLOAD = "headwater_due", "headwater_payload"
"""Columns of held rows: when an event happens, microseconds; and its record as it came, null where
it came as a row.
"""
_MERGED = 16  # blocks of one level that become one of the next
_LARGEST = 1 << 16  # rows of a block that is merged no more


@dataclass(frozen=True, eq=False)
class _HeldBlock:
    """The rows of one key of the store, rising by DUE; those before `start` have been released."""

    key: bytes
    rows: pl.DataFrame
    due: I64
    start: int = 0

    @property
    def first(self) -> int:
        """When the next of its events is due."""
        return int(self.due[self.start])

    @property
    def left(self) -> pl.DataFrame:
        return self.rows.slice(self.start)

    @property
    def level(self) -> int:
        """How often blocks of one event would have been merged to give as many."""
        size, level = len(self.due) - self.start, 0
        while size >= _MERGED:
            size, level = size // _MERGED, level + 1
        return level


@dataclass(frozen=True, eq=False)
class HeldEvents:
    """The held events of one partition writer, an immutable value.

    A block stays in the store as it is until its last event is released: an event is released by
    the first commit whose time is later than its own, so the time of the last commit says which
    events of a block still wait. Blocks of similar size are merged, so `n` events held by `n`
    commits lie in O(log n) blocks.

    spent: keys whose events have all been released; the next commit deletes them.
    looked_at: how many events have been read or moved so far: the work done.

    >>> changes, held = HeldEvents().put(b"a", pl.DataFrame({"n": [1, 2], DUE: [50, 10]}))
    >>> held.due, held.latest
    (10, 50)
    >>> released, held = held.release(20)
    >>> [rows["n"].to_list() for rows in released], held.due
    ([[2]], 50)
    """

    _blocks: tuple[_HeldBlock, ...] = ()
    spent: tuple[bytes, ...] = ()
    looked_at: int = 0

    @staticmethod
    def load(blocks: Mapping[bytes, bytes], at: int) -> HeldEvents:
        """Those in the values of the store by key, as `put` made them; at: the time of the last
        commit, microseconds.
        """
        found = [_sorted(key, record.frame_of(value)) for key, value in blocks.items()]
        return _held([replace(block, start=int(np.searchsorted(block.due, at))) for block in found])

    def __len__(self) -> int:
        return sum(len(block.due) - block.start for block in self._blocks)

    @cached_property
    def due(self) -> int | None:
        """When the first event happens, microseconds; None where none is held."""
        return min((block.first for block in self._blocks), default=None)

    @property
    def latest(self) -> int:
        """When the last event happens, microseconds; 0 where none is held."""
        return max((int(block.due[-1]) for block in self._blocks), default=0)

    @property
    def blocks(self) -> int:
        """How many keys of the store hold them."""
        return len(self._blocks)

    def release(self, now: int) -> tuple[list[pl.DataFrame], HeldEvents]:
        """The events whose time is before `now`, in the order of their times, one frame for each
        schema; and those that are left.
        """
        if self.due is None or self.due >= now:
            return [], self
        released, blocks = [], []
        for block in self._blocks:
            stop = int(np.searchsorted(block.due, now))
            if stop > block.start:
                released.append(block.rows.slice(block.start, stop - block.start))
            blocks.append(replace(block, start=stop) if stop > block.start else block)
        return list(_alike(released)), _held(
            blocks, self.spent, self.looked_at + sum(rows.height for rows in released)
        )

    def put(
        self, key: bytes, rows: pl.DataFrame | None
    ) -> tuple[dict[bytes, bytes | None], HeldEvents]:
        """Hold more rows under a new key; the changes of the store, including those of events
        released before, and the new held events.
        """
        changes: dict[bytes, bytes | None] = dict.fromkeys(self.spent)
        if rows is None:
            return changes, replace(self, spent=()) if self.spent else self
        block, blocks, moved = _sorted(key, rows), list(self._blocks), 0
        while others := _to_merge(blocks, block):
            changes |= dict.fromkeys(other.key for other in others)
            blocks = [other for other in blocks if not any(other is merged for merged in others)]
            block = _sorted(key, pl.concat([*(other.left for other in others), block.rows]))
            moved += block.rows.height
        return {**changes, key: record.frame_bytes(block.rows)}, _held(
            [*blocks, block], (), self.looked_at + moved
        )


def _held(
    blocks: Sequence[_HeldBlock], spent: Iterable[bytes] = (), looked_at: int = 0
) -> HeldEvents:
    """The held events of these blocks; those whose events have all been released are added to the
    spent ones.
    """
    done = (block.key for block in blocks if block.start == len(block.due))
    return HeldEvents(
        tuple(block for block in blocks if block.start < len(block.due)), (*spent, *done), looked_at
    )


def _to_merge(blocks: Sequence[_HeldBlock], block: _HeldBlock) -> list[_HeldBlock]:
    """The blocks that are of the level and schema of a new one, if they are so many that they
    become one.
    """
    if block.rows.height >= _LARGEST:
        return []
    alike = [
        other
        for other in blocks
        if other.level == block.level and other.rows.schema == block.rows.schema
    ]
    return alike if len(alike) >= _MERGED - 1 else []


def waiting(value: bytes, at: int) -> pl.DataFrame:
    """The events of one block of the store that still wait after a commit at `at`, microseconds."""
    rows = record.frame_of(value)
    return rows.filter(pl.col(DUE) >= at)


def _sorted(key: bytes, rows: pl.DataFrame) -> _HeldBlock:
    due = rows[DUE].to_numpy()
    if len(due) > 1 and (due[1:] < due[:-1]).any():
        order = np.argsort(due, kind="stable")
        rows, due = rows[order], due[order]
    return _HeldBlock(key, rows, due)


def _alike(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames of one schema joined, and sorted by DUE."""
    by: dict[tuple[tuple[str, pl.DataType], ...], list[pl.DataFrame]] = {}
    for frame in frames:
        by.setdefault(tuple(frame.schema.items()), []).append(frame)
    for same in by.values():
        yield pl.concat(same).sort(DUE, maintain_order=True) if len(same) > 1 else same[0]
