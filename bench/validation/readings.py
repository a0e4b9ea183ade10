"""Worlds whose lift of fresher features is known: how long a machine's state lasts decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import headwater as hw
from bench.validation.world import logistic
from headwater.testing.planted_effects import Planted, Shape, planted


@dataclass(frozen=True)
class ReadingsWorld:
    """Machines whose state is read every ten minutes.

    half_life: of the state, in hours. effect: of the state on outcomes (logits). lift: whether the instant level is better than the daily
    one by more than 0.005 ("LIFT"), by less ("negligible"), or by nothing at all ("none").
    """

    lift: str
    half_life: float
    effect: float = 1.0
    shape: Shape = field(default_factory=Shape)
    train_days: int = 24

    def model(self, seed: int) -> hw.Model:
        return planted(seed, [Planted("state", self.half_life, self.effect)], shape=self.shape, estimator=logistic())


WORLDS: Mapping[str, ReadingsWorld] = {
    "null: readings carry no information": ReadingsWorld("none", 3, effect=0.0),
    "decaying, half-life 3 hours": ReadingsWorld("LIFT", 3),
    "decaying, half-life 12 hours": ReadingsWorld("LIFT", 12),
    "decaying, half-life 2 days": ReadingsWorld("LIFT", 48),
    "decaying, half-life 7 days": ReadingsWorld("LIFT", 168),
    "lasting, half-life 7 months": ReadingsWorld("negligible", 5000),
    "seasonal: hour and weekday": ReadingsWorld("LIFT", 12, shape=Shape(season=0.8)),
    "seasonal, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(season=0.8)),
    "cold-start heavy: machines last 1.5 days": ReadingsWorld("LIFT", 12, shape=Shape(lifetime=1.5)),
    "cold-start heavy, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(lifetime=1.5)),
    "drifting: the effect grows threefold": ReadingsWorld("LIFT", 12, shape=Shape(drift=0.5)),
    "days differ much, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(day_effect=1.0)),
    "few blocks: 2 test days, half-life 3 hours": ReadingsWorld("LIFT", 3, shape=Shape(days=26)),
    "few blocks: 4 test days, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(days=28)),
    "few blocks: 8 test days, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(days=32)),
}
