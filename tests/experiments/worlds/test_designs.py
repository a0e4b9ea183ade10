"""Which designs mislead and which recover the truth, in worlds where it is known; few runs here,
more by `make experiments-validate`.
"""

from __future__ import annotations

import numpy as np
import pytest

from headwater.experiments.worlds.adaptive_fraud import AdaptiveFraud
from headwater.experiments.worlds.designs import (
    DesignResult,
    bucket_starts,
    by_backtest,
    by_cluster,
    by_switchback,
    by_unit,
    judged,
    truth,
)
from headwater.experiments.worlds.hourly_effect import HourlyEffect
from headwater.experiments.worlds.recommender_loop import RecommenderLoop
from headwater.experiments.worlds.shared_supply import SharedSupply
from headwater.experiments.worlds.world import World

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


@pytest.mark.slow
def test_adaptive_fraud() -> None:
    world = AdaptiveFraud()
    true = truth(world, 20, 7)
    assert true == pytest.approx(-0.483, abs=0.005)
    assert judged("", by_backtest(world, 20, 1), true).mean == pytest.approx(-0.673, abs=0.01)
    assert judged("", by_unit(world, 20, 1), true).mean == pytest.approx(-0.867, abs=0.01)
    assert judged("", by_cluster(world, 20, 1, slice(0, 5)), true).covered == 0
    assert _covers(judged("", by_cluster(world, RUNS, 1), true))


@pytest.mark.slow
def test_recommender_loop() -> None:
    world = RecommenderLoop()
    true = truth(world, 30, 7)
    assert true == pytest.approx(0.12, abs=0.015)
    backtest = judged("", by_backtest(world, 20, 1), true)
    assert backtest.mean == pytest.approx(-0.162, abs=0.015)
    assert backtest.below == 1
    shared, split = (
        judged("", by_unit(RecommenderLoop(split_logs=split), RUNS, 1), true)
        for split in (False, True)
    )
    assert shared.covered < 0.75
    assert split.covered >= 0.90 - 0.13


@pytest.mark.slow
def test_buckets_that_divide_the_day_never_see_half_of_the_clock() -> None:
    world = HourlyEffect()
    true = truth(world, 60, 7)
    blind = judged("", by_switchback(world, 20, 1, 6, 3), true)
    assert blind.covered == 0
    assert blind.mean < 0 < true
    assert _covers(judged("", by_switchback(world, RUNS, 1, 7, 3), true))
    assert _covers(judged("", by_switchback(world, RUNS, 1, 7, 3, random_bounds=True), true))


def test_drawn_buckets_are_of_half_to_one_and_a_half_of_the_length() -> None:
    starts = bucket_starts(1000, 8, np.random.default_rng(1))
    lengths = np.diff(starts)
    assert starts[0] == 0
    assert lengths.min() == 4
    assert lengths.max() == 12
    assert set(starts % 24) == set(range(24))
