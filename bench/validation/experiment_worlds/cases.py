"""The simulated worlds: the truth of each, and what every design makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.validation.experiment_worlds.adaptive_fraud import AdaptiveFraud
from bench.validation.experiment_worlds.designs import (
    by_backtest,
    by_cluster,
    by_switchback,
    by_unit,
    truth,
)
from bench.validation.experiment_worlds.hourly_effect import HourlyEffect
from bench.validation.experiment_worlds.recommender_loop import RecommenderLoop
from bench.validation.experiment_worlds.shared_supply import SharedSupply
from bench.validation.experiment_worlds.world import World
from headwater.experiments.relative_lift import RelativeLift

BATCH = 20  # experiments of each design and seed
Design = Callable[[World, int, int], list[RelativeLift]]


def _switchback(length: int, washout: int = 0, *, random_bounds: bool = False) -> Design:
    def design(world: World, runs: int, seed: int) -> list[RelativeLift]:
        return by_switchback(world, runs, seed, length, washout, random_bounds=random_bounds)

    return design


def _early(world: World, runs: int, seed: int) -> list[RelativeLift]:
    return by_cluster(world, runs, seed, slice(0, 5))


@dataclass(frozen=True)
class Case:
    """A world and its designs.

    Args:
        world: what is simulated.
        truth: of the research tables; None where these have none.
        designs: by name, with the mean lift of the research tables (None where these have none) and
            the coverage that is the goal.
    """

    world: World
    truth: float | None
    designs: Mapping[str, tuple[Design, float | None, float | None]]


CASES: Mapping[str, Case] = {
    "shared supply": Case(
        SharedSupply(),
        0.039,
        {
            "backtest": (by_backtest, 0.125, None),
            "A/B by customer": (by_unit, 0.125, None),
            "clusters, 2 weeks": (by_cluster, 0.039, 0.93),
            "switchback 1 h": (_switchback(1), 0.049, None),
            "switchback 4 h": (_switchback(4), 0.043, None),
            # no definition may have it: 6 divides 24
            "switchback 6 h, washout 3 h": (_switchback(6, 3), 0.039, None),
            "switchback 7 h": (_switchback(7), 0.042, None),
            "switchback 7 h, washout 3 h": (_switchback(7, 3), 0.040, 0.93),
            "switchback 8 h, washout 3 h, random bounds": (
                _switchback(8, 3, random_bounds=True),
                None,
                0.93,
            ),
        },
    ),
    "hourly effect": Case(
        HourlyEffect(),
        None,
        {
            "switchback 6 h, washout 3 h": (_switchback(6, 3), None, None),
            "switchback 7 h, washout 3 h": (_switchback(7, 3), None, 0.93),
            "switchback 8 h, washout 3 h, random bounds": (
                _switchback(8, 3, random_bounds=True),
                None,
                0.93,
            ),
        },
    ),
    "adaptive fraud": Case(
        AdaptiveFraud(),
        -0.483,
        {
            "backtest": (by_backtest, -0.673, None),
            "A/B by account": (by_unit, -0.867, None),
            "clusters, first 5 days": (_early, -0.588, None),
            "clusters, after 28 days": (by_cluster, -0.483, 0.92),
            "switchback 2 days, washout 1 day": (_switchback(2, 1), -0.505, None),
        },
    ),
    "recommender loop, shared log": Case(
        RecommenderLoop(),
        0.12,
        {
            "backtest (hit rate)": (by_backtest, -0.162, None),
            "A/B by user": (by_unit, 0.163, None),
            "clusters": (by_cluster, 0.121, 0.90),
        },
    ),
    "recommender loop, log split by arm": Case(
        RecommenderLoop(split_logs=True), 0.12, {"A/B by user": (by_unit, 0.113, 0.90)}
    ),
}


def answered(name: str, seed: int) -> dict[str, object]:
    """The truth of a seed's runs, and of each design the estimates with their intervals."""
    case = CASES[name]
    designs = {}
    for design, (estimates, _, _) in case.designs.items():
        lifts = estimates(case.world, BATCH, seed)
        designs[design] = [
            [round(value, 6) for value in (lift.lift, *lift.interval())] for lift in lifts
        ]
    return {"truth": truth(case.world, BATCH, seed), "designs": designs}
