"""Where ids of accepted events are stored: one block a commit, merged so that a day of small commits is a few dozen blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from headwater.ingestion.dedup_index import WIDTH

_MERGED = 32  # neighbours of one level that become one of the next
_LARGEST = 1 << 20  # bytes that a merge makes at most
_SPANS = 24  # of the horizon: a merged block holds ids of one of these parts of it at most (an hour of a day)


@dataclass(frozen=True)
class _IdBlock:
    """One key of the store: the times of its first and last commit in microseconds, its bytes, how many commits made it."""

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


class IdBlocks:
    """The stored ids of one partition writer, oldest first. Each id is copied O(log n) times, a commit costs O(1) amortised.

    Args:
        horizon: how long ids are kept, microseconds. read: the values of keys of the store.

    >>> rows = lambda at: np.array([[1, 2, at, 3]], np.int64).tobytes()
    >>> blocks = IdBlocks(100, lambda keys: [rows(0) for _ in keys])
    >>> sorted(blocks.put(b"a", rows(0), 0)), sorted(blocks.put(b"b", rows(60), 60))
    ([b'a'], [b'b'])
    >>> blocks.put(b"c", b"", 100)
    {b'a': None}
    """

    def __init__(self, horizon: int, read: Callable[[Sequence[bytes]], Sequence[bytes | None]]) -> None:
        self.horizon, self.read = horizon, read
        self.copied = 0
        """How many blocks have been read again to be merged so far: the work done."""
        self._blocks: deque[_IdBlock] = deque()

    def __len__(self) -> int:
        return len(self._blocks)

    def load(self, key: bytes, value: bytes) -> None:
        """Take up a block that the store holds; blocks come in the order of their commits."""
        known = _times(value)
        self._blocks.append(_IdBlock(key, int(known.min()), int(known.max()), len(value), len(np.unique(known))))

    def put(self, key: bytes, value: bytes, now: int) -> dict[bytes, bytes | None]:
        """Store the ids of a commit at `now` under a new key, and drop blocks of ids that are older than the horizon; the changes."""
        changes: dict[bytes, bytes | None] = {}
        while self._blocks and self._blocks[0].last <= now - self.horizon:
            changes[self._blocks.popleft().key] = None
        if not value:
            return changes
        block = _IdBlock(key, now, now, len(value), 1)
        while others := self._to_merge(block):
            stored = self.read([other.key for other in others])
            value = b"".join([*(ids or b"" for ids in stored), value])
            changes |= dict.fromkeys(other.key for other in others)
            for _ in others:
                self._blocks.pop()
            block = _IdBlock(key, others[0].first, now, len(value), block.commits + sum(other.commits for other in others))
            self.copied += len(others)
        self._blocks.append(block)
        return {**changes, key: value}

    def _to_merge(self, block: _IdBlock) -> list[_IdBlock]:
        """The last blocks, if with a new one they become one; the oldest first."""
        if len(self._blocks) < _MERGED - 1 or self._blocks[1 - _MERGED].level != block.level:
            return []
        others = list(islice(reversed(self._blocks), _MERGED - 1))[::-1]
        fits = sum(other.size for other in others) + block.size <= _LARGEST and block.last - others[0].first <= self.horizon // _SPANS
        return others if fits and all(other.level == block.level for other in others) else []


def _times(value: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.frombuffer(value, np.int64).reshape(-1, WIDTH)[:, 2]
