"""How many units an experiment needs, and what it can find: computed from history before the start,
for the looks that are planned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, stats

from headwater.errors import UsageError
from headwater.experiments.group_sequential import bounds, crossing

_PATHS = 40_000
_FARTHEST = 60.0


@dataclass(frozen=True)
class SequentialPlan:
    """Looks at equal steps of information, and the error and power of all of them together.

    degrees: of freedom of the test; with few of them, of clusters or regions, power is that of the
    t distribution, by simulation.
    """

    looks: int = 1
    alpha: float = 0.05
    power: float = 0.8
    degrees: float = math.inf

    @property
    def information(self) -> list[float]:
        """The share of the planned units at each look."""
        return [(look + 1) / self.looks for look in range(self.looks)]

    def power_of(self, drift: float) -> float:
        """The probability to find an effect of that many standard errors at the end."""
        if math.isfinite(self.degrees):
            paths, edges = self._paths
            shares = np.array(self.information)
            return float(
                (np.abs(paths + drift * shares) > edges * np.sqrt(shares)).any(axis=1).mean()
            )
        return crossing(self.information, bounds(self.information, self.alpha), drift)[-1]

    @cached_property
    def drift(self) -> float:
        """The effect, in standard errors at the end, that is found with the planned power; infinite
        where none is.
        """
        if self.power_of(_FARTHEST) < self.power:
            return math.inf
        return float(
            optimize.brentq(
                lambda drift: self.power_of(drift) - self.power, 0.0, _FARTHEST, xtol=1e-6
            )
        )

    @cached_property
    def _paths(self) -> tuple[np.ndarray, np.ndarray]:
        """Simulated Brownian motions at the looks, and the bounds that each meets: wider where its
        error was estimated as too large.
        """
        random, shares = np.random.default_rng(5), np.array(self.information)
        steps = random.standard_normal((_PATHS, self.looks)) * np.sqrt(np.diff(shares, prepend=0.0))
        estimated = np.sqrt(random.chisquare(self.degrees, (_PATHS, 1)) / self.degrees)
        tails = stats.norm.sf(np.array(bounds(self.information, self.alpha)))
        return np.cumsum(steps, axis=1), estimated * stats.t.isf(tails, self.degrees)


def units_needed(
    lift: float, variation: float, plan: SequentialPlan, treated_variation: float | None = None
) -> int:
    """Units of each arm, so that a relative lift is found with the plan's power.

    Args:
        lift: the smallest relative lift worth finding, such as 0.01; negative for a fall.
        variation: standard deviation over mean of one unit, after CUPED, from history.
        plan: looks, error and power.
        treated_variation: the same of a treated unit; of a proportion it changes with the lift.

    Raises:
        UsageError: no lift, or a variation that is not positive.

    >>> units_needed(0.08, 1.3, SequentialPlan(looks=1))
    4480
    """
    if lift <= -1 or lift == 0:
        raise UsageError(f"lift is {lift!r}; give a lift above -1 that is not 0, such as 0.01")
    if not variation > 0:
        raise UsageError(
            f"variation is {variation!r}; give the standard deviation over the mean of a unit, "
            "which is above 0"
        )
    variance = variation**2 + (variation if treated_variation is None else treated_variation) ** 2
    return math.ceil(variance * (plan.drift / math.log1p(lift)) ** 2)


def power_of(
    lift: float,
    variation: float,
    units: int,
    plan: SequentialPlan,
    treated_variation: float | None = None,
) -> float:
    """The probability to find a relative lift with so many units of each arm; arguments as for
    `units_needed`.

    >>> round(power_of(0.08, 1.3, 4480, SequentialPlan(looks=1)), 2)
    0.8
    """
    variance = variation**2 + (variation if treated_variation is None else treated_variation) ** 2
    return plan.power_of(math.log1p(lift) / math.sqrt(variance / units))
