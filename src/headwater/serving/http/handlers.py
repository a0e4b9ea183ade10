"""Handlers of the prediction routes (features, predict, rank) and of outcomes: parse a request, then compute its result as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from msgspec import UNSET

from headwater import clock
from headwater.errors import DataError
from headwater.online.compiled_reader import FeatureVector, FeatureVectors
from headwater.online.predictor import BatchPrediction, Predicted, ThirdPartyValues, read_many, read_one
from headwater.online.ranker import Order, Proposed
from headwater.serving.endpoints import propose
from headwater.serving.http.request_schema import AnyRequest, FeaturesRequest, PredictionRequest, RankingRequest, Reader, Row
from headwater.serving.http.response_encoder import ResponseEncoder, encode, moment_text, predicted, timing
from headwater.serving.service import Service

MOST_ROWS = 10_000
"""Rows in one request."""


class ParsedRequest(NamedTuple):
    """A parsed request.

    service: the feature service to read; empty for none. row: of a request for one row; else `columns`, with `height` rows.
    proposed: the candidates of a ranking.
    """

    service: str
    row: Mapping[str, object] | None
    columns: Mapping[str, Sequence[object]]
    height: int
    proposed: Proposed | None = None

    def as_columns(self) -> Mapping[str, Sequence[object]]:
        """The request as columns."""
        return self.columns if self.row is None else {name: [value] for name, value in self.row.items()}


class HandlerResult(NamedTuple):
    """The result of a handler: response body, number of rows, and details for metrics and logs.

    features: of one row or many. predicted: the predictions. version: of the model. stages: seconds by stage. again: Retry-After,
    seconds. of: the rows with features, where the predictions of others were precomputed; None is all. order: of a ranking.
    """

    body: bytes
    rows: int
    features: FeatureVector | FeatureVectors | None = None
    predicted: Sequence[Predicted] = ()
    version: str | None = None
    stages: Mapping[str, float] = {}
    status: int = 200
    again: int | None = None
    of: Sequence[int] | None = None
    order: Order | None = None


def size(body: AnyRequest) -> int:
    """The number of rows of a request.

    Raises:
        DataError: no rows, too many, or rows in two forms; or columns of different lengths.
    """
    if isinstance(body, RankingRequest):
        return _checked(1 if body.candidates is None else len(body.candidates), "candidates")
    forms = (body.row is not UNSET) + (body.rows is not UNSET) + (body.columns is not UNSET)
    if forms != 1:
        raise DataError(f"the request has {forms or 'none'} of `row`, `rows` and `columns`; give one of them")
    if isinstance(body.rows, list):
        return _checked(len(body.rows), "rows")
    if isinstance(body.columns, dict):
        sizes = {len(column) for column in body.columns.values()}
        if len(sizes) > 1:
            raise DataError(f"the columns of the request hold {sorted(sizes)} values; give each one value a row")
        return _checked(sizes.pop() if sizes else 0, "rows")
    return 1


def read_features(service: Service, name: str, body: FeaturesRequest, t: int) -> ParsedRequest:  # noqa: ARG001 (as `Work`)
    """Parse the rows of `POST /v1/features/{service}`."""
    return _ready(service.open(name, body.level).reader, name, body)


def features(
    service: Service, name: str, body: FeaturesRequest, t: int, request: ParsedRequest, third_party: ThirdPartyValues | None
) -> HandlerResult:
    """`POST /v1/features/{service}`."""
    begin = clock.stopwatch()
    online, _, writer = service.open(name, body.level)
    if request.row is not None:
        answer = read_one(online, request.row, t, third_party)
        read = clock.stopwatch()
        versioned = (
            answer if third_party is None else answer._replace(read_versions=writer.read_versions(answer.read_versions, third_party, t))
        )
        content = writer.compact(versioned, t) if body.compact else writer.one(versioned, t)
        return HandlerResult(content, 1, answer, stages=_stages(begin, read, third_party))
    answers = read_many(online, request.columns, t, third_party)
    read = clock.stopwatch()
    form = writer.compact_many if body.compact else writer.columns if body.rows is UNSET else writer.rows
    content = form(
        answers if third_party is None else answers._replace(read_versions=writer.read_versions(answers.read_versions, third_party, t)), t
    )
    return HandlerResult(content, request.height, answers, stages=_stages(begin, read, third_party))


def read_prediction(service: Service, name: str, body: PredictionRequest, t: int) -> ParsedRequest:  # noqa: ARG001 (as `Work`)
    """Parse the rows of `POST /v1/predict/{model}`."""
    variant = service.variant(name, body.level)
    ahead = variant.ahead is not None and not variant.ahead.scoring.on_request
    return _ready(variant.reader, "" if ahead else variant.predictor.model.features.name, body)


def predict(
    service: Service, name: str, body: PredictionRequest, t: int, request: ParsedRequest, third_party: ThirdPartyValues | None
) -> HandlerResult:
    """`POST /v1/predict/{model}`."""
    predictor, _, _, writer = service.variant(name, body.level)
    if request.row is not None:
        prediction, answer, stages, version = predictor.one(request.row, t=t, third_party=third_party)
        feature_json = b""
        if body.features and answer is not None:
            feature_json = b',"features":' + writer.features(
                answer.values, answer.statuses, writer.read_versions(answer.read_versions, third_party, t), t
            )
        content = b'%b,"prediction":%b%b}%b' % (
            _head(name, version, body.level, t),
            predicted(prediction),
            feature_json,
            _tail(body, stages),
        )
        return HandlerResult(content, 1, answer, (prediction,), version, stages)
    many = predictor.many(request.columns, t=t, third_party=third_party)
    predictions = b",".join(
        _parts(writer, many, third_party, t) if body.features else [predicted(prediction) + b"}" for prediction in many.predicted]
    )
    content = b'%b,"predictions":[%b]%b' % (_head(name, many.version, body.level, t), predictions, _tail(body, many.stages))
    return HandlerResult(content, len(many.predicted), many.features, many.predicted, many.version, many.stages, of=many.rows)


def read_ranking(service: Service, name: str, body: RankingRequest, t: int) -> ParsedRequest:
    """Parse `POST /v1/rank/{model}`, and retrieve the candidates."""
    ranker = service.ranker(name, body.level)
    of, reader = ranker.predictor.model.features.name, service.variant(name, body.level).reader
    proposed = propose(ranker, reader, body.row, body.candidates, t)
    return ParsedRequest("" if proposed.order is not None else of, None, proposed.columns, proposed.height, proposed)


def rank(
    service: Service, name: str, body: RankingRequest, t: int, request: ParsedRequest, third_party: ThirdPartyValues | None
) -> HandlerResult:
    """`POST /v1/rank/{model}`."""
    assert request.proposed is not None
    ranker = service.ranker(name, body.level)
    order = ranker.order(request.proposed, body.k, t=t, third_party=third_party)
    answers = order.features
    item_jsons = [b'{"item":%b,"score":%b' % (encode(item), encode(prediction.value)) for item, prediction in order.items]
    if body.features and answers is not None:
        writer = service.variant(name, body.level).writer
        item_jsons = [
            b'%b,"features":%b' % (item_json, row)
            for item_json, row in zip(item_jsons, _rows(writer, answers, third_party, t), strict=True)
        ]
    about = b'"how":"%b","age":%.6f,"candidates":%d' % (order.how.encode(), order.age, order.candidates)
    items = b",".join(item_json + b"}" for item_json in item_jsons)
    content = b'%b,%b,"items":[%b]%b' % (_head(name, order.version, body.level, t), about, items, _tail(body, order.stages))
    return HandlerResult(
        content, order.candidates, answers, [prediction for _, prediction in order.items], order.version, order.stages, order=order
    )


def outcomes(service: Service, name: str, body: Row | list[Row]) -> HandlerResult:
    """`POST /v1/outcomes/{labels}`; the result is returned after the outcomes are on disk."""
    rows = [body] if isinstance(body, dict) else body
    _checked(len(rows), "outcomes")
    added = service.outcomes(name, rows)
    refused = [{"index": index, "reason": why} for index, why in added.refused]
    content = {"accepted": added.accepted, "copies": added.copies, "corrections": added.corrections, "refused": refused}
    return HandlerResult(encode(content), len(rows), status=422 if len(refused) == len(rows) else 200)


def _ready(reader: Reader, name: str, body: FeaturesRequest | PredictionRequest) -> ParsedRequest:
    if type(body.row) is dict:
        return ParsedRequest(name, reader.row(body.row), {}, 1)
    columns = reader.rows(cast("list[Row]", body.rows)) if body.columns is UNSET else reader.columns(body.columns)
    return ParsedRequest(name, None, columns, len(next(iter(columns.values()))) if columns else size(body))


def _stages(begin: float, read: float, third_party: ThirdPartyValues | None) -> dict[str, float]:
    stages = {"read": read - begin, "write": clock.stopwatch() - read}
    return stages if third_party is None else {**stages, "third party": third_party.seconds}


def _head(name: str, version: str, level: str | None, t: int) -> bytes:
    """The fields that every prediction response begins with."""
    return b'{"model":%b,"version":%b,"level":%b,"at":"%b"' % (encode(name), encode(version), encode(level), moment_text(t).encode())


def _tail(body: PredictionRequest | RankingRequest, stages: Mapping[str, float]) -> bytes:
    return b',"timing":' + timing(stages) + b"}" if body.timing else b"}"


def _parts(writer: ResponseEncoder, many: BatchPrediction, third_party: ThirdPartyValues | None, t: int) -> list[bytes]:
    """Predictions with their features; precomputed ones have none."""
    feature_jsons = [b""] * len(many.predicted)
    if many.features is not None:
        own = third_party if third_party is None or many.rows is None else third_party.take(many.rows)
        for n, row in zip(range(len(feature_jsons)) if many.rows is None else many.rows, _rows(writer, many.features, own, t), strict=True):
            feature_jsons[n] = b',"features":' + row
    return [b"%b%b}" % (predicted(prediction), features) for prediction, features in zip(many.predicted, feature_jsons, strict=True)]


def _rows(writer: ResponseEncoder, answers: FeatureVectors, third_party: ThirdPartyValues | None, t: int) -> list[bytes]:
    """The features of each row, as JSON."""
    rows = zip(zip(*answers.values, strict=True), map(bytes, zip(*answers.statuses, strict=True)), strict=True)
    read_versions = writer.read_versions(answers.read_versions, third_party, t)
    return [writer.features(*row, read_versions, t) for row in rows]


def _checked(count: int, noun: str) -> int:
    if not 0 < count <= MOST_ROWS:
        raise DataError(f"the request has {count:,} {noun}; give 1 to {MOST_ROWS:,}")
    return count
