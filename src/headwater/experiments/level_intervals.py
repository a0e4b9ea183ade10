"""Intervals of levels over weighted rows: of one day over hours, and of all days over blocks as in
a backtest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headwater.backtesting.intervals import ResampledMetrics, resample_weights
from headwater.backtesting.row_blocks import MIN_BLOCKS, RowBlocks
from headwater.backtesting.serial_dependence import BlockSeries
from headwater.backtesting.verdicts import min_lifts, unjudged
from headwater.definitions.evaluations import Evaluation
from headwater.kernel.arrays import F64
from headwater.metrics import Blocks
from headwater.results.estimate import Comparison, Estimate


@dataclass(frozen=True)
class WholePeriod:
    """All judged days together; None where there is none."""

    evaluation: ResampledMetrics | None

    @property
    def estimates_by_level(self) -> dict[str, Estimate]:
        """The metric of each level with its 95 % interval."""
        evaluation = self.evaluation
        return (
            {}
            if evaluation is None
            else {
                name: evaluation.estimates(name)[evaluation.metrics[0].name]
                for name in evaluation.levels
            }
        )

    def comparisons(self, served: str, stalest: str) -> list[Comparison]:
        """Every level against the served one, and against the stalest."""
        evaluation = self.evaluation
        if evaluation is None:
            return []
        least = self.least(None)
        pairs = dict.fromkeys(
            (base, name) for base in (served, stalest) for name in evaluation.levels if name != base
        )
        return [unjudged(evaluation, pair, 0, least) for pair in pairs]

    def least(self, min_lift: Mapping[str, float] | float | None) -> float:
        """The least lift worth having of the headline metric."""
        evaluation = self.evaluation
        if evaluation is None:
            return 0.0
        name = evaluation.metrics[0].name
        least_lift = (
            {name: min_lift[name]}
            if isinstance(min_lift, Mapping) and name in min_lift
            else None
            if isinstance(min_lift, Mapping)
            else min_lift
        )
        return min_lifts(evaluation, least_lift)[name]


@dataclass(frozen=True)
class WeightedResamples:
    """Resamples of blocks of weighted rows, and the blocks as a series of time; None where they are
    none, or too few.
    """

    blocks: Blocks
    series: BlockSeries | None


def weighted_resamples(
    rows: RowBlocks, weight: F64, resamples: int, evaluation: Evaluation
) -> WeightedResamples:
    """Resamples of blocks in which each row has a weight of its own."""
    drawn = resample_weights(
        rows.index, resamples, evaluation.seed, successive=rows.successive, dependent=rows.dependent
    )
    enough = len(drawn.weights) >= MIN_BLOCKS
    series = (
        BlockSeries(drawn.weights[:, 1:], drawn.dependent) if drawn.successive and enough else None
    )
    if weight.min() == weight.max():
        return WeightedResamples(drawn, series)
    weights, weight_index = np.unique(weight / weight.mean(), return_inverse=True)
    pairs, index = np.unique(np.stack([drawn.index, weight_index]), axis=1, return_inverse=True)
    return WeightedResamples(
        Blocks(
            index.reshape(-1).astype(np.int64), drawn.weights[pairs[0]] * weights[pairs[1]][:, None]
        ),
        series,
    )


def lift_over(evaluation: ResampledMetrics, base: str, name: str, *, higher: bool) -> Estimate:
    """The lift of a level over another with its interval; `higher`: whether a higher metric is
    better.
    """
    at, than = evaluation.position(name), evaluation.position(base)
    spread = evaluation.spread(at, 0, than) if higher else evaluation.spread(than, 0, at)
    return Estimate(spread.value, *spread.interval())
