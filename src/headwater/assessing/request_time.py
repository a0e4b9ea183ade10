"""Features computed at request time: the latency of each, and its fallback."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from headwater import clock
from headwater.backtesting.experiment_rows import prepare, trained_model
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.request_feature import RequestFeature
from headwater.errors import HeadwaterError
from headwater.journal.serving_log_rows import LATENCY
from headwater.results.assessment_parts import AtRequest
from headwater.results.measurement import Missing, Reading, measured
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_CALLS = 2_000  # of a function that are timed
_THIRD_PARTY = f"{LATENCY}__third party"


@dataclass(frozen=True)
class RequestTimeJob:
    """The request: the model and the level of its features, and rows of the serving log."""

    model: Model
    level: Level
    evaluation: Evaluation
    resources: Resources = DEFAULT_RESOURCES
    log: pl.DataFrame | None = None


def at_request(job: RequestTimeJob) -> Sequence[AtRequest]:
    """Every request feature and third party of the model; empty if it has none.

    A function is timed here, on labelled rows; a third party is never called, and its latency is
    taken from the serving log.
    """
    service = job.model.features
    functions = service.request_features
    labelled: _Labelled | Missing = Missing("the model has no function of the request")
    if functions:
        try:
            labelled = _labelled(job)
        except HeadwaterError as error:
            labelled = Missing(str(error))
    features: Sequence[RequestFeature | HttpFeatures] = [*functions, *service.http_features]
    results = []
    for feature in features:
        p50, p99 = (
            _of_log(feature, job.log)
            if isinstance(feature, HttpFeatures)
            else _timed(feature, labelled)
        )
        results.append(AtRequest(feature.name, _kind(feature), p50, p99, _fallback(feature)))
    return results


def _kind(feature: RequestFeature | HttpFeatures) -> str:
    return (
        f"third party, timeout {feature.timeout}"
        if isinstance(feature, HttpFeatures)
        else "function of the request"
    )


def _fallback(feature: RequestFeature | HttpFeatures) -> str:
    if isinstance(feature, RequestFeature):
        return "null"
    return ", ".join(f"{column} = {feature.fallback.get(column)!r}" for column in feature.columns)


def _of_log(http: HttpFeatures, log: pl.DataFrame | None) -> tuple[Reading, Reading]:
    if log is None or _THIRD_PARTY not in log.columns or not log[_THIRD_PARTY].drop_nulls().len():
        none = Missing(f"no serving log exists, and {http.place} is not called to find out")
        return none, none
    times = log[_THIRD_PARTY].drop_nulls() / 1e6
    source = f"{len(times):,} rows served, all third parties of a request together"
    return _quantile(times, 0.5, source), _quantile(times, 0.99, source)


def _quantile(times: pl.Series, q: float, source: str) -> Reading:
    value = times.quantile(q, "linear")
    return (
        Missing(f"nothing of {source}")
        if value is None
        else measured(float(value), "s", f"p{100 * q:.0f} of {source}")
    )


def _timed(function: RequestFeature, labelled: _Labelled | Missing) -> tuple[Reading, Reading]:
    """The latency of single calls, with the arguments of labelled rows."""
    if isinstance(labelled, Missing):
        return labelled, labelled
    ordered = [column.head(_CALLS).to_list() for column in labelled.arguments(function)]
    rows = list(zip(*ordered, strict=True)) if ordered else [()] * _CALLS
    times = []
    for row in rows:
        began = clock.stopwatch()
        function.function(*row)
        times.append(clock.stopwatch() - began)
    source = f"{len(times):,} calls with the arguments of labelled rows"
    return _quantile(pl.Series(times), 0.5, source), _quantile(pl.Series(times), 0.99, source)


@dataclass(frozen=True)
class _Labelled:
    """The labelled requests, and the features of their level with those that feed functions."""

    requests: pl.DataFrame
    features: pl.DataFrame

    def arguments(self, function: RequestFeature) -> list[pl.Series]:
        """The arguments of a function, in its order, on all rows."""
        return [
            self.features[function.inputs[name].name]
            if name in function.inputs
            else self.requests[name]
            for name in function.parameters
        ]


def _labelled(job: RequestTimeJob) -> _Labelled:
    model, levels = trained_model(job.model), {"level": job.level}
    plain = dataclasses.replace(
        job.evaluation,
        metrics=[model.task_type.headline],
        costs=None,
        min_lift=None,
        tune=None,
        refits=0,
        baseline=None,
    )
    with job.resources.shown() as used:
        experiment = prepare(model, levels, plain, used)
        wide = dataclasses.replace(model, features=_with_inputs(model.features))
        rows = experiment.level_rows(levels, wide)
    return _Labelled(experiment.requests.frame, rows["level"].frame)


def _with_inputs(service: FeatureService) -> FeatureService:
    """The service, and the inputs of its request features."""
    have = set(service.feature_names)
    refs: dict[str, FeatureRef] = {
        ref.name: ref for function in service.request_features for ref in function.inputs.values()
    }
    return FeatureService(
        service.name, [*service.features, *(ref for name, ref in refs.items() if name not in have)]
    )
