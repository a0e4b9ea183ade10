"""Choices inside the training rows: thresholds, what mistakes cost, and settings."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from sklearn.tree import DecisionTreeClassifier

import headwater as hw
from headwater.backtesting import backtest, fitting
from headwater.errors import UsageError
from tests.backtesting.world import (
    LEVELS,
    STALE_AND_FRESH,
    by_machine,
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


def test_held_out_rows_are_the_later_ones(made, monkeypatch):
    seen = []
    original = fitting.Fitter._held_out
    monkeypatch.setattr(
        fitting.Fitter,
        "_held_out",
        lambda self, train: seen.append((train, *original(self, train))) or seen[-1][1:],
    )
    of = model(made)
    backtest.backtest(
        of,
        levels={"none": LEVELS["request only"]},
        evaluation=hw.Evaluation(split=SPLIT, metrics=["recall"], resamples=0),
    )
    train, early, late = seen[0]
    asked = made.rows["asked"].to_numpy()
    assert np.concatenate([early, late]).tolist() == train.tolist()
    assert len(late) == pytest.approx(len(train) / 4, abs=1)
    assert asked[early].max() <= asked[late].min()


def test_no_second_fit_where_no_threshold_is_needed(made, monkeypatch):
    fits = []
    original = fitting.fit_outcomes
    monkeypatch.setattr(
        fitting, "fit_outcomes", lambda *a, **k: fits.append(len(a[1])) or original(*a, **k)
    )
    given = {"levels": {"none": LEVELS["request only"]}, "split": SPLIT, "resamples": 0}
    for metrics, count in ((["auc"], 1), (["auc", "precision"], 2)):
        fits.clear()
        judge(model(made), **given, metrics=metrics)
        assert len(fits) == count


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


def test_costs_are_of_two_classes(made):
    with pytest.raises(UsageError, match="has the task 'regression'"):
        backtest.backtest(
            model(made, task="regression"), evaluation=hw.Evaluation(costs={"false_positive": 5})
        )


def test_a_metric_of_ones_own_reads_columns_of_the_labels(made):
    mine = hw.evaluation.metric(
        "worth", lambda y, score, amount: ((score > 0.5) == (y > 0)) * amount**2, columns=["amount"]
    )
    result = backtest.backtest(
        model(made),
        levels=STALE_AND_FRESH,
        evaluation=hw.Evaluation(split=SPLIT, metrics=["auc", mine], resamples=50),
    ).result
    assert step(result, "daily", "hourly", "worth").delta > 0
    other = hw.evaluation.metric("worth", lambda y, score, amount: 1.0, columns=["amont"])
    with pytest.raises(
        UsageError,
        match="metric 'worth' reads 'amont', which the labels do not have; did you mean 'amount'",
    ):
        backtest.backtest(
            model(made),
            levels=STALE_AND_FRESH,
            evaluation=hw.Evaluation(split=SPLIT, metrics=[other]),
        )


# ---- tuning


def test_every_level_tries_the_same_settings_and_keeps_the_best(made, monkeypatch):
    tried = []
    original = fitting.Fitter._settings
    monkeypatch.setattr(
        fitting.Fitter, "_settings", lambda *a: tried.append(original(*a)) or tried[-1]
    )
    members = [by_machine(made.events), hw.RequestField("amount", float)]
    of = model(made, members=members, estimator=DecisionTreeClassifier(max_depth=30))
    space = {"max_depth": [1, 2, 3], "min_samples_leaf": [1, 60]}
    given = {"levels": STALE_AND_FRESH, "split": SPLIT, "metrics": ["auc"], "resamples": 50}
    result = judge(of, **given, tune=hw.evaluation.Tuning(trials=6, space=space))
    assert len(tried) == 2
    assert tried[0] == tried[1]
    assert tried[0][0] == {}
    assert all(settings["max_depth"] in (1, 2, 3) for settings in tried[0][1:])
    assert "tuned by" in result.estimator
    plain = judge(of, **given)
    assert (
        level(result, "hourly").metrics["auc"].value
        > level(plain, "hourly").metrics["auc"].value + 0.02
    )
    assert of.estimator.max_depth == 30


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


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"trials": 0}, "at least 1"),
        ({"space": {"max_depth": []}}, "at least one value"),
        ({"space": {"depth": [1]}}, "has no parameter 'depth'"),
        ({}, "knows no space for this estimator"),
    ],
)
def test_tuning_that_cannot_be(given, says, made):
    with pytest.raises(UsageError, match=says):
        backtest.backtest(
            model(made, estimator=DecisionTreeClassifier()),
            levels=STALE_AND_FRESH,
            evaluation=hw.Evaluation(
                split=SPLIT, metrics=["auc"], tune=hw.evaluation.Tuning(**given)
            ),
        )
