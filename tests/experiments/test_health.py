"""Health checks: planted problems are seen, honest experiments are left alone, and units are
counted by one rule.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from headwater.errors import DataError
from headwater.experiments.exposed_units import exposed_units
from headwater.experiments.health import HealthCheck, _difference_p, unit_checks
from tests.experiments.exposure_world import exposures

WEIGHTS = {"daily": 0.5, "streaming": 0.5}
PLANTED = {
    "sample ratio": {"lost": 0.35},
    "assignment": {"moved": 0.05},
    "duplicates": {"copied": 0.05},
    "bots": {"bots": 60},
    "fallback": {"fallbacks": 0.08},
    "age": {"stale": 0.08},
}


def _checks(
    seed: int, biased: float = 0.0, matured: float = 1.0, **planted: float
) -> dict[str, HealthCheck]:
    random = np.random.default_rng(seed)
    units = exposed_units(exposures(random, **planted))
    counts = units.counts(list(WEIGHTS))
    before = {
        "amount": (random.exponential(1.0, counts[0]), random.exponential(1.0 + biased, counts[1])),
        "visits": (random.poisson(0.3, counts[0]), random.poisson(0.3, counts[1])),
        "nothing": (np.zeros(counts[0]), np.zeros(counts[1])),
    }
    return {
        check.name: check for check in unit_checks(units, WEIGHTS, before=before, matured=matured)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_planted_problems_are_seen(name: str) -> None:
    runs = 5
    seen = sum(_checks(seed, **PLANTED[name])[name].blocks for seed in range(runs))
    assert seen >= 0.95 * runs


@pytest.mark.parametrize(
    ("control", "treated", "least", "most"),
    [
        (np.zeros(6), np.ones(3), 1e-3, 0.05),  # nothing varies within an arm, and the arms differ
        (np.zeros(40), np.ones(40), 0, 1e-9),
        (np.full(6, 5.0), np.full(3, 5.0), 1, 1),
        (np.full(6, 5.0), np.array([5.0, 5.0, 6.0]), 0.1, 1),
    ],
)
def test_arms_without_variance_before_exposure_have_a_p_value(
    control, treated, least, most
) -> None:
    assert least <= _difference_p(control, treated) <= most


@pytest.mark.slow
def test_units_that_differed_before_are_seen() -> None:
    assert sum(_checks(seed, biased=0.3)["before exposure"].blocks for seed in range(20)) >= 19


def test_outcomes_that_are_not_final_block_the_verdict() -> None:
    assert _checks(1, matured=0.5)["matured outcomes"].blocks
    assert not _checks(1, matured=0.9)["matured outcomes"].blocks


@pytest.mark.slow
def test_honest_experiments_are_left_alone() -> None:
    alarms = [
        check for seed in range(60) for check in _checks(1_000 + seed).values() if check.blocks
    ]
    assert len(alarms) <= 2, alarms


def test_units_count_once_from_their_first_exposure() -> None:
    frame = exposures(np.random.default_rng(1), copied=0.1, moved=0.05)
    units = exposed_units(frame)
    chosen = frame.filter(~pl.col("override"))
    first = (
        chosen.sort("at", "unit", "request", "arm").unique("unit", keep="first").sort("at", "unit")
    )
    assert units.frame["unit"].to_list() == first["unit"].to_list()
    assert units.frame["arm"].to_list() == first["arm"].to_list()
    assert units.exposures == frame.height
    assert units.copies == chosen.height - chosen.n_unique("request")
    assert units.overrides == frame.height - chosen.height
    assert exposed_units(frame.reverse()).frame.equals(units.frame)


def test_no_exposure_yet_is_no_problem_and_bad_ones_are_refused() -> None:
    empty = exposures(np.random.default_rng(1), units=10).clear()
    assert not any(check.blocks for check in unit_checks(exposed_units(empty), WEIGHTS))
    with pytest.raises(DataError, match="no column 'propensity'"):
        exposed_units(empty.drop("propensity"))
    with pytest.raises(DataError, match="have no unit"):
        exposed_units(
            exposures(np.random.default_rng(1), units=10).with_columns(unit=pl.lit(None, pl.String))
        )
    other = exposed_units(exposures(np.random.default_rng(1), units=50))
    assert "not an arm of the plan" in unit_checks(other, {"daily": 0.5, "hourly": 0.5})[0].evidence
