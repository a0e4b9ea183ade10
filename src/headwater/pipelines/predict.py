"""Predictions of one model at one level: its features as they are now, its score, and how the answer came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import polars as pl

from headwater import clock
from headwater.compute.arrays import F64
from headwater.definitions.model import Model
from headwater.errors import StaleError
from headwater.pipelines.online import OnlineFeatures
from headwater.pipelines.quick import Answer, Answers

How = Literal["precomputed", "on_request", "default"]
"""Made ahead and looked up; made when it was asked for; or the model's own default, since there was nothing to make it of."""

_FEW = 16  # rows that are scored one by one sooner than as a frame


class Scorer(Protocol):
    """A fitted model as it is served."""

    @property
    def version(self) -> str:
        """Which one it is."""
        ...

    def one(self, values: Sequence[object]) -> float:
        """The score of one row: the features that are in training, in the service's order, as `OnlineFeatures.row` gives them."""
        ...

    def score(self, frame: pl.DataFrame) -> F64:
        """The score of each row: float64 (rows)."""
        ...


class Predicted(NamedTuple):
    """One prediction.

    value: the score. how: it was made. age: seconds from when the oldest feature read was known to the moment of asking.
    """

    value: float
    how: How
    age: float


class One(NamedTuple):
    """The prediction for one request, the features that it is made of (None where none were read), and the seconds each stage took."""

    predicted: Predicted
    features: Answer | None
    stages: Mapping[str, float]


class Many(NamedTuple):
    """As `One`, for many requests."""

    predicted: list[Predicted]
    features: Answers | None
    stages: Mapping[str, float]


class Predictor:
    """A model at a level, over an online store; made once for many requests.

    Args:
        model: what it is.
        features: those that it reads, at the level.
        scorer: what was trained on them.
    """

    def __init__(self, model: Model, features: OnlineFeatures, scorer: Scorer) -> None:
        self.model, self.features, self.scorer = model, features, scorer
        trained = model.features.in_training.feature_names
        self._places = None if trained == features.names else [features.names.index(name) for name in trained]

    def one(self, request: Mapping[str, object], *, t: int | None = None) -> One:
        """The prediction for one request, asked for at t: microseconds, None is now.

        Raises:
            DataError: the request lacks a field, or has one of another type.
            StoreError: the features cannot be read.
            StaleError: they are older than promised, a view refuses that, and the model has no default.
        """
        t = clock.now_micros() if t is None else t
        begin = clock.stopwatch()
        try:
            found = self.features.row(request, t=t)
        except StaleError:
            if self.model.default is None:
                raise
            return One(Predicted(self.model.default, "default", 0.0), None, {"read": clock.stopwatch() - begin})
        read = clock.stopwatch()
        value = self.scorer.one(found.values if self._places is None else [found.values[place] for place in self._places])
        end = clock.stopwatch()
        return One(Predicted(value, "on_request", _age(found, t)), found, {"read": read - begin, "score": end - read})

    def many(self, requests: Mapping[str, Sequence[object]], *, t: int | None = None) -> Many:
        """As `one`, of requests whose keys and fields stand in columns."""
        t = clock.now_micros() if t is None else t
        begin = clock.stopwatch()
        try:
            found = self.features.rows(requests, t=t)
        except StaleError:
            if self.model.default is None:
                raise
            count = len(next(iter(requests.values())))
            return Many([Predicted(self.model.default, "default", 0.0)] * count, None, {"read": clock.stopwatch() - begin})
        read = clock.stopwatch()
        age = _age(found, t)
        made = [Predicted(value, "on_request", age) for value in self._scores(found)]
        return Many(made, found, {"read": read - begin, "score": clock.stopwatch() - read})

    def _scores(self, found: Answers) -> list[float]:
        read = range(len(found.values)) if self._places is None else self._places
        if len(found.values[0]) <= _FEW:
            return [self.scorer.one(row) for row in zip(*(found.values[place] for place in read), strict=True)]
        columns = [pl.Series(self.features.names[place], found.values[place], strict=False) for place in read]
        return list(map(float, self.scorer.score(pl.DataFrame(columns))))


def _age(found: Answer | Answers, t: int) -> float:
    return max((t - moment.K for moment in found.moments), default=0) / 1e6
