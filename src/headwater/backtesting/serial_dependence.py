"""The standard error of a metric over successive blocks of time that may depend on one another.

A bootstrap of days draws them as if each were independent of the day before. Where the model does
well for some days and then badly for some, the mean of many days varies more than that, and no test
on a few dozen noisy days shows it. So the error is not that of single
days: it is read off the slow waves in the blocks' influence on the metric, the projections on the
first B cosines over the test period. Each estimates the variance of a mean over the whole period,
with one degree of freedom, so the interval is Student's with B degrees of freedom. B is the square
root of the number of blocks, but at least six: more waves would be narrower and miss more of the
dependence, fewer would be wider. Where blocks are independent the error is right as well, and the
price is that of fewer degrees of freedom: 12 % in width with 60 blocks. Where a test shows that
days depend on one another, blocks are longer and only four waves are read: dependence that shows
under the noise is strong, and slower than six waves are.

The influence of a block on a metric is its slope in a linear regression of the resampled values on
how often each block was drawn.

Source: Müller, "HAC corrections for strongly autocorrelated time series", 2014, and Lazarus, Lewis,
Stock and Watson, "HAR inference: recommendations for practice", 2018 (equal-weighted cosines);
Davison and Hinkley, "Bootstrap methods and their application", 1997, 2.7.4 (influence by
regression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headwater.kernel.arrays import F64

FEWEST_WAVES = 6  # Student's quantile grows fast with fewer
_OF_DEPENDENT = 4  # waves, where dependence was shown


@dataclass(frozen=True, eq=False)
class BlockSeries:
    """Successive blocks of time, in order, and how often each resample draws each: float64 (blocks,
    resamples).

    dependent: a test showed that days depend on one another.

    >>> draws = np.random.default_rng(0).multinomial(16, np.full(16, 1 / 16), 500).T.astype(float)
    >>> slow, quick = np.arange(16.0), np.arange(16.0) % 2 * 16
    >>> [round(BlockSeries(draws).inflation(values @ draws / 16), 2) for values in (slow, quick)]
    [1.58, 0.26]
    """

    drawn: F64
    dependent: bool = False

    @property
    def freedom(self) -> int:
        """Of the error, and how many waves it is read off.

        >>> [BlockSeries(np.ones((blocks, 1))).freedom for blocks in (5, 8, 28, 60)]
        [4, 6, 6, 8]
        >>> BlockSeries(np.ones((28, 1)), dependent=True).freedom
        4
        """
        blocks = len(self.drawn)
        if self.dependent:
            return min(blocks - 1, _OF_DEPENDENT)
        return min(blocks - 1, max(FEWEST_WAVES, math.ceil(math.sqrt(blocks))))

    def inflation(self, draws: F64) -> float:
        """The standard error over the one of independent blocks; 1 where nothing varies.

        Args:
            draws: the metric on each resample, float64 (resamples,); NaN ones are left out.
        """
        present = ~np.isnan(draws)
        waves, inverse = (
            self._fitted if present.all() else _fit(self.drawn[:, present], self._cosines)
        )
        centred = draws[present] - draws[present].mean()
        total = float(centred @ centred)
        if not total > 0:
            return 1.0
        along = waves @ centred
        slopes = inverse @ along
        spare = max(len(centred) - 1 - len(slopes), 1)
        # What the regression leaves adds noise to every slope, much of it where the blocks are many
        # and the resamples few.
        noise = max(total - float(slopes @ along), 0.0) / spare * np.diag(inverse)
        squares = slopes**2 - noise
        slow = float(squares[: self.freedom].mean())
        every = (
            float(squares.mean()) if self._whole else total / len(centred) / (len(self.drawn) - 1)
        )
        return math.sqrt(max(slow, 0.0) / every) if every > 0 else 1.0

    @property
    def _whole(self) -> bool:
        """Whether resamples are enough for the influence of every block."""
        blocks, resamples = self.drawn.shape
        return bool(2 * blocks <= resamples)

    @cached_property
    def _cosines(self) -> F64:
        """Orthonormal, each of mean 0: float64 (blocks, waves)."""
        n = len(self.drawn)
        waves = n - 1 if self._whole else self.freedom
        at = np.outer(np.arange(n) + 0.5, np.arange(1, waves + 1))
        return np.asarray(np.sqrt(2 / n) * np.cos(np.pi * at / n), np.float64)

    @cached_property
    def _fitted(self) -> tuple[F64, F64]:
        return _fit(self.drawn, self._cosines)


def _fit(drawn: F64, cosines: F64) -> tuple[F64, F64]:
    """How far each resample lies along each wave, float64 (waves, resamples), and the inverse of
    their products, (waves, waves).
    """
    waves: F64 = cosines.T @ drawn
    waves -= waves.mean(axis=1, keepdims=True)
    return waves, np.asarray(np.linalg.pinv(waves @ waves.T, hermitian=True), np.float64)


def student_quantile(share: float, freedom: float) -> float:
    """The quantile of Student's distribution; the normal one with infinitely many degrees of
    freedom, NaN with NaN.

    >>> [round(student_quantile(0.975, freedom), 2) for freedom in (6, math.inf)]
    [2.45, 1.96]
    """
    from scipy.special import stdtrit

    return float(stdtrit(min(freedom, 1e9), share)) if not math.isnan(freedom) else math.nan
