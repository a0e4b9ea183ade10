"""Where ids of accepted events are stored: one block a commit, merged so that a day of small
commits is a few dozen blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

import numpy as np

from headwater.ingestion.dedup_index import WIDTH

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
        known = _times(value)
        block = _IdBlock(
            key,
            int(known.min()),
            int(known.max()),
            len(value),
            1 + int(np.count_nonzero(np.diff(known))),
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
        kept = list(dropwhile(lambda block: block.last <= now - self.horizon, self._blocks))
        changes: dict[bytes, bytes | None] = {
            block.key: None for block in self._blocks[: len(self._blocks) - len(kept)]
        }
        if not value:
            return changes, replace(self, _blocks=tuple(kept)) if changes else self
        block, copied = _IdBlock(key, now, now, len(value), 1), self.copied
        while others := self._to_merge(kept, block):
            stored = read([other.key for other in others])
            value = b"".join([*(ids or b"" for ids in stored), value])
            changes |= dict.fromkeys(other.key for other in others)
            del kept[-len(others) :]
            block = _IdBlock(
                key,
                others[0].first,
                now,
                len(value),
                block.commits + sum(other.commits for other in others),
            )
            copied += len(others)
        return {**changes, key: value}, IdBlocks(self.horizon, copied, (*kept, block))

    def _to_merge(self, blocks: list[_IdBlock], block: _IdBlock) -> list[_IdBlock]:
        """The last blocks, if with a new one they become one; the oldest first."""
        if len(blocks) < _MERGED - 1 or blocks[1 - _MERGED].level != block.level:
            return []
        others = blocks[1 - _MERGED :]
        fits = (
            sum(other.size for other in others) + block.size <= _LARGEST
            and block.last - others[0].first <= self.horizon // _SPANS
        )
        return others if fits and all(other.level == block.level for other in others) else []


def _times(value: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.frombuffer(value, np.int64).reshape(-1, WIDTH)[:, 2]
