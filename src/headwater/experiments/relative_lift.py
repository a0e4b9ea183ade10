"""The relative lift of one arm over another, estimated on the log scale.

The interval of a ratio of two means is symmetric in its logarithm, not in itself; without the
logarithm an A/A test rejects lopsidedly. Every estimator of this package returns a `RelativeLift`,
so that fixed, sequential and corrected tests differ by one multiplier alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from headwater.errors import DataError


@dataclass(frozen=True)
class RelativeLift:
    """A lift with its standard error.

    Args:
        control: the control arm's mean (or rate, or ratio).
        treated: the treated arm's.
        log_ratio: ln(treated / control), adjusted where the estimator adjusts.
        se: the standard error of `log_ratio`.
        degrees: of freedom of the t distribution; infinite for the normal one.
    """

    control: float
    treated: float
    log_ratio: float
    se: float
    degrees: float = math.inf

    @property
    def lift(self) -> float:
        """The relative lift: 0.1 for ten percent more."""
        return math.expm1(self.log_ratio)

    @property
    def z(self) -> float:
        """The estimate in standard errors; 0 where both are 0."""
        return (
            self.log_ratio / self.se
            if self.se
            else math.copysign(math.inf, self.log_ratio)
            if self.log_ratio
            else 0.0
        )

    @property
    def p_value(self) -> float:
        """The two-sided p-value of no lift, of one look alone."""
        if self.se == 0:
            return 1.0 if self.log_ratio == 0 else 0.0
        return float(
            2 * stats.t.sf(abs(self.z), self.degrees)
            if math.isfinite(self.degrees)
            else 2 * stats.norm.sf(abs(self.z))
        )

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of the lift, of one look alone.

        >>> low, high = RelativeLift(0.10, 0.11, math.log(1.1), 0.02).interval()
        >>> round(low, 3), round(high, 3)
        (0.058, 0.144)
        """
        upper = 1 - (1 - confidence) / 2
        return self.widened(
            float(
                stats.t.ppf(upper, self.degrees)
                if math.isfinite(self.degrees)
                else stats.norm.ppf(upper)
            )
        )

    def sequential(self, bound: float) -> tuple[float, float]:
        """The interval at a bound of |z|, as sequential methods give it; with few degrees of
        freedom at the t value of the same error.

        >>> low, high = RelativeLift(0.10, 0.11, math.log(1.1), 0.02, degrees=8).sequential(1.96)
        >>> round(low, 3), round(high, 3)
        (0.05, 0.152)
        """
        if math.isfinite(self.degrees) and math.isfinite(bound):
            tail = float(stats.norm.sf(bound))
            bound = float(stats.t.isf(tail, self.degrees)) if tail > 0 else math.inf
        return self.widened(bound) if math.isfinite(bound) else (-1.0, math.inf)

    def widened(self, multiplier: float) -> tuple[float, float]:
        """The interval of `multiplier` standard errors to both sides: of a sequential bound, or of
        a corrected level.
        """
        margin = multiplier * self.se
        return math.expm1(self.log_ratio - margin), _expm1(self.log_ratio + margin)


def _expm1(value: float) -> float:
    return math.expm1(value) if value < 700 else math.inf


def log_ratio(
    control: float,
    treated: float,
    control_variance: float,
    treated_variance: float,
    degrees: float = math.inf,
) -> RelativeLift:
    """The lift of two independent means, by the delta method.

    Args:
        control: the control arm's mean.
        treated: the treated arm's mean.
        control_variance: the variance of that mean (not of one unit).
        treated_variance: the same of the treated arm.
        degrees: of freedom.

    Raises:
        DataError: means that are zero, negative or of two signs, for which a relative lift has no
            meaning.
    """
    if not (control > 0 and treated > 0):
        raise DataError(
            f"a relative lift needs positive means, and control has {control:g}, treatment "
            f"{treated:g}; compare the metric by its difference"
        )
    se = math.sqrt(control_variance / control**2 + treated_variance / treated**2)
    return RelativeLift(control, treated, math.log(treated / control), se, degrees)
