"""What predictions are worth to those who act on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headwater.definitions.checks import check_number, check_type
from headwater.definitions.definition import Definition
from headwater.errors import UsageError


@dataclass(frozen=True, eq=False)
class DecisionValue(Definition):
    """The worth of a decision: how many are made, what share is acted on, and what a hit and a
    false alarm mean in money.

    Args:
        volume: predictions a day.
        acted_on: the share of them with the highest scores that is acted on, above 0 and up to 1,
            such as 0.02.
        hit: what acting on a positive is worth, in money, 0 or more.
        false_alarm: what acting on a negative costs, in money, 0 or more.
        late: the share of predictions that a fresher level would not answer in time, by its added
            latency and its timeouts, from 0 up to 1. They get what serves today instead, and gain
            nothing. 0: `assess` takes the share in the serving log, where there is one.
        costs: what each level costs a day, by its name, in the same money. `assess` measures those
            that are not given.

    Raises:
        UsageError: a number that cannot be.

    Of 10,000 payments a day 1 % is blocked. Each fraud blocked saves 100, each false alarm costs
    20. A precision of 0.50 is worth 100 x (0.50 x 100 - 0.50 x 20) = 4,000 a day, and one of 0.60
    is worth 100 x (0.60 x 100 - 0.40 x 20) = 5,200.

    >>> payments = DecisionValue(volume=10_000, acted_on=0.01, hit=100, false_alarm=20)
    >>> (
    ...     payments.metric,
    ...     round(payments.a_day(0.5)),
    ...     round(payments.a_day(0.6)),
    ...     round(payments.of_gain(0.1)),
    ... )
    ('precision@1%', 4000, 5200, 1200)
    >>> payments.break_even(60)
    0.005
    """

    volume: float
    acted_on: float
    hit: float
    false_alarm: float = 0.0
    late: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("volume", "hit", "false_alarm"):
            check_number(getattr(self, name), f"DecisionValue: {name}", least=0, error=UsageError)
        acted_on, late = "such as 0.02 for 2 %", "such as 0.01 for 1 %"
        check_number(
            self.acted_on,
            "DecisionValue: acted_on",
            "a share",
            above=0,
            most=1,
            note=acted_on,
            error=UsageError,
        )
        check_number(
            self.late,
            "DecisionValue: late",
            "a share",
            least=0,
            below=1,
            note=late,
            error=UsageError,
        )
        check_type(
            self.costs,
            Mapping,
            "DecisionValue: costs",
            "a mapping from names of levels to money a day",
            UsageError,
        )
        for name, cost in self.costs.items():
            check_number(
                cost,
                f"DecisionValue: the cost of level {name!r}",
                "money a day",
                least=0,
                error=UsageError,
            )
        if not self.volume or not self.hit + self.false_alarm:
            raise UsageError(
                "DecisionValue: a volume of 0, or a hit and a false alarm of 0, make every level "
                "worth the same; leave value out"
            )

    @property
    def metric(self) -> str:
        """The metric that the value depends on: the precision among those that are acted on."""
        return f"precision@{100 * self.acted_on:.10g}%"

    def a_day(self, precision: float) -> float:
        """Money a day at this precision."""
        return (
            self.volume
            * self.acted_on
            * (precision * self.hit - (1 - precision) * self.false_alarm)
        )

    def of_gain(self, gain: float) -> float:
        """Money a day that a gain in precision brings, of the predictions that are not late."""
        return self._a_day_for_one * gain

    def break_even(self, cost: float) -> float:
        """The gain in precision that earns `cost` a day."""
        return cost / self._a_day_for_one

    @property
    def _a_day_for_one(self) -> float:
        return self.volume * self.acted_on * (self.hit + self.false_alarm) * (1 - self.late)
