"""Features computed at request time: the latency of each, and the lift if some of its calls time
out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater import clock
from headwater.backtesting.experiment_rows import ExperimentRows, prepare, trained_model
from headwater.backtesting.intervals import evaluate
from headwater.backtesting.levels import LevelRows, outcomes_known
from headwater.backtesting.verdicts import in_metric, min_lifts
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.request_feature import RequestFeature
from headwater.errors import HeadwaterError, UsageError
from headwater.journal.serving_log_rows import LATENCY
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import RowContext
from headwater.metrics.places import places
from headwater.models.fit import Fitted
from headwater.online.request_features import request_feature
from headwater.results.assessment_parts import AtRequest, TimedOut
from headwater.results.estimate import Comparison
from headwater.results.measurement import Missing, Reading, measured
from headwater.training.resources import DEFAULT_RESOURCES, Resources
from headwater.training.train import in_time_order

_CALLS = 2_000  # of a function that are timed
_RESAMPLES = 1_000
_THIRD_PARTY = f"{LATENCY}__third party"


@dataclass(frozen=True)
class TimeoutJob:
    """The request: the two levels of the lift (by name), how they are judged, and rows of the
    serving log.
    """

    model: Model
    stale: tuple[str, Level]
    fresh: tuple[str, Level]
    evaluation: Evaluation
    resources: Resources = DEFAULT_RESOURCES
    log: pl.DataFrame | None = None


def at_request(job: TimeoutJob) -> Sequence[AtRequest]:
    """Every request feature and third party of the model; empty if it has none.

    A function is timed here, on labelled rows; a third party is never called, and its latency is
    taken from the serving log.
    """
    service = job.model.features
    features: Sequence[RequestFeature | HttpFeatures] = [
        *service.request_features,
        *service.http_features,
    ]
    if not features:
        return []
    try:
        trial: _Trial | Missing = _trial(job)
    except HeadwaterError as error:
        trial = Missing(str(error))
    results = []
    for feature in features:
        p50, p99 = (
            _of_log(feature, job.log)
            if isinstance(feature, HttpFeatures)
            else _timed(feature, trial)
        )
        results.append(
            AtRequest(
                feature.name,
                _kind(feature),
                p50,
                p99,
                _fallback(feature),
                _timed_out(feature, trial, job),
            )
        )
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


# ---------------------------------------------------------------- latency


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


def _timed(function: RequestFeature, trial: _Trial | Missing) -> tuple[Reading, Reading]:
    """The latency of single calls, with the arguments of labelled rows."""
    if isinstance(trial, Missing):
        return trial, trial
    ordered = [column.head(_CALLS).to_list() for column in trial.arguments(function)]
    rows = list(zip(*ordered, strict=True)) if ordered else [()] * _CALLS
    times = []
    for row in rows:
        began = clock.stopwatch()
        function.function(*row)
        times.append(clock.stopwatch() - began)
    source = f"{len(times):,} calls with the arguments of labelled rows"
    return _quantile(pl.Series(times), 0.5, source), _quantile(pl.Series(times), 0.99, source)


# ---------------------------------------------------------------- the remaining lift


@dataclass(frozen=True)
class _Trial:
    """Both levels trained at the last fold. stale: the features of its test rows; wide: the fresh
    level's of all rows, with those that feed request features.
    """

    experiment: ExperimentRows
    test: I64
    fitted: tuple[Fitted, Fitted]
    stale: pl.DataFrame
    wide: pl.DataFrame

    @property
    def model(self) -> Model:
        """The model, with the features that training knows."""
        return self.experiment.model

    def arguments(self, function: RequestFeature) -> list[pl.Series]:
        """The arguments of a function, in its order, on all rows."""
        return [
            self.wide[function.inputs[name].name]
            if name in function.inputs
            else self.experiment.requests.frame[name]
            for name in function.parameters
        ]

    def without(self, feature: RequestFeature | HttpFeatures, out: Bool) -> pl.DataFrame:
        """The fresh level's test rows, with the feature's fallback in the rows `out`: bool (test
        rows).
        """
        frame = self.wide[self.test]
        lost = pl.Series(out)
        if isinstance(feature, RequestFeature):
            return self._narrow(frame.with_columns(_put(frame[feature.name], lost, None)))
        columns = [
            (f"{feature.name}__{column}", feature.fallback.get(column))
            for column in feature.columns
        ]
        frame = frame.with_columns(
            _put(frame[name], lost, value) for name, value in columns if name in frame.columns
        )
        test_rows = self.experiment.requests.frame[self.test]
        for function in self.model.features.request_features:
            if any(ref.view.third_party is feature for ref in function.inputs.values()):
                inputs = {name: frame[ref.name] for name, ref in function.inputs.items()}
                frame = frame.with_columns(request_feature(function, test_rows, inputs))
        return self._narrow(frame)

    def _narrow(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(self.model.features.feature_names)

    def score(self, fitted: Fitted, frame: pl.DataFrame) -> F64:
        """The score of each test row; for a ranking, its position."""
        score, groups = fitted.score(frame), self.experiment.outcomes.groups
        return score if groups is None else places(groups[self.test], score)

    def steps(
        self, scores: Mapping[str, F64], steps: Sequence[tuple[str, str]]
    ) -> Sequence[Comparison]:
        """Steps in the headline metric between scores of the test rows."""
        experiment = self.experiment
        outcomes, judged = experiment.outcomes, experiment.judged
        blocks = experiment.resampled(np.isin(experiment.test, self.test))
        groups = None if outcomes.groups is None else outcomes.groups[self.test]
        evaluation = evaluate(
            [judged.headline], outcomes.y[self.test], scores, blocks, context=RowContext(groups)
        )
        return in_metric(
            evaluation, steps, 0, min_lifts(evaluation, judged.min_lift)[judged.headline.name]
        )


def _put(column: pl.Series, rows: pl.Series, value: object) -> pl.Series:
    replacement = pl.Series([value], dtype=column.dtype).new_from_index(0, len(column))
    return replacement.zip_with(rows, column).alias(column.name)


def _trial(job: TimeoutJob) -> _Trial:
    """Train the stale and the fresh level, as a backtest would."""
    definition = job.model
    if definition.ranking is not None and definition.ranking.candidates:
        raise UsageError(
            f"model {definition.name!r} retrieves candidates separately at each level, so one "
            "feature alone cannot time out"
        )
    model, evaluation = trained_model(definition), job.evaluation
    headline = model.task_type.headline
    least = (
        evaluation.min_lift.get(headline)
        if isinstance(evaluation.min_lift, Mapping)
        else evaluation.min_lift
    )
    plain = dataclasses.replace(
        evaluation,
        metrics=[headline],
        costs=None,
        min_lift=least,
        tune=None,
        refits=0,
        resamples=_RESAMPLES,
    )
    levels = {"stale": job.stale[1], "fresh": job.fresh[1]}
    with job.resources.shown() as used:
        experiment = prepare(model, levels, plain, used)
        rows = experiment.level_rows(
            levels, dataclasses.replace(model, features=_with_inputs(model.features))
        )
    requests, fold = experiment.requests, experiment.split.folds[-1]
    names = list(model.features.feature_names)
    order = in_time_order(requests, np.ones(len(requests.t), np.bool_))
    fitted = []
    for name, level in levels.items():
        train = order[fold.train(outcomes_known(model, level, requests))[order]]
        fitted.append(
            experiment.fitter.fit(
                _frame(rows[name], names), train[rows[name].answered[train]], evaluation.seed
            ).fitted
        )
    test = np.flatnonzero(fold.test)
    return _Trial(
        experiment,
        test,
        (fitted[0], fitted[1]),
        _frame(rows["stale"], names)[test],
        rows["fresh"].frame,
    )


def _frame(rows: LevelRows, names: list[str]) -> pl.DataFrame:
    return rows.frame.select(name for name in names if name in rows.frame.columns)


def _with_inputs(service: FeatureService) -> FeatureService:
    """The service, and the inputs of its request features."""
    have = set(service.feature_names)
    refs: dict[str, FeatureRef] = {
        ref.name: ref for function in service.request_features for ref in function.inputs.values()
    }
    return FeatureService(
        service.name, [*service.features, *(ref for name, ref in refs.items() if name not in have)]
    )


def _timed_out(
    feature: RequestFeature | HttpFeatures, trial: _Trial | Missing, job: TimeoutJob
) -> Sequence[TimedOut] | Missing:
    if isinstance(trial, Missing):
        return trial
    shares = job.evaluation.timeouts
    if not shares:
        return Missing("no share of calls was requested")
    names = trial.model.features.feature_names
    if not any(
        name in names
        for name in (
            [feature.name] if isinstance(feature, RequestFeature) else feature.feature_names
        )
    ):
        return Missing("not in training: its values have no history")
    drawn = np.random.default_rng([job.evaluation.seed, *feature.name.encode()]).random(
        len(trial.test)
    )
    stale = job.stale[0]
    scores: dict[str, F64] = {stale: trial.score(trial.fitted[0], trial.stale)}
    for share in shares:  # the rows of a smaller share are among those of a larger one
        scores[_named(job, share)] = trial.score(
            trial.fitted[1], trial.without(feature, drawn < share)
        )
    steps = trial.steps(scores, [(stale, _named(job, share)) for share in shares])
    return [TimedOut(share, step) for share, step in zip(shares, steps, strict=True)]


def _named(job: TimeoutJob, share: float) -> str:
    return f"{job.fresh[0]}, {100 * share:g} % time out"
