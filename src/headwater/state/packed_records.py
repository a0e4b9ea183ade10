"""Records of many keys one after the other, so that loops over all of them need no object for
each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from headwater.kernel.arrays import I64

_None = TypeVar("_None", bytes, None)


@dataclass(frozen=True, eq=False)
class PackedRecords:
    """Records, or sections of them: words of all, and where each begins and ends among these; equal
    where there is none.

    >>> packed = PackedRecords.of([bytes(16), b"", bytes(8)])
    >>> (
    ...     len(packed),
    ...     packed.first.tolist(),
    ...     packed.last.tolist(),
    ...     list(packed) == [bytes(16), b"", bytes(8)],
    ... )
    (3, [0, 2, 2], [2, 2, 3], True)
    """

    words: I64
    first: I64
    last: I64

    @classmethod
    def of(cls, records: Sequence[bytes]) -> PackedRecords:
        """Join records; empty bytes are none."""
        at = np.zeros(len(records) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, records), np.int64, len(records)) >> 3, out=at[1:])
        return cls.between(np.frombuffer(b"".join(records), np.int64), at)

    @classmethod
    def between(cls, words: I64, at: I64) -> PackedRecords:
        """Records that stand one after the other; `at` is where each begins, and the end: int64
        (records + 1).
        """
        return cls(words, at[:-1], at[1:])

    @property
    def heads(self) -> I64:
        """The first word of each record that is not empty."""
        return self.words[self.first[self.last > self.first]]

    def followed_by(self, others: PackedRecords) -> PackedRecords:
        """These and then others."""
        begin = len(self.words)
        bounds = zip((self.first, self.last), (others.first, others.last), strict=True)
        return PackedRecords(
            np.concatenate([self.words, others.words]),
            *(np.concatenate([a, b + begin]) for a, b in bounds),
        )

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.cut(b""))

    def cut(self, none: _None) -> list[bytes | _None]:
        """The records as bytes, with `none` in the place of those that are empty."""
        data = self.words.tobytes()
        return [
            data[a:b] or none
            for a, b in zip((self.first * 8).tolist(), (self.last * 8).tolist(), strict=True)
        ]


class KeyedRecords(Mapping[bytes, bytes]):
    """A packed record for each key.

    Args:
        order: the keys, each once.
        packed: their records, in this order.
    """

    def __init__(self, order: list[bytes], packed: PackedRecords) -> None:
        self.order, self.packed = order, packed

    @classmethod
    def of(cls, records: Mapping[bytes, bytes]) -> KeyedRecords:
        """Pack the records of some keys."""
        return (
            records
            if isinstance(records, KeyedRecords)
            else cls(list(records), PackedRecords.of(list(records.values())))
        )

    @cached_property
    def _by_key(self) -> dict[bytes, bytes]:
        return dict(zip(self.order, self.packed, strict=True))

    def __getitem__(self, key: bytes) -> bytes:
        return self._by_key[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)
