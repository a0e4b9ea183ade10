"""Confidence sequences over days: false alarms of a year, decays of twice break-even, and what they
are read off.
"""

import numpy as np
import pytest

from bench.validation import experiment_decay
from headwater.experiments.lift_sequence import (
    FEWEST,
    LENGTHS,
    LOOKS,
    decayed,
    lift_windows,
    share_of_error,
)


def windows(lift, error=1e-6, rows=None, day=None):
    lift = np.asarray(lift, np.float64)
    return lift_windows(
        np.arange(len(lift)) if day is None else day,
        lift,
        np.full(len(lift), 1e4) if rows is None else rows,
        error,
    )


def autoregression(rng, days, rho):
    series, state = np.empty(days), rng.normal()
    for day in range(days):
        state = rho * state + np.sqrt(1 - rho**2) * rng.normal()
        series[day] = state
    return series


def test_nothing_is_said_before_two_weeks():
    assert windows(np.zeros(FEWEST - 1)) == []
    assert [window.days for window in windows(np.zeros(FEWEST))] == [7, 10, 14]


def test_the_share_of_a_look_adds_up_to_the_error_of_a_year():
    assert share_of_error(0.05, 24) * 24 * LOOKS * len(LENGTHS) == pytest.approx(0.05)


def test_the_window_that_begins_with_the_decay_decides():
    rng = np.random.default_rng(0)
    lift = np.concatenate([np.full(40, 0.02), np.full(14, -0.01)]) + 0.001 * rng.normal(size=54)
    window = decayed(windows(lift), 0.005)
    assert 40 <= window.first <= 47
    assert decayed(windows(lift[:40]), 0.005) is None


def test_days_count_by_the_requests_that_they_stand_for():
    lift, rows = np.array([0.0] * 10 + [1.0] * 4), np.array([1.0] * 10 + [10.0] * 4)
    assert windows(lift, rows=rows)[-1].lift.value == pytest.approx(40 / 50)


def test_dependent_days_widen_the_interval():
    rng = np.random.default_rng(1)
    widths = {
        rho: np.mean([windows(autoregression(rng, 84, rho))[-1].error for _ in range(50)])
        for rho in (0.0, 0.5)
    }
    assert widths[0.5] > 1.3 * widths[0.0]


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_few_years_at_break_even_have_a_false_alarm(rho):
    """The share of one series in the error of a project is far below one alarm in these years."""
    rng, error, alarms = np.random.default_rng(3), share_of_error(0.05, 44), 0
    for _ in range(6):
        lift = autoregression(rng, 365, rho)
        alarms += any(
            decayed(windows(lift[:today], error), 0.0) is not None
            for today in range(FEWEST, 366, 3)
        )
    assert alarms == 0


@pytest.mark.slow
def test_a_decay_of_twice_break_even_is_reported_within_two_weeks():
    """The long form is `python -m bench.validation --only freshness`."""
    answers = [
        experiment_decay.run("decay, the model stays, days independent", seed) for seed in range(3)
    ]
    assert all(answer["in_time"] for answer in answers)
    assert sum(answer["false"] for answer in answers) == 0
