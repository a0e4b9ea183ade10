"""Blocks of very uneven size: of the test, and of the training days that refits are halves of."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

import headwater as hw
from headwater.reports import to_html
from tests.backtesting.world import LEVELS, START, World, day, judge, model, step, world
from tests.effort import LONG

SIZES = (6, 30, 200, 4952, 700, 90, 15, 1500)
LARGE_AMONG_SMALL = (6, 9, 40, 25, 4952, 12, 60, 8)


def scores(seed, sizes, *, stale, fresh, between_days=0.1):
    """Scores of two levels on days of these sizes; how well a level sees differs between days."""
    rng, n = np.random.default_rng(seed), sum(sizes)
    of = np.repeat(np.arange(len(sizes)), sizes)
    signal = rng.normal(size=n)
    columns = {
        "id": np.arange(n),
        "shop": [f"shop {d}" for d in of],
        "time": [
            START + dt.timedelta(days=int(d), seconds=float(s))
            for d, s in zip(of, rng.random(n) * 86_399, strict=True)
        ],
        "label": rng.random(n) < expit(-1 + 0.3 * rng.normal(size=len(sizes))[of] + 1.5 * signal),
    }
    for name, sight in (("stale", stale), ("fresh", fresh)):
        seen = np.clip(sight + between_days * rng.normal(size=len(sizes)), 0, 0.98)[of]
        columns[name] = expit(
            -1 + 1.5 * (seen * signal + np.sqrt(1 - seen**2) * rng.normal(size=n))
        )
    return pl.DataFrame(columns)


def judged(frame, **how):
    found = hw.backtest(
        scores=hw.evaluation.Scores(frame, levels=("stale", "fresh")),
        evaluation=hw.Evaluation(metrics=["auc"], resamples=300, **how),
    )
    return found.result, found.result.comparisons[0]


def all_show_it(sizes):
    """Scores whose gain shows in the AUC of every day."""
    for seed in range(200):
        frame = scores(seed, sizes, stale=0.2, fresh=0.8)
        gains = [judged(part.drop("shop"))[1].delta for part in frame.partition_by("shop")]
        if all(gain > 0 for gain in gains):
            return frame
    raise AssertionError


@pytest.mark.parametrize("sizes", [SIZES, LARGE_AMONG_SMALL])
@pytest.mark.parametrize("blocks", ["auto", pytest.param("shop", marks=pytest.mark.slow)])
def test_a_gain_that_eight_of_eight_blocks_show_is_a_lift(sizes, blocks):
    result, gain = judged(all_show_it(sizes), blocks=blocks)
    assert gain.delta == pytest.approx(0.19, abs=0.08)
    assert gain.verdict == "LIFT", gain.sentence
    assert result.recommendation.level == "fresh"
    assert gain.p <= 3 / 128 + 1e-9  # of 128 combinations of signs
    assert f"they weigh like {result.blocks.effective:.1f} equal ones" in result.intervals
    assert "turned signs" in to_html(result)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SIZES, (6, 20, 80, 300, 900, 2000, 4000, 4952)])
def test_equal_levels_on_uneven_days_are_seldom_called_unequal(sizes):
    """With the error of a bootstrap of days, 12 to 14 % of such runs were."""
    runs = 200 if LONG else 60
    claimed = sum(
        judged(scores(seed, sizes, stale=0.5, fresh=0.5))[1].verdict in ("LIFT", "harm")
        for seed in range(runs)
    )
    assert claimed <= 0.1 * runs  # of 5 %, more with a probability of 5 % (60 runs)


@pytest.mark.parametrize("blocks", ["auto", "shop"])
def test_p_is_below_the_level_exactly_where_the_interval_leaves_zero_out(blocks):
    for seed in range(10):
        gain = judged(scores(seed, SIZES, stale=0.5, fresh=0.5 + 0.02 * seed), blocks=blocks)[1]
        assert (gain.p < 0.05) == (gain.low > 0 or gain.high < 0)
        assert gain.low <= gain.delta <= gain.high


def test_slices_read_many_intervals_together_and_still_have_one():
    """Joint intervals of many slices ask for smaller shares than eight blocks have combinations of
    signs.
    """
    frame = scores(0, SIZES, stale=0.2, fresh=0.8)
    result, gain = judged(frame, slices={f"but {n}": pl.col("id") != 1000 + n for n in range(10)})
    for part in result.slices:
        assert math.isfinite(part.comparisons[0].low)
        assert part.comparisons[0].high - part.comparisons[0].low > gain.high - gain.low


def test_even_blocks_are_resampled_as_before():
    result, _ = judged(scores(0, (300,) * 8, stale=0.5, fresh=0.6))
    assert "resamples of 8 test days" in result.intervals
    assert result.blocks.effective == pytest.approx(8)


def test_many_small_blocks_beside_a_large_one():
    """More shops than combinations are kept of: small ones are dealt into groups."""
    sizes = (4952, *(5 + n % 7 for n in range(150)))
    result, gain = judged(scores(1, sizes, stale=0.2, fresh=0.8), blocks="shop")
    assert result.blocks.count == 151
    assert result.blocks.effective < 6
    assert gain.verdict == "LIFT"


def uneven(sizes, seed=1):
    """A world that keeps so many rows of each day."""
    made = world(seed, days=len(sizes), per_day=6000)
    number = (made.rows["asked"] - START).dt.total_days()
    kept = pl.concat(made.rows.filter(number == at)[:size] for at, size in enumerate(sizes))
    return World(made.events, kept)


@pytest.mark.parametrize("estimator", [pytest.param(None, marks=pytest.mark.slow), "logistic"])
@pytest.mark.parametrize(
    "tested",
    [(300, 320, 280, 310, 290, 330, 350, 305), (6, 200, 90, 4952, 60, 1200, 9, 80)],
    ids=["even", "uneven"],
)
def test_one_day_with_most_of_the_training_rows_takes_no_lift_away(estimator, tested):
    """Half of the days is all of the rows or next to none: a model of none has learned nothing."""
    of = model(uneven((4952, 36, 7, 6, 13, 56, 32, 25, *tested)), estimator=estimator)
    levels = {name: LEVELS[name] for name in ("request only", "daily", "instant")}
    found = judge(of, levels, split=day(8), metrics=["auc"], resamples=300, refits=4)
    gain = step(found, "request only", "instant")
    assert gain.delta > 0.2
    assert gain.verdict == "LIFT", gain.sentence
    assert found.recommendation.level == "instant"
