"""What a simulated world is: markets and steps of time, and what follows if a share of each market
is treated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import F64

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ArmTotals:
    """Sums of a simulated world.

    Args:
        control_value: float64 of markets x steps, the metric's numerator among those not treated.
        control_base: its denominator.
        treated_value: the numerator among the treated.
        treated_base: its denominator.
    """

    control_value: F64
    control_base: F64
    treated_value: F64
    treated_base: F64

    @property
    def value(self) -> F64:
        """The numerator of both arms together."""
        return self.control_value + self.treated_value

    @property
    def base(self) -> F64:
        """The denominator of both arms together."""
        return self.control_base + self.treated_base


@runtime_checkable
class World(Protocol):
    """A world with a known truth.

    Markets must not affect each other; within a market anything may. The truth is the metric of all
    treated over that of none, after `burn_in` steps.
    """

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def markets(self) -> int:
        """The number of markets of one experiment."""

    @property
    def steps(self) -> int:
        """The number of steps of one experiment."""

    @property
    def burn_in(self) -> int:
        """Steps that are left out at the start."""

    @property
    def steps_a_day(self) -> int:
        """1 for a step of a day, 24 for one of an hour."""

    def simulate(self, share: F64, random: np.random.Generator) -> ArmTotals:
        """What follows.

        Args:
            share: float64 of markets x steps, the share of the market's units that are treated, 0
                to 1. There may be more markets than
                `markets`: many experiments are simulated together.
            random: the source of all randomness.
        """

    def backtest(self, random: np.random.Generator) -> RelativeLift:
        """What a backtest on the logs of the untreated world promises."""
