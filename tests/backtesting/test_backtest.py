"""hw.backtest on small worlds whose truth is known: what must lift, what must not, and what must
not matter.
"""

import dataclasses

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from sklearn.linear_model import LogisticRegression

import headwater as hw
from headwater.backtesting import backtest
from tests.backtesting.world import (
    LEVELS,
    STALE_AND_FRESH,
    by_machine,
    day,
    judge,
    model,
    step,
    world,
)

SPLIT = day(18)


@pytest.fixture(scope="module")
def made():
    return world()


@pytest.fixture(scope="module")
def late(made):
    """The default estimator at every level, with a text among the features."""
    members = [
        by_machine(made.events),
        hw.RequestField("amount", float),
        hw.RequestField("machine", str),
    ]
    slices = {"m0": pl.col("machine") == "m0", "none": pl.col("amount") > 1e9}
    return backtest.backtest(
        model(made, estimator=None, members=members),
        levels=LEVELS,
        evaluation=hw.Evaluation(split=SPLIT, slices=slices, resamples=300),
    ).result


def _same(result):
    """All of a result but how long it took, so that NaN equals NaN."""
    return repr(structs.replace(result, seconds={}))


def _backtest(of, **given):
    return judge(of, **({"levels": STALE_AND_FRESH, "split": SPLIT, "resamples": 100} | given))


# ---- what must be found


def test_a_state_that_lasts_hours_lifts_hourly_over_daily(late):
    found = step(late, "daily", "hourly")
    assert found.low > 0
    assert found.verdict == "not judged", "daily is not the baseline"
    assert 0.05 < found.low < found.delta < found.high
    assert step(late, "request only", "instant").verdict == "LIFT"
    assert step(late, "request only", "daily").delta < 0.5 * found.delta


@pytest.mark.slow
def test_a_null_world_says_lift_in_few_seeds():
    verdicts = []
    for seed in range(24):
        made = world(seed, days=20, per_day=60, effect=0)
        verdicts.append(
            step(
                _backtest(model(made), split=day(10), metrics=["auc"], min_lift=0, seed=seed),
                "daily",
                "hourly",
            ).verdict
        )
    # Below 0.025 in truth; 4 or more of 24 would come about once in 350 times.
    assert verdicts.count("LIFT") < 4
    assert verdicts.count("inconclusive") > 16


# ---- what must not matter


@pytest.mark.slow
def test_the_same_seed_twice_and_any_number_of_threads(made):
    of = model(made, estimator=None)
    first = _backtest(of, threads=1)
    assert _same(first) == _same(_backtest(of, threads=1))
    assert _same(first) == _same(_backtest(of, threads=2))
    assert _same(first) != _same(_backtest(of, threads=2, seed=1))


# ---- what a row may train


def test_an_outcome_that_is_not_known_at_the_split_never_trains(made):
    unknown = (pl.col("asked") < SPLIT) & (pl.col("known") > SPLIT)
    late = made.rows.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(day(29)).otherwise("known").alias("known")
    )
    other = late.with_columns(pl.when(unknown).then(~pl.col("bad")).otherwise("bad").alias("bad"))
    n = late.filter(unknown).height
    assert n > 500
    one, two = (
        _backtest(model(dataclasses.replace(made, rows=rows), estimator=None))
        for rows in (late, other)
    )
    assert one.split.left_out == {"outcome not known at the split": n}
    assert one.split.train_rows == late.filter(pl.col("asked") < SPLIT).height - n
    assert repr((one.levels, one.comparisons)) == repr((two.levels, two.comparisons))


def test_the_operating_threshold_is_chosen_without_the_test_rows(made):
    flipped = made.rows.with_columns(bad=pl.col("bad") ^ (pl.col("asked") >= SPLIT))
    flagged = []
    for rows in (made.rows, flipped):
        result = _backtest(
            model(dataclasses.replace(made, rows=rows)), metrics=["precision", "recall"]
        )
        positives = rows.filter(pl.col("asked") >= SPLIT)["bad"].sum()
        flagged.append(
            [
                f.metrics["recall"].value * positives / f.metrics["precision"].value
                for f in result.levels
            ]
        )
    assert flagged[0] == pytest.approx(flagged[1])
    assert min(flagged[0]) > 100


# ---- a fitted estimator


class Frozen(LogisticRegression):
    """A fitted estimator that refuses to be fitted again."""

    def fit(self, X, y):
        raise AssertionError("fitted again")

    @classmethod
    def fitted(cls, made, columns=3):
        x = np.random.default_rng(0).random((made.rows.height, columns))
        other = LogisticRegression().fit(x, made.rows["bad"].to_numpy())
        frozen = cls()
        frozen.__dict__.update(other.__dict__)
        frozen.coef_ = np.array([[2.0, 1.0, 0.1][:columns] + [0.0] * (columns - 3)])
        return frozen


def test_a_fitted_estimator_is_replayed_and_never_fitted_again(made):
    frozen = Frozen.fitted(made)
    # every feature has a value by then
    settled = dataclasses.replace(made, rows=made.rows.filter(pl.col("asked") > day(2)))
    result = _backtest(model(settled, estimator=frozen))
    assert [found.note for found in result.levels] == [
        "the estimator was given fitted: replayed, not trained at this level"
    ] * 2
    assert [found.replayed for found in result.levels] == [{}, {}]
    assert result.estimator == "Frozen, given fitted"
    assert frozen.coef_.tolist() == [[2.0, 1.0, 0.1]]
    assert step(result, "daily", "hourly").verdict == "LIFT"
