"""How sure a value is: its 95 % interval, standard error and p-value, from resamples of the test
and from refits.

Percentiles of few blocks cover too little, as a normal quantile does where Student's belongs: the
percentiles taken are those at sqrt(n / (n - 1)) times Student's quantile with n - 1 degrees of
freedom. That is for blocks that are independent, such as users. Successive blocks of time may
depend on one another: their interval is Student's, with the error of `serial_dependence`. Where a
few blocks have most of the rows, the interval is by `sign_flips`.

A model that is trained again, with another seed or on other days, differs too. The variance of a
difference is then that of the fitted models over the test sample, plus what training adds:

    training   share x max(0, V - noise)     V: the variance between the values of R refits
    noise      (A - M) R / (R - 1)           A: the mean of their variances over the resamples, M:
               the variance of their mean

Refits differ on the very test sample, so a part of V is noise of that sample, which the first term
has already. The share is 1/R of seeds whose metric is averaged, and 1 of refits on other training
days, since there is one training period only. The interval is Student's, with the degrees of
freedom of Satterthwaite, but no more than the test sample has: it is never narrower than that of
the fitted models.

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993
(percentile interval); Hesterberg, "What teachers should know about the bootstrap",
2015 (the expanded percentile interval); Künsch, "The jackknife and the bootstrap for general
stationary observations", 1989 (blocks); Satterthwaite, "An approximate
distribution of estimates of variance components", 1946.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from headwater.backtesting.row_blocks import MIN_BLOCKS
from headwater.backtesting.serial_dependence import BlockSeries, student_quantile
from headwater.backtesting.sign_flips import SignFlips
from headwater.metrics.metric import Floats

ALPHA = 0.05  # how often a claim may be wrong where there is nothing to claim
_DETECTED = 2.8  # 1.96 + 0.84
MIN_DEFINED = 0.95  # share of resamples on which a metric must be defined for an interval


@dataclass(frozen=True, eq=False)
class Spread:
    """A value, what it is on each resample (resamples,) of `blocks` blocks, at each refit
    (refits,), and on each resample there.

    `series` holds the blocks if they are periods of time, `flips` what signs are turned of where
    the blocks are too uneven for resamples.
    """

    value: float
    draws: Floats
    blocks: int
    again: Floats
    redrawn: Floats
    share: float
    series: BlockSeries | None = None
    flips: SignFlips | None = None

    def interval(self, looks: float = 1) -> tuple[float, float]:
        """The 95 % interval, NaN where there is none; see `interval` for `looks`."""
        low, high = self._fitted(looks)
        more = self._more(looks) if math.isfinite(low) else math.nan
        return low - more, high + more

    @property
    def error(self) -> float:
        """The standard error; NaN without an interval."""
        return (
            math.sqrt(self._variance + self._training)
            if math.isfinite(self.interval()[0])
            else math.nan
        )

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the standard error; NaN without an interval."""
        return self._freedom if math.isfinite(self.interval()[0]) else math.nan

    @property
    def _freedom(self) -> float:
        """Of test and training together, no more than those of the test."""
        test = self._test_freedom
        if not self._training > 0:
            return test
        parts = self._variance**2 / test + self._training**2 / (len(self.again) - 1)
        return min(test, (self._variance + self._training) ** 2 / parts)

    @property
    def p(self) -> float:
        """How likely so large a value is, on either side, if the truth is 0; below 5 % if and only
        if the interval leaves 0 out.
        """
        if math.isnan(self.interval()[0]):
            return math.nan
        from scipy.special import ndtri, stdtr

        if self.flips is not None and not self._training > 0:
            return self.flips.p
        if not self._percentiles and self.flips is None:
            return (
                float(2 * stdtr(min(self.freedom, 1e9), -abs(self.value) / self.error))
                if self.error
                else float(self.value == 0)
            )
        if self._training > 0:
            return self._searched
        draws, n = self.draws[~np.isnan(self.draws)], self.blocks
        tail = min(_below(draws), _below(-draws))
        return min(1.0, 2 * float(stdtr(n - 1, ndtri(tail) * math.sqrt((n - 1) / n))))

    @property
    def detected(self) -> float:
        """The lift that a test at 5 % detects in 80 % of cases, in standard errors: 2.8 with very
        many blocks.
        """
        if self._percentiles and not self._training > 0:
            return _DETECTED
        return student_quantile(1 - ALPHA / 2, self.freedom) + student_quantile(0.8, self.freedom)

    @property
    def _percentiles(self) -> bool:
        """Whether the interval of the fitted models is of percentiles: blocks that are
        independent.
        """
        return self.series is None and self.flips is None

    def _fitted(self, looks: float) -> tuple[float, float]:
        """The interval of the fitted models, over test samples alone."""
        if self.flips is not None:
            return self.flips.interval(ALPHA / looks)
        low, high = interval(self.draws, self.blocks, looks)
        if self._percentiles or math.isnan(low):
            return low, high
        half = math.sqrt(self._variance) * student_quantile(
            1 - ALPHA / 2 / looks, self._test_freedom
        )
        return self.value - half, self.value + half

    def _more(self, looks: float) -> float:
        """How much further the interval of the training procedure goes on either side; NaN where a
        refit has no value.
        """
        if len(self.again) < 2:
            return 0.0
        share = 1 - ALPHA / 2 / looks
        alone = math.sqrt(self._variance) * student_quantile(share, self._test_freedom)
        return (
            math.sqrt(self._variance + self._training) * student_quantile(share, self._freedom)
            - alone
        )

    @property
    def _searched(self) -> float:
        """The p-value by halving: the interval at which one end is 0."""
        low, high = 1e-12, 1.0
        for _ in range(60):
            middle = math.sqrt(low * high)
            below, above = self.interval(ALPHA / middle)
            low, high = (low, middle) if below > 0 or above < 0 else (middle, high)
        return high

    @cached_property
    def _variance(self) -> float:
        """Of the fitted models' value, over test samples; by sign flips, that of a Student's
        interval as wide.
        """
        if self.flips is not None:
            low, high = self.flips.interval(ALPHA)
            return ((high - low) / 2 / student_quantile(1 - ALPHA / 2, self._test_freedom)) ** 2
        draws = self.draws[~np.isnan(self.draws)]
        # Resampled blocks vary a little too little: one of them in as many as there are.
        variance = float(draws.var(ddof=1)) * self.blocks / (self.blocks - 1)
        return (
            variance if self.series is None else variance * self.series.inflation(self.draws) ** 2
        )

    @property
    def _test_freedom(self) -> float:
        return (
            self.blocks - 1.0
            if self.series is None or self.flips is not None
            else float(self.series.freedom)
        )

    @cached_property
    def _training(self) -> float:
        """The variance that training adds, by refits; NaN where one of them has no value. One block
        does not tell it from noise, and has no interval.
        """
        refits = len(self.again)
        if refits < 2 or self.blocks < 2 or not self.redrawn.size:
            return 0.0
        if np.isfinite(self.redrawn).sum(axis=0).min() < 2:
            return math.nan
        single = float(np.nanvar(self.redrawn, axis=0, ddof=1).mean())
        mean = float(np.nanvar(self.redrawn.mean(axis=1), ddof=1))
        noise = (single - mean) * refits / (refits - 1) * self.blocks / (self.blocks - 1)
        return self.share * float(np.maximum(self.again.var(ddof=1) - noise, 0.0))


def _below(draws: Floats) -> float:
    """The share of `draws` (resamples,) at or below 0, as percentiles are interpolated.

    >>> _below(np.array([-1.0, 1.0, 2.0])), _below(np.array([1.0, 2.0]))
    (0.25, 0.0)
    """
    ordered = np.sort(draws)
    at = int(np.searchsorted(ordered, 0.0, side="right")) - 1
    if at < 0 or at == len(ordered) - 1:
        return float(at >= 0)
    return float(at - ordered[at] / (ordered[at + 1] - ordered[at])) / (len(ordered) - 1)


def interval(replicates: Floats, blocks: int, looks: float = 1) -> tuple[float, float]:
    """The 95 % interval from `replicates` (resamples,) of so many blocks, leaving undefined ones
    out.

    Where `looks` such intervals are read together, each is widened so that all of them hold
    together with 95 % (Bonferroni). Both are NaN with fewer than 8 blocks, and where more than 5 %
    of the replicates are undefined: the remaining ones would not be a fair sample.

    >>> [round(end, 2) for end in interval(np.arange(101.0), blocks=30)]
    [1.88, 98.12]
    >>> [round(end, 2) for end in interval(np.arange(101.0), blocks=10**9, looks=5)]
    [0.5, 99.5]
    >>> interval(np.arange(101.0), blocks=7)
    (nan, nan)
    """
    defined = replicates[~np.isnan(replicates)]
    if blocks < MIN_BLOCKS or not defined.size or defined.size < MIN_DEFINED * replicates.size:
        return float("nan"), float("nan")
    tail = _tail(blocks, looks)
    low, high = np.percentile(defined, (tail, 100 - tail))
    return float(low), float(high)


@lru_cache(maxsize=1024)
def _tail(blocks: int, looks: float) -> float:
    """The percentile at which an interval of so many blocks begins: 2.5 with very many."""
    from scipy.special import ndtr, stdtrit

    return 100 * float(
        ndtr(math.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, ALPHA / 2 / looks))
    )
