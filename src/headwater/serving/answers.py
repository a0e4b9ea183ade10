"""The results of parsed requests: features, predictions and rankings; the same in process and over
HTTP.
"""

from __future__ import annotations

from headwater import clock
from headwater.online.predictor import ThirdPartyValues, read_many, read_one
from headwater.serving.endpoints import FeatureEndpoint, ModelEndpoint, RankingEndpoint
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.serving_result import ServingResult, ages_of


def features(
    endpoint: FeatureEndpoint,
    level: str | None,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> ServingResult:
    """The features of rows."""
    online, shared = endpoint.features, request.shared
    if shared is not None:
        return ServingResult(
            online.service.name, level, t, 1, {"read": shared.seconds}, features=shared.features
        )
    begin = clock.stopwatch()
    vectors = (
        read_many(online, request.columns, t, third_party)
        if request.row is None
        else read_one(online, request.row, t, third_party)
    )
    stages = {"read": clock.stopwatch() - begin}
    if third_party is not None:
        stages["third party"] = third_party.seconds
    return ServingResult(
        online.service.name,
        level,
        t,
        request.height,
        stages,
        features=vectors,
        ages=ages_of(third_party),
    )


def predictions(
    endpoint: ModelEndpoint,
    level: str | None,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> ServingResult:
    """The predictions for rows."""
    predictor, ages = endpoint.predictor, ages_of(third_party)
    arms = () if request.arms is None else request.arms.rows
    if request.row is not None:
        shared = request.shared
        if shared is None:
            prediction, vector, stages, version = predictor.one(
                request.row, t=t, third_party=third_party
            )
        else:
            prediction, vector, stages, version = predictor.scored(
                shared.features, t=t, seconds=shared.seconds
            )
        return ServingResult(
            predictor.model.name,
            level,
            t,
            1,
            dict(stages),
            version,
            vector,
            None,
            (prediction,),
            None,
            ages,
            arms,
        )
    many = predictor.many(request.columns, t=t, third_party=third_party)
    count, stages = len(many.predicted), dict(many.stages)
    return ServingResult(
        predictor.model.name,
        level,
        t,
        count,
        stages,
        many.version,
        many.features,
        many.rows,
        many.predicted,
        None,
        ages,
        arms,
    )


def ranking(
    endpoint: RankingEndpoint,
    level: str | None,
    t: int,
    request: ParsedRequest,
    k: int,
    third_party: ThirdPartyValues | None,
) -> ServingResult:
    """The `k` best candidates of a request."""
    assert request.proposed is not None
    order = endpoint.ranker.order(request.proposed, k, t=t, third_party=third_party)
    predicted = [prediction for _, prediction in order.items]
    name, ages = endpoint.ranker.predictor.model.name, ages_of(third_party)
    return ServingResult(
        name,
        level,
        t,
        order.candidates,
        dict(order.stages),
        order.version,
        order.features,
        None,
        predicted,
        order,
        ages,
    )
