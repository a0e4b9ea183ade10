"""Confidence sequences of a lift over days: intervals that hold at every daily look of a year
together.

day        the paired difference of two levels' metric on the requests of one day, weighted by how
           many requests the day stands for
window     the last 7, 10, 14, 28 or 56 judged days; a decay is seen best in the window that begins
           with it
error      of single days about the mean. Read twice, each at half of the error, and the narrower
           interval holds: of the window alone, since what no longer earns no longer varies either,
           and of the window and the days before it (84 at most) about their own mean, since few
           days know their variance badly. Successive days may depend on one another: the variance
           is that of an autoregression of order one, (1 + r) / (1 - r) times as large, with r
           corrected for its bias and never below 0, and as many fewer degrees of freedom. One
           series knows its r badly, and what makes days depend moves many of them: an r below the
           mean of the project's series is taken half way to it
family     each look reads every window of every series. A series may spend its share of the error
           in a year of 365 looks, evenly, so all its intervals hold together under any dependence
           between days, windows and series (Bonferroni)
decay      of the windows that lie wholly below break-even, the one with the clearest evidence; it
           says since when

Source: Darling and Robbins, "Confidence sequences for mean, variance, and median", 1967; Kendall,
"Note on bias in the estimation of autocorrelation", 1954.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.kernel.arrays import F64, I64
from headwater.results.estimate import Estimate

LENGTHS = (7, 10, 14, 28, 56)
LOOKS = 365
BEFORE = 84
FEWEST = 14
"""Judged days before the first interval: the error of fewer is not known well enough at this
level.
"""
_MOST_DEPENDENT = 0.9
_RECENT = BEFORE + 14


@dataclass(frozen=True)
class LiftWindow:
    """The mean lift of the last days, with an interval that holds at every look.

    first: the position of its first day. days: how many. lift: the mean and its interval. error:
    standard error. freedom: its degrees.
    """

    first: int
    days: int
    lift: Estimate
    error: float
    freedom: float


def share_of_error(alpha: float, series: int) -> float:
    """What one window of one look of one series may spend, of an error of `alpha` a year.

    >>> f"{share_of_error(0.05, 20):.1e}"
    '1.4e-06'
    """
    return alpha / (max(series, 1) * LOOKS * len(LENGTHS))


def shared_dependence(series: Sequence[tuple[I64, F64]]) -> float:
    """How much successive days depend on one another, from 0 to 0.9: the mean over the series of
    one project, of their last 98 days.

    One series knows its own badly, and what makes days depend, such as a campaign, moves all of
    them.

    >>> days = np.repeat([1.0, -1.0, 1.0, -1.0], 10)
    >>> shared_dependence(
    ...     [(np.arange(40), days), (np.arange(40), np.random.default_rng(0).normal(size=40))]
    ... ) > 0.3
    True
    """
    dependences = [
        _dependence(day[-_RECENT:], lift[-_RECENT:] - lift[-_RECENT:].mean())
        for day, lift in series
        if len(lift) >= FEWEST
    ]
    return float(np.mean(dependences)) if dependences else 0.0


def lift_windows(
    day: I64, lift: F64, rows: F64, error: float, dependence: float = 0.0
) -> list[LiftWindow]:
    """The windows that end with the last day, short ones first; none before there are 14 days.

    Args:
        day: int64 (days), rising day numbers.
        lift: float64 (days), the difference of each; days without one are left out beforehand.
        rows: float64 (days), how many requests each stands for.
        error: the two-sided error of each window; see `share_of_error`.
        dependence: of the project's series; see `shared_dependence`.

    >>> random = np.random.default_rng(0)
    >>> windows = lift_windows(
    ...     np.arange(40), 0.02 + 0.002 * random.normal(size=40), np.full(40, 1e4), 1e-6
    ... )
    >>> (
    ...     [window.days for window in windows],
    ...     all(window.lift.low < 0.02 < window.lift.high for window in windows),
    ... )
    ([7, 10, 14, 28], True)
    """
    count = len(lift)
    if count < FEWEST:
        return []
    weight = rows / rows.mean()
    return [
        _window(day, lift, weight, count - length, error, dependence)
        for length in LENGTHS
        if length <= count
    ]


def decayed(windows: Sequence[LiftWindow], break_even: float) -> LiftWindow | None:
    """Of the windows wholly below break-even, the one with the clearest evidence; None where no
    window is.
    """
    # of equal ones the longest
    below = [window for window in reversed(windows) if window.lift.high < break_even]
    return max(
        below,
        key=lambda window: (
            (break_even - window.lift.value) / window.error if window.error else math.inf
        ),
        default=None,
    )


def _window(
    day: I64, lift: F64, weight: F64, first: int, error: float, dependence: float
) -> LiftWindow:
    window = slice(first, len(lift))
    mean = float(np.average(lift[window], weights=weight[window]))
    residual = (lift[window] - mean) * np.sqrt(weight[window])
    start = max(0, first - BEFORE)
    deviations = [_deviation(residual, 1, _dependence(day[window], residual))]
    if first - start > 1:
        before = slice(start, first)
        earlier = (lift[before] - np.average(lift[before], weights=weight[before])) * np.sqrt(
            weight[before]
        )
        both = np.concatenate([earlier, residual])
        r = _dependence(day[start:], both)
        alone = _deviation(residual, 1, max(r, _dependence(day[window], residual)))
        deviations = [alone, _deviation(both, 2, max(r, (r + dependence) / 2))]
    total = math.sqrt(float(weight[window].sum()))
    halves = [
        (_half(deviation / total, freedom, error / len(deviations)), deviation / total, freedom)
        for deviation, freedom in deviations
    ]
    half, deviation, freedom = min(halves)
    return LiftWindow(
        first, len(lift) - first, Estimate(mean, mean - half, mean + half), deviation, freedom
    )


def _deviation(residual: F64, means: int, r: float) -> tuple[float, float]:
    """The long-run standard deviation of a day of weight 1, and its degrees of freedom; `means`
    were fitted.
    """
    inflation, count = (1 + r) / (1 - r), len(residual) - means
    return math.sqrt(float(residual @ residual) / count * inflation), max(count / inflation, 2.0)


def _half(deviation: float, freedom: float, error: float) -> float:
    from scipy.special import stdtrit

    return deviation * float(stdtrit(freedom, 1 - error / 2))


def _dependence(day: I64, residual: F64) -> float:
    """The correlation of successive days, corrected for the bias that a fitted mean gives it, from
    0 to 0.9.
    """
    following = np.flatnonzero(np.diff(day) == 1)
    total = float(residual @ residual) / len(residual)
    if len(following) < 2 or not total > 0:
        return 0.0
    r = float((residual[following] * residual[following + 1]).mean() / total)
    return min(max(r + (1 + 3 * r) / len(residual), 0.0), _MOST_DEPENDENT)
