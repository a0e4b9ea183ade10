"""Requests during experiments: each row gets an arm, each group of rows is answered by its arm, and
the answers are put in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from headwater.errors import DataError
from headwater.experiments.arms_by_unit import INTERLEAVED
from headwater.online.feature_vectors import FeatureVectors
from headwater.online.predictor import Predicted, ThirdPartyValues
from headwater.online.ranker import Order
from headwater.serving import answers
from headwater.serving.arm_choice import (
    ArmChoice,
    RunningExperiment,
    chosen_arm,
    chosen_level,
    one_row,
    several_rows,
)
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.serving_result import ResultPart, ServingResult

if TYPE_CHECKING:
    from headwater.online.row_schema import RowSchema
    from headwater.serving.endpoints import Endpoints

T = TypeVar("T")
_new = tuple.__new__  # without the arguments' names, which take most of the time


class Wish(NamedTuple):
    """What a request asks for: a model, a level or an arm by name, at t; room: whether exposures
    can be logged.
    """

    model: str
    level: str | None
    arm: str | None
    t: int
    room: bool


def chosen(
    experiments: Sequence[RunningExperiment], wish: Wish, request: ParsedRequest
) -> ArmChoice | None:
    """The arms of a parsed request; None where every row gets the default.

    Raises:
        UsageError: an arm that no running experiment of the model has.
    """
    if wish.arm is not None:
        return chosen_arm(experiments, wish.model, _rows(request), wish.t, wish.arm)
    if wish.level is not None:
        return chosen_level(experiments, (wish.model, wish.level), _rows(request), wish.t)
    if request.row is not None:
        return one_row(experiments, request.row, wish.t, room=wish.room)
    return several_rows(experiments, wish.model, _rows(request), wish.t, room=wish.room)


def one_with_arm(
    endpoints: Endpoints,
    experiments: Sequence[RunningExperiment],
    model: str,
    request: ParsedRequest,
    t: int,
    *,
    room: bool,
) -> ParsedRequest:
    """As `with_arms`, of a request for one row that names no level and no arm; all arms have the
    fields of the default.
    """
    assert request.row is not None
    choice = one_row(experiments, request.row, t, room=room)
    key = (model, None) if choice is None else choice.groups[0].key
    return _new(
        ParsedRequest,
        (
            request.row,
            request.columns,
            1,
            endpoints.model(*key).service,
            None,
            None,
            choice,
            endpoints,
        ),
    )


def with_arms(
    endpoints: Endpoints,
    experiments: Sequence[RunningExperiment],
    wish: Wish,
    request: ParsedRequest,
) -> ParsedRequest:
    """A request for predictions with its arms, and with the feature service that third parties are
    asked for.

    Raises:
        DataError: a row lacks a field that its arm needs.
    """
    choice = chosen(experiments, wish, request)
    keys = [(wish.model, wish.level)] if choice is None else [group.key for group in choice.groups]
    service = ""
    for key in keys:
        endpoint = endpoints.model(*key)
        _require(endpoint.rows.schema, request)
        service = endpoint.service or service
    return request._replace(service=service, arms=choice, endpoints=endpoints)


def predictions(
    endpoints: Endpoints,
    name: str,
    t: int,
    request: ParsedRequest,
    third_party: ThirdPartyValues | None,
) -> ServingResult:
    """The predictions of a request with arms, for a model of that name."""
    choice = request.arms
    assert choice is not None
    if len(choice.groups) == 1:
        key = choice.groups[0].key
        return answers.predictions(endpoints.model(*key), key[1], t, request, third_party)
    parts = []
    for key, rows, arm in choice.groups:
        endpoint = endpoints.model(*key)
        assert rows is not None
        arm_request = request._replace(
            columns=_taken(request.columns, rows), height=len(rows), arms=None
        )
        result = answers.predictions(
            endpoint,
            key[1],
            t,
            arm_request,
            None if third_party is None else third_party.take(rows),
        )
        parts.append(ResultPart(arm_request, result, rows, arm, endpoint.encoder))
    predicted = _in_order(request.height, [(part.rows, part.result.predicted) for part in parts])
    ages = {} if third_party is None else third_party.ages
    return ServingResult(
        name,
        None,
        t,
        request.height,
        _stages(parts),
        predicted=predicted,
        ages=ages,
        arms=choice.rows,
        parts=parts,
    )


def proposed(
    endpoints: Endpoints,
    experiments: Sequence[RunningExperiment],
    wish: Wish,
    row: Mapping[str, object],
    candidates: Sequence[object] | None,
) -> ParsedRequest:
    """A request to rank with its arm, and the candidates of its ranking.

    Raises:
        DataError: as `Ranker.propose`.
    """
    choice = chosen(experiments, wish, ParsedRequest(row, {}, 1))
    key = (wish.model, wish.level) if choice is None else choice.groups[0].key
    endpoint = endpoints.ranking(*key)
    proposal = endpoint.ranker.propose(_fields(endpoint.shared.schema, row), candidates, t=wish.t)
    arm = choice.rows[0] if choice is not None and choice.rows else None
    if choice is not None and arm is not None and arm.assigned.arm == INTERLEAVED:
        second = endpoints.ranking(*arm.experiment.keys[arm.experiment.plan.arms[1].name])
        choice = choice._replace(
            second=second.ranker.propose(_fields(second.shared.schema, row), candidates, t=wish.t)
        )
    service = "" if proposal.order is not None else endpoint.ranker.predictor.model.features.name
    return ParsedRequest(
        None, proposal.columns, proposal.height, service, proposal, arms=choice, endpoints=endpoints
    )


def ranking(
    endpoints: Endpoints,
    t: int,
    request: ParsedRequest,
    k: int,
    third_party: ThirdPartyValues | None,
) -> ServingResult:
    """The ranking of a request with an arm: the arm's list, or a list that mixes two arms."""
    choice = request.arms
    assert choice is not None
    key, arms = choice.groups[0].key, choice.rows
    arm = arms[0] if arms else None
    endpoint = endpoints.ranking(*key)
    first = answers.ranking(endpoint, key[1], t, request, k, third_party)
    if arm is None or arm.assigned.arm != INTERLEAVED:
        return first._replace(arms=arms)
    plan = arm.experiment.plan
    rival_key, second = arm.experiment.keys[plan.arms[1].name], choice.second
    assert second is not None
    theirs = ParsedRequest(
        None, second.columns, second.height, request.service, second, endpoints=endpoints
    )
    rival_endpoint = endpoints.ranking(*rival_key)
    rival = answers.ranking(rival_endpoint, rival_key[1], t, theirs, k, None)
    whole = [
        ResultPart(request._replace(arms=None), first, (), "team 0", endpoint.encoder),
        ResultPart(theirs, rival, (), "team 1", rival_endpoint.encoder),
    ]
    return _mixed(f"{plan.salt}:{arm.unit}/{t}", k, whole)._replace(arms=arms)


def _mixed(salt: str, k: int, whole: Sequence[ResultPart]) -> ServingResult:
    """A list in which two rankings take turns."""
    from headwater.experiments.team_draft import interleaved

    results = [part.result for part in whole]
    orders = [cast("Order", result.order) for result in results]
    places = [{item: n for n, (item, _) in enumerate(order.items)} for order in orders]
    drafted = interleaved(list(places[0]), list(places[1]), k, salt)
    parts, items = [], list[tuple[object, Predicted]]()
    for team, (result, order) in enumerate(zip(results, orders, strict=True)):
        shown = [n for n, draft in enumerate(drafted) if draft.team == team]
        chosen_places = [places[team][drafted[n].item] for n in shown]
        features = (
            None
            if not isinstance(result.features, FeatureVectors)
            else _some(result.features, chosen_places)
        )
        team_order = order._replace(
            items=[order.items[n] for n in chosen_places],
            rows=[order.rows[n] for n in chosen_places],
            features=features,
            shown=None,
        )
        team_result = result._replace(
            order=team_order,
            predicted=[result.predicted[n] for n in chosen_places],
            features=features,
        )
        parts.append(whole[team]._replace(result=team_result, rows=shown))
    items = _in_order(
        len(drafted), [(part.rows, cast("Order", part.result.order).items) for part in parts]
    )
    origin = "on_request" if any(order.how == "on_request" for order in orders) else orders[0].how
    mixed = Order(
        items,
        range(len(items)),
        None,
        max(o.candidates for o in orders),
        {},
        "",
        origin,
        max(o.age for o in orders),
    )
    first = results[0]
    predicted = [prediction for _, prediction in items]
    return ServingResult(
        first.name,
        None,
        first.t,
        mixed.candidates,
        _stages(parts),
        predicted=predicted,
        order=mixed,
        ages=first.ages,
        parts=parts,
    )


def team_of(result: ServingResult) -> list[int]:
    """Which ranking placed each item of a mixed list."""
    return _in_order(
        len(result.predicted),
        [(part.rows, [team] * len(part.rows)) for team, part in enumerate(result.parts)],
    )


def _rows(request: ParsedRequest) -> Sequence[Mapping[str, object]]:
    if request.row is not None:
        return [request.row]
    names = tuple(request.columns)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*request.columns.values(), strict=True)
    ]


def _require(schema: RowSchema, request: ParsedRequest) -> None:
    values = request.columns if request.row is None else request.row
    for name in schema.required - values.keys():
        raise DataError(
            f"the request has no field {name!r}, which {', '.join(schema.fields[name].needed_by)} "
            "needs"
        )


def _fields(schema: RowSchema, row: Mapping[str, object]) -> Mapping[str, object]:
    """The fields of a row that an arm has."""
    return (
        row
        if row.keys() <= schema.fields.keys()
        else {name: value for name, value in row.items() if name in schema.fields}
    )


def _taken(columns: Mapping[str, Sequence[object]], rows: Sequence[int]) -> dict[str, list[object]]:
    return {name: [column[n] for n in rows] for name, column in columns.items()}


def _in_order(count: int, parts: Sequence[tuple[Sequence[int], Sequence[T]]]) -> list[T]:
    """The entries of all parts at their places."""
    placed: dict[int, T] = {
        n: entry for rows, entries in parts for n, entry in zip(rows, entries, strict=True)
    }
    return [placed[n] for n in range(count)]


def _stages(parts: Sequence[ResultPart]) -> dict[str, float]:
    stages: dict[str, float] = {}
    for part in parts:
        for name, seconds in part.result.stages.items():
            stages[name] = stages.get(name, 0.0) + seconds
    return stages


def _some(features: FeatureVectors, rows: Sequence[int]) -> FeatureVectors:
    values = [[column[n] for n in rows] for column in features.values]
    return FeatureVectors(
        values,
        [bytes([codes[n] for n in rows]) for codes in features.statuses],
        features.read_versions,
    )
