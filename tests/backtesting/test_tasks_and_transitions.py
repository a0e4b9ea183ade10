"""Rankings, several classes, and the two transitions: backtests of whole models."""

import dataclasses
import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting import backtest
from headwater.metrics.places import places
from tests.backtesting.world import STALE_AND_FRESH, day, model, step, world

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
NIGHTLY, LIVE = hw.batch("1d", delay="3h"), hw.streaming("1s")


def times(seconds):
    return (
        pl.Series(np.rint(np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


# ---- candidates


def _plain(rows, known, candidates=True):
    """A model that ranks by a number of the item, on candidates of yesterday's clicks."""
    events = hw.Source("events", history=known, timestamp_field="at", select=["item", "worth"])
    worth = hw.FeatureView(
        "worth", source=events, keys=["item"], features=[hw.last("worth")], freshness=NIGHTLY
    )
    popular = hw.FeatureView(
        "popular",
        source=events,
        keys=[],
        windows=["30d"],
        features=[hw.top_k("item", k=3)],
        freshness=NIGHTLY,
    )

    class ByWorth:
        """Fitted already: the score is the feature."""

        def __init__(self):
            self.fitted_ = True

        def fit(self, X, y):
            raise AssertionError("fitted again")

        def predict(self, X):
            return np.nan_to_num(np.asarray(X, float)[:, 0], nan=-1.0)

    task = hw.Ranking(
        group="list", item="item", candidates=[popular["top_k_item_30d"]] if candidates else []
    )
    labels = hw.Labels(
        "clicked", table=rows, timestamp_field="asked", label="clicked", known_after="1h"
    )
    return hw.Model(
        "m", task=task, features=hw.FeatureService("s", [worth]), labels=labels, estimator=ByWorth()
    )


@pytest.fixture(scope="module")
def planted():
    """Items a to d, worth 1 to 4. Of a, b and c 3, 2 and 1 events are known since the first day; of
    d 4 since noon of the tenth.
    """
    items = list("aaabbcdddd")
    hours = [0] * 6 + [9 * 24 + 12] * 4
    known = pl.DataFrame(
        {
            "item": items,
            "worth": [1.0 + "abcd".index(i) for i in items],
            "at": times(np.array(hours) * 3600.0),
        }
    )
    asked = [(f"l{i}", item, 3600.0 * (24 * d + 18), item in wanted) for i, (d, shown, wanted) in enumerate(
        [(1, "abc", "c"), (2, "abc", "a"), (9, "acd", "d"), (9, "ab", "b"), (10, "ad", "da"), (10, "bx", "x")]) for item in shown]  # fmt: skip
    rows = pl.DataFrame(asked, schema=["list", "item", "asked", "clicked"], orient="row")
    return rows.with_columns(times(rows["asked"]).alias("asked")), known


@pytest.mark.parametrize(
    ("freshness", "recalls"),
    [
        # On the tenth day the night knew a, b and c, in the order c, b, a; on the day after d, a
        # and b, in the order d, b, a.
        (NIGHTLY, {1: [0, 0, 0.5, 0], 2: [0, 1, 0.5, 0], 3: [0, 1, 1, 0]}),
        (LIVE, {1: [1, 0, 0.5, 0], 2: [1, 1, 0.5, 0], 3: [1, 1, 1, 0]}),
    ],
    ids=["nightly", "live"],
)
def test_what_a_level_could_not_have_found_is_missed(planted, freshness, recalls):
    """The lists of the test want d, then b, then d and a, then x, which is unknown."""
    for k, expected in recalls.items():
        result = backtest.backtest(
            _plain(*planted),
            levels={"one": hw.Level(freshness)},
            evaluation=hw.Evaluation(split=day(5), metrics=[f"recall@{k}"], resamples=0),
        ).result
        assert result.levels[0].metrics[f"recall@{k}"].value == pytest.approx(np.mean(expected)), k
    assert "of what was relevant is among the candidates, 3 a list" in result.levels[0].note


def test_the_order_of_equal_scores_does_not_follow_the_rows():
    groups = np.zeros(1000, np.int64)
    first = places(groups, np.zeros(1000))
    assert sorted(first) == list(range(1, 1001))
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.1
    assert places(groups[:3], np.zeros(3), np.array([2, 0, 1])).tolist() == [3, 1, 2]


# ---- several classes


def test_a_multiclass_model():
    made = world()
    state = (
        pl.when(pl.col("bad"))
        .then(pl.lit("broken"))
        .when(pl.col("amount") > 0.5)
        .then(pl.lit("slow"))
        .otherwise(pl.lit("fine"))
    )
    of = model(
        dataclasses.replace(made, rows=made.rows.with_columns(kind=state)),
        task="multiclass",
        label="kind",
        estimator=None,
    )
    result = backtest.backtest(
        of, levels=STALE_AND_FRESH, evaluation=hw.Evaluation(split=day(18), resamples=200)
    ).result
    assert list(result.levels[0].metrics) == ["log_loss", "accuracy", "macro_f1", "auc_ovr"]
    assert result.headline == "log_loss"
    steps = [step(result, "daily", "hourly", name) for name in result.levels[0].metrics]
    # the headline is judged
    assert [found.verdict for found in steps] == ["LIFT"] + ["not judged"] * 3
    assert all(found.low > 0 for found in steps)
    assert result.positive_rate is None
    assert not any(math.isnan(e.low) for e in result.levels[1].metrics.values())
