"""A backtest of predictions that were made elsewhere: nothing is trained, and no feature is
defined.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.backtesting.answers_before import answered
from headwater.backtesting.describe import how_sure, value_of
from headwater.backtesting.experiment_rows import ExperimentRows, judged_by
from headwater.backtesting.fold_training import LevelScores, Run
from headwater.backtesting.slices import user_slices
from headwater.backtesting.split import Fold, Split, describe
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.freshness import Freshness, kind_of, never
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Scores, Task
from headwater.definitions.request_feature import RequestField
from headwater.errors import DataError, UsageError, nearest
from headwater.events.read_events import as_frame
from headwater.kernel.arrays import F64
from headwater.kernel.as_of import NEVER, as_of
from headwater.metrics import resolve
from headwater.metrics.places import places
from headwater.models.fit import check_classes
from headwater.models.manifest import library_versions
from headwater.models.outcomes import LabelValues, outcomes
from headwater.results.audit_result import AuditResult, CheckNotRun
from headwater.results.backtest_result import GIVEN, BacktestResult, LevelResult
from headwater.training.requests import Requests, read_rows
from headwater.training.resources import Resources

if TYPE_CHECKING:
    from headwater.metrics import Metric

_NAME = "scores"
_NO_FEATURES = FeatureService("elsewhere", [RequestField("elsewhere", float)])
_OFFSET = r"(Z|[+-]\d\d:?\d\d)$"


@dataclass(frozen=True)
class GivenRows:
    """Scores as they are judged: the table, its levels in order, and the levels' freshness where it
    was said.
    """

    frame: pl.DataFrame
    scores: Scores
    levels: Mapping[str, Freshness | None]


def judge_scores(
    scores: object,
    levels: Mapping[str, object] | None,
    evaluation: Evaluation,
    resources: Resources,
) -> tuple[BacktestResult, pl.DataFrame]:
    """The verdict on scores, and the table that was judged.

    Raises:
        UsageError: an unknown level or column, or something that needs training: a split, costs,
            tuning, a metric at a threshold.
        DataError: rows without a score, a label or a time, a request that occurs twice, a column of
            another type.
    """
    started = clock.stopwatch()
    _refuse_training(evaluation)
    rows = _read(scores if isinstance(scores, Scores) else Scores(scores), levels)  # type: ignore[arg-type]  # as_frame refuses other types
    experiment = _experiment(rows, evaluation, resources)
    result = _result(rows, experiment, started)
    said = {name: _freshness_of(freshness, experiment) for name, freshness in rows.levels.items()}

    def with_freshness(level: LevelResult) -> LevelResult:
        describes, kind, age = said[level.name]
        return msgspec.structs.replace(level, describes=describes, kind=kind, age_seconds=age)

    slices = [
        msgspec.structs.replace(
            row_slice, levels=[with_freshness(level) for level in row_slice.levels]
        )
        for row_slice in result.slices
    ]
    return msgspec.structs.replace(
        result, levels=[with_freshness(level) for level in result.levels], slices=slices
    ), rows.frame


def _refuse_training(evaluation: Evaluation) -> None:
    wanted: dict[str, object] = {
        "split": evaluation.split,
        "costs": evaluation.costs,
        "tune": evaluation.tune,
    }
    for name, value in wanted.items():
        if value is not None:
            raise UsageError(
                f"backtest(scores=) trains nothing, so Evaluation({name}=) does not apply; leave "
                "it out. All rows are judged"
            )


def _read(scores: Scores, levels: Mapping[str, object] | None) -> GivenRows:
    frame = as_frame(scores.table, "scores")
    for role, names in (
        ("id", scores.identity),
        ("time", (scores.time,)),
        ("label", (scores.label,)),
    ):
        for name in names:
            if name not in frame.columns:
                raise DataError(
                    f"scores: no column {name!r}, the {role} of each request. Name it with "
                    f"--{role} COLUMN, or hw.evaluation.Scores(table, {role}=...); "
                    f"{nearest(name, frame.columns)}"
                )
    if frame[scores.time].dtype == pl.String:
        frame = _parsed(frame, scores.time)
    identity_columns = {*scores.identity, scores.time, scores.label}
    chosen = list(
        levels
        or scores.levels
        or [
            n
            for n, dtype in frame.schema.items()
            if _of_scores(dtype) and n not in identity_columns
        ]
    )
    if not chosen:
        raise DataError(
            "scores: no column of scores: no float column besides identity, time and label; name "
            "them by levels=[...]"
        )
    _check_columns(frame, scores, chosen)
    _refuse_gaps(frame, scores, [*scores.identity, scores.time, scores.label, *chosen])
    freshness = {name: levels[name] if levels else None for name in chosen}
    for name, of_level in freshness.items():
        if not (of_level is None or isinstance(of_level, Freshness)):
            raise UsageError(
                f"levels={{{name!r}: {of_level!r}}}: with scores=, give each level a freshness "
                "such as hw.batch('1d'), or None"
            )
    return GivenRows(frame, scores, freshness)  # type: ignore[arg-type]  # as checked above


def _check_columns(frame: pl.DataFrame, scores: Scores, chosen: Sequence[str]) -> None:
    """Refuse levels that are no columns of scores, and a label of another type."""
    identity_columns = {*scores.identity, scores.time, scores.label}
    for name in chosen:
        if name not in frame.columns or name in identity_columns:
            raise UsageError(
                f"scores: level {name!r} is not a column of scores; "
                f"{nearest(name, [c for c in frame.columns if c not in identity_columns])}"
            )
        if not (frame[name].dtype.is_numeric() or _is_list(frame[name].dtype)):
            raise DataError(
                f"scores: level {name!r} is of type {frame[name].dtype}; scores are numbers, of "
                "several classes a list of numbers, so cast the column first"
            )
    lists = [name for name in chosen if _is_list(frame[name].dtype)]
    if lists and len(lists) < len(chosen):
        plain = next(name for name in chosen if name not in lists)
        raise DataError(
            f"scores: level {lists[0]!r} has lists of probabilities and level {plain!r} has "
            "numbers; give lists at every level"
        )
    if not lists and not (
        frame[scores.label].dtype.is_numeric() or frame[scores.label].dtype == pl.Boolean
    ):
        raise DataError(
            f"scores: the label {scores.label!r} is of type {frame[scores.label].dtype}; it is a "
            "number or a boolean"
        )


def _is_list(dtype: pl.DataType) -> bool:
    """Whether a column has lists or arrays of numbers."""
    return isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_numeric()


def _of_scores(dtype: pl.DataType) -> bool:
    """Whether a column is taken for scores where none is named: floats, or lists of floats."""
    return dtype.is_float() or (_is_list(dtype) and dtype.inner.is_float())  # type: ignore[attr-defined]


def _parsed(frame: pl.DataFrame, time: str) -> pl.DataFrame:
    """Request times of a csv file: ISO 8601 with an offset."""
    naive = frame.filter(~pl.col(time).str.contains(_OFFSET))[time]
    if len(naive):
        raise DataError(
            f"scores: {len(naive)} times, such as {naive[0]!r}, have no offset from UTC; write "
            "them like 2024-05-01T08:30:00Z"
        )
    return frame.with_columns(pl.col(time).str.to_datetime(time_zone="UTC"))


def _refuse_gaps(frame: pl.DataFrame, scores: Scores, needed: list[str]) -> None:
    if not frame.height:
        raise DataError("scores: the table has no rows")
    twice = int(frame.select(pl.struct(scores.identity).is_duplicated().sum()).item())
    if twice:
        raise DataError(
            f"scores: {twice} rows share their {', '.join(scores.identity)} with another; give "
            "one row for each request"
        )
    for name in needed:
        column = frame[name]
        bad = _gaps(column)
        if bad.any():
            first = frame.filter(bad).select(scores.identity).row(0)
            raise DataError(
                f"scores: {int(bad.sum())} of {frame.height} rows have no finite {name!r}, the "
                f"first with {', '.join(scores.identity)} = {', '.join(map(str, first))}. Every "
                "level is judged on the same requests: give a score for each (a default where a "
                "level has none), or leave the request out at all levels"
            )


def _gaps(column: pl.Series) -> pl.Series:
    """Whether a value is missing or not finite; of a list, any of its values."""
    if _is_list(column.dtype):
        finite = pl.element().cast(pl.Float64).is_finite().fill_null(value=False)
        inner = column.dtype.inner  # type: ignore[attr-defined]
        whole = column.cast(pl.List(inner)).list.eval(finite).list.all()
        return ~whole.fill_null(value=False)
    return column.is_null() | (
        column.is_nan() | column.is_infinite() if column.dtype.is_float() else False
    )


def _task(rows: GivenRows) -> Task:
    if rows.scores.task is not None:
        return rows.scores.task
    if any(_is_list(rows.frame[name].dtype) for name in rows.levels):
        return "multiclass"
    label = rows.frame[rows.scores.label]
    return (
        "binary"
        if label.dtype == pl.Boolean or label.cast(pl.Float64).is_in([0.0, 1.0]).all()
        else "regression"
    )


def _experiment(rows: GivenRows, evaluation: Evaluation, resources: Resources) -> ExperimentRows:
    """All rows as test rows of a model without features."""
    scores = rows.scores
    requests = read_rows(rows.frame, scores.time)
    labels = Labels(
        _NAME,
        table=rows.frame,
        timestamp_field=scores.time,
        label=rows.scores.label,
        known_after="0s",
    )
    model = Model(_NAME, features=_NO_FEATURES, labels=labels, task=_task(rows))
    requests = Requests(requests.frame, requests.t, rows.frame[scores.label], requests.t, Counter())
    labelled = outcomes(model, rows.frame[scores.label], requests.frame, scores.classes)
    _check_probabilities(rows, model, labelled)
    if model.task_type.positives:
        check_classes(labelled.y, "scores")
    every = np.ones(len(requests.t), np.bool_)
    split = Split((Fold(int(requests.t.min()), ~every, every),), ~every, every, Counter())
    chosen = (
        evaluation
        if evaluation.metrics is not None
        else dataclasses.replace(evaluation, metrics=_metrics(rows, model))
    )
    judged = judged_by(model, chosen)
    for metric in judged.metrics:
        if metric.cut:
            raise UsageError(
                f"metric {metric.name!r} needs a threshold chosen in training, and scores have "
                "none; ask for precision@1% or auc"
            )
    columns = {
        name: requests.frame[name].to_numpy()
        for metric in judged.metrics
        for name in metric.columns
    }
    return ExperimentRows(
        model, chosen, judged, resources, requests, labelled, requests, split, None, columns
    )


def _check_probabilities(rows: GivenRows, model: Model, labelled: LabelValues) -> None:
    """Refuse lists where the task has one score a request, and lists that are not a probability of
    each class.
    """
    lists = [name for name in rows.levels if _is_list(rows.frame[name].dtype)]
    if not model.task_type.classes:
        if lists or rows.scores.classes is not None:
            reason = f"level {lists[0]!r} has lists" if lists else "classes= was given"
            raise DataError(
                f"scores: the task is {model.task_kind!r}, and {reason}; give a number for each "
                "request, or task='multiclass'"
            )
        return
    if not lists:
        raise DataError(
            "scores: of several classes a score is a list with the probability of each; level "
            f"{next(iter(rows.levels))!r} has numbers"
        )
    unknown = np.isnan(labelled.y)
    if unknown.any():
        first = rows.frame[rows.scores.label].filter(pl.Series(unknown))[0]
        raise DataError(
            f"scores: {int(unknown.sum())} labels, such as {first!r}, are none of the classes "
            f"{list(labelled.classes)}"
        )
    if len(labelled.classes) < 2:
        raise DataError(
            f"scores: the labels have the class {list(labelled.classes)} alone; name all of them: "
            "hw.evaluation.Scores(table, classes=[...])"
        )
    for name in lists:
        widths = rows.frame[name].cast(pl.List(pl.Float64)).list.len().unique().sort().to_list()
        if widths != [len(labelled.classes)]:
            raise DataError(
                f"scores: level {name!r} has lists of {', '.join(map(str, widths[:5]))} values, "
                f"and there are {len(labelled.classes)} classes, {list(labelled.classes)[:12]}; "
                "give a probability of each, and the order as hw.evaluation.Scores(table, "
                "classes=[...])"
            )
        values = _score(rows.frame[name])
        if values.min() < 0 or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
            raise DataError(
                f"scores: level {name!r} has lists that do not sum to 1, or values below 0; give "
                "the probability of each class"
            )


def _score(column: pl.Series) -> F64:
    """The scores of a level: float64 (rows), of several classes (rows, classes)."""
    if _is_list(column.dtype):
        return np.array(column.cast(pl.List(pl.Float64)).to_list(), np.float64)
    return column.cast(pl.Float64).to_numpy()


def _metrics(rows: GivenRows, model: Model) -> list[str]:
    """The task's usual metrics that scores alone allow."""
    values = np.stack([_score(rows.frame[name]) for name in rows.levels])
    usual: list[Metric] = [metric for metric in resolve(None, model.task_kind) if not metric.cut]
    probable = bool(values.min() >= 0 and values.max() <= 1)
    return [
        metric.name
        for metric in usual
        if probable or metric.name not in ("log_loss", "brier", "calibration")
    ]


def _result(rows: GivenRows, experiment: ExperimentRows, started: float) -> BacktestResult:
    levels = {name: Level(never()) for name in rows.levels}
    scores = {name: _scores(_score(rows.frame[name]), experiment) for name in levels}
    row_blocks = experiment.chosen_blocks(levels, scores)
    evaluation, y = experiment.evaluation, experiment.outcomes.y
    blocks = experiment.resampled(row_blocks=row_blocks)
    judge = experiment.judge(levels, scores, blocks, row_blocks)
    everything = judge.everything()
    chosen = user_slices(evaluation.slices or {}, rows.frame, experiment.split.test)
    return BacktestResult(
        model=experiment.model.name,
        task=experiment.model.task_kind,
        headline=experiment.judged.headline.name,
        baseline=experiment.evaluation.baseline or "",
        answered=answered(experiment.evaluation),
        label=rows.scores.label,
        value=value_of(experiment.evaluation),
        higher_is_better={m.name: m.higher_is_better for m in experiment.judged.metrics},
        min_lift=everything.min_lift,
        positive_rate=float(y.mean()) if experiment.model.task_type.positives else None,
        levels=everything.levels,
        comparisons=everything.comparisons,
        slices=[
            judge.slice(row_slice, len(chosen) * max(1, len(levels) - 1)) for row_slice in chosen
        ],
        audit=AuditResult(
            checks_not_run=[
                CheckNotRun("all", "scores were given, so neither features nor sources are known")
            ]
        ),
        split=describe(experiment.requests, experiment.split),
        seconds={"total": clock.stopwatch() - started},
        definitions=(
            f"scores by level: {', '.join(levels)}; label {rows.scores.label}, asked at "
            f"{rows.scores.time}"
        ),
        fingerprint="",
        versions=library_versions(),
        assumptions=(
            (
                "No level was trained on these rows: headwater cannot check it, since the scores "
                "were made elsewhere."
            ),
        ),
        estimator="scores that were given",
        encoded={},
        intervals=how_sure(evaluation, row_blocks.result, None),
        blocks=row_blocks.result,
        fixed_models=tuple(
            step
            for step in everything.comparisons
            if step.metric == experiment.judged.headline.name
        ),
        at=clock.now().isoformat(timespec="seconds"),
        by=settings.who(),
    )


def _scores(score: F64, experiment: ExperimentRows) -> LevelScores:
    groups = experiment.outcomes.groups
    ranked = score if groups is None else places(groups, score)
    nothing = np.full(len(score), np.nan)
    return LevelScores(
        None, [Run(ranked, nothing, nothing)], [], np.ones(len(score), np.bool_), None, [0], ""
    )


def _freshness_of(
    freshness: Freshness | None, experiment: ExperimentRows
) -> tuple[str, str, float | None]:
    """A level in words, its kind, and its mean age in seconds: None where nothing was said of
    it.
    """
    if freshness is None:
        return GIVEN, "batch", None
    age = None
    if freshness.reads_events:
        cutoffs = as_of(freshness, experiment.requests.t)[1]
        live = cutoffs > NEVER
        age = float((experiment.requests.t[live] - cutoffs[live]).mean()) / 1e6
    return f"{GIVEN}, {freshness}", kind_of([freshness]), age
