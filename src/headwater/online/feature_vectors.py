"""The answers of reads: values, statuses and read versions, of one key or of many."""

from __future__ import annotations

from typing import NamedTuple, Self

from headwater.online.read_versions import ReadVersion
from headwater.state.read_plan import AnswerWords


class _MadeOfWords:
    words: AnswerWords | None = None

    def with_words(self, words: AnswerWords | None) -> Self:
        """The same, made of some words."""
        self.words = words
        return self


class _ManyFeatures(NamedTuple):
    values: list[list[object]]
    statuses: list[bytes]
    read_versions: list[ReadVersion]


class _OneFeatures(NamedTuple):
    values: list[object]
    statuses: bytes
    read_versions: list[ReadVersion]


class FeatureVectors(_MadeOfWords, _ManyFeatures):
    """Features of n keys: a tuple of `values`, `statuses` and `read_versions`.

    values: for each feature its n values, as polars' `to_list` gives them. statuses: for each
    feature n bytes, indices into `events.statuses.STATUSES`. read_versions: the read version of
    each view's values. words: what the loops computed, for the serving log; None where that was
    reordered since.
    """


class FeatureVector(_MadeOfWords, _OneFeatures):
    """Features of one key: as `FeatureVectors`, without the lists."""
