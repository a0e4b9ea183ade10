"""The strings of an answer, made in one call of Python: decoded together, and split at zero bytes.

Where a string holds a zero byte itself, or the room is too small for all, each is made of its span.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from headwater.kernel.arrays import I64
from headwater.state.read_plan import U8, ReadPlan
from headwater.state.read_values import SpelledStrings
from headwater.state.record_layout import LENGTH_BITS
from headwater.state.string_kernels import APART, FULL, ITEMS, MAPPED, START

_LENGTH: Final = 2**LENGTH_BITS - 1
_FIRST_ROOM, _MOST_ROOM = 256, 1 << 17  # words


class AnswerStrings:
    """The array into which a loop copies the strings of an answer; kept for the next one.

    Attributes:
        words: as `string_kernels.joined` fills them.
    """

    def __init__(self) -> None:
        self._take(_FIRST_ROOM)

    def drop(self) -> None:
        """Make the strings one by one: other values have become null since they were copied."""
        self._end[0] = APART

    def of(self, plan: ReadPlan, records: I64, out: I64, keys: int) -> Iterator[str]:
        """The strings of the last answer, in the order in which they are converted; `out`: its
        words.
        """
        if not plan.strings:
            return iter(())
        end = self._end[0]
        if end >= 0:
            return iter(str(self._bytes[START:end], "utf-8").split("\0"))
        if end == FULL and len(self.words) < _MOST_ROOM:
            self._take(2 * len(self.words))
        words, _, gone = plan.cut(out, keys)
        return _one_by_one(plan.strings, words, gone, out[plan.items_at(keys) :], records.tobytes())

    def _take(self, room: int) -> None:
        self.words = np.zeros(room, np.int64)
        self._end = memoryview(self.words.data)
        self._bytes = self._end.cast("B")


def _one_by_one(
    places: Sequence[tuple[int, int]], words: I64, gone: U8, items: I64, data: bytes
) -> Iterator[str]:
    """What `string_kernels.joined` copies, of the values and which of them are null; `data`: the
    records.
    """
    strings = SpelledStrings(data)
    for feature, parts in places:
        for word, null in zip(words[feature].tolist(), gone[feature].tolist(), strict=True):
            if null:
                continue
            if not parts:
                yield strings[word]
                continue
            first, count = word >> LENGTH_BITS, word & _LENGTH
            own = items[first : first + 3 * count].tolist()
            if parts & ITEMS:
                yield from (strings[span] for span in own[:count])
            if parts & MAPPED:
                yield from (
                    strings[span]
                    for span, valid in zip(own[count : 2 * count], own[2 * count :], strict=True)
                    if valid
                )
