"""Handlers of the prediction routes (features, predict, rank) and of outcomes: parse a request,
compute its result, encode it as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from headwater import clock
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.predictor import ThirdPartyValues
from headwater.serving import answers, arm_answers
from headwater.serving.arm_answers import Wish
from headwater.serving.arm_choice import RunningExperiment
from headwater.serving.http.request_schema import (
    FeaturesRequest,
    PredictionRequest,
    RankingRequest,
    Row,
)
from headwater.serving.http.response_encoder import encode
from headwater.serving.http.row_decoder import ParsedRequest, checked_count
from headwater.serving.loaded_models import Key
from headwater.serving.served_project import endpoints_of
from headwater.serving.service import Service
from headwater.serving.serving_result import ServingResult

_ONE_ARM: Final = ("experiment", "arm", "flag")
_SEVERAL_ARMS: Final = ("arms",)
_BY_ARMS: Final = (
    (*_ONE_ARM, *_SEVERAL_ARMS),
    _ONE_ARM,
    _SEVERAL_ARMS,
    ("flag", *_SEVERAL_ARMS),
)  # none, several, one that is flagged, one
_OPTIONAL: Final = {
    (features, timing): tuple(
        ("features",) * (not features) + ("timing",) * (not timing) + absent for absent in _BY_ARMS
    )
    for features in (False, True)
    for timing in (False, True)
}


class HandlerResult(NamedTuple):
    """A response: its body, number of rows, and the result for metrics and logs. again:
    Retry-After, seconds.
    """

    body: bytes
    rows: int
    result: ServingResult | None = None
    status: int = 200
    again: int | None = None


def read_features(service: Service, name: str, body: FeaturesRequest, t: int) -> ParsedRequest:
    """Parse the rows of `POST /v1/features/{service}`."""
    return service.endpoints.features(name, body.level).rows.body(body, name, t)


def features_reader(name: str, body: FeaturesRequest, request: ParsedRequest) -> OnlineFeatures:
    """What the features are read with."""
    return endpoints_of(request).features(name, body.level).features


def features(
    name: str,
    body: FeaturesRequest,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> HandlerResult:
    """`POST /v1/features/{service}`."""
    endpoint = endpoints_of(request).features(name, body.level)
    result = answers.features(endpoint, body.level, t, request, third_party)
    begin = clock.stopwatch()
    content = endpoint.encoder.features(result, compact=body.compact, columns=bool(body.columns))
    result.stages["write"] = clock.stopwatch() - begin
    return HandlerResult(content, result.rows, result)


def read_predict(service: Service, name: str, body: PredictionRequest, t: int) -> ParsedRequest:
    """Parse the rows of `POST /v1/predict/{model}`."""
    experiments = service.experiments.by_model.get(name)
    if experiments is not None or body.arm is not None:
        return _read_arms(service, name, body, t, experiments or ())
    endpoint = service.endpoints.model(name, body.level)
    return endpoint.rows.body(body, endpoint.service, t)


def _read_arms(
    service: Service,
    name: str,
    body: PredictionRequest,
    t: int,
    experiments: Sequence[RunningExperiment],
) -> ParsedRequest:
    """As `read_predict`, during experiments."""
    endpoints, room = service.endpoints, service.experiments.room
    decoder, alike = endpoints.rows_of_arms(name, experiments)
    request = decoder.body(body, "", t)
    if request.row is not None and body.level is None and body.arm is None and alike:
        return arm_answers.one_with_arm(endpoints, experiments, name, request, t, room=room)
    return arm_answers.with_arms(
        endpoints, experiments, Wish(name, body.level, body.arm, t, room), request
    )


def predict_reader(
    name: str, body: PredictionRequest, request: ParsedRequest
) -> OnlineFeatures | None:
    """What the features of a prediction on request are read with; None where a precomputed one is
    looked up first.
    """
    key = (name, body.level) if request.arms is None else request.arms.groups[0].key
    endpoint = endpoints_of(request).model(*key)
    return endpoint.predictor.features if endpoint.precomputed is None else None


def predict(
    name: str,
    body: PredictionRequest,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> HandlerResult:
    """`POST /v1/predict/{model}`."""
    key, endpoints = _key(name, body, request), endpoints_of(request)
    endpoint = endpoints.model(*key)
    if request.arms is None or len(request.arms.groups) == 1:
        result = answers.predictions(endpoint, key[1], t, request, third_party)
    else:
        result = arm_answers.predictions(endpoints, name, t, request, third_party)
    without = _unwanted(body, result)
    begin = clock.stopwatch()
    content = endpoint.encoder.predictions(result, one=request.row is not None, without=without)
    result.stages["write"] = clock.stopwatch() - begin
    return HandlerResult(content, result.rows, result)


def read_rank(service: Service, name: str, body: RankingRequest, t: int) -> ParsedRequest:
    """Parse `POST /v1/rank/{model}`, and retrieve the candidates."""
    experiments = service.experiments.by_model.get(name)
    if experiments is not None or body.arm is not None:
        endpoints = service.endpoints
        shared, candidates = endpoints.candidates_of_arms(name, experiments or ())
        wish = Wish(name, body.level, body.arm, t, service.experiments.room)
        row, items = shared.row(body.row, t), candidates.candidates(body.candidates)
        return arm_answers.proposed(endpoints, experiments or (), wish, row, items)
    endpoints = service.endpoints
    endpoint = endpoints.ranking(name, body.level)
    proposed = endpoint.ranker.propose(
        endpoint.shared.row(body.row, t), endpoint.candidates.candidates(body.candidates), t=t
    )
    service_name = (
        "" if proposed.order is not None else endpoint.ranker.predictor.model.features.name
    )
    return ParsedRequest(
        None, proposed.columns, proposed.height, service_name, proposed, endpoints=endpoints
    )


def rank(
    name: str,
    body: RankingRequest,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> HandlerResult:
    """`POST /v1/rank/{model}`."""
    endpoints = endpoints_of(request)
    endpoint = endpoints.ranking(*_key(name, body, request))
    if request.arms is None:
        result = answers.ranking(endpoint, body.level, t, request, body.k, third_party)
    else:
        result = arm_answers.ranking(endpoints, t, request, body.k, third_party)
    without = _unwanted(body, result)
    begin = clock.stopwatch()
    content = endpoint.encoder.ranked(result, without=without)
    result.stages["write"] = clock.stopwatch() - begin
    return HandlerResult(content, result.rows, result)


def outcomes(service: Service, name: str, body: Row | list[Row]) -> HandlerResult:
    """`POST /v1/outcomes/{labels}`; the result is returned after the outcomes are on disk."""
    rows = [body] if isinstance(body, dict) else body
    checked_count(len(rows), "outcomes")
    added = service.outcomes(name, rows)
    refused = [{"index": index, "reason": why} for index, why in added.refused]
    content = {"accepted": added.accepted, "refused": refused}
    return HandlerResult(
        encode(content), len(rows), status=422 if len(refused) == len(rows) else 200
    )


def exposures(service: Service, name: str, body: Row | list[Row]) -> HandlerResult:
    """`POST /v1/exposures/{experiment}`; the result is returned after the exposures are on disk."""
    rows = [body] if isinstance(body, dict) else body
    checked_count(len(rows), "exposures")
    added = service.exposures(name, rows)
    refused = [{"index": index, "reason": why} for index, why in added.refused]
    content = {"accepted": added.accepted, "refused": refused}
    return HandlerResult(
        encode(content), len(rows), status=422 if len(refused) == len(rows) else 200
    )


def _key(name: str, body: PredictionRequest | RankingRequest, request: ParsedRequest) -> Key:
    """The model and level that answer a request, or its first rows."""
    return (name, body.level) if request.arms is None else request.arms.groups[0].key


def _unwanted(body: PredictionRequest | RankingRequest, result: ServingResult) -> tuple[str, ...]:
    """The optional fields of a response that were not asked for, or that it does not have."""
    optional = _OPTIONAL[body.features, body.timing]
    if not result.arms:
        return optional[0]
    if len(result.arms) > 1:
        return optional[1]
    return optional[2 if result.flag is not None else 3]
