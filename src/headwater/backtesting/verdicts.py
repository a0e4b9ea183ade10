"""Whether fresher features pay: differences between levels, their intervals and what they show.

One family is judged: each level that is fresher than the baseline against it, in the
headline metric. The baseline is the level that serves today, else the stalest one. All
other differences, between neighbouring levels and in other metrics, have an interval
and no verdict. The verdict, first rule that holds:

    negligible     the interval lies inside [-min_lift, +min_lift]
    LIFT           the interval lies above 0
    harm           the interval lies below 0
    inconclusive   anything else, no interval, or fewer than 8 days (or longer blocks) of test rows

The interval is two-sided 95 %, for each step by itself. Several levels are read
together, and one in twenty of them would be called by chance alone; so a LIFT
or a harm has to hold in the family, by Holm's method ("A simple sequentially
rejective multiple test procedure", 1979): the smallest p-value times the number
of levels, the next times one less, and so on, must stay below 5 %.

The minimum detectable effect, the lift that the test detects in 80 % of cases, is 2.8 standard
errors (1.96 + 0.84; Cohen, "Statistical power analysis", 1988), more with few blocks and where
several steps are read together; the standard error is that of the paired resamples (and refits).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import msgspec

from headwater.backtesting.intervals import ResampledMetrics
from headwater.backtesting.spread import ALPHA, MIN_DEFINED, Spread
from headwater.errors import UsageError, nearest
from headwater.metrics.holm import holm
from headwater.results.estimate import VERDICT_WORDS, Comparison, Verdict


def min_lifts(
    evaluation: ResampledMetrics, min_lift: Mapping[str, float] | float | None = None
) -> dict[str, float]:
    """The smallest change worth having of each metric, in the metric's unit.

    Defaults: 0.005 for metrics where higher is better and for calibration;
    0.5 % of the first level's value for errors (log_loss, brier, mae, rmse,
    wape). A float replaces that of the headline, the first metric; a mapping
    replaces those that it names.

    Raises UsageError for a metric that was not evaluated or a number that is
    not 0 or more.

    >>> from headwater.backtesting.intervals import evaluate
    >>> from headwater.metrics import Blocks, resolve
    >>> found = evaluate(
    ...     resolve(["mae"], "regression"),
    ...     [1, 2],
    ...     {"none": [2, 3], "daily": [1, 2]},
    ...     Blocks.whole(2),
    ... )
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
            raise UsageError(
                f"min_lift names {name!r}, which is not evaluated; {nearest(name, lifts)}"
            )
        if not 0 <= value < math.inf:
            raise UsageError(
                f"min_lift of {name!r} is {value}; pass 0 or more, in the metric's unit"
            )
    return lifts | {name: float(value) for name, value in chosen.items()}


def compare_levels(
    evaluation: ResampledMetrics,
    min_lift: Mapping[str, float] | float | None = None,
    levels: Sequence[str] | None = None,
    looks: int = 1,
    *,
    headline: str | None = None,
    baseline: str | None = None,
) -> list[Comparison]:
    """Compare each level with every fresher one, in every metric; those with the baseline in the
    headline metric are judged.

    `levels` are those to compare, in order; all evaluated ones if None. The baseline is the first
    of them if None, the headline the first metric. Differences are so signed that a rise is a gain:
    `to` minus `from`, and the other way round for errors. For `min_lift` and errors see
    `min_lifts`. `looks` is how many differences are read together: where more than one, intervals
    are widened for all of them (see `interval`); else Holm's method holds the family together.

    >>> import numpy as np
    >>> from headwater.backtesting.intervals import evaluate, resample_weights
    >>> from headwater.metrics import resolve
    >>> y, days = np.arange(20.0), np.arange(20)
    >>> scores = {"daily": y + 2, "hourly": y + 1, "minute": y}
    >>> found = compare_levels(
    ...     evaluate(resolve(["mae"], "regression"), y, scores, resample_weights(days))
    ... )
    >>> [f"{step.to} {step.sentence}" for step in found]
    ['hourly LIFT of +1.000 [+1.000, +1.000]', 'minute LIFT of +2.000 [+2.000, +2.000]', 'minute +1.000 [+1.000, +1.000]']
    """  # noqa: E501 (output as it is printed)
    names = tuple(evaluation.levels if levels is None else levels)
    today = names[0] if baseline is None and names else baseline
    judged_in = headline or (evaluation.metrics[0].name if evaluation.metrics else "")
    pairs = list(combinations(names, 2))
    primary = [pair for pair in pairs if pair[0] == today]
    comparisons: list[Comparison] = []
    for m, (name, lift) in enumerate(min_lifts(evaluation, min_lift).items()):
        judged = in_metric(evaluation, primary, m, lift, looks) if name == judged_in else []
        by_pair = {(step.from_, step.to): step for step in judged}
        comparisons += [
            by_pair.get(pair) or unjudged(evaluation, pair, m, lift, looks) for pair in pairs
        ]
    return comparisons


def in_metric(
    evaluation: ResampledMetrics,
    steps: Sequence[tuple[str, str]],
    m: int,
    min_lift: float,
    looks: int = 1,
) -> list[Comparison]:
    """These steps, each a level and another, in the metric at `m`: together by Holm's method, or
    widened where there are several looks.
    """
    metric = evaluation.metrics[m]
    ends = [(evaluation.position(from_), evaluation.position(to)) for from_, to in steps]
    # An error that falls is a gain.
    spreads = [
        evaluation.spread(to, m, from_)
        if metric.higher_is_better
        else evaluation.spread(from_, m, to)
        for from_, to in ends
    ]
    together = holm([spread.p for spread in spreads]) if looks == 1 else [math.nan] * len(spreads)
    family = sum(not math.isnan(p) for p in together) or 1
    return [
        _compared(evaluation, step, m, spread, min_lift, looks, family, p)
        for step, spread, p in zip(steps, spreads, together, strict=True)
    ]


def unjudged(
    evaluation: ResampledMetrics, step: tuple[str, str], m: int, min_lift: float, looks: int = 1
) -> Comparison:
    """A difference with its interval and without a verdict."""
    metric = evaluation.metrics[m]
    from_, to = (evaluation.position(name) for name in step)
    spread = (
        evaluation.spread(to, m, from_)
        if metric.higher_is_better
        else evaluation.spread(from_, m, to)
    )
    low, high = spread.interval(looks)
    change = _Change(
        metric.relative, spread.value, low, high, spread.error * spread.detected, min_lift
    )
    absence = (
        f"{change.signed(spread.value)} without an interval: "
        f"{_absence(evaluation, m, spread.value)}"
    )
    sentence = str(change) if math.isfinite(low) else absence.removeprefix("+nan ")
    return Comparison(
        *step, metric.name, spread.value, low, high, change.mde, "not judged", sentence
    )


def judged_again(step: Comparison, min_lift: float) -> Comparison:
    """A judged difference with another least lift worth having, such as a break-even of money;
    other differences do not change.

    >>> found = Comparison("daily", "hourly", "auc", 0.029, 0.017, 0.041, 0.01, "LIFT", "", 0.001)
    >>> judged_again(found, 0.05).sentence
    'no lift worth having: +0.029 [+0.017, +0.041] lies inside +-0.050'
    """
    if step.verdict in ("not judged", "not measurable") or not math.isfinite(step.low):
        return step
    verdict, alone = verdict_of(step.low, step.high, min_lift), ""
    if verdict in ("LIFT", "harm") and step.p >= ALPHA:
        verdict, alone = (
            "inconclusive",
            f"by itself a {verdict}, but not among {step.family} steps (Holm: p = {step.p:.2g})",
        )
    change = _Change(abs(step.delta) >= 1, step.delta, step.low, step.high, step.mde, min_lift)
    return msgspec.structs.replace(
        step, verdict=verdict, sentence=_sentence(verdict, change, "", alone)
    )


def _compared(
    evaluation: ResampledMetrics,
    step: tuple[str, str],
    m: int,
    spread: Spread,
    min_lift: float,
    looks: int,
    family: int,
    p: float,
) -> Comparison:
    metric = evaluation.metrics[m]
    low, high = spread.interval(looks)
    # 0 where one step is read
    more = NormalDist().inv_cdf(1 - ALPHA / 2 / family) - NormalDist().inv_cdf(1 - ALPHA / 2)
    mde = spread.error * (spread.detected + more)
    verdict, alone = verdict_of(low, high, min_lift), ""
    if evaluation.on and verdict != "inconclusive":
        verdict, alone = "inconclusive", f"{evaluation.on}; {evaluation.needs}"
    if verdict in ("LIFT", "harm") and p >= ALPHA:
        verdict, alone = (
            "inconclusive",
            f"by itself a {verdict}, but not among {family} steps (Holm: p = {p:.2g})",
        )
    change = _Change(metric.relative, spread.value, low, high, mde, min_lift)
    sentence = _sentence(verdict, change, _absence(evaluation, m, spread.value), alone)
    return Comparison(
        *step, metric.name, spread.value, low, high, mde, verdict, sentence, p, family
    )


def verdict_of(low: float, high: float, min_lift: float) -> Verdict:
    """The verdict on an interval; "inconclusive" if it is NaN.

    >>> verdict_of(0.001, 0.005, 0.005), verdict_of(0.001, 0.006, 0.005)
    ('negligible', 'LIFT')
    >>> verdict_of(-0.02, -0.01, 0.005), verdict_of(-0.02, 0.01, 0.005)
    ('harm', 'inconclusive')
    """
    if -min_lift <= low and high <= min_lift:
        return "negligible"
    if low > 0:
        return "LIFT"
    return "harm" if high < 0 else "inconclusive"


@dataclass(frozen=True)
class _Change:
    """A difference in writing: all numbers with the same decimals."""

    relative: bool  # whether the unit of the metric may be of any size
    delta: float
    low: float
    high: float
    mde: float
    min_lift: float

    def plain(self, value: float) -> str:
        return f"{value:.{self._decimals}f}"

    def signed(self, value: float) -> str:
        return f"{round(value, self._decimals) + 0.0:+.{self._decimals}f}"  # + 0.0: never "-0.000"

    def __str__(self) -> str:
        return f"{self.signed(self.delta)} [{self.signed(self.low)}, {self.signed(self.high)}]"

    @property
    def _decimals(self) -> int:
        """Three for shares; for errors, whose unit may be of any size, enough to read half of
        min_lift.
        """
        fine = math.ceil(-math.log10(self.min_lift / 2)) if 0 < self.min_lift < math.inf else 3
        return min(max(fine, 0 if self.relative else 3), 9)


def _sentence(verdict: Verdict, change: _Change, absence: str, alone: str) -> str:
    words = VERDICT_WORDS[verdict]
    if alone:
        return f"{words}: {change}{' ' if alone.startswith('on th') else ', '}{alone}"
    if math.isnan(change.low):
        value = (
            ""
            if math.isnan(change.delta)
            else f"{change.signed(change.delta)} without an interval: "
        )
        return f"{words}: {value}{absence}"
    match verdict:
        case "negligible":
            return f"{words}: {change} lies inside +-{change.plain(change.min_lift)}"
        case "inconclusive":
            seen = f"a lift of {change.plain(change.mde)} would have been detected"
            return f"{words}: {change}, at most {change.signed(change.high)}; {seen}"
        case _:
            return f"{words} of {change}"


def _absence(evaluation: ResampledMetrics, m: int, delta: float) -> str:
    """Why a difference has no interval."""
    name = evaluation.metrics[m].name
    if math.isnan(delta):
        return f"{name} is undefined on these rows (no rows, one class, or nothing flagged)"
    if evaluation.caution:
        return evaluation.caution
    if not evaluation.replicates.shape[2]:
        return "no resamples were drawn"
    return f"{name} is undefined on more than {1 - MIN_DEFINED:.0%} of the resamples"
