"""The words of a compiled read, kept next to the decoded values; the serving log writes the words
unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwater.kernel.arrays import I64

Meaning = Literal["int", "float", "bool", ""]


@dataclass(frozen=True, eq=False)
class WordLayout:
    """What the words of an answer are; one object for all answers of a reader.

    An answer of n keys has 8 bytes for each value, (features, n), then a byte for each status and a
    byte that is 1 for each null value, both (features, n), and anything up to a whole word.

    Attributes:
        features: their names.
        meanings: the type of each feature's values; empty where the word alone is not the value.
    """

    features: Sequence[str]
    meanings: Sequence[Meaning]


AnswerWords = tuple[WordLayout, I64]
"""The words of one answer, int64, and perhaps the items of its lists after them; nothing writes to
them any more.
"""


def by_key(words: AnswerWords | None, keys: int) -> Sequence[AnswerWords | None]:
    """The words of an answer of several keys, as an answer of each."""
    if words is None:
        return [None] * keys
    layout, together = words
    features = len(layout.features)
    each = np.zeros((keys, words_of(features, 1)), np.int64)
    places = features * keys
    each[:, :features] = together[:places].reshape(features, keys).T
    flags = (
        together[places : words_of(features, keys)]
        .view(np.uint8)[: 2 * places]
        .reshape(2 * features, keys)
    )
    each[:, features:].view(np.uint8)[:, : 2 * features] = flags.T
    return [(layout, own) for own in each]


def words_of(features: int, keys: int) -> int:
    """How many words an answer has.

    >>> words_of(27, 1), words_of(0, 5)
    (34, 0)
    """
    places = features * keys
    return places + (2 * places + 7) // 8
