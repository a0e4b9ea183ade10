"""Rolling origins, and outcomes that are known sooner or later."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting import backtest
from headwater.backtesting.levels import outcomes_known
from headwater.backtesting.split import describe, split_rows
from headwater.errors import DataError, DefinitionError, UsageError
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from tests.backtesting.cards import NIGHT, fraud, payments
from tests.backtesting.world import STALE_AND_FRESH, day, judge, labels, level, model, step, world

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


def test_a_row_that_tests_and_later_trains_is_described_as_a_test_row():
    requests = _requests(range(9))
    found = describe(
        requests, split_rows(requests, hw.evaluation.rolling(day(4), every="2d", folds=2))
    )
    assert [part for _, _, part in found.rows_per_day] == ["train"] * 4 + ["test"] * 4 + [
        "left out"
    ]
    assert (found.train_rows, found.test_rows) == (6, 4)


@pytest.mark.parametrize(
    ("rules", "error", "says"),
    [
        ({"every": "0s"}, DefinitionError, "every is '0s'; give a positive duration"),
        ({"folds": 0}, DefinitionError, "folds is 0"),
        ({"folds": 1.5}, DefinitionError, "folds is 1.5"),
        ({"train": "1d", "gap": "1d"}, DefinitionError, "leaves nothing to train on"),
        ({"train": "some"}, DefinitionError, "give an integer and a unit"),
        ({"start": "2024-03-08"}, UsageError, "has no time zone"),
    ],
)
def test_folds_that_cannot_be(rules, error, says):
    with pytest.raises(error, match=says):
        hw.evaluation.rolling(**({"start": day(4)} | rules))


def test_a_fold_without_rows_is_named():
    with pytest.raises(
        UsageError, match=r"split 2024-03-10T00:00:00\+00:00 leaves no row to test on"
    ):
        split_rows(_requests(range(6)), hw.evaluation.rolling(day(4), every="2d", folds=3))


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


def test_one_fold_without_an_end_is_a_single_split(made):
    given = {"levels": STALE_AND_FRESH, "resamples": 50}
    one = judge(model(made), **given, split=hw.evaluation.rolling(day(18), every="30d", folds=1))
    other = judge(model(made), **given, split=day(18))
    assert repr((one.levels, one.comparisons, one.slices)) == repr(
        (other.levels, other.comparisons, other.slices)
    )


# ---- feedback delay


@pytest.fixture(scope="module")
def disputed():
    return fraud(payments(days=30))


def test_outcomes_known_sooner_train_and_feed_features(disputed):
    of, _, disputes = disputed
    levels = hw.evaluation.sweep_known_after(of, ["7d", "1d"], level=hw.Level(NIGHT))
    assert list(levels) == ["known after 7d", "known after 1d"]
    assert [{given.name for given in found.known_after} for found in levels.values()] == [
        {"disputed", "disputes"}
    ] * 2
    result = backtest.backtest(
        of,
        levels=levels,
        evaluation=hw.Evaluation(split=day(20), metrics=["average_precision"], resamples=50),
    ).result
    slow, soon = result.levels
    table = read_labels(of.labels)
    asked = (table.t - int(day(0).timestamp()) * 10**6) / DAY
    assert (slow.train_rows, soon.train_rows) == (
        int((asked <= 13).sum()),
        int((asked <= 19).sum()),
    )
    assert soon.metrics["average_precision"].value > slow.metrics["average_precision"].value
    assert "outcomes of disputed known after 1d" in soon.describes
    only = hw.evaluation.sweep_known_after(of, ["1d"], sources=[disputes])["known after 1d"]
    assert (
        backtest.backtest(
            of, levels={"features": only}, evaluation=hw.Evaluation(split=day(20), resamples=0)
        )
        .result.levels[0]
        .train_rows
        == slow.train_rows
    )


def test_an_outcome_of_a_source_is_known_by_it(made):
    flips = hw.Source(
        "flips", history=made.events, timestamp_field="at", select=["machine", "state"]
    )
    seen = hw.outcome(flips, hw.max("state"), keys=["machine"], within="1h")
    asked = hw.Labels(
        "seen",
        table=made.rows.select("machine", "amount", "asked"),
        timestamp_field="asked",
        label=seen,
    )
    of = hw.Model(
        "m",
        task="binary",
        features=hw.FeatureService("s", [hw.RequestField("amount", float)]),
        labels=asked,
    )
    requests = read_labels(asked)
    for known, hours in (({}, 1), ({flips: "2h"}, 3), ({asked: "5h"}, 5)):
        found = outcomes_known(of, hw.Level(hw.never(), known_after=known), requests)
        assert (found - requests.t == hours * 3600 * 10**6).all()
    with pytest.raises(DefinitionError, match="its outcome is only settled 1h after the request"):
        hw.Level(known_after={asked: "59m"})


def test_a_delay_that_leaves_nothing_to_train_on_names_the_level(made):
    of = model(made)
    late = hw.Level(hw.never(), known_after={of.labels: "60d"})
    with pytest.raises(DataError, match="level 'late': no outcome is known by then"):
        backtest.backtest(
            of, levels={"late": late}, evaluation=hw.Evaluation(split=day(18), resamples=0)
        )


@pytest.mark.parametrize(
    ("delays", "says"), [([], "give a list"), ("7d", "give a list"), (["1d", "24h"], "is repeated")]
)
def test_sweeps_that_cannot_be(made, delays, says):
    with pytest.raises(UsageError, match=says):
        hw.evaluation.sweep_known_after(model(made), delays)


def test_labels_of_other_models_change_nothing(made):
    of = model(made)
    other = labels(made.rows, "cost")
    given = {"split": day(18), "resamples": 20, "metrics": ["auc"]}
    one = judge(of, levels={"plain": hw.Level(hw.never())}, **given)
    two = judge(of, levels={"plain": hw.Level(hw.never(), known_after={other: "60d"})}, **given)
    assert one.levels[0].metrics == two.levels[0].metrics


def test_every_step_is_of_levels_in_order(disputed):
    of, card, _ = disputed
    levels = {"nightly": hw.Level(NIGHT), "cards live": hw.Level({card: hw.streaming("2s")})}
    result = backtest.backtest(
        of, levels=levels, evaluation=hw.Evaluation(split=day(20), metrics=["auc"], resamples=50)
    ).result
    assert level(result, "cards live").kind == "real-time"
    assert step(result, "nightly", "cards live").family == 1
