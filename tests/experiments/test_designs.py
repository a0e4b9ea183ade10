"""Which designs mislead and which recover the truth, in worlds where it is known; few runs here,
more by `make experiments-validate`.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.validation.experiment_worlds.adaptive_fraud import AdaptiveFraud
from bench.validation.experiment_worlds.designs import (
    DesignResult,
    bucket_starts,
    by_backtest,
    by_cluster,
    by_switchback,
    by_unit,
    judged,
    truth,
)
from bench.validation.experiment_worlds.hourly_effect import HourlyEffect
from bench.validation.experiment_worlds.recommender_loop import RecommenderLoop
from bench.validation.experiment_worlds.shared_supply import SharedSupply
from bench.validation.experiment_worlds.world import World

RUNS = 60
LEAST = 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / RUNS)


def _covers(result: DesignResult) -> bool:
    return result.covered >= LEAST


@pytest.mark.parametrize(
    "world",
    [SharedSupply(), AdaptiveFraud(), RecommenderLoop(), HourlyEffect()],
    ids=lambda world: world.name,
)
def test_worlds_follow_the_protocol_and_repeat(world: World) -> None:
    assert isinstance(world, World)
    share = np.full((3, 6), 0.5)
    one, two = (world.simulate(share, np.random.default_rng(4)) for _ in range(2))
    for name in ("control_value", "control_base", "treated_value", "treated_base"):
        assert getattr(one, name).shape == (3, 6)
        assert (getattr(one, name) == getattr(two, name)).all()


@pytest.mark.slow
def test_shared_supply() -> None:
    world = SharedSupply()
    true = truth(world, 100, 7)
    assert true == pytest.approx(0.039, abs=0.004)
    for misled in (by_backtest(world, RUNS, 1), by_unit(world, RUNS, 1)):
        found = judged("", misled, true)
        assert found.mean == pytest.approx(0.125, abs=0.01)
        assert found.covered == 0
    for right in (
        by_cluster(world, RUNS, 1),
        by_switchback(world, RUNS, 1, 7, 3),
        by_switchback(world, RUNS, 1, 7, 3, random_bounds=True),
    ):
        assert _covers(judged("", right, true))


def test_drawn_buckets_are_of_half_to_one_and_a_half_of_the_length() -> None:
    starts = bucket_starts(1000, 8, np.random.default_rng(1))
    lengths = np.diff(starts)
    assert starts[0] == 0
    assert lengths.min() == 4
    assert lengths.max() == 12
    assert set(starts % 24) == set(range(24))
