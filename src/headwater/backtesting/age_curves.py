"""Lift as a function of the age of one view's features, all other views as fresh as at one level.

The model is trained again at each age, as it would be if its features were that old: a model that
was trained on fresh features and reads stale ones does worse than it must. The lift is over the
same model without the view, on the same requests, blocks and resamples, so points of a curve are
paired. Every age is `streaming(age)`: the window ends at the request, and what was known `age`
earlier counts.

A level's lift is the curve averaged over the ages that its features have at the test requests;
between two points the curve is a line in log(1 + seconds), beyond the last point it stays there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.backtesting.experiment_rows import ExperimentRows
from headwater.backtesting.intervals import ResampledMetrics
from headwater.backtesting.row_blocks import RowBlocks
from headwater.backtesting.verdicts import min_lifts
from headwater.definitions.checks import SECOND, Duration, micros, text
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, never, on_request, streaming
from headwater.definitions.level import Level
from headwater.kernel.arrays import F64, I64
from headwater.kernel.as_of import NEVER, as_of
from headwater.results.age_curve_result import AgeCurve, AgePoint
from headwater.results.estimate import Estimate

_WITHOUT = "without"
_HALF, _TENTH = 0.5, 0.1


def age_curves(
    experiment: ExperimentRows,
    levels: Mapping[str, Level],
    others: str,
    ages: Sequence[Duration],
    row_blocks: RowBlocks,
) -> tuple[AgeCurve, ...]:
    """The curve of each view that some level lets read history; trains views x (ages + 1) models.

    Args:
        experiment: the rows; each model is trained once.
        levels: the compared levels, whose lifts are read off the curve.
        others: the one among them that all other views have.
        ages: evaluated in addition to 0.
        row_blocks: those of the intervals.
    """
    once = dataclasses.replace(
        experiment, evaluation=dataclasses.replace(experiment.evaluation, refits=0, tune=None)
    )
    seconds = sorted({0, *(micros(age, "Evaluation(ages=)") for age in ages)})
    views = [
        view
        for view in once.model.features.views
        if any(level.freshness(view).reads_events for level in levels.values())
    ]
    return tuple(
        _CurveOfView(once, levels, others, seconds, row_blocks, view).result() for view in views
    )


@dataclass(frozen=True)
class _CurveOfView:
    experiment: ExperimentRows
    levels: Mapping[str, Level]
    others: str
    ages: Sequence[int]
    row_blocks: RowBlocks
    view: FeatureView

    def result(self) -> AgeCurve:
        evaluation = self._evaluation()
        points = np.array([age / SECOND for age in self.ages])
        lifts, _ = self._lifts(evaluation)
        least = min_lifts(evaluation, self.experiment.judged.min_lift)[evaluation.metrics[0].name]
        worth = lifts[0] > least
        return AgeCurve(
            view=self.view.name,
            metric=evaluation.metrics[0].name,
            others=self.others,
            points=[
                AgePoint(float(age), self._estimate(evaluation, np.eye(len(points))[n]))
                for n, age in enumerate(points)
            ],
            levels={
                name: self._estimate(evaluation, self._weights(level))
                for name, level in self.levels.items()
            },
            min_lift=least,
            half_life_seconds=gone_from(points, lifts, _HALF) if worth else None,
            lost_90_seconds=gone_from(points, lifts, _TENTH) if worth else None,
            fits=len(points) + 1,
        )

    def _evaluation(self) -> ResampledMetrics:
        """The headline of the model without the view, then at each age."""
        base, model = self.levels[self.others], self.experiment.model
        fresh = {view: base.freshness(view) for view in model.features.views}
        of_age: dict[str, Freshness] = {
            text(age): streaming(text(age)) if age else on_request() for age in self.ages
        }
        levels = {
            name: Level({**fresh, self.view: freshness}, on_request(), base.known_after)
            for name, freshness in {_WITHOUT: never(), **of_age}.items()
        }
        return self.experiment.headline_by_level(levels, self.row_blocks)

    def _lifts(self, evaluation: ResampledMetrics) -> tuple[F64, F64]:
        """The lift at each age, float64 (ages,), and on each resample, float64 (ages,
        resamples).
        """
        sign = 1.0 if evaluation.metrics[0].higher_is_better else -1.0
        values, draws = evaluation.values[:, 0], evaluation.replicates[:, 0]
        return sign * (values[1:] - values[0]), sign * (draws[1:] - draws[0])

    def _estimate(self, evaluation: ResampledMetrics, weights: F64) -> Estimate:
        """A weighted mean of the curve with its interval."""
        lifts, draws = self._lifts(evaluation)
        lift = float(weights @ lifts)
        return Estimate(lift, *evaluation.sure(lift, weights @ draws).interval())

    def _weights(self, level: Level) -> F64:
        """How much each point of the curve counts for a level, float64 (ages,): below 1 in all
        where some requests read nothing.
        """
        freshness, t = level.freshness(self.view), self._t
        if not freshness.reads_events:
            return np.zeros(len(self.ages))
        cutoffs = as_of(freshness, t)[1]
        return age_weights(
            np.array(self.ages) / SECOND, np.where(cutoffs > NEVER, (t - cutoffs) / SECOND, np.nan)
        )

    @property
    def _t(self) -> I64:
        return self.experiment.requests.t[self.experiment.test]


def age_weights(points: F64, ages: F64) -> F64:
    """The mean over `ages` (requests,) of the weights that interpolate between `points` (points,),
    both in seconds; NaN: nothing is read.

    >>> age_weights(np.array([0.0, 3600.0]), np.array([0.0, 3600.0, 7200.0, np.nan])).tolist()
    [0.25, 0.5]
    """
    at, grid = np.log1p(np.clip(ages[~np.isnan(ages)], 0, points[-1])), np.log1p(points)
    weights: F64 = np.array(
        [np.interp(at, grid, unit).sum() for unit in np.eye(len(points))]
    ) / max(len(ages), 1)
    return weights


def gone_from(points: F64, lifts: F64, share_left: float) -> float | None:
    """The age in seconds from which on at most the share `left` of the first lift remains; None if
    the last point has more.

    >>> gone_from(np.array([0.0, 60.0, 3600.0]), np.array([0.2, 0.2, 0.0]), 0.5)
    467.7
    >>> gone_from(np.array([0.0, 60.0, 3600.0]), np.array([0.2, 0.0, 0.2]), 0.5) is None
    True
    """
    limit = share_left * lifts[0]
    above = np.flatnonzero(lifts > limit)
    last = int(above[-1])
    if last == len(points) - 1:
        return None
    grid = np.log1p(points[last : last + 2])
    share = (lifts[last] - limit) / (lifts[last] - lifts[last + 1])
    return round(float(np.expm1(grid[0] + share * (grid[1] - grid[0]))), 1)
