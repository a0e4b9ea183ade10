"""Worlds whose lift of fresher features is known: how long a machine's state lasts decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import headwater as hw
from bench.validation.planted_effects import Planted, Shape, planted
from bench.validation.world import logistic
from headwater.definitions.model import Estimator
from scripts.equal_levels import small


@dataclass(frozen=True)
class ReadingsWorld:
    """Machines whose state is read every ten minutes.

    half_life: of the state, in hours. effect: of the state on outcomes (logits). lift: whether the
    instant level is better than the daily one by more than 0.005 ("LIFT"), by less ("negligible"),
    or by nothing at all ("none"). others: further views, without information.
    """

    lift: str
    half_life: float
    effect: float = 1.0
    shape: Shape = field(default_factory=Shape)
    train_days: int = 24
    others: int = 0
    estimator: Callable[[], Estimator] = logistic

    def model(self, seed: int) -> hw.Model:
        signals = [
            Planted("state", self.half_life, self.effect),
            *(Planted(f"other_{n}", 3, 0.0) for n in range(self.others)),
        ]
        return planted(seed, signals, shape=self.shape, estimator=self.estimator())


WORLDS: Mapping[str, ReadingsWorld] = {
    "null: readings carry no information": ReadingsWorld("none", 3, effect=0.0),
    "decaying, half-life 3 hours": ReadingsWorld("LIFT", 3),
    "decaying, half-life 12 hours": ReadingsWorld("LIFT", 12),
    "decaying, half-life 2 days": ReadingsWorld("LIFT", 48),
    "decaying, half-life 7 days": ReadingsWorld("LIFT", 168),
    "lasting, half-life 7 months": ReadingsWorld("negligible", 5000),
    "seasonal: hour and weekday": ReadingsWorld("LIFT", 12, shape=Shape(season=0.8)),
    "seasonal, no information": ReadingsWorld("none", 3, effect=0.0, shape=Shape(season=0.8)),
    "cold-start heavy: machines last 1.5 days": ReadingsWorld(
        "LIFT", 12, shape=Shape(lifetime=1.5)
    ),
    "cold-start heavy, no information": ReadingsWorld(
        "none", 3, effect=0.0, shape=Shape(lifetime=1.5)
    ),
    "drifting: the effect grows threefold": ReadingsWorld("LIFT", 12, shape=Shape(drift=0.5)),
    "days differ much, no information": ReadingsWorld(
        "none", 3, effect=0.0, shape=Shape(day_effect=1.0)
    ),
    "few blocks: 2 test days, half-life 3 hours": ReadingsWorld("LIFT", 3, shape=Shape(days=26)),
    "few blocks: 4 test days, no information": ReadingsWorld(
        "none", 3, effect=0.0, shape=Shape(days=28)
    ),
    "few blocks: 8 test days, no information": ReadingsWorld(
        "none", 3, effect=0.0, shape=Shape(days=32)
    ),
}

TRAINING: Mapping[str, ReadingsWorld] = {
    "24 days of training, 24 of test": ReadingsWorld("LIFT", 12),
    "8 days of training, 40 of test": ReadingsWorld("LIFT", 12, train_days=8),
    "4 days of training, 44 of test": ReadingsWorld("LIFT", 12, train_days=4),
    "8 days of training, half-life 2 days": ReadingsWorld("LIFT", 48, train_days=8),
    "8 days of training, 8 views of noise": ReadingsWorld("LIFT", 12, train_days=8, others=8),
    "8 days of training, no information": ReadingsWorld("none", 12, effect=0.0, train_days=8),
    "24 days of training, no information": ReadingsWorld("none", 12, effect=0.0),
    "trees, 24 days of training": ReadingsWorld("LIFT", 12, estimator=small),
    "trees, 8 days of training": ReadingsWorld("LIFT", 12, train_days=8, estimator=small),
    "days differ much, 8 days of training": ReadingsWorld(
        "LIFT", 12, train_days=8, shape=Shape(day_effect=1.0)
    ),
}
"""Worlds in which the period that a model was trained on matters more or less."""
