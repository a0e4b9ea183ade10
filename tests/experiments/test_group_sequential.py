"""Bounds at several looks: the published ones, their error under any looks, and their power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.group_sequential import bounds, spent


def test_the_published_bounds() -> None:
    """Of the R package ldbounds, five equal looks, two-sided 5 %, O'Brien-Fleming type."""
    assert bounds([0.2, 0.4, 0.6, 0.8, 1.0]) == pytest.approx(
        [4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4
    )


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8, unique=True))
def test_all_looks_together_spend_what_the_last_one_may(times: list[float]) -> None:
    times = sorted(round(time, 3) for time in times)
    times = sorted(set(times))
    random = np.random.default_rng(1)
    steps = random.standard_normal((40_000, len(times))) * np.sqrt(np.diff([0.0, *times]))
    z = np.abs(np.cumsum(steps, axis=1)) / np.sqrt(times)
    crossed = (z > np.array(bounds(times))).any(axis=1).mean()
    assert crossed == pytest.approx(spent(times[-1]), abs=0.005)


def test_looks_beyond_the_plan_have_nothing_left() -> None:
    assert bounds([0.5, 1.0, 1.2])[2] == float("inf")
    assert bounds([0.5, 1.3])[1] == pytest.approx(bounds([0.5, 1.0])[1])


@pytest.mark.parametrize(
    "units", [[10, 50, 250, 1_000, 2_000], [900, 950, 980, 990, 1_000]], ids=["ramp", "fast start"]
)
def test_error_spent_by_time_is_exact_however_units_come(units: list[int]) -> None:
    """The looks come by time; bounds that took the time for information would be wrong, since looks
    depend on each other by their units.
    """
    shares = [0.2, 0.4, 0.6, 0.8, 1.0]
    random = np.random.default_rng(2)
    steps = random.standard_normal((100_000, 5)) * np.sqrt(np.diff([0, *units]))
    z = np.abs(np.cumsum(steps, axis=1)) / np.sqrt(units)
    crossed = np.maximum.accumulate(z > np.array(bounds(shares, units=units)), axis=1).mean(axis=0)
    assert crossed == pytest.approx([spent(share) for share in shares], abs=0.0025)
    assert crossed[-1] - (z > np.array(bounds(shares))).any(axis=1).mean() != pytest.approx(
        0.0, abs=0.003
    )


def test_twenty_looks_of_an_aa_test_and_their_power() -> None:
    random = np.random.default_rng(3)
    runs, looks, each = 2_000, 20, 250
    several = np.array(bounds([(look + 1) / looks for look in range(looks)]))
    units = np.arange(1, looks + 1) * each
    always = np.array([sequence_multiplier(int(2 * n)) for n in units])
    rejected = {}
    for effect in (1.0, 1.2):
        counts = [
            np.cumsum(random.binomial(each, rate, (runs, looks)), axis=1) / units
            for rate in (0.05, 0.05 * effect)
        ]
        se = np.sqrt(sum(rate * (1 - rate) / rate**2 / units for rate in np.maximum(counts, 1e-3)))
        z = np.abs(np.log(np.maximum(counts[1], 1e-9) / np.maximum(counts[0], 1e-9))) / se
        rejected[effect] = [
            (z > bound).any(axis=1).mean() for bound in (several, always, np.full(looks, 1.96))
        ]
    assert rejected[1.0][0] == pytest.approx(0.05, abs=0.015)  # three standard errors
    assert rejected[1.0][1] <= 0.05
    assert rejected[1.0][2] > 0.2  # what peeking does
    assert rejected[1.2][0] == pytest.approx(0.578, abs=0.03 + 0.033)
    assert rejected[1.2][1] < rejected[1.2][0]
