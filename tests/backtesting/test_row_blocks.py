"""Blocks: how they are chosen, what they cover, and how often intervals over them hold."""

import numpy as np
import pytest

import headwater as hw
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.backtesting.row_blocks import chosen_blocks
from headwater.backtesting.spread import interval
from headwater.definitions.checks import DAY, HOUR
from headwater.metrics import resolve
from tests.backtesting.world import STALE_AND_FRESH, model, world

MAE = resolve(["mae"], "regression")


def correlated(rng, n, r):
    """A stationary series of n values, each correlated by r with the one before."""
    values = np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = r * values[i - 1] + np.sqrt(1 - r * r) * rng.normal()
    return values


def chosen(values, length=DAY, rows=5):
    """Blocks chosen where the metric of each stretch of time is one of these values."""
    t = np.repeat(np.arange(len(values)) * length, rows) + np.tile(np.arange(rows), len(values))
    score = np.repeat(np.abs(values), rows)

    def metric(blocks):
        found = evaluate(MAE, np.zeros(len(t)), {"a": score}, blocks)
        return np.append(found.values[0, 0], found.replicates[0, 0])

    return chosen_blocks(t, metric)


def test_days_that_do_not_depend_on_one_another_are_the_blocks():
    found = chosen(np.random.default_rng(3).normal(10, 1, 40))
    assert (found.result.describes, found.result.count, found.result.periods, found.result.on) == (
        "days",
        40,
        40,
        "",
    )
    assert "are not correlated" in found.result.why


def test_blocks_are_longer_where_days_depend_on_one_another():
    values = 10 + correlated(np.random.default_rng(1), 120, 0.9)
    found = chosen(values)
    assert found.result.describes in ("blocks of 7d", "blocks of 14d")
    assert found.result.autocorrelation["1d"] > 0.7
    assert found.result.covers_other_periods
    assert np.array_equal(
        found.index, np.repeat(np.arange(120), 5) // (7 if "7d" in found.result.describes else 14)
    )


def test_two_days_are_resampled_by_hours_and_hold_on_these_days_only():
    found = chosen(np.random.default_rng(3).normal(10, 1, 48), HOUR)
    assert (found.result.describes, found.result.count, found.result.on) == (
        "hours",
        48,
        "on these 2 days",
    )
    assert not found.result.covers_other_periods


def two_days():
    """A model of a large lift, with 2 days of test rows."""
    of = model(world(days=12, per_day=400))
    return of, hw.Evaluation(split="2024-03-14T00:00Z", metrics=["auc"], resamples=300, refits=0)


def test_no_step_is_a_lift_on_two_days():
    of, how = two_days()
    found = hw.backtest(of, STALE_AND_FRESH, how)
    (step,) = found.result.comparisons
    assert step.low > 0.05
    assert step.verdict == "inconclusive"
    assert step.sentence.endswith("on these 2 days; other days need at least 8 of them")
    assert found.result.blocks.on == "on these 2 days"
    assert "They hold on these 2 days" in found.result.intervals


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["hour", "user", "2h"])
def test_no_blocks_turn_two_days_into_a_lift(blocks):
    of, how = two_days()
    found = hw.backtest(
        of, STALE_AND_FRESH, hw.Evaluation(**{**vars(how), "blocks": blocks})
    ).result
    assert found.comparisons[0].verdict == "inconclusive"
    assert found.blocks.on == "on these 2 days"


@pytest.mark.parametrize("n", [8, 20])
def test_95_percent_of_intervals_over_few_days_hold(n):
    """The mean of n days that are normal: plain percentiles would hold in 89 % (n = 8) and 93 % (n
    = 20).
    """
    rng, runs, held = np.random.default_rng(0), 500, 0
    weights = resample_weights(np.arange(n), 1000).weights[:, 1:] / n
    for _ in range(runs):
        low, high = interval(rng.normal(size=n) @ weights, n)
        held += low <= 0 <= high
    assert held / runs == pytest.approx(0.95, abs=0.025)
