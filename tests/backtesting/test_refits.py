"""Intervals that hold for a model trained again, and steps that are judged together."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

import headwater as hw
from headwater.backtesting.intervals import ResampledMetrics, Variation
from headwater.backtesting.spread import Spread, interval
from headwater.backtesting.verdicts import holm
from headwater.metrics import resolve
from tests.backtesting.world import LEVELS, day, judge, model, step, world

AUC = resolve(["auc"], "binary")[0]
ONCE = (np.empty(0), np.empty((0, 0)), 0.0)


@pytest.fixture(scope="module")
def made():
    return world()


# ---- the interval


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-30, 30), min_size=20, max_size=60), st.integers(1, 6))
def test_p_is_below_the_level_exactly_where_the_interval_leaves_zero_out(draws, looks):
    spread = Spread(1.0, np.array(draws, float), 30, *ONCE)
    low, high = interval(spread.draws, 30, looks)
    if abs(spread.p - 0.05 / looks) > 1e-9:
        assert (spread.p < 0.05 / looks) == (low > 0 or high < 0)


@pytest.mark.parametrize("looks", [1, 4])
def test_with_refits_too(looks):
    rng = np.random.default_rng(1)
    for _ in range(50):
        each = rng.normal(0.5, 1, (400, 5)) + rng.normal(0, 1, (400, 1))
        spread = Spread(each.mean(), each.mean(axis=1), 30, each[0], each, 0.2)
        low, high = spread.interval(looks)
        assert (spread.p < 0.05 / looks) == (low > 0 or high < 0)


@pytest.mark.parametrize(
    ("own", "shared"),
    [(1.0, 0.0), (0.0, 1.0), (0.7, 0.5)],
    ids=["own alone", "shared alone", "both"],
)
def test_the_variance_of_a_mean_over_refits_is_counted_once(own, shared):
    """Planted: days that all refits share, days that each meets in its own way, and models that
    differ in truth.
    """
    rng, refits, days, covered, errors = np.random.default_rng(2), 5, 40, 0, []
    weights = rng.multinomial(days, np.full(days, 1 / days), 300)
    for _ in range(400):
        truth = own * rng.normal(0, 0.1, refits)
        by_day = truth + shared * rng.normal(size=(days, 1)) + own * rng.normal(size=(days, refits))
        each = weights @ by_day / days
        spread = Spread(
            by_day.mean(), each.mean(axis=1), days, by_day.mean(axis=0), each, 1 / refits
        )
        low, high = spread.interval()
        covered += low <= 0 <= high
        errors.append(spread.error)
    exact = math.sqrt(shared**2 / days + own**2 / days / refits + (0.1 * own) ** 2 / refits)
    assert np.mean(errors) == pytest.approx(exact, rel=0.1)
    assert 0.92 < covered / 400 < 0.985


def test_an_interval_stays_within_what_a_metric_can_be():
    evaluation = ResampledMetrics(
        ("a",), (AUC,), np.array([[0.99]]), np.full((1, 1, 50), 0.99), 30,
        Variation(np.array([[[0.9, 1.0, 1.0]]]), np.full((1, 1, 50, 3), 0.99), 1 / 3),
    )  # fmt: skip
    found = evaluation.estimates("a")["auc"]
    assert found.high == 1.0
    assert found.low < 0.95


# ---- Holm


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01], [0.01]),
        ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
        ([0.9, 0.001, 0.5], [1.0, 0.003, 1.0]),
        ([math.nan, 0.03, 0.03], [math.nan, 0.06, 0.06]),
        ([], []),
    ],
)
def test_holm(p, adjusted):
    assert holm(p) == pytest.approx(adjusted, nan_ok=True)


# ---- backtests


@pytest.mark.slow
@pytest.mark.parametrize(
    "refits",
    [hw.evaluation.Refits(), hw.evaluation.Refits(0, seeds=3), hw.evaluation.Refits(2, seeds=2)],
)
@pytest.mark.parametrize("blocks", ["auto", "user"])
def test_the_interval_of_the_procedure_contains_that_of_the_fitted_models(refits, blocks):
    for seed in range(2):
        of = model(
            world(seed, days=16, per_day=40), estimator=None if refits.seeds > 1 else "logistic"
        )
        found = judge(
            of, LEVELS, split=day(7), metrics=["auc"], resamples=150, refits=refits, blocks=blocks
        )
        fixed = {(alone.from_, alone.to): alone for alone in found.fixed_models}
        for step_ in found.comparisons:
            alone = fixed[step_.from_, step_.to]
            assert step_.delta == pytest.approx(alone.delta, abs=1e-12)
            assert step_.low <= alone.low + 1e-12
            assert step_.high >= alone.high - 1e-12


@pytest.mark.parametrize(
    "refits",
    [hw.evaluation.Refits(0, seeds=3), hw.evaluation.Refits(3), hw.evaluation.Refits(2, seeds=2)],
)
@pytest.mark.parametrize(
    "estimator", [None, RandomForestClassifier(5, max_depth=3)], ids=["default", "draws at random"]
)
def test_levels_with_equal_features_differ_by_nothing_in_any_refit(made, estimator, refits):
    """Every refit has the same seed and the same days at all levels, so the interval has no width
    at all.
    """
    levels = {"one": LEVELS["daily"], "between": LEVELS["hourly"], "other": LEVELS["daily"]}
    found = judge(
        model(made, estimator=estimator),
        levels=levels,
        split=day(18),
        metrics=["auc"],
        resamples=50,
        refits=refits,
    )
    equal = step(found, "one", "other")
    assert (equal.delta, equal.low, equal.high) == (0, 0, 0)
    assert step(found, "one", "between").delta != 0


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "scripts" / "equal_levels.py"
    spec = importlib.util.spec_from_file_location("equal_levels", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.slow
def test_equally_good_levels_are_seldom_called_unequal(script):
    """Levels that differ in a view of noise alone, in 30 worlds."""
    verdicts = [
        script.claims(seed, hw.evaluation.Refits(), resamples=200)["auc"]
        for seed in range(1000, 1030)
    ]
    # more with a probability of 0.3 % at 5 %
    assert sum(verdict in ("LIFT", "harm") for verdict in verdicts) <= 5
