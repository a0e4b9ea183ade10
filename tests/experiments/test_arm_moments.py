"""Lift over units: equal to tea-tasting, additive over looks, and right about its own error."""

from __future__ import annotations

import importlib
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import DataError
from headwater.experiments.arm_moments import arm_moments, unit_lift

NAMES = ["value", "base", "before", "before_base"]


def _arm(random: np.random.Generator, units: int, effect: float) -> list[np.ndarray]:
    base = 1.0 + random.poisson(3, units)
    before = random.gamma(2, 1, units)
    return [
        base * random.beta(2, 8, units) * effect * (1 + before),
        base,
        before,
        1.0 + random.poisson(2, units),
    ]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_it_equals_tea_tasting(columns: int) -> None:
    tea_tasting = importlib.import_module("tea_tasting")
    aggr = importlib.import_module("tea_tasting.aggr")
    random = np.random.default_rng(columns)
    arms = [_arm(random, 900, 1.0), _arm(random, 1100, 1.2)]

    def aggregates(arm: list[np.ndarray]) -> object:
        covariances = np.cov(np.stack(arm))
        pairs = {(NAMES[i], NAMES[j]): float(covariances[i, j]) for i in range(4) for j in range(i)}
        spreads = {name: float(covariances[i, i]) for i, name in enumerate(NAMES)}
        return aggr.Aggregates(
            len(arm[0]),
            {name: float(c.mean()) for name, c in zip(NAMES, arm, strict=True)},
            spreads,
            pairs,
        )

    names = [name if place < columns else None for place, name in enumerate(NAMES)]
    theirs = tea_tasting.RatioOfMeans(*names, equal_var=False).analyze_aggregates(
        *map(aggregates, arms)
    )
    ours = unit_lift(*(arm_moments(*arm[:columns]) for arm in arms))
    assert ours.lift == pytest.approx(theirs.rel_effect_size, rel=1e-9)
    assert ours.interval() == pytest.approx(
        (theirs.rel_effect_size_ci_lower, theirs.rel_effect_size_ci_upper), rel=1e-8
    )
    assert (ours.control, ours.treated) == pytest.approx(
        (theirs.control, theirs.treatment), rel=1e-12
    )


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_moments_add_up_whatever_the_looks(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    parts = [_arm(random, size, 1.0) for size in sizes]
    whole = arm_moments(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    added = reduce(add, [arm_moments(*part) for part in parts])
    assert added.units == whole.units
    np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(added.products, whole.products, rtol=1e-7, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["proportion", "mean", "cuped", "ratio"])
def test_false_positives_and_coverage(kind: str) -> None:
    random = np.random.default_rng(11)
    rejected = covered = 0
    for _ in range(600):
        for effect in (1.0, 1.1):
            control, treated = _simulated(random, kind, 1.0), _simulated(random, kind, effect)
            found = unit_lift(arm_moments(*control), arm_moments(*treated))
            low, high = found.interval()
            if effect == 1.0:
                rejected += found.p_value < 0.05
            else:
                covered += low <= 0.1 <= high
    assert 0.025 <= rejected / 600 <= 0.078  # 5 % and three standard errors
    assert covered / 600 >= 0.92


def _simulated(random: np.random.Generator, kind: str, effect: float) -> list:
    if kind == "proportion":
        return [(random.random(2000) < 0.05 * effect).astype(float)]
    if kind == "mean":
        return [effect * np.exp(random.standard_normal(2000))]
    if kind == "cuped":
        before = random.normal(10, 3, 2000)
        return [(before + 3 * random.standard_normal(2000)) * effect, None, before]
    base = 1 + random.poisson(np.exp(1 + 0.8 * random.standard_normal(2000)))
    return [
        random.binomial(
            base,
            random.beta(1, 9, 2000) * effect
            if effect <= 1
            else np.minimum(random.beta(1, 9, 2000) * effect, 1),
        )
        * 1.0,
        base,
    ]


def test_means_that_are_not_positive_are_refused() -> None:
    values = np.array([-1.0, -2.0, -3.0])
    with pytest.raises(DataError, match="compare the metric by its difference"):
        unit_lift(arm_moments(values), arm_moments(values))
    with pytest.raises(DataError, match="1 units"):
        unit_lift(arm_moments(values[:1]), arm_moments(values))
    with pytest.raises(DataError, match="null, NaN or infinite"):
        arm_moments(np.array([1.0, np.nan]))
    with pytest.raises(DataError, match="one value for each unit"):
        arm_moments(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match="denominators"):
        unit_lift(arm_moments(np.ones(3), np.zeros(3)), arm_moments(np.ones(3)))


def test_no_difference_and_no_spread_is_no_finding() -> None:
    same = arm_moments(np.ones(10))
    found = unit_lift(same, same)
    assert (found.lift, found.p_value, found.interval()) == (0.0, 1.0, (0.0, 0.0))
