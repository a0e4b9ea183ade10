"""One experiment: labelled requests, their split, and what trains and judges levels on them.

A backtest, an attribution and the request-time part of an assessment are all set up here, so they
read, split, train and judge alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from headwater.backtesting.audit import AuditedLevels, AuditInputs, run_audit
from headwater.backtesting.fitting import Fitter
from headwater.backtesting.fold_training import LevelScores, Trainer
from headwater.backtesting.intervals import ResampledMetrics, resample_weights
from headwater.backtesting.judging import Judge
from headwater.backtesting.levels import LevelRows, level_rows
from headwater.backtesting.row_blocks import RowBlocks, chosen_blocks, given_blocks
from headwater.backtesting.split import Split, split_rows
from headwater.definitions.checks import DAY
from headwater.definitions.evaluations import (
    Evaluation,
    NamedMetric,
    Refits,
    as_refits,
    as_tuning,
    block_length,
    is_column,
)
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import UsageError, nearest
from headwater.events.read_events import Notes
from headwater.kernel.arrays import I64, Bool
from headwater.metrics import Blocks, Metric, RowContext, resolve
from headwater.metrics.error_costs import Costs, check_costs, cost_metric, read_costs
from headwater.metrics.metric import Column
from headwater.models.estimators import is_fitted
from headwater.models.fit import check_classes
from headwater.models.outcomes import LabelValues, outcomes
from headwater.results.audit_result import AuditResult
from headwater.training.candidate_lists import Lists, candidate_lists, shown_lists
from headwater.training.leak_checks import refuse_label_columns
from headwater.training.negatives import Negatives, sample_negatives
from headwater.training.positive_log import model_labels
from headwater.training.requests import Requests
from headwater.training.resources import Resources
from headwater.training.schema_check import check_model


@dataclass(frozen=True)
class Judged:
    """What a model is judged by: the metrics, the headline one among them, and the least lift worth
    having by metric (None: usual).
    """

    metrics: Sequence[Metric]
    headline: Metric
    min_lift: Mapping[str, float] | None


def judged_by(model: Model, evaluation: Evaluation) -> Judged:
    """The metrics of an evaluation.

    Raises:
        UsageError: an unknown metric, one that the task or the blocks do not fit, invalid costs, or
            a least lift that cannot be.
    """
    metrics = _metrics(evaluation.metrics, model, evaluation.costs is not None)
    if evaluation.value is not None:
        if not model.task_type.positives:
            raise UsageError(
                f"value is of hits and false alarms, and model {model.name!r} has the task "
                f"{model.task_kind!r}"
            )
        earns = resolve([evaluation.value.metric], model.task_kind)
        metrics = [*earns, *(metric for metric in metrics if metric.name != earns[0].name)]
    if evaluation.costs is not None:
        if not model.task_type.positives:
            raise UsageError(
                f"costs are of false positives and negatives, and model {model.name!r} has the "
                f"task {model.task_kind!r}"
            )
        check_costs(evaluation.costs)
    if is_column(evaluation.blocks) or block_length(evaluation.blocks) != DAY:
        for metric in metrics:
            if metric.by_day:
                raise UsageError(
                    f"metric {metric.name!r} is a mean over days, and blocks is "
                    f"{evaluation.blocks!r}; leave one of them out"
                )
    usual = model.task_type.headline
    if evaluation.headline is not None:
        (chosen,) = resolve([evaluation.headline], model.task_kind)
        metrics = [chosen, *(metric for metric in metrics if metric.name != chosen.name)]
    first = evaluation.value is not None or evaluation.headline is not None
    headline = metrics[0] if first else next((m for m in metrics if m.name == usual), metrics[0])
    return Judged(metrics, headline, _min_lift(evaluation.min_lift, metrics, headline))


def _metrics(names: Sequence[str | NamedMetric] | None, model: Model, costs: bool) -> list[Metric]:  # noqa: FBT001
    chosen = resolve(names, model.task_kind)
    probable = model.estimator is None or hasattr(model.estimator, "predict_proba")
    if names is None and model.task_type.separates and not probable:
        chosen = [m for m in chosen if m.name not in ("log_loss", "brier", "calibration")]
    return [*chosen, cost_metric()] if costs else chosen


def _min_lift(
    min_lift: Mapping[str, float] | float | None, metrics: Sequence[Metric], headline: Metric
) -> Mapping[str, float] | None:
    """By metric; refuses before anything is trained what `min_lifts` would refuse at the end."""
    if min_lift is None:
        return None
    names = [m.name for m in metrics]
    for name, value in (
        min_lift.items() if isinstance(min_lift, Mapping) else [("the headline metric", min_lift)]
    ):
        if isinstance(min_lift, Mapping) and name not in names:
            raise UsageError(
                f"min_lift names {name!r}, which is not evaluated; {nearest(name, names)}"
            )
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UsageError(
                f"min_lift of {name} is {value!r}; give 0 or more, in the metric's unit"
            )
    return min_lift if isinstance(min_lift, Mapping) else {headline.name: float(min_lift)}


@dataclass(frozen=True)
class ExperimentRows:
    """The labelled requests of a model, split, and all that its levels are trained and judged with.

    listed: the requests at the time of their list. costs: of errors, if they are evaluated.
    columns: what metrics read besides scores, (requests) each. notes: rows left out while features
    are computed.
    """

    model: Model
    evaluation: Evaluation
    judged: Judged
    resources: Resources
    requests: Requests
    outcomes: LabelValues
    listed: Requests
    split: Split
    costs: Costs | None
    columns: Mapping[str, Column]
    notes: Notes = field(default_factory=Notes)

    @cached_property
    def test(self) -> I64:
        """The positions of the test rows: int64."""
        return np.flatnonzero(self.split.test)

    @cached_property
    def row_blocks(self) -> RowBlocks:
        """The blocks of the test rows as they are known before training, where "auto" is a day; a
        list lies in one block of time.
        """
        block_rule = self.evaluation.blocks
        codes = None
        if is_column(block_rule):
            column = self.requests.frame[str(block_rule)][self.test]
            codes = column.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
        return given_blocks(self.listed.t[self.test], block_rule, codes)

    @property
    def blocks(self) -> I64:
        """The block of each test row: int64 (test rows)."""
        return self.row_blocks.index

    def chosen_blocks(
        self, levels: Mapping[str, Level], scores: Mapping[str, LevelScores]
    ) -> RowBlocks:
        """The blocks that intervals resample, chosen where the evaluation leaves it open by what
        the first and last level score.
        """
        if self.evaluation.blocks != "auto" or any(metric.by_day for metric in self.judged.metrics):
            return self.row_blocks
        ends = dict.fromkeys([next(iter(scores)), list(scores)[-1]])
        judge = self.judge(
            levels, {name: scores[name] for name in ends}, Blocks.whole(len(self.test))
        )
        return chosen_blocks(
            self.listed.t[self.test], lambda blocks: judge.difference(self.judged.headline, blocks)
        )

    @property
    def context(self) -> RowContext:
        """What metrics read of the test rows besides scores."""
        return RowContext(self.outcomes.groups, self.columns).select(self.test)

    @property
    def refits(self) -> Refits:
        """How often each level is trained; once where the estimator was given fitted, since it is
        not trained again.
        """
        estimator = self.model.estimator
        return (
            Refits(0)
            if estimator is not None and is_fitted(estimator)
            else as_refits(self.evaluation.refits)
        )

    def resampled(self, mask: Bool | None = None, row_blocks: RowBlocks | None = None) -> Blocks:
        """Resamples of the blocks of the test rows, or of a part of them: bool (test rows);
        `row_blocks` where others than usual.
        """
        blocks, evaluation = row_blocks or self.row_blocks, self.evaluation
        rows = blocks.index if mask is None else blocks.index[mask]
        return resample_weights(
            rows,
            evaluation.resamples,
            evaluation.seed,
            successive=blocks.successive,
            dependent=blocks.dependent,
        )

    def level_rows(
        self, levels: Mapping[str, Level], model: Model | None = None
    ) -> dict[str, LevelRows]:
        """The features of every level; `model` reads more features than the experiment's."""
        return level_rows(model or self.model, self.requests, levels, self.notes, self.resources)

    @cached_property
    def fitter(self) -> Fitter:
        """What fits a model on a level's rows."""
        cuts = frozenset(m.cut for m in self.judged.metrics if m.cut)
        tuning, seed = as_tuning(self.evaluation.tune), self.evaluation.seed
        return Fitter(
            self.model,
            self.outcomes,
            self.judged.headline,
            cuts,
            self.columns,
            self.costs,
            tuning,
            seed,
        )

    def trainer(
        self, levels: Mapping[str, Level], rows: Mapping[str, LevelRows], *, replays: bool = True
    ) -> Trainer:
        """What trains these levels at every fold; the lists of a ranking and the negatives that it
        trains on are found here.
        """
        ranked, negatives = self._lists(levels, rows), self._negatives(levels)
        shared = (self.refits, self.resources)
        return Trainer(
            self.fitter,
            self.requests,
            self.split,
            levels,
            rows,
            ranked,
            *shared,
            replays=replays,
            negatives=negatives,
        )

    def _lists(
        self, levels: Mapping[str, Level], rows: Mapping[str, LevelRows]
    ) -> dict[str, Lists] | None:
        """What each level has to put in order for the test; None unless the task is a ranking."""
        groups, task = self.outcomes.groups, self.model.ranking
        if groups is None or task is None:
            return None
        if not task.candidates:
            return {
                name: shown_lists(
                    groups[self.test], level_rows.frame, level_rows.answered, self.test
                )
                for name, level_rows in rows.items()
            }
        like = {name: level_rows.frame for name, level_rows in rows.items()}
        return candidate_lists(
            self.model, self.requests, groups, levels, like, self.test, self.resources
        )

    def _negatives(self, levels: Mapping[str, Level]) -> dict[str, Negatives] | None:
        """The negatives of every level, where the labels are a log of positives."""
        groups, task = self.outcomes.groups, self.model.ranking
        if groups is None or task is None or task.negatives is None:
            return None
        return sample_negatives(
            self.model,
            self.requests,
            groups,
            levels,
            np.flatnonzero(self.split.train),
            self.resources,
        )

    def judge(
        self,
        levels: Mapping[str, Level],
        scores: Mapping[str, LevelScores],
        blocks: Blocks,
        row_blocks: RowBlocks | None = None,
    ) -> Judge:
        """What judges the scores of these levels on the test rows. row_blocks: what `blocks`
        resamples, if not the usual rows.
        """
        y, t, judged = self.outcomes.y[self.test], self.requests.t[self.test], self.judged
        baseline = self.evaluation.baseline or next(iter(levels))
        named, blocked = (judged.headline.name, baseline), row_blocks or self.row_blocks
        return Judge(
            self.model,
            levels,
            judged.metrics,
            judged.min_lift,
            scores,
            t,
            y,
            self.context,
            blocks,
            blocked,
            *named,
        )

    def headline_by_level(
        self, levels: Mapping[str, Level], row_blocks: RowBlocks
    ) -> ResampledMetrics:
        """The headline metric of every level, each trained, on the test rows and on resamples of
        `row_blocks`.
        """
        scores = self.trainer(levels, self.level_rows(levels), replays=False).scores()
        blocks = self.resampled(row_blocks=row_blocks)
        judge = replace(
            self.judge(levels, scores, blocks, row_blocks), metrics=[self.judged.headline]
        )
        return judge.evaluation(np.ones(len(judge.y), np.bool_), judge.blocks)

    def audit(
        self,
        levels: Mapping[str, Level],
        rows: Mapping[str, LevelRows],
        judged: AuditedLevels | None = None,
    ) -> AuditResult:
        """What the audit finds at the last level; `judged` has the levels as they were judged, if
        they were.
        """
        name = list(levels)[-1]
        frame, answered, y = rows[name].frame, rows[name].answered, self.outcomes.y
        evaluation = self.evaluation
        inputs = AuditInputs(
            self.model,
            levels[name],
            self.requests,
            frame,
            answered,
            y,
            self.split,
            self.resources,
            judged,
            evaluation.delay_by_outcome,
        )
        return run_audit(inputs, evaluation.acknowledged)


def prepare(
    model: Model, levels: Mapping[str, Level], evaluation: Evaluation, resources: Resources
) -> ExperimentRows:
    """Check the definitions, and read and split the labelled requests.

    Args:
        model: with features of training only (see `trained_model`).
        levels: those that will be compared: where none reads history, the sources are not looked
            at.
        evaluation: how they are judged.
        resources: with a progress function or none.

    Raises:
        UsageError: no rows to train or test on, an unknown metric or column.
        DataError: labels of one class, or data that do not fit the definitions.
        LeakError: a source that would let the future into training data.
    """
    judged = judged_by(model, evaluation)
    if (
        evaluation.tune is not None
        and model.ranking is not None
        and model.ranking.negatives is not None
    ):
        raise UsageError(
            "Evaluation(tune=) judges settings on training rows, and those of model "
            f"{model.name!r} have sampled negatives, whose metrics are not those of the full "
            "candidate set; leave tune out, and give the estimator its settings"
        )
    if any(level.reads_history(model) for level in levels.values()):
        check_model(model, fitted=True)
    refuse_label_columns(model)
    requests = model_labels(model, resources)
    assert requests.label is not None
    labelled = outcomes(model, requests.label, requests.frame)
    listed = _by_list(requests, labelled)
    split = split_rows(listed, evaluation.split)
    if model.task_type.positives:
        for rows, side in ((split.train, "before"), (split.test, "after")):
            check_classes(
                labelled.y[rows], f"model {model.name!r}, rows {side} the split", split.left_out
            )
    if is_column(evaluation.blocks) and evaluation.blocks not in requests.frame.columns:
        near = nearest(str(evaluation.blocks), requests.frame.columns)
        raise UsageError(
            f"Evaluation(blocks={evaluation.blocks!r}): neither a length of time nor a column of "
            f"the labels; {near}"
        )
    costs = read_costs(evaluation.costs, requests.frame) if evaluation.costs is not None else None
    columns = _columns(judged.metrics, requests, costs.columns(labelled.y) if costs else {})
    return ExperimentRows(
        model, evaluation, judged, resources, requests, labelled, listed, split, costs, columns
    )


def trained_model(model: Model) -> Model:
    """The model with the features that training knows."""
    in_training = model.features.in_training
    return model if in_training is model.features else replace(model, features=in_training)


def _by_list(requests: Requests, labelled: LabelValues) -> Requests:
    """The requests at the time of their list: one list is not split."""
    if labelled.groups is None:
        return requests
    first = np.full(int(labelled.groups.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, labelled.groups, requests.t)
    return Requests(
        requests.frame, first[labelled.groups], requests.label, requests.known_at, requests.left_out
    )


def _columns(
    metrics: Sequence[Metric], requests: Requests, columns_known: Mapping[str, Column]
) -> dict[str, Column]:
    """The columns that metrics read besides scores, (requests) each; `known` are not of the
    labels.
    """
    columns = dict(columns_known)
    for metric in metrics:
        for name in metric.columns:
            if name not in columns_known and name not in requests.frame.columns:
                raise UsageError(
                    f"metric {metric.name!r} reads {name!r}, which the labels do not have; "
                    f"{nearest(name, requests.frame.columns)}"
                )
            if name not in columns:
                columns[name] = requests.frame[name].to_numpy()
    return columns
