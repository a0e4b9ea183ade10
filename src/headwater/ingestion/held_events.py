"""Events held until their time comes, ordered by due time: a commit reads those that are due, however many wait behind them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np
import polars as pl

from headwater.kernel.arrays import I64
from headwater.state import frame_codec

DUE = "headwater_due"
_MERGED = 16  # blocks of one level that become one of the next
_LARGEST = 1 << 16  # rows of a block that is merged no more


@dataclass
class _HeldBlock:
    """The rows of one key of the store, rising by DUE; those before `start` have been released."""

    key: bytes
    rows: pl.DataFrame
    due: I64
    start: int = 0

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


class HeldEvents:
    """The held events of one partition writer.

    A block stays in the store as it is until its last event is released: an event is released by the first commit whose time is later
    than its own, so the time of the last commit says which events of a block still wait. Blocks of similar size are merged, so `n` events
    held by `n` commits lie in O(log n) blocks.

    Args:
        blocks: the values of the store by key, as `put` made them. at: the time of the last commit, microseconds.

    >>> held = HeldEvents({}, at=0)
    >>> changes = held.put(b"a", pl.DataFrame({"n": [1, 2], DUE: [50, 10]}))
    >>> held.due, held.latest
    (10, 50)
    >>> [rows["n"].to_list() for rows in held.release(20)], held.due
    ([[2]], 50)
    """

    def __init__(self, blocks: Mapping[bytes, bytes], at: int) -> None:
        self.looked_at = 0
        """How many events have been read or moved so far: the work done."""
        self.latest = 0
        """No event is due later, microseconds."""
        self._order = count()
        self._blocks: dict[bytes, _HeldBlock] = {}
        self._heap: list[tuple[int, int, _HeldBlock]] = []
        self._spent: list[bytes] = []  # keys whose events have all been released; dropped by the next commit
        for key, value in blocks.items():
            block = _sorted(key, frame_codec.decoded(value))
            block.start = int(np.searchsorted(block.due, at))
            self._keep(block)

    def __len__(self) -> int:
        return sum(len(block.due) - block.start for block in self._blocks.values())

    @property
    def due(self) -> int | None:
        """When the first event happens, microseconds; None where none is held."""
        while self._heap and self._stale(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def blocks(self) -> int:
        """How many keys of the store hold them."""
        return len(self._blocks)

    def release(self, now: int) -> list[pl.DataFrame]:
        """Take out the events whose time is before `now`; one frame for each schema, without DUE."""
        come: list[pl.DataFrame] = []
        while (due := self.due) is not None and due < now:
            _, _, block = heapq.heappop(self._heap)
            stop = int(np.searchsorted(block.due, now))
            come.append(block.rows.slice(block.start, stop - block.start).drop(DUE))
            block.start = stop
            self.looked_at += come[-1].height
            self._keep(block)
        return list(_alike(come))

    def put(self, key: bytes, rows: pl.DataFrame | None) -> dict[bytes, bytes | None]:
        """Hold more rows under a new key; the changes of the store, those of earlier releases too."""
        changes: dict[bytes, bytes | None] = dict.fromkeys(self._spent)
        self._spent = []
        if rows is None:
            return changes
        block = _sorted(key, rows)
        while others := self._to_merge(block):
            changes |= dict.fromkeys(other.key for other in others)
            for other in others:
                del self._blocks[other.key]
            block = _sorted(key, pl.concat([*(other.left for other in others), block.rows]))
            self.looked_at += block.rows.height
        self._keep(block)
        return {**changes, key: frame_codec.encoded(block.rows)}

    def _to_merge(self, block: _HeldBlock) -> list[_HeldBlock]:
        """The blocks that are of the level and schema of a new one, if they are so many that they become one."""
        if block.rows.height >= _LARGEST:
            return []
        alike = [other for other in self._blocks.values() if other.level == block.level and other.rows.schema == block.rows.schema]
        return alike if len(alike) >= _MERGED - 1 else []

    def _keep(self, block: _HeldBlock) -> None:
        if block.start == len(block.due):
            self._blocks.pop(block.key, None)
            self._spent.append(block.key)
            if not self._blocks:
                self.latest = 0
            return
        self._blocks[block.key] = block
        self.latest = max(self.latest, int(block.due[-1]))
        heapq.heappush(self._heap, (int(block.due[block.start]), next(self._order), block))

    def _stale(self, due: int, _: int, block: _HeldBlock) -> bool:
        """Whether a block was merged into another one after this entry of the heap was made."""
        return self._blocks.get(block.key) is not block or int(block.due[block.start]) != due


def waiting(value: bytes, at: int) -> pl.DataFrame:
    """The events of one block of the store that still wait after a commit at `at`, microseconds."""
    rows = frame_codec.decoded(value)
    return rows.filter(pl.col(DUE) >= at)


def _sorted(key: bytes, rows: pl.DataFrame) -> _HeldBlock:
    due = rows[DUE].to_numpy()
    if len(due) > 1 and (due[1:] < due[:-1]).any():
        order = np.argsort(due, kind="stable")
        rows, due = rows[order], due[order]
    return _HeldBlock(key, rows, due)


def _alike(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames of one schema joined."""
    by: dict[tuple[tuple[str, pl.DataType], ...], list[pl.DataFrame]] = {}
    for frame in frames:
        by.setdefault(tuple(frame.schema.items()), []).append(frame)
    for same in by.values():
        yield pl.concat(same) if len(same) > 1 else same[0]
