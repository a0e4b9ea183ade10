"""An effect that depends on the hour of the day: buckets that divide the day, with a washout, never
see half of the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.validation.experiment_worlds.world import ArmTotals
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64


@dataclass(frozen=True)
class HourlyEffect:
    """Orders per customer; the treatment helps in the hours after a meal and hurts before, and what
    one arm did fades within an hour.

    Args:
        markets: of one experiment.
        steps: hours.
        burn_in: hours left out.
        mean_effect: the relative effect over the day.
        swing: how far the effect moves around that, with a period of six hours.
    """

    markets: int = 40
    steps: int = 336
    burn_in: int = 24
    mean_effect: float = 0.05
    swing: float = 0.15
    name: str = "hourly effect"
    steps_a_day: int = 24

    def simulate(self, share: F64, random: np.random.Generator) -> ArmTotals:
        """See `World`."""
        markets, steps = share.shape
        hours = np.arange(steps)
        effect = self.mean_effect + self.swing * np.sin(2 * math.pi * hours / 6)
        lasting = np.concatenate([share[:, :1], share[:, :-1]], axis=1)
        shock = np.zeros(markets)
        totals = np.zeros((4, markets, steps))
        for hour in range(steps):
            shock = 0.9 * shock + 0.05 * random.standard_normal(markets)
            base = 0.2 * np.exp(shock)
            # what the hour before still does, to every unit of the market
            after = 0.2 * lasting[:, hour]
            control_rate = np.clip(base * (1 + effect[hour] * after), 0, 1)
            treated_rate = np.clip(base * (1 + effect[hour] * (0.8 + after)), 0, 1)
            treated = random.poisson(100.0 * share[:, hour])
            control = random.poisson(100.0 * (1 - share[:, hour]))
            totals[:, :, hour] = (
                random.binomial(control, control_rate),
                control,
                random.binomial(treated, treated_rate),
                treated,
            )
        return ArmTotals(*totals)

    def backtest(self, random: np.random.Generator) -> RelativeLift:
        """The mean effect, which a backtest sees: this world does not react."""
        treated = self.simulate(np.ones((self.markets, self.steps)), random).treated_value.sum(
            axis=1
        )
        control = self.simulate(np.zeros((self.markets, self.steps)), random).control_value.sum(
            axis=1
        )
        ratio = float(treated.sum() / control.sum())
        se = float(np.log(treated / control).std(ddof=1) / math.sqrt(self.markets))
        return RelativeLift(
            float(control.mean()), float(treated.mean()), math.log(ratio), se, self.markets - 1
        )
