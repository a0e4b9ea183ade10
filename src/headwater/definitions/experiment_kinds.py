"""Kinds of experiments: what gets an arm, a unit, a bucket of time or a whole cluster."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from headwater.definitions.checks import check_number, check_text
from headwater.definitions.definition import Definition
from headwater.definitions.durations import DAY, Duration, micros, text
from headwater.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class Shadow(Definition):
    """Every arm scores each request, and only the first arm's answer is served: shows errors,
    latency and how decisions differ, no lift.
    """


@dataclass(frozen=True, eq=False)
class ABTest(Definition):
    """Each unit keeps one arm. Right where a unit's arm changes nothing for the others, and no
    model trains on the other arm's clicks.
    """


@dataclass(frozen=True, eq=False)
class Probe(ABTest):
    """An A/B test in which a small share of units is served at another level, until that has cost
    its budget; see `probe`.

    Args:
        loss_budget: the loss at which a ramp stops it, in the unit of the deciding metric, summed
            over the probed units: such as 50 orders.

    Raises:
        DefinitionError: a budget that is not above 0.

    >>> Probe(loss_budget=50)
    Probe(50)
    """

    _: KW_ONLY
    loss_budget: float

    def __post_init__(self) -> None:
        check_number(
            self.loss_budget,
            "Probe: loss_budget",
            "the loss that it may cost,",
            above=0,
            note="such as 50",
        )


@dataclass(frozen=True, eq=False)
class Switchback(Definition):
    """Each region changes its arm from bucket to bucket of time. Right where units of a region
    share supply or prices.

    Args:
        region: the request's column whose values change arms by themselves, such as a city.
        length: of a bucket of time. One that divides a day always begins at the same hours: with a
            washout, the hours after a change are then never observed, so it is refused unless
            bounds are random.
        washout: how long after a change the arm before still acts; these requests are served and
            not analysed.
        random_bounds: whether each region's buckets are of lengths drawn between half and one and a
            half of `length`.

    Raises:
        DefinitionError: no region; a washout as long as the shortest bucket; a length that divides
            a day, with a washout.

    >>> Switchback("city", length="7h", washout="3h")
    Switchback('city', washout='3h')
    """

    region: str
    _: KW_ONLY
    length: Duration = "7h"
    washout: Duration = "0s"
    random_bounds: bool = False

    def __post_init__(self) -> None:
        check_text(self.region, "Switchback: region", "the name of a column of the request")
        length, washout = (
            micros(self.length, "Switchback: length"),
            micros(self.washout, "Switchback: washout"),
        )
        shortest = length // 2 if self.random_bounds else length
        if not 0 <= washout < shortest:
            raise DefinitionError(
                f"Switchback: washout is {text(washout)}, and a bucket may be as short as "
                f"{text(shortest)}; the washout must be shorter"
            )
        if washout and not self.random_bounds and DAY % length == 0:
            raise DefinitionError(
                f"Switchback: a bucket of {text(length)} begins at the same hours each day, so "
                "the hours of the washout are never observed; take a length that does not divide "
                "a day, such as '7h', or random_bounds=True"
            )
        object.__setattr__(self, "length", text(length))
        object.__setattr__(self, "washout", text(washout))


@dataclass(frozen=True, eq=False)
class ClusterTest(Definition):
    """Whole clusters, such as markets, keep one arm. Right where people adapt to the model, or what
    one arm does lasts long.

    Args:
        cluster: the request's column that names the cluster.
        burn_in: how long the world takes to adapt; what happens before is not analysed.

    Raises:
        DefinitionError: no cluster, or a negative burn-in.
    """

    cluster: str
    _: KW_ONLY
    burn_in: Duration = "0s"

    def __post_init__(self) -> None:
        check_text(self.cluster, "ClusterTest: cluster", "the name of a column of the request")
        object.__setattr__(self, "burn_in", text(micros(self.burn_in, "ClusterTest: burn_in")))


@dataclass(frozen=True, eq=False)
class Interleaving(Definition):
    """Each list mixes two arms' rankings, and clicks say which is preferred: few requests suffice,
    and how much is never said.
    """


ExperimentKind = Shadow | ABTest | Switchback | ClusterTest | Interleaving
