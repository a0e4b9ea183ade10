"""The payloads of a batch of records in one buffer, so that compiled code reads them without a
Python object for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from headwater.kernel.arrays import I64, U8


@dataclass(frozen=True, eq=False)
class Payloads(Sequence["bytes | None"]):
    """The n payloads of a batch: a sequence of bytes, and None for a tombstone.

    data: uint8, the buffer. begin: int64 (n), where each payload begins in it. size: int64 (n), its
    bytes; -1 for a tombstone.

    >>> payloads = Payloads.of([b"one", None, b""])
    >>> list(payloads), list(payloads[1:])
    ([b'one', None, b''], [None, b''])
    """

    data: U8
    begin: I64
    size: I64

    @classmethod
    def of(cls, payloads: Sequence[bytes | None]) -> Payloads:
        """Payloads in one buffer; those that are in one already stay there."""
        if isinstance(payloads, Payloads):
            return payloads
        size = np.fromiter(
            (-1 if payload is None else len(payload) for payload in payloads),
            np.int64,
            len(payloads),
        )
        data = b"".join([payload for payload in payloads if payload is not None])
        begin = np.cumsum(np.maximum(size, 0)) - np.maximum(size, 0)
        return cls(np.frombuffer(data, np.uint8), begin, size)

    def __len__(self) -> int:
        return len(self.begin)

    @overload
    def __getitem__(self, index: int) -> bytes | None: ...
    @overload
    def __getitem__(self, index: slice) -> Payloads: ...
    def __getitem__(self, index: int | slice) -> bytes | Payloads | None:
        if isinstance(index, slice):
            return Payloads(self.data, self.begin[index], self.size[index])
        begin, size = int(self.begin[index]), int(self.size[index])
        return None if size < 0 else self.data[begin : begin + size].tobytes()


def taken(payloads: Sequence[bytes | None], index: I64) -> Sequence[bytes | None]:
    """Some of the payloads, by index."""
    if isinstance(payloads, Payloads):
        return Payloads(payloads.data, payloads.begin[index], payloads.size[index])
    return [payloads[n] for n in index.tolist()]


def concatenated(batches: Sequence[Sequence[bytes | None]]) -> Sequence[bytes | None]:
    """The payloads of several batches, the earlier first: in one buffer if all of them are in
    buffers.
    """
    own = [batch for batch in batches if isinstance(batch, Payloads)]
    if not batches or len(own) < len(batches):
        return [payload for batch in batches for payload in batch]
    begins = np.cumsum([0, *(len(batch.data) for batch in own)]).tolist()
    return Payloads(
        np.concatenate([batch.data for batch in own]),
        np.concatenate([batch.begin + begin for batch, begin in zip(own, begins, strict=False)]),
        np.concatenate([batch.size for batch in own]),
    )
