"""Whether fresher features pay: differences between levels, their intervals and what they show.

The verdict, first rule that holds:

    no lift worth having   the interval lies inside [-min_lift, +min_lift]
    LIFT                   the interval lies above 0
    harm                   the interval lies below 0
    not shown              anything else, or no interval

The interval is two-sided 95 %, for each step by itself. Several steps are read
together, and one in twenty of them would be called by chance alone; so a LIFT
or a harm has to hold among all steps in that metric, by Holm's method ("A simple
sequentially rejective multiple test procedure", 1979): the smallest p-value times
the number of steps, the next times one less, and so on, must stay below 5 %.

The minimum detectable effect, the lift that the test detects in 80 % of cases, is 2.8 standard errors
(1.96 + 0.84; Cohen, "Statistical power analysis", 1988), more where several steps
are read together; the standard error is that of the paired resamples (and refits).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from headwater.backtesting.intervals import ALPHA, MIN_DEFINED, Evaluation, Spread
from headwater.errors import UsageError, nearest
from headwater.metrics.base import Metric
from headwater.results.estimate import Paired, Verdict

_SEEN = 2.8  # standard errors
_USUAL = 1.96


def min_lifts(evaluation: Evaluation, min_lift: Mapping[str, float] | float | None = None) -> dict[str, float]:
    """The smallest change worth having of each metric, in the metric's unit.

    Defaults: 0.005 for metrics where higher is better and for calibration;
    0.5 % of the first level's value for errors (log_loss, brier, mae, rmse,
    wape). A float replaces that of the headline, the first metric; a mapping
    replaces those that it names.

    Raises UsageError for a metric that was not evaluated or a number that is
    not 0 or more.

    >>> from headwater.backtesting.intervals import evaluate
    >>> from headwater.metrics import Blocks, resolve
    >>> found = evaluate(resolve(["mae"], "regression"), [1, 2], {"none": [2, 3], "daily": [1, 2]}, Blocks.whole(2))
    >>> min_lifts(found), min_lifts(found, 0.25)
    ({'mae': 0.005}, {'mae': 0.25})
    """
    lifts = {
        metric.name: metric.worth(float(evaluation.values[0, m])) if evaluation.levels else math.nan
        for m, metric in enumerate(evaluation.metrics)
    }
    if min_lift is None:
        return lifts
    chosen = min_lift if isinstance(min_lift, Mapping) else {evaluation.metrics[0].name: min_lift}
    for name, value in chosen.items():
        if name not in lifts:
            raise UsageError(f"min_lift names {name!r}, which is not evaluated; {nearest(name, lifts)}")
        if not 0 <= value < math.inf:
            raise UsageError(f"min_lift of {name!r} is {value}; pass 0 or more, in the metric's unit")
    return lifts | {name: float(value) for name, value in chosen.items()}


def paired(
    evaluation: Evaluation,
    min_lift: Mapping[str, float] | float | None = None,
    levels: Sequence[str] | None = None,
    looks: int = 1,
) -> list[Paired]:
    """Compare each level with the next in every metric, then the first with the last if there are more than two.

    `levels` are those to compare, in order; all evaluated ones if None.
    Differences are so signed that a rise is a gain: `to` minus `from`, and
    the other way round for errors. For `min_lift` and errors see `min_lifts`.
    `looks` is how many parts of the rows are compared like this: where more than one, intervals are widened for all of them
    (see `interval`); else Holm's method holds the steps in one metric together.

    >>> import numpy as np
    >>> from headwater.backtesting.intervals import evaluate, resample_weights
    >>> from headwater.metrics import resolve
    >>> y, days = np.arange(20.0), np.arange(20)
    >>> scores = {"daily": y + 2, "hourly": y + 1}
    >>> step, = paired(evaluate(resolve(["mae"], "regression"), y, scores, resample_weights(days)))
    >>> step.from_, step.to, step.sentence
    ('daily', 'hourly', 'LIFT of +1.000 [+1.000, +1.000]')
    """
    names = tuple(evaluation.levels if levels is None else levels)
    steps = list(pairwise(names))
    if len(names) > 2:
        steps.append((names[0], names[-1]))
    lifts = list(min_lifts(evaluation, min_lift).values())
    by_metric = [in_metric(evaluation, steps, m, lift, looks) for m, lift in enumerate(lifts)]
    return [of_step for together in zip(*by_metric, strict=True) for of_step in together]


def in_metric(evaluation: Evaluation, steps: Sequence[tuple[str, str]], m: int, min_lift: float, looks: int = 1) -> list[Paired]:
    """These steps, each a level and another, in the metric at `m`: together by Holm's method, or widened where there are several looks."""
    metric = evaluation.metrics[m]
    ends = [(evaluation.position(from_), evaluation.position(to)) for from_, to in steps]
    # An error that falls is a gain.
    spreads = [evaluation.spread(to, m, from_) if metric.higher_is_better else evaluation.spread(from_, m, to) for from_, to in ends]
    together = holm([spread.p for spread in spreads]) if looks == 1 else [math.nan] * len(spreads)
    family = sum(not math.isnan(p) for p in together) or 1
    return [
        _compared(evaluation, step, m, spread, min_lift, looks, family, p) for step, spread, p in zip(steps, spreads, together, strict=True)
    ]


def _compared(
    evaluation: Evaluation, step: tuple[str, str], m: int, spread: Spread, min_lift: float, looks: int, family: int, p: float
) -> Paired:
    metric = evaluation.metrics[m]
    low, high = spread.interval(looks)
    detectable = spread.error * (_SEEN if family == 1 else _SEEN - _USUAL + NormalDist().inv_cdf(1 - ALPHA / 2 / family))
    verdict, alone = verdict_of(low, high, min_lift), ""
    if verdict in ("LIFT", "harm") and p >= ALPHA:
        verdict, alone = "not shown", f"by itself a {verdict}, but not among {family} steps (Holm: p = {p:.2g})"
    change = _Change(metric, spread.value, low, high, detectable, min_lift)
    sentence = _sentence(verdict, change, _absence(evaluation, m, spread.value), alone)
    return Paired(*step, metric.name, spread.value, low, high, detectable, verdict, sentence, p, family)


def holm(p: Sequence[float]) -> list[float]:
    """p-values made larger, so that those below 5 % hold together with 95 %; NaN ones stay, and are not of the family.

    >>> holm([0.01, 0.04, 0.02]), holm([0.5, math.nan])
    ([0.03, 0.04, 0.04], [0.5, nan])
    """
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    adjusted, largest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def verdict_of(low: float, high: float, min_lift: float) -> Verdict:
    """The verdict on an interval; "not shown" if it is NaN.

    >>> verdict_of(0.001, 0.005, 0.005), verdict_of(0.001, 0.006, 0.005)
    ('no lift worth having', 'LIFT')
    >>> verdict_of(-0.02, -0.01, 0.005), verdict_of(-0.02, 0.01, 0.005)
    ('harm', 'not shown')
    """
    if -min_lift <= low and high <= min_lift:
        return "no lift worth having"
    if low > 0:
        return "LIFT"
    return "harm" if high < 0 else "not shown"


@dataclass(frozen=True)
class _Change:
    """A difference as it is written: all numbers with the same decimals."""

    metric: Metric
    delta: float
    low: float
    high: float
    detectable: float
    min_lift: float

    def plain(self, value: float) -> str:
        return f"{value:.{self._decimals}f}"

    def signed(self, value: float) -> str:
        return f"{round(value, self._decimals) + 0.0:+.{self._decimals}f}"  # + 0.0: never "-0.000"

    def __str__(self) -> str:
        return f"{self.signed(self.delta)} [{self.signed(self.low)}, {self.signed(self.high)}]"

    @property
    def _decimals(self) -> int:
        """Three for shares; for errors, whose unit may be of any size, enough to read half of min_lift."""
        fine = math.ceil(-math.log10(self.min_lift / 2)) if 0 < self.min_lift < math.inf else 3
        return min(max(fine, 0 if self.metric.relative else 3), 9)


def _sentence(verdict: Verdict, change: _Change, absence: str, alone: str) -> str:
    if alone:
        return f"{verdict}: {change}, {alone}"
    if math.isnan(change.low):
        value = "" if math.isnan(change.delta) else f"{change.signed(change.delta)} without an interval: "
        return f"not shown: {value}{absence}"
    match verdict:
        case "no lift worth having":
            return f"{verdict}: {change} lies inside +-{change.plain(change.min_lift)}"
        case "not shown":
            seen = f"a lift of {change.plain(change.detectable)} would have been detected"
            return f"{verdict}: {change}, at most {change.signed(change.high)}; {seen}"
        case _:
            return f"{verdict} of {change}"


def _absence(evaluation: Evaluation, m: int, delta: float) -> str:
    """Why a difference has no interval."""
    name = evaluation.metrics[m].name
    if math.isnan(delta):
        return f"{name} is undefined on these rows (no rows, one class, or nothing flagged)"
    if evaluation.caution:
        return evaluation.caution
    if not evaluation.replicates.shape[2]:
        return "no resamples were drawn"
    return f"{name} is undefined on more than {1 - MIN_DEFINED:.0%} of the resamples"
