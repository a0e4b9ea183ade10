"""Rolling origins, and outcomes that are known sooner or later."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.split import split_rows
from headwater.training.requests import Requests
from tests.backtesting.world import day, judge, model, world

DAY = 86_400 * 10**6


@pytest.fixture(scope="module")
def made():
    return world()


def _requests(days, delay=0.0):
    """Requests that ask so many days after the start, and whose outcome is known `delay` days
    later.
    """
    t = (np.array(days, float) * DAY).astype(np.int64) + int(day(0).timestamp()) * 10**6
    return Requests(
        pl.DataFrame({"row": range(len(t))}),
        t,
        pl.Series("y", [0.0] * len(t)),
        t + int(delay * DAY),
    )


@pytest.mark.parametrize(
    ("rules", "trains", "tests"),
    [
        ({}, [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5]], [[4, 5], [6, 7]]),
        ({"train": "3d"}, [[1, 2, 3], [3, 4, 5]], [[4, 5], [6, 7]]),
        ({"gap": "1d"}, [[0, 1, 2], [0, 1, 2, 3, 4]], [[4, 5], [6, 7]]),
        ({"train": "3d", "gap": "1d"}, [[1, 2], [3, 4]], [[4, 5], [6, 7]]),
        ({"folds": 1}, [[0, 1, 2, 3]], [[4, 5]]),
        (
            {"every": "1d", "folds": 3},
            [[0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]],
            [[4], [5], [6]],
        ),
    ],
)
def test_each_fold_trains_on_what_came_before_and_tests_until_the_next(rules, trains, tests):
    requests = _requests(range(9))
    split = split_rows(
        requests, hw.evaluation.rolling(day(4), **({"every": "2d", "folds": 2} | rules))
    )
    assert [
        np.flatnonzero(fold.train(requests.known_at)).tolist() for fold in split.folds
    ] == trains
    assert [np.flatnonzero(fold.test).tolist() for fold in split.folds] == tests
    used = {row for rows in (*trains, *tests) for row in rows}
    assert split.left_out == (
        {"requested outside of all folds": 9 - len(used)} if len(used) < 9 else {}
    )


def test_an_outcome_that_is_not_known_at_a_split_trains_at_a_later_one():
    requests = _requests(range(9), delay=2.5)
    first, second = split_rows(requests, hw.evaluation.rolling(day(4), every="2d", folds=2)).folds
    assert np.flatnonzero(first.train(requests.known_at)).tolist() == [0, 1]
    assert np.flatnonzero(second.train(requests.known_at)).tolist() == [0, 1, 2, 3]


def test_a_fold_is_trained_anew_on_what_was_known_and_judged_with_the_others(made):
    """From day 20 on amounts mean the opposite: only a model that is trained again learns it."""
    turned = made.rows.with_columns(
        bad=pl.when(pl.col("asked") >= day(20))
        .then(pl.col("amount") < 0)
        .otherwise(pl.col("amount") > 0)
    )
    of = model(dataclasses.replace(made, rows=turned), members=[hw.RequestField("amount", float)])
    given = {"levels": {"one": hw.Level(hw.never())}, "resamples": 20, "metrics": ["auc"]}
    result = judge(
        of, **given, split=hw.evaluation.rolling(day(20), every="5d", folds=2, train="5d")
    )
    values = [fold.values["one"]["auc"] for fold in result.folds]
    assert values[0] < 0.1
    assert values[1] > 0.9
    assert [fold.split[:10] for fold in result.folds] == ["2024-03-24", "2024-03-29"]
    assert sum(fold.test_rows for fold in result.folds) == result.split.test_rows
    assert 0.2 < result.levels[0].metrics["auc"].value < 0.8
    assert judge(of, **given, split=day(20)).folds == []
