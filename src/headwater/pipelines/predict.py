"""Predictions of one model at one level: what was made ahead, or its features as they are now and their score; and how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from headwater import clock
from headwater.compute.arrays import F64
from headwater.definitions.model import Model
from headwater.definitions.predicted import How, Score
from headwater.errors import StaleError
from headwater.pipelines.online import OnlineFeatures
from headwater.pipelines.quick import Answer, Answers

_FEW = 16  # rows that are scored one by one sooner than as a frame


class Scorer(Protocol):
    """A fitted model as it is served."""

    @property
    def version(self) -> str:
        """Which one it is."""
        ...

    def one(self, values: Sequence[object]) -> Score:
        """The score of one row: its features in the service's order, as `OnlineFeatures.row` gives them."""
        ...

    def score(self, frame: pl.DataFrame) -> F64:
        """The score of each row: float64, (rows) or (rows, classes)."""
        ...


class Beside(NamedTuple):
    """What third parties have answered for some rows: values and statuses by the names of their features.

    ages: by third party, the seconds since the oldest of its answers; none where all are fallback values.
    """

    values: Mapping[str, Sequence[object]]
    statuses: Mapping[str, bytes]
    ages: Mapping[str, float] = {}


class Predicted(NamedTuple):
    """One prediction.

    value: the score. how: it was made. age: seconds from when the oldest of what it is made of was known to the moment of asking.
    """

    value: Score
    how: How
    age: float


class One(NamedTuple):
    """The prediction for one request, the features that it is made of (None where none were read), and the seconds each stage took.

    version: of the model that made it.
    """

    predicted: Predicted
    features: Answer | None
    stages: Mapping[str, float]
    version: str


class Many(NamedTuple):
    """As `One`, for many requests."""

    predicted: list[Predicted]
    features: Answers | None
    stages: Mapping[str, float]
    version: str


class Predictor:
    """A model at a level, over an online store; made once for many requests.

    Args:
        model: what it is.
        features: those that it reads, at the level.
        scorer: what was trained on them.
    """

    def __init__(self, model: Model, features: OnlineFeatures, scorer: Scorer) -> None:
        self.model, self.features, self.scorer = model, features, scorer

    def one(self, request: Mapping[str, object], *, t: int | None = None, beside: Beside | None = None) -> One:
        """The prediction for one request, asked for at t: microseconds, None is now.

        Args:
            request: its keys and fields.
            t: the moment of asking.
            beside: what third parties have answered.

        Raises:
            DataError: the request lacks a field, or has one of another type.
            StoreError: the features cannot be read.
            StaleError: they are older than promised, a view refuses that, and the model has no default.
        """
        t = clock.now_micros() if t is None else t
        scorer = self.scorer
        begin = clock.stopwatch()
        try:
            if beside is None:
                found = self.features.row(request, t=t)
            else:
                answered = {name: values[0] for name, values in beside.values.items()}
                found = self.features.row({**request, **answered}, t=t, said=beside.statuses)
        except StaleError:
            return One(self._default(), None, {"read": clock.stopwatch() - begin}, scorer.version)
        read = clock.stopwatch()
        value = scorer.one(found.values)
        stages = {"read": read - begin, "score": clock.stopwatch() - read}
        return One(Predicted(value, "on_request", _age(found, t, beside)), found, stages, scorer.version)

    def many(self, requests: Mapping[str, Sequence[object]], *, t: int | None = None, beside: Beside | None = None) -> Many:
        """As `one`, of requests whose keys and fields stand in columns."""
        t = clock.now_micros() if t is None else t
        scorer = self.scorer
        begin = clock.stopwatch()
        try:
            if beside is None:
                found = self.features.rows(requests, t=t)
            else:
                found = self.features.rows({**requests, **beside.values}, t=t, said=beside.statuses)
        except StaleError:
            count = len(next(iter(requests.values())))
            return Many([self._default()] * count, None, {"read": clock.stopwatch() - begin}, scorer.version)
        read = clock.stopwatch()
        age = _age(found, t, beside)
        made = [Predicted(value, "on_request", age) for value in _scores(scorer, self.features.names, found)]
        return Many(made, found, {"read": read - begin, "score": clock.stopwatch() - read}, scorer.version)

    def _default(self) -> Predicted:
        """What is answered where features are too old.

        Raises:
            StaleError: the model has no default; the one that is being handled.
        """
        if self.model.default is None:
            raise  # noqa: PLE0704 (called by who handles a StaleError)
        return Predicted(self.model.default, "default", 0.0)


def _scores(scorer: Scorer, names: Sequence[str], found: Answers) -> list[Score]:
    if len(found.values[0]) <= _FEW:
        return [scorer.one(row) for row in zip(*found.values, strict=True)]
    columns = [pl.Series(name, values, strict=False) for name, values in zip(names, found.values, strict=True)]
    scores: list[Score] = scorer.score(pl.DataFrame(columns)).tolist()
    return scores


def _age(found: Answer | Answers, t: int, beside: Beside | None) -> float:
    own = max((t - moment.K for moment in found.moments), default=0) / 1e6
    return own if beside is None else max(own, *beside.ages.values(), 0.0)
