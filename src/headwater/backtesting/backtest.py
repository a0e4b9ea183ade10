"""hw.backtest: train one model at each level, test them on the same later requests, and report the
lift of fresher features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.backtesting import new_keys as newcomers
from headwater.backtesting.age_curves import age_curves
from headwater.backtesting.answers_before import answered
from headwater.backtesting.audit import CHECKS, AuditedLevels
from headwater.backtesting.audit.acknowledgements import check_after, check_before
from headwater.backtesting.break_even import recommended
from headwater.backtesting.describe import assumptions, definitions_text, how_sure, value_of
from headwater.backtesting.experiment_rows import ExperimentRows, prepare, trained_model
from headwater.backtesting.fold_training import LevelScores
from headwater.backtesting.given_scores import judge_scores
from headwater.backtesting.levels import LevelRows, resolve_levels, usual_levels
from headwater.backtesting.measurable import Measurability, with_measurability
from headwater.backtesting.outcome_rules import outcome_note
from headwater.backtesting.row_blocks import RowBlocks
from headwater.backtesting.slices import Slice, cold_slices, user_slices
from headwater.backtesting.split import describe
from headwater.backtesting.withdrawals import known_deliveries
from headwater.connectors.snapshots import one_version
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level
from headwater.definitions.model import Model, Scores
from headwater.definitions.project import checked_call
from headwater.engine.engines import engine_name
from headwater.errors import UsageError, nearest
from headwater.models.manifest import library_versions
from headwater.pages.paged import Paged
from headwater.results.backtest_result import BacktestResult, Money, NewKeys
from headwater.results.kept_evidence import kept_experiments
from headwater.results.stored_runs import keep_run
from headwater.training.history_expectations import warn_of_broken
from headwater.training.no_events import warn_of_no_events
from headwater.training.progress import BACKTEST
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

    from headwater.definitions.connectors import TableLike


@dataclass(frozen=True, repr=False)
class Backtest(Paged):
    """The result of a backtest. It prints as a table in a terminal and in a notebook; `result`
    holds every number.

    predictions: a row for each test request: the columns of the labels' table (keys, request time
        and others), the label, and a column of scores of the first fit for each level: a
        probability or a value (float64), of several classes an array of them, of a ranking the
        place in the list (infinity where the item was not in it). "row" is the request's position
        among all labelled requests. None of a result that was read from JSON.
    """

    page_module = "backtest_page"
    result: BacktestResult
    predictions: pl.DataFrame | None = field(default=None, repr=False, compare=False)

    @property
    def curves_of_age(self) -> pl.DataFrame:
        """The curves of `Evaluation(ages=)` as a frame: view, metric, age_seconds, lift, low, high;
        without rows if there are none.
        """
        rows = [
            (
                curve.view,
                curve.metric,
                point.age_seconds,
                point.lift.value,
                point.lift.low,
                point.lift.high,
            )
            for curve in self.result.curves_of_age
            for point in curve.points
        ]
        numbers = dict.fromkeys(("age_seconds", "lift", "low", "high"), pl.Float64)
        return pl.DataFrame(rows, {"view": pl.String, "metric": pl.String, **numbers}, orient="row")

    @property
    def levels(self) -> pl.DataFrame:
        """A row for each level: level, kind, age_seconds, coverage, then each metric with the ends
        of its interval, the headline first.
        """
        from headwater.pages import result_frames

        return result_frames.levels(self.result)

    @property
    def steps(self) -> pl.DataFrame:
        """A row for each two levels and metric: from, to, metric, gain, low, high, verdict; those
        that are judged first.
        """
        from headwater.pages import result_frames

        return result_frames.steps(self.result)

    @property
    def slices(self) -> pl.DataFrame:
        """A row for each slice, level and metric: slice, rows, level, metric, value, low, high."""
        from headwater.pages import result_frames

        return result_frames.slices(self.result)

    def figure(self, name: str = "curve") -> PlotlyFigure:
        """A figure of the report as plotly's own object, to show and to change.

        Args:
            name: "curve", the headline by feature age; "slices", the gain on each slice; "days",
                rows a day; "recall" and "calibration".

        Raises:
            UsageError: an unknown name, or nothing to draw.
        """
        from headwater.pages.plotly_figure import to_figure

        return to_figure(self.result, name)

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write levels.csv, steps.csv, slices.csv and slice_steps.csv into a folder, and return
        their paths; none without rows.
        """
        from headwater.pages.rendering import write_page
        from headwater.pages.result_frames import csv_files

        return [
            write_page(Path(folder) / f"{name}.csv", content)
            for name, content in csv_files(self.result).items()
        ]

    def to_dict(self) -> dict[str, object]:
        """The result as JSON data, which `assess(backtest=)` reads again."""
        return self.result.to_dict()


@checked_call
@one_version()
def backtest(
    model: Model | None = None,
    levels: Mapping[str, Level | Freshness] | None = None,
    evaluation: Evaluation | None = None,
    *,
    scores: Scores | TableLike | str | Path | None = None,
    models: str | Path | None = None,
    resources: Resources | None = None,
) -> Backtest:
    """Train the model at each level, and judge all of them on the same requests after the split; or
    judge scores made elsewhere.

    Features of a third party without `history=` are not in training: no level reads them, and the
    result says so.

    Args:
        model: what to train. An estimator that is fitted already is replayed at each level and
            never trained.
        levels: from stale to fresh, by name, each a `Level` or a bare freshness; the usual ladder
            (request only, daily, hourly, minute, instant) where None.
        evaluation: how the levels are judged: split, slices, metrics, costs, refits and so on; its
            defaults where None. A project's own is `project.evaluation`.
        scores: predictions made elsewhere, in place of a model: a `Scores`, or a frame or file with
            the columns id, time, label, and one of floats for each level. Nothing is trained and
            all rows are judged. `levels` may then give each column a freshness.
        models: the folder of fitted models, where `watch` keeps whether production missed the
            promise of an earlier backtest of this model; such a withdrawal stands first. None is
            `models` in headwater's home; where there is none, nothing is read.
        resources: what the call may use: threads, memory, a cache, progress.

    Raises:
        UsageError: no rows to train or test on, an unknown metric, an invalid level, an
            acknowledgement of an unknown check.
        DataError: labels of one class, data that do not fit the definitions, or scores with gaps.
        LeakError: a source that would let the future into training data.

    >>> import datetime, polars as pl
    >>> hours = [
    ...     datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=5 * n)
    ...     for n in range(60)
    ... ]
    >>> rows = pl.DataFrame({"id": range(60), "time": hours, "label": [n % 2 for n in range(60)]})
    >>> rows = rows.with_columns(stale=pl.lit(0.5), fresh=pl.col("label") * 0.8 + 0.1)
    >>> [
    ...     found.sentence
    ...     for found in backtest(scores=rows).result.comparisons
    ...     if found.metric == "auc"
    ... ]
    ['LIFT of +0.500 [+0.500, +0.500]']
    """
    if scores is not None:
        return _of_scores(
            model, scores, levels, evaluation or Evaluation(), resources or DEFAULT_RESOURCES
        )
    if not isinstance(model, Model):
        raise UsageError(
            f"backtest() takes a Model, and was given {type(model).__name__}; take one from "
            "project.models"
        )
    started, evaluation = clock.stopwatch(), evaluation or Evaluation()
    compared = resolve_levels(levels) if levels is not None else usual_levels(model)
    _check_names(compared, evaluation)
    check_before(evaluation.acknowledged, CHECKS, model, compared)
    # before training: a registry that cannot be read is an error now
    delivered = known_deliveries(model.name, models)
    warn_of_broken(model.sources)
    with (resources or DEFAULT_RESOURCES).shown(BACKTEST) as used:
        experiment = prepare(trained_model(model), compared, evaluation, used)
        run = _BacktestRun(experiment, compared, started)
        result = run.result()
        measurability = Measurability(
            experiment.model, compared, experiment.requests.t, experiment.split.test
        )
        result = with_measurability(result, measurability)
        result = msgspec.structs.replace(
            result,
            fingerprint=model.fingerprint,
            not_in_training=model.features.not_in_training,
            experiments=kept_experiments(model.name),
        )
        result = recommended(delivered.on(result, evaluation.acknowledged))
        check_after(result.audit.findings, evaluation.acknowledged, model, compared)
        if evaluation.ages:
            chosen_level = result.recommendation.level if result.recommendation is not None else ""
            others = chosen_level if chosen_level in compared else list(compared)[-1]
            curves = age_curves(experiment, compared, others, evaluation.ages, run.row_blocks)
            result = msgspec.structs.replace(result, curves_of_age=curves)
    keep_run("backtest", result.verdict, result, model, engine=engine_name(used.engine))
    return Backtest(result, predictions_frame(experiment, run.scores))


def _check_names(levels: Mapping[str, Level], evaluation: Evaluation) -> None:
    """Refuse a baseline or a cost of a level that is not compared."""
    if evaluation.baseline is not None and evaluation.baseline not in levels:
        raise UsageError(
            f"baseline {evaluation.baseline!r} is not compared; "
            f"{nearest(evaluation.baseline, levels)}"
        )
    for name in evaluation.value.costs if evaluation.value is not None else ():
        if name not in levels:
            raise UsageError(
                f"DecisionValue(costs=) names level {name!r}, which is not compared; "
                f"{nearest(name, levels)}"
            )


def _of_scores(
    model: Model | None,
    scores: object,
    levels: Mapping[str, Level | Freshness] | None,
    evaluation: Evaluation,
    resources: Resources,
) -> Backtest:
    if model is not None:
        raise UsageError(
            "backtest() was given both a model and scores; give one: a model is trained, scores "
            "are judged as they are"
        )
    with resources.shown(BACKTEST) as used:
        result, frame = judge_scores(scores, levels, evaluation, used)
    result = recommended(result)
    return Backtest(keep_run("backtest", result.verdict, result), frame)


def predictions_frame(
    experiment: ExperimentRows, scores: Mapping[str, LevelScores]
) -> pl.DataFrame:
    """The test requests with their label and a column of scores for each level; see `Backtest`."""
    requests, labels, test = experiment.requests, experiment.model.labels, experiment.test
    assert requests.label is not None
    columns = [requests.label[test].alias(labels.label_name)]
    for name, level_scores in scores.items():
        score = level_scores.seeds[0].score
        columns.append(
            pl.Series(
                name,
                score,
                dtype=pl.Float64 if score.ndim == 1 else pl.Array(pl.Float64, score.shape[1]),
            )
        )
    taken = {column.name for column in columns}
    label_columns = requests.frame[test].drop(taken & set(requests.frame.columns))
    row = [] if "row" in {*label_columns.columns, *taken} else [pl.Series("row", test)]
    return label_columns.with_columns(*row, *columns)


@dataclass
class _BacktestRun:
    experiment: ExperimentRows
    levels: Mapping[str, Level]
    started: float
    scores: Mapping[str, LevelScores] = field(init=False)
    row_blocks: RowBlocks = field(init=False)

    def result(self) -> BacktestResult:
        experiment, model, levels = self.experiment, self.experiment.model, self.levels
        chosen = self._slices()
        rows = experiment.level_rows(levels)
        warn_of_no_events(experiment.requests, experiment.notes)
        trainer = experiment.trainer(levels, rows)
        features_done = clock.stopwatch()
        self.scores = scores = trainer.scores()
        training_done = clock.stopwatch()
        experiment.resources.say("judging", 0, 0)
        row_blocks = experiment.chosen_blocks(levels, scores)
        self.row_blocks = row_blocks
        blocks = experiment.resampled(row_blocks=row_blocks)
        judge = experiment.judge(levels, scores, blocks, row_blocks)
        everything = judge.everything()
        new_keys, slices = self._newcomers(rows, chosen)
        sliced = [
            judge.slice(row_slice, len(slices) * max(1, len(levels) - 1)) for row_slice in slices
        ]
        freshest = list(scores.values())[-1].fitted
        assert freshest is not None
        split, judged = experiment.split, experiment.judged
        as_judged = AuditedLevels(judged.headline.name, everything.levels, everything.comparisons)
        # a source that labels are made of too is counted once
        for reason, count in experiment.notes.left_out.items():
            split.left_out[reason] = max(split.left_out[reason], count)
        audit, folds, fixed_models = (
            experiment.audit(levels, rows, as_judged),
            judge.folds(split),
            judge.fixed_models(),
        )
        seconds = self._seconds(features_done, training_done, sum(judge.refit_seconds))
        return BacktestResult(
            model=model.name,
            task=model.task_kind,
            headline=judged.headline.name,
            higher_is_better={m.name: m.higher_is_better for m in judged.metrics},
            min_lift=everything.min_lift,
            positive_rate=float(judge.y.mean()) if model.task_type.positives else None,
            levels=everything.levels,
            comparisons=everything.comparisons,
            slices=sliced,
            audit=audit,
            split=describe(experiment.requests, split),
            seconds=seconds,
            definitions=definitions_text(model, levels),
            fingerprint=model.fingerprint,
            versions=library_versions(),
            assumptions=assumptions(model, experiment.refits),
            estimator=freshest.description,
            encoded={name: len(words) for name, words in freshest.encoding.categories.items()},
            intervals=how_sure(
                experiment.evaluation, row_blocks.result, experiment.refits, seconds
            ),
            blocks=row_blocks.result,
            fits=experiment.refits.seeds + experiment.refits.days,
            fixed_models=fixed_models,
            folds=folds,
            money=self._money(),
            new_keys=new_keys,
            baseline=experiment.evaluation.baseline or "",
            answered=answered(experiment.evaluation, model.labels),
            labels=model.labels.name,
            label=model.labels.label if isinstance(model.labels.label, str) else "",
            value=value_of(experiment.evaluation),
            outcomes=outcome_note(model),
            at=clock.now().isoformat(timespec="seconds"),
            by=settings.who(),
        )

    def _seconds(
        self, features_done: float, training_done: float, judging_refits: float
    ) -> Mapping[str, float]:
        """How long each part took; refits are a part of training, by the share of their runs, and
        what judging them took.
        """
        total, training = clock.stopwatch() - self.started, training_done - features_done
        runs = np.array([level_scores.seconds for level_scores in self.scores.values()])
        refits = training * float(runs[:, 1:].sum() / runs.sum()) + judging_refits
        once = {"features": features_done - self.started, "training": training, "total": total}
        return once if runs.shape[1] == 1 else {**once, "refits": refits}

    def _slices(self) -> list[Slice]:
        """The slices of the user, and the cold start where a level reads history."""
        experiment, evaluation = self.experiment, self.experiment.evaluation
        model, requests, test = experiment.model, experiment.requests, experiment.split.test
        chosen = user_slices(evaluation.slices or {}, requests.frame, test)
        if any(level.reads_history(model) for level in self.levels.values()):
            chosen += cold_slices(
                model,
                requests,
                test,
                evaluation.cold_start,
                replace(experiment.resources, progress=False),
            )
        return chosen

    def _newcomers(
        self, rows: Mapping[str, LevelRows], chosen: Sequence[Slice]
    ) -> tuple[NewKeys | None, Sequence[Slice]]:
        """The keys without a precomputed prediction, and their requests as one more slice."""
        at_level, experiment = (
            newcomers.precomputed_level(self.experiment.model, self.levels),
            self.experiment,
        )
        if at_level is None:
            return None, chosen
        name, precomputed = at_level
        has_prediction, groups = (
            rows[name].precomputed[experiment.split.test],
            experiment.context.groups,
        )
        new = [] if has_prediction.all() else [newcomers.newcomers(precomputed, has_prediction)]
        # a list asks once
        first_rows = (
            np.arange(len(has_prediction))
            if groups is None
            else np.unique(groups, return_index=True)[1]
        )
        test_requests = experiment.requests.take(experiment.test).take(first_rows)
        return newcomers.count(precomputed, has_prediction[first_rows], test_requests), [
            *chosen,
            *new,
        ]

    def _money(self) -> Money | None:
        costs, test = self.experiment.costs, self.experiment.test
        if costs is None:
            return None
        flagged, passed = costs.per_row(self.experiment.outcomes.y[test], test)
        return Money(
            costs.describes,
            nothing=1000 * float(passed.mean()),
            everything=1000 * float(flagged.mean()),
        )
