"""The result of a request, before it is encoded for Python (`python_encoder`) or as JSON
(`http.response_encoder`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from headwater.online.feature_reader import OnlineFeatures
from headwater.online.feature_vectors import FeatureVector, FeatureVectors
from headwater.online.predictor import Predicted, ThirdPartyValues
from headwater.online.ranker import Order
from headwater.online.read_versions import ReadVersion

if TYPE_CHECKING:
    from headwater.serving.arm_choice import RowArm
    from headwater.serving.http.row_decoder import ParsedRequest


class ServingResult(NamedTuple):
    """The result of one request.

    name: of the feature service or model. t: request time, microseconds. rows: how many. version:
    of the model. features: of one row or many; None where none were read. rows_read: the rows with
    features, where the predictions of others were precomputed; None is all.
    predicted: the predictions. order: of a ranking. stages: seconds by stage. ages: of the answers
    of each third party. arms: during an experiment, the arm of each row (of a ranking, of the
    list); empty where every row got the default. parts: of which it consists, where several arms
    answered.
    """

    name: str
    level: str | None
    t: int
    rows: int
    stages: dict[str, float]
    version: str = ""
    features: FeatureVector | FeatureVectors | None = None
    rows_read: Sequence[int] | None = None
    predicted: Sequence[Predicted] = ()
    order: Order | None = None
    ages: Mapping[str, float] = {}
    arms: Sequence[RowArm | None] = ()
    parts: Sequence[ResultPart] = ()

    @property
    def one_arm(self) -> RowArm | None:
        """The arm of a result for one row, or of a list."""
        return self.arms[0] if len(self.arms) == 1 else None

    @property
    def experiment(self) -> str | None:
        """The experiment of a result for one row, or of a list."""
        return None if self.one_arm is None else self.one_arm.experiment.plan.experiment

    @property
    def arm(self) -> str | None:
        """The arm of a result for one row, or of a list."""
        return None if self.one_arm is None else self.one_arm.assigned.arm

    @property
    def flag(self) -> str | None:
        """Why the answer is not evidence of its arm, for one row or a list."""
        return (self.one_arm.assigned.flag or None) if self.one_arm is not None else None

    @property
    def each_arm(self) -> list[dict[str, str] | None] | None:
        """Experiment, arm and flag of each of several rows; None without an experiment."""
        if len(self.arms) < 2:
            return None
        return [None if arm is None else arm.named for arm in self.arms]

    @property
    def timing(self) -> Mapping[str, float]:
        """Milliseconds by stage."""
        return {name: round(seconds * 1000, 4) for name, seconds in self.stages.items()}

    def feature_rows(self) -> Iterator[tuple[int, Sequence[object], bytes]]:
        """The number, values and statuses of each row with features."""
        features = self.features
        if isinstance(features, FeatureVector):
            yield 0, features.values, features.statuses
        elif features is not None:
            numbers = range(len(features.statuses[0])) if self.rows_read is None else self.rows_read
            codes = map(bytes, zip(*features.statuses, strict=True))
            yield from zip(numbers, zip(*features.values, strict=True), codes, strict=True)


class RowEncoder(Protocol):
    """Encodes the features of rows: `http.response_encoder.ResponseEncoder`."""

    shape: FeatureShape

    def feature_rows(self, result: ServingResult) -> list[bytes | None]:
        """The features of each row as a JSON object; None for rows without."""
        ...


class ResultPart(NamedTuple):
    """A part of a result: the rows that one arm has answered, as a request and a result of their
    own.

    rows: their places in the whole. arm: for the serving log; None for the default. encoder: of the
    rows' features.
    """

    request: ParsedRequest
    result: ServingResult
    rows: Sequence[int]
    arm: str | None
    encoder: RowEncoder


def ages_of(third_party: ThirdPartyValues | None) -> Mapping[str, float]:
    """The ages for `ServingResult`."""
    return {} if third_party is None else third_party.ages


class FeatureShape:
    """The features of an answer: their names and read versions. Third parties count as views, after
    those of the service.

    Attributes:
        names: names of the features. views: names of the views and third parties.
        view_indexes: the index of each feature's view or third party in `views`, -1 for neither.
    """

    def __init__(self, features: OnlineFeatures) -> None:
        service = features.service
        self._third_parties = [http.name for http in service.http_features]
        owners = {
            name: len(service.views) + n
            for n, http in enumerate(service.http_features)
            for name in http.feature_names
        }
        self.names = features.names
        self.views = [*(view.name for view in service.views), *self._third_parties]
        self.view_indexes = tuple(
            owners.get(name, owner) for name, owner in zip(features.names, features.of, strict=True)
        )
        self._all_read = not self._third_parties and -1 not in self.view_indexes

    def versions(self, result: ServingResult) -> list[ReadVersion]:
        """The version of each of `views`, then that of everything else: the request time, as for a
        third party without values.
        """
        t, read = result.t, [] if result.features is None else result.features.read_versions
        if self._all_read:
            return read
        third_parties = [
            ReadVersion(t, t - round(result.ages.get(party, 0.0) * 1e6), {}, stale=False)
            for party in self._third_parties
        ]
        return [*read, *third_parties, ReadVersion(t, t, {}, stale=False)]
