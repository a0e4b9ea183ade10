"""Choices inside the training rows: thresholds, what mistakes cost, and settings."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from sklearn.tree import DecisionTreeClassifier

import headwater as hw
from headwater.backtesting import fitting
from tests.backtesting.world import (
    LEVELS,
    STALE_AND_FRESH,
    day,
    judge,
    level,
    model,
    step,
    world,
)

SPLIT = day(18)


@pytest.fixture(scope="module")
def made():
    return world()


def _noise(made):
    """A model of a number that tells nothing, by a tree that learns its rows by heart."""
    rows = made.rows.with_columns(
        noise=pl.Series(np.random.default_rng(0).random(made.rows.height))
    )
    fields = [hw.RequestField("noise", float), hw.RequestField("amount", float)]
    return model(
        dataclasses.replace(made, rows=rows),
        members=fields,
        estimator=DecisionTreeClassifier(min_samples_leaf=2),
    )


def test_a_threshold_is_chosen_on_rows_that_the_model_did_not_learn(made, monkeypatch):
    """In the rows that it knows by heart, a tree is right at 0.5; on others so few are flagged that
    flagging all is better.
    """
    given = {
        "levels": {"none": LEVELS["request only"]},
        "split": SPLIT,
        "metrics": ["recall", "precision"],
        "resamples": 0,
    }
    honest = judge(_noise(made), **given).levels[0].metrics["recall"].value
    monkeypatch.setattr(fitting.Fitter, "_held_out", lambda _, train: (train, train))
    flattered = judge(_noise(made), **given).levels[0].metrics["recall"].value
    assert flattered < 0.7
    assert honest > 0.9


# ---- costs


def test_costs_add_money_at_the_threshold_of_least_cost(made):
    rows = made.rows.with_columns(loss=pl.lit(12.0))
    of = model(dataclasses.replace(made, rows=rows))
    given = {"levels": STALE_AND_FRESH, "split": SPLIT, "metrics": ["auc"], "resamples": 200}
    result = judge(of, **given, costs={"false_positive": 10, "false_negative": "loss"})
    assert list(result.levels[0].metrics) == ["auc", "cost"]
    assert result.headline == "auc"
    test = rows.filter(pl.col("asked") >= SPLIT)
    rate = test["bad"].mean()
    assert result.money.nothing == pytest.approx(1000 * 12 * rate)
    assert result.money.everything == pytest.approx(1000 * 10 * (1 - rate))
    assert level(result, "hourly").metrics["cost"].value < min(
        result.money.nothing, result.money.everything
    )
    saved = step(result, "daily", "hourly", "cost")
    assert saved.low > 0
    assert saved.verdict == "not judged"  # the headline alone is
    assert saved.delta == pytest.approx(
        level(result, "daily").metrics["cost"].value - level(result, "hourly").metrics["cost"].value
    )
    dear = judge(of, **given, costs={"false_positive": 1e6, "false_negative": "loss"})
    for found in dear.levels:  # a threshold so high that next to nothing is flagged
        assert 0.99 * dear.money.nothing < found.metrics["cost"].value <= dear.money.nothing


# ---- tuning


@pytest.mark.slow
def test_tuning_does_not_look_at_the_test(made):
    flipped = made.rows.with_columns(bad=pl.col("bad") ^ (pl.col("asked") >= SPLIT))
    given = {
        "levels": STALE_AND_FRESH,
        "split": SPLIT,
        "metrics": ["auc"],
        "resamples": 0,
        "tune": 4,
    }
    one, two = (
        judge(model(dataclasses.replace(made, rows=rows), estimator=None), **given)
        for rows in (made.rows, flipped)
    )
    assert one.estimator == two.estimator
    assert "LightGBM" in one.estimator or "LGBM" in one.estimator
    assert one.levels[0].metrics["auc"].value == pytest.approx(
        1 - two.levels[0].metrics["auc"].value
    )
