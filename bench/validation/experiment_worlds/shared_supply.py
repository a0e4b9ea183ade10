"""Better targeting of discounts where all customers of a market share its drivers: more orders here
are fewer orders there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.validation.experiment_worlds.world import ArmTotals
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64

_PERSUADABLE = 0.30
_WITH_DISCOUNT, _WITHOUT, _OTHERS = 0.6, 0.2, 0.3  # probability of a request
_LOGGED_USERS = 20_000


@dataclass(frozen=True)
class SharedSupply:
    """Completed orders per arriving customer.

    Args:
        markets: of one experiment.
        steps: hours.
        burn_in: hours left out.
        drivers: of a market.
        arrivals: customers an hour.
        batch_hits: the share of persuadable customers that a batch model finds.
        real_time_hits: the share that a real-time model finds.
    """

    markets: int = 40
    steps: int = 336
    burn_in: int = 24
    drivers: int = 60
    arrivals: float = 100.0
    batch_hits: float = 0.55
    real_time_hits: float = 0.90
    name: str = "shared supply"
    steps_a_day: int = 24

    def requests_per_arrival(self, hits: float) -> float:
        """The probability that an arriving customer asks for a ride, for a model that finds that
        share of the persuadable.
        """
        return (
            _PERSUADABLE * (_WITH_DISCOUNT * hits + _WITHOUT * (1 - hits))
            + (1 - _PERSUADABLE) * _OTHERS
        )

    def simulate(self, share: F64, random: np.random.Generator) -> ArmTotals:
        """See `World`."""
        markets, steps = share.shape
        busy = np.full(markets, 25)
        shock = np.zeros(markets)
        totals = np.zeros((4, markets, steps))
        treated_asks, control_asks = (
            self.requests_per_arrival(self.real_time_hits),
            self.requests_per_arrival(self.batch_hits),
        )
        for hour in range(steps):
            daily = 1 + 0.5 * math.sin(2 * math.pi * ((hour % 24) - 9) / 24)
            intensity = self.arrivals * daily * np.exp(shock)
            treated = random.poisson(intensity * share[:, hour])
            control = random.poisson(intensity * (1 - share[:, hour]))
            treated_requests = random.binomial(treated, treated_asks)
            control_requests = random.binomial(control, control_asks)
            served = np.minimum(
                treated_requests + control_requests, np.maximum(self.drivers - busy, 0)
            )
            treated_orders = random.hypergeometric(treated_requests, control_requests, served)
            totals[:, :, hour] = (served - treated_orders, control, treated_orders, treated)
            busy = random.binomial(busy + served, 0.5)
            shock = 0.9 * shock + 0.1 * random.standard_normal(markets)
        return ArmTotals(*totals)

    def backtest(self, random: np.random.Generator) -> RelativeLift:
        """The off-policy estimate (IPS) of both policies from a log in which a discount is a fair
        coin.
        """
        untreated = self.simulate(np.zeros((self.markets, self.steps)), random)
        requested = untreated.base.sum() * self.requests_per_arrival(self.batch_hits)
        filled = untreated.value.sum() / requested
        persuadable = random.random(_LOGGED_USERS) < _PERSUADABLE
        discount = random.random(_LOGGED_USERS) < 0.5
        asks = np.where(persuadable, np.where(discount, _WITH_DISCOUNT, _WITHOUT), _OTHERS)
        reward = (random.random(_LOGGED_USERS) < asks) & (random.random(_LOGGED_USERS) < filled)
        values = []
        for hits in (self.batch_hits, self.real_time_hits):
            action = persuadable & (random.random(_LOGGED_USERS) < hits)
            values.append(2.0 * (action == discount) * reward)
        batch, real_time = (value.mean() for value in values)
        lift = float(real_time / batch - 1)
        se = float(
            ((values[1] - (1 + lift) * values[0]) / batch).std(ddof=1) / math.sqrt(_LOGGED_USERS)
        )
        return RelativeLift(float(batch), float(real_time), math.log1p(lift), se / (1 + lift))
