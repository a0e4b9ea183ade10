"""Intervals over days that depend on the days before: they hold as often as they say, and so do
those over days that do not.
"""

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import t as student

from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.backtesting.serial_dependence import BlockSeries
from headwater.backtesting.spread import Spread
from headwater.metrics import resolve
from tests.backtesting.test_row_blocks import correlated

MAE = resolve(["mae"], "regression")


def drawn(n, resamples=1000):
    return resample_weights(np.arange(n), resamples).weights[:, 1:]


def spread(values, weights, series):
    return Spread(
        values.mean(),
        values @ weights / len(values),
        len(values),
        np.empty(0),
        np.empty((0, 0)),
        0.0,
        series,
    )


def covered(n, r, noise=0.0, runs=2000):
    """How often the interval of a mean of n days holds, as of days that depend on one another and
    as of days that do not.
    """
    rng, weights = np.random.default_rng(0), drawn(n)
    fresh = rng.normal(size=(runs, n))
    fresh[:, 1:] *= np.sqrt(1 - r * r)
    days = lfilter([1.0], [1.0, -r], fresh, axis=1) + noise * rng.normal(size=(runs, n))
    series, held = BlockSeries(weights), np.zeros(2)
    for values in days:
        for at, of in enumerate((series, None)):
            low, high = spread(values, weights, of).interval()
            held[at] += low <= 0 <= high
    return held / runs


def test_the_least_detectable_lift_is_that_of_a_test_at_5_percent_with_a_power_of_80():
    values, weights = np.random.default_rng(2).normal(size=30), drawn(30)
    found = spread(values, weights, BlockSeries(weights))
    assert found.detected == pytest.approx(
        student.ppf(0.975, found.freedom) + student.ppf(0.8, found.freedom), rel=1e-9
    )
    assert spread(values, weights, None).detected == 2.8


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 20, 60])
def test_95_percent_hold_of_days_that_do_not_depend_on_one_another(n):
    assert covered(n, 0.0)[0] == pytest.approx(0.95, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "r", "noise"), [(56, 0.6, 1.5), (140, 0.6, 1.5), (60, 0.3, 0.0)])
def test_about_95_percent_hold_of_days_that_do(n, r, noise):
    """The correlation of 0.6 is under so much noise that successive days are correlated by 0.2."""
    held, naive = covered(n, r, noise)
    assert held == pytest.approx(0.94, abs=0.02)
    assert naive < 0.88


def test_the_error_is_that_of_the_slowest_waves():
    """Every day by itself: the influence of a day on a mean is its value, and the regression finds
    it exactly.
    """
    values, series = np.random.default_rng(1).normal(size=30), BlockSeries(drawn(30))
    cosines = np.sqrt(2 / 30) * np.cos(np.pi * np.outer(np.arange(30) + 0.5, np.arange(1, 7)) / 30)
    expected = np.sqrt(((values @ cosines) ** 2).mean() / values.var(ddof=1))
    assert series.freedom == 6
    assert series.inflation(values @ series.drawn / 30) == pytest.approx(expected, rel=1e-9)


def test_days_in_order_are_told_from_users():
    rng = np.random.default_rng(6)
    days, error = (
        np.repeat(np.arange(60), 20),
        np.abs(5 + np.repeat(correlated(rng, 60, 0.9), 20) + rng.normal(size=1200)),
    )
    of_days, of_users = (
        evaluate(
            MAE, np.zeros(1200), {"a": error}, resample_weights(days, 1000, successive=successive)
        )
        for successive in (True, False)
    )
    wide, narrow = (found.estimates("a")["mae"] for found in (of_days, of_users))
    assert of_users.series is None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert np.array_equal(of_days.replicates, of_users.replicates)
