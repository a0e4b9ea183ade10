"""Predictions of one model at one level, precomputed or scored on request from current features;
with how each came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import polars as pl

from headwater import clock
from headwater.definitions.model import Model, PredictionOrigin, Score
from headwater.errors import DataError, StaleError, UsageError
from headwater.kernel.arrays import F64
from headwater.models.hot_reload import Reloading
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.feature_vectors import FeatureVector, FeatureVectors

if TYPE_CHECKING:
    from headwater.online.precomputed import PrecomputedReader, Value

_FEW = 16  # rows that are scored one by one sooner than as a frame


class Scorer(Protocol):
    """A fitted model as it is served."""

    @property
    def version(self) -> str:
        """Which one it is."""
        ...

    def one(self, values: Sequence[object]) -> Score:
        """The score of one row: the features that are in training, in the service's order, as
        `OnlineFeatures.row` gives them.
        """
        ...

    def score(self, frame: pl.DataFrame) -> F64:
        """The score of each row: float64, (rows) or (rows, classes)."""
        ...


class ThirdPartyValues(NamedTuple):
    """What third parties have answered for some rows: values and statuses by the names of their
    features.

    ages: by third party, the seconds since the oldest of its answers; none where all are fallback
    values. seconds: that asking took.
    """

    values: Mapping[str, Sequence[object]]
    statuses: Mapping[str, bytes]
    ages: Mapping[str, float] = {}
    seconds: float = 0.0

    def take(self, rows: Sequence[int]) -> ThirdPartyValues:
        """What they said of some of the rows."""
        values = {name: [column[n] for n in rows] for name, column in self.values.items()}
        return ThirdPartyValues(
            values,
            {name: bytes([codes[n] for n in rows]) for name, codes in self.statuses.items()},
            self.ages,
            self.seconds,
        )


class Predicted(NamedTuple):
    """One prediction.

    value: the score. how: it was made. age: seconds from when the oldest of what it is made of was
    known to the moment of asking.
    """

    value: Score
    how: PredictionOrigin
    age: float


class RequestPrediction(NamedTuple):
    """The prediction for one request, the features that it is made of (None where none were read),
    and the seconds each stage took.

    version: of the model that made it.
    """

    predicted: Predicted
    features: FeatureVector | None
    stages: Mapping[str, float]
    version: str


class BatchPrediction(NamedTuple):
    """As `RequestPrediction`, for many requests. rows: the rows whose features were read, where
    others were precomputed; None is all.
    """

    predicted: list[Predicted]
    features: FeatureVectors | None
    stages: Mapping[str, float]
    version: str
    rows: Sequence[int] | None = None


class Predictor:
    """A model at a level, over an online store; made once for many requests.

    Args:
        model: what it is.
        features: those that it reads, at the level.
        scorer: the trained model; None where nothing is predicted on request.
        precomputed: precomputed predictions; None where there are none.
    """

    def __init__(
        self,
        model: Model,
        features: OnlineFeatures,
        scorer: Scorer | None,
        precomputed: PrecomputedReader | None = None,
    ) -> None:
        self.model, self.features, self.scorer = model, features, scorer
        # of a ranking these are lists; see `rank`
        self.precomputed = None if model.ranking is not None else precomputed
        trained = set(model.features.in_training.feature_names)
        self._names = [name for name in features.names if name in trained]
        places = [index for index, name in enumerate(features.names) if name in trained]
        self._places = None if len(places) == len(features.names) else places

    def one(
        self,
        request: Mapping[str, object],
        *,
        t: int | None = None,
        third_party: ThirdPartyValues | None = None,
    ) -> RequestPrediction:
        """The prediction for one request, asked for at t: microseconds, None is now.

        Precomputed, if there is one; else on request, where that is the fallback; else the model's
        default.

        Args:
            request: its keys and fields, as `RowSchema` decodes them.
            t: the request time.
            third_party: third-party values.

        Raises:
            DataError: the request lacks a field, or has one of another type.
            StoreError: the values cannot be read.
            StaleError: it is older than promised, which is refused, and the model has no default.
            UsageError: the model is a precomputed ranking, which has lists only.
        """
        t = clock.now_micros() if t is None else t
        if self.precomputed is None:
            return self._now(request, t, third_party, {})
        begin = clock.stopwatch()
        try:
            looked_up = self.precomputed.one(request, t)
        except StaleError:
            return RequestPrediction(
                self._default(), None, {"look up": clock.stopwatch() - begin}, ""
            )
        stages = {"look up": clock.stopwatch() - begin}
        if looked_up.value is not None and looked_up.cut is not None:
            return RequestPrediction(
                Predicted(_plain(looked_up.value), "precomputed", looked_up.age),
                None,
                stages,
                looked_up.cut.version,
            )
        if looked_up.how == "default":
            return RequestPrediction(
                Predicted(self._cold(), "default", 0.0),
                None,
                stages,
                "" if looked_up.cut is None else looked_up.cut.version,
            )
        return self._now(request, t, third_party, stages)

    def scored(self, features: FeatureVector, *, t: int, seconds: float) -> RequestPrediction:
        """As `one`, of features that were read at t for this and other requests, where none is
        precomputed; `seconds`: its share.
        """
        return self._scored(self._scorer(), features, t, None, {"read": seconds})

    def many(
        self,
        requests: Mapping[str, Sequence[object]],
        *,
        t: int | None = None,
        third_party: ThirdPartyValues | None = None,
    ) -> BatchPrediction:
        """As `prediction`, of requests whose keys and fields stand in columns."""
        t = clock.now_micros() if t is None else t
        if self.precomputed is None:
            return self._many_now(requests, t, third_party, {})
        count = len(next(iter(requests.values())))
        begin = clock.stopwatch()
        try:
            looked_up = self.precomputed.many(requests, count, t)
        except StaleError:
            return BatchPrediction(
                [self._default()] * count, None, {"look up": clock.stopwatch() - begin}, ""
            )
        stages = {"look up": clock.stopwatch() - begin}
        predictions = [
            Predicted(_plain(value), "precomputed", looked_up.age)
            if value is not None
            else None
            if origin == "on_request"
            else Predicted(self._cold(), "default", 0.0)
            for value, origin in zip(looked_up.values, looked_up.how, strict=True)
        ]
        version = "" if looked_up.cut is None else looked_up.cut.version
        rows = [n for n, prediction in enumerate(predictions) if prediction is None]
        if not rows:
            return BatchPrediction(
                [prediction for prediction in predictions if prediction is not None],
                None,
                stages,
                version,
            )
        remaining = {name: [column[n] for n in rows] for name, column in requests.items()}
        computed = self._many_now(
            remaining, t, None if third_party is None else third_party.take(rows), stages
        )
        instead = iter(computed.predicted)
        return BatchPrediction(
            [next(instead) if prediction is None else prediction for prediction in predictions],
            computed.features,
            computed.stages,
            version or computed.version,
            rows,
        )

    def _now(
        self,
        request: Mapping[str, object],
        t: int,
        third_party: ThirdPartyValues | None,
        stages: Mapping[str, float],
    ) -> RequestPrediction:
        """A prediction on request."""
        scorer = self._scorer()
        begin = clock.stopwatch()
        try:
            answer = read_one(self.features, request, t, third_party)
        except StaleError:
            return RequestPrediction(
                self._default(), None, {**stages, "read": clock.stopwatch() - begin}, scorer.version
            )
        took = {**stages, "read": clock.stopwatch() - begin}
        if third_party is not None:
            took["third party"] = third_party.seconds
        return self._scored(scorer, answer, t, third_party, took)

    def _scored(
        self,
        scorer: Scorer,
        answer: FeatureVector,
        t: int,
        third_party: ThirdPartyValues | None,
        stages: dict[str, float],
    ) -> RequestPrediction:
        """The prediction of a row of features; adds the time to `stages`."""
        begin = clock.stopwatch()
        value = scorer.one(
            answer.values
            if self._places is None
            else [answer.values[index] for index in self._places]
        )
        stages["score"] = clock.stopwatch() - begin
        return RequestPrediction(
            Predicted(value, "on_request", _age(answer, t, third_party)),
            answer,
            stages,
            scorer.version,
        )

    def _many_now(
        self,
        requests: Mapping[str, Sequence[object]],
        t: int,
        third_party: ThirdPartyValues | None,
        stages: Mapping[str, float],
    ) -> BatchPrediction:
        scorer = self._scorer()
        begin = clock.stopwatch()
        try:
            answers = read_many(self.features, requests, t, third_party)
        except StaleError:
            count = len(next(iter(requests.values())))
            return BatchPrediction(
                [self._default()] * count,
                None,
                {**stages, "read": clock.stopwatch() - begin},
                scorer.version,
            )
        read = clock.stopwatch()
        age = _age(answers, t, third_party)
        predictions = [
            Predicted(value, "on_request", age) for value in self._scores(scorer, answers.values)
        ]
        took = {**stages, "read": read - begin, "score": clock.stopwatch() - read}
        if third_party is not None:
            took["third party"] = third_party.seconds
        return BatchPrediction(predictions, answers, took, scorer.version)

    def _scorer(self) -> Scorer:
        if isinstance(self.scorer, Reloading):
            return self.scorer.served  # one version for the whole request
        if self.scorer is None:
            raise UsageError(
                f"the predictions of model {self.model.name!r} are precomputed lists; get them "
                "with rank"
            )
        return self.scorer

    def _scores(self, scorer: Scorer, columns: Sequence[Sequence[object]]) -> list[Score]:
        """The scores of rows whose features stand in columns."""
        if self._places is not None:
            columns = [columns[index] for index in self._places]
        if len(columns[0]) <= _FEW:
            return [scorer.one(row) for row in zip(*columns, strict=True)]
        frame = pl.DataFrame(
            [
                pl.Series(name, values, strict=False)
                for name, values in zip(self._names, columns, strict=True)
            ]
        )
        scores: list[Score] = scorer.score(frame).tolist()
        return scores

    def _default(self) -> Predicted:
        """The answer where every value is too old.

        Raises:
            StaleError: the model has no default; the one that is being handled.
        """
        if self.model.default is None:
            raise  # noqa: PLE0704 (called by who handles a StaleError)
        return Predicted(self.model.default, "default", 0.0)

    def _cold(self) -> Score:
        """The answer for a key without a precomputed prediction.

        Raises:
            DataError: the model has no default.
        """
        if self.model.default is None:
            raise DataError(
                f"no prediction of model {self.model.name!r} was made for this key, and the model "
                "has no default; give it one, or hw.precomputed(otherwise='on_request')"
            )
        return self.model.default


def read_one(
    features: OnlineFeatures,
    request: Mapping[str, object],
    t: int,
    third_party: ThirdPartyValues | None,
) -> FeatureVector:
    """The features of one request, as `RowSchema` decodes it, with what third parties have
    answered.
    """
    if third_party is None:
        return features.row(request, t=t, typed=True)
    answered = {name: values[0] for name, values in third_party.values.items()}
    return features.row({**request, **answered}, t=t, third_party_statuses=third_party.statuses)


def read_many(
    features: OnlineFeatures,
    requests: Mapping[str, Sequence[object]],
    t: int,
    third_party: ThirdPartyValues | None,
) -> FeatureVectors:
    """Those of many."""
    return (
        features.rows(requests, t=t)
        if third_party is None
        else features.rows(
            {**requests, **third_party.values}, t=t, third_party_statuses=third_party.statuses
        )
    )


def _plain(value: Value) -> Score:
    return list(value) if isinstance(value, tuple) else value  # type: ignore[arg-type]  # lists in order are answered by `rank`


def _age(
    answer: FeatureVector | FeatureVectors, t: int, third_party: ThirdPartyValues | None
) -> float:
    oldest = max((read_version.age(t) for read_version in answer.read_versions), default=0) / 1e6
    return oldest if third_party is None else max(oldest, *third_party.ages.values(), 0.0)
