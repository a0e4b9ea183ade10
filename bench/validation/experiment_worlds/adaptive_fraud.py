"""Fraud rings that learn: against a model that sees bursts they slow down, and inside a market they
move to accounts without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.validation.experiment_worlds.world import ArmTotals
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64

_BATCH_DETECTION = 0.15
_FASTEST, _SLOWEST = 8.0, 1.0
_ATTEMPTS = 30.0


def _real_time_detection(rate: F64) -> F64:
    """The share of attempts that a real-time model catches at a burst rate; .72 at 8 an hour."""
    return 0.95 * rate**4 / (rate**4 + 6.0**4)


@dataclass(frozen=True)
class AdaptiveFraud:
    """Successful fraud attempts of a market and day; fewer are better.

    Args:
        markets: of one experiment.
        steps: days.
        burn_in: days until rings have adapted.
        rings: of a market.
    """

    markets: int = 40
    steps: int = 56
    burn_in: int = 28
    rings: int = 10
    name: str = "adaptive fraud"
    steps_a_day: int = 1

    def simulate(self, share: F64, random: np.random.Generator) -> ArmTotals:
        """See `World`."""
        return self._days(share, random, adapts=True)

    def _days(self, share: F64, random: np.random.Generator, *, adapts: bool) -> ArmTotals:
        markets, steps = share.shape
        rate = np.full((markets, self.rings), _FASTEST)
        remembered = np.full((markets, self.rings), -1.0)
        aimed = share[:, :1] * np.ones((markets, self.rings))
        totals = np.zeros((4, markets, steps))
        for day in range(steps):
            mixed = (share[:, day] > 0) & (share[:, day] < 1)
            aimed = np.where(mixed[:, None], np.clip(aimed, 0.25, 0.75), share[:, day][:, None])
            tried = (
                np.minimum(rate * np.exp(0.15 * random.standard_normal(rate.shape)), _FASTEST)
                if adapts
                else rate
            )
            treated = random.poisson(_ATTEMPTS * tried * aimed)
            control = random.poisson(_ATTEMPTS * tried * (1 - aimed))
            treated_passed = treated - random.binomial(treated, _real_time_detection(tried))
            control_passed = control - random.binomial(control, _BATCH_DETECTION)
            totals[:, :, day] = (
                control_passed.sum(axis=1),
                share[:, day] < 1,
                treated_passed.sum(axis=1),
                share[:, day] > 0,
            )
            if not adapts:
                continue
            passed = treated_passed + control_passed
            rate = np.clip(
                np.where(passed > remembered, rate + 0.8 * (tried - rate), rate), _SLOWEST, _FASTEST
            )
            remembered = np.where(remembered < 0, passed, 0.8 * remembered + 0.2 * passed)
            towards = treated_passed / np.maximum(treated, 1) - control_passed / np.maximum(
                control, 1
            )
            aimed = np.where(mixed[:, None], aimed * np.exp(0.3 * towards), aimed)
        return ArmTotals(*totals)

    def backtest(self, random: np.random.Generator) -> RelativeLift:
        """The first weeks' attempts scored by both models, as if no ring reacted."""
        weeks = (self.markets, self.steps - self.burn_in)
        protected = self._days(np.ones(weeks), random, adapts=False).treated_value.sum(axis=1)
        open_ = self._days(np.zeros(weeks), random, adapts=False).control_value.sum(axis=1)
        ratio = float(protected.sum() / open_.sum())
        se = float((protected / open_).std(ddof=1) / math.sqrt(self.markets))
        return RelativeLift(
            float(open_.mean()),
            float(protected.mean()),
            math.log(ratio),
            se / ratio,
            self.markets - 1,
        )
