"""Levels evaluated on rows: metrics, steps and notes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from headwater import clock
from headwater.backtesting import levels as of_levels
from headwater.backtesting.fold_training import LevelScores, Run
from headwater.backtesting.intervals import ResampledMetrics, Variation, evaluate, pooled
from headwater.backtesting.row_blocks import RowBlocks
from headwater.backtesting.slices import Slice
from headwater.backtesting.split import Split
from headwater.backtesting.verdicts import compare_levels, min_lifts
from headwater.definitions.checks import timestamp_text
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import Blocks, Metric, RowContext, curves
from headwater.results.backtest_result import FoldResult, LevelResult, SliceResult
from headwater.results.estimate import Comparison

# of each refit: only variances are taken of them, and of 500 their error is a sixteenth
_REFIT_RESAMPLES = 500


@dataclass(frozen=True)
class JudgedLevels:
    """Levels and steps on one set of rows; `caution` says why there are no intervals."""

    levels: Sequence[LevelResult]
    comparisons: Sequence[Comparison]
    min_lift: Mapping[str, float]
    caution: str


@dataclass(frozen=True)
class Judge:
    """Every level's scores of the test rows, and all that metrics read: arrays of (test rows)."""

    model: Model
    levels: Mapping[str, Level]
    metrics: Sequence[Metric]
    worth: Mapping[str, float] | None
    scores: Mapping[str, LevelScores]
    t: I64
    y: F64
    context: RowContext
    blocks: Blocks
    row_blocks: RowBlocks
    headline: str
    baseline: str
    refit_seconds: list[float] = field(default_factory=list)  # that each evaluation of refits took

    def everything(self) -> JudgedLevels:
        """The verdict over all test rows."""
        return self._judge(np.ones(len(self.y), np.bool_), drawn=True)

    def fixed_models(self) -> tuple[Comparison, ...]:
        """The differences in the headline between the models that were fitted on all training days,
        without the variance of training.
        """
        once = {name: replace(level_scores, days=[]) for name, level_scores in self.scores.items()}
        metrics = [metric for metric in self.metrics if metric.name == self.headline]
        alone = replace(self, scores=once, metrics=metrics or self.metrics)
        everywhere = np.ones(len(self.y), np.bool_)
        evaluation = replace(alone.evaluation(everywhere, self.blocks), refits=Variation.none(0, 0))
        worth = (
            None
            if self.worth is None
            else {
                name: value
                for name, value in self.worth.items()
                if name in {m.name for m in alone.metrics}
            }
        )
        return tuple(
            compare_levels(
                evaluation,
                min_lifts(evaluation, worth),
                headline=self.headline,
                baseline=self.baseline,
            )
        )

    def slice(self, row_slice: Slice, looks: int) -> SliceResult:
        """The same on a part of them; `looks` steps on slices are read together."""
        rows = int(row_slice.mask.sum())
        if rows == 0:
            return SliceResult(
                row_slice.name, row_slice.describes, 0, [], [], "no test row is in this slice"
            )
        judged = self._judge(row_slice.mask, looks)
        together = (
            (
                f"steps: {100 - 5 / looks:.2f} % intervals, so that all {looks} steps on slices "
                "hold together"
            )
            if looks > 1
            else ""
        )
        return SliceResult(
            row_slice.name,
            row_slice.describes,
            rows,
            judged.levels,
            judged.comparisons,
            judged.caution or together,
        )

    def folds(self, split: Split) -> list[FoldResult]:
        """Each fold by itself, without intervals; none of a single split."""
        if len(split.folds) < 2:
            return []
        freshest, results = list(self.levels)[-1], []
        for number, fold in enumerate(split.folds):
            mask = fold.test[split.test]
            values = self.evaluation(
                mask, Blocks(self.blocks.index[mask], self.blocks.weights[:, :1])
            )
            results.append(
                FoldResult(
                    split=timestamp_text(fold.at),
                    until=timestamp_text(int(self.t[mask].max())),
                    train_rows=self.scores[freshest].trained[number],
                    test_rows=int(mask.sum()),
                    values={
                        name: {
                            metric.name: float(values.values[at, m])
                            for m, metric in enumerate(self.metrics)
                        }
                        for at, name in enumerate(values.levels)
                    },
                )
            )
        return results

    def _judge(self, mask: Bool, looks: int = 1, *, drawn: bool = False) -> JudgedLevels:
        evaluation = self.evaluation(mask, self.blocks.select(mask))
        replays = self._replays(mask)
        results = []
        for name, level in self.levels.items():
            level_scores, answered = self.scores[name], self.scores[name].answered[mask]
            results.append(
                LevelResult(
                    name=name,
                    kind=of_levels.kind(level, self.model),
                    describes=level.describe(self.model),
                    age_seconds=of_levels.mean_age(self.model, level, self.t[mask]),
                    metrics=evaluation.estimates(name),
                    coverage=float(answered.mean()) if len(answered) else float("nan"),
                    replayed={k: e.value for k, e in replays.estimates(name).items()}
                    if replays and name in replays.levels
                    else {},
                    note=self._note(level_scores, answered, mask),
                    curves=curves(self.y[mask], level_scores.seeds[0].score[mask])
                    if drawn and self.model.task_type.positives
                    else None,
                    train_rows=level_scores.trained[-1],
                    runs_a_day=of_levels.runs_a_day(self.model, level),
                    freedom=self._freedom(evaluation, name),
                )
            )
        lifts = min_lifts(evaluation, self.worth)
        return JudgedLevels(
            results, self._compared(evaluation, lifts, looks), lifts, evaluation.caution
        )

    def _freedom(self, evaluation: ResampledMetrics, level: str) -> float | None:
        """The degrees of freedom of a level's interval in the headline metric; None without an
        interval.
        """
        names = [metric.name for metric in evaluation.metrics]
        if self.headline not in names:
            return None
        freedom = evaluation.spread(evaluation.position(level), names.index(self.headline)).freedom
        return freedom if math.isfinite(freedom) else None

    def _compared(
        self, evaluation: ResampledMetrics, lifts: Mapping[str, float], looks: int
    ) -> list[Comparison]:
        return compare_levels(
            evaluation, lifts, looks=looks, headline=self.headline, baseline=self.baseline
        )

    def evaluation(self, mask: Bool, blocks: Blocks) -> ResampledMetrics:
        """Every metric of every level on these rows, over all refits."""
        first, *others = [
            {name: level_scores.seeds[i] for name, level_scores in self.scores.items()}
            for i in range(self._refits[0])
        ]
        seeds, started = [self._evaluate(first, mask, blocks)], clock.stopwatch()
        seeds += [self._evaluate(runs, mask, blocks) for runs in others]
        fewer = Blocks(blocks.index, blocks.weights[:, : 1 + _REFIT_RESAMPLES])
        days = [
            self._evaluate(
                {name: level_scores.days[i] for name, level_scores in self.scores.items()},
                mask,
                fewer,
            )
            for i in range(self._refits[1])
        ]
        self.refit_seconds.append(clock.stopwatch() - started)
        of_blocks = self.row_blocks
        return replace(
            pooled(seeds, days),
            on=of_blocks.on(mask),
            unit=of_blocks.result.describes,
            needs=of_blocks.needs,
        )

    def difference(self, metric: Metric, blocks: Blocks) -> F64:
        """The last level minus the first in a metric, of the first fit of each: a value for each
        column of the blocks' weights.
        """
        everywhere = np.ones(len(self.y), np.bool_)
        metrics = self._evaluate(
            {name: level_scores.seeds[0] for name, level_scores in self.scores.items()},
            everywhere,
            blocks,
        )
        m = [own_metric.name for own_metric in self.metrics].index(metric.name)
        values: F64 = np.concatenate([metrics.values[:, m, None], metrics.replicates[:, m]], axis=1)
        difference: F64 = values[-1] - values[0] if len(values) > 1 else values[0]
        return difference

    @property
    def _refits(self) -> tuple[int, int]:
        any_level = next(iter(self.scores.values()))
        return len(any_level.seeds), len(any_level.days)

    def _evaluate(self, runs: Mapping[str, Run], mask: Bool, blocks: Blocks) -> ResampledMetrics:
        scores = {name: run.score[mask] for name, run in runs.items()}
        thresholds = {name: run.threshold[mask] for name, run in runs.items()}
        cheapest = {name: run.cheapest[mask] for name, run in runs.items()}
        return evaluate(
            self.metrics,
            self.y[mask],
            scores,
            blocks,
            thresholds,
            cheapest=cheapest,
            context=self.context.select(mask),
        )

    def _replays(self, mask: Bool) -> ResampledMetrics | None:
        again = {
            name: level_scores.replayed[mask]
            for name, level_scores in self.scores.items()
            if level_scores.replayed is not None
        }
        if not again:
            return None
        freshest = self.scores[list(self.scores)[-1]].seeds[0]
        thresholds, cheapest = (
            dict.fromkeys(again, cut[mask]) for cut in (freshest.threshold, freshest.cheapest)
        )
        # metrics by day need the days
        whole = Blocks(self.blocks.index[mask], self.blocks.weights[:, :1])
        return evaluate(
            self.metrics,
            self.y[mask],
            again,
            whole,
            thresholds,
            cheapest=cheapest,
            context=self.context.select(mask),
        )

    def _note(self, scores: LevelScores, answered: Bool, mask: Bool) -> str:
        notes = [scores.note] if scores.note else []
        if scores.fitted is not None and scores.fitted.replayed:
            notes.append("the estimator was given fitted: replayed, not trained at this level")
        if not answered.all():
            unanswered = f"{self._request_count(~answered, mask)} are not answered"
            notes.append(f"{unanswered}; {self._stand_in(scores)}")
        return "; ".join(notes)

    def _request_count(self, rows: Bool, mask: Bool) -> str:
        """How many requests these rows are: a list is one."""
        groups = self.context.groups
        return (
            f"{int(rows.sum())} requests"
            if groups is None
            else f"{len(np.unique(groups[mask][rows]))} lists"
        )

    def _stand_in(self, scores: LevelScores) -> str:
        if self.model.task_type.lists:
            return "what they would have shown counts as missed"
        if scores.default is None:
            return "the share of each class among the training rows stands in for them"
        stand_in = "default" if self.model.default is not None else "mean of the training rows"
        return f"the {stand_in}, {scores.default:.4g}, stands in for them"
