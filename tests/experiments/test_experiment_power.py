"""Power: as simulated, as researched, and consistent with the units it asks for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headwater.errors import UsageError
from headwater.experiments.experiment_power import (
    SequentialPlan,
    power_of,
    units_needed,
)
from headwater.experiments.group_sequential import bounds, crossing


def test_it_is_within_three_points_of_the_researched_table() -> None:
    """20 looks to 5,000 units of each arm: a proportion of 5 % by a fifth, a lognormal mean by 8
    %.
    """
    proportion = math.sqrt(0.95 / 0.05), 5_000
    more = math.sqrt(0.94 / 0.06)
    assert power_of(0.2, *proportion, SequentialPlan(looks=1), more) == pytest.approx(
        0.603, abs=0.03
    )
    assert power_of(0.2, *proportion, SequentialPlan(looks=20), more) == pytest.approx(
        0.578, abs=0.03
    )
    lognormal = math.sqrt(math.e - 1), 5_000
    assert power_of(0.08, *lognormal, SequentialPlan(looks=1)) == pytest.approx(0.852, abs=0.03)
    assert power_of(0.08, *lognormal, SequentialPlan(looks=20)) == pytest.approx(0.828, abs=0.03)


@pytest.mark.parametrize("times", [[1.0], [0.5, 1.0], [0.1, 0.15, 0.7, 1.0]])
@pytest.mark.parametrize("drift", [0.0, 1.0, -3.0])
def test_crossing_is_as_simulated(times: list[float], drift: float) -> None:
    random = np.random.default_rng(1)
    steps = np.diff([0.0, *times])
    paths = np.cumsum(
        random.standard_normal((100_000, len(times))) * np.sqrt(steps) + drift * steps, axis=1
    ) / np.sqrt(times)
    crossed = np.maximum.accumulate(np.abs(paths) > bounds(times), axis=1).mean(axis=0)
    assert crossing(times, bounds(times), drift) == pytest.approx(crossed, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [1, 5, 20])
def test_units_and_power_agree(looks: int) -> None:
    plan = SequentialPlan(looks=looks, power=0.9)
    units = units_needed(0.03, 1.5, plan)
    assert power_of(0.03, 1.5, units, plan) == pytest.approx(0.9, abs=1e-3)
    assert units >= units_needed(0.03, 1.5, SequentialPlan(power=0.9))  # looks cost units


def test_falls_need_about_as_many_and_nothing_is_refused() -> None:
    plan = SequentialPlan()
    assert units_needed(-0.05, 1.0, plan) == pytest.approx(units_needed(0.05, 1.0, plan), rel=0.12)
    for lift, variation, wrong in (
        (0.0, 1.0, "lift is 0"),
        (-1.0, 1.0, "lift is -1"),
        (0.1, 0.0, "variation is 0"),
    ):
        with pytest.raises(UsageError, match=wrong):
            units_needed(lift, variation, plan)
