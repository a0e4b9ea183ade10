"""What each level reads: nothing at 'request only', nothing after the cut for precomputed
predictions, and as old as it promises.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting import backtest
from headwater.backtesting.levels import level_rows
from headwater.errors import DataError
from headwater.events.read_events import Notes
from headwater.training.label_rows import read_labels
from headwater.training.train import training_set
from tests.backtesting.world import (
    LEVELS,
    by_machine,
    day,
    labels,
    level,
    logistic,
    readings,
    world,
)

DAILY = hw.batch("1d", delay="4h")
SPLIT = day(12)
US = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def made():
    return world(days=22, per_day=60)


def _rows(of, levels):
    return level_rows(of, read_labels(of.labels), levels, Notes(), hw.Resources(threads=2))


# ---- request only


def _everything(history, rows):
    """A model with every kind of member: a view, an alias, a key filled by a feature, functions of
    features, fields.
    """
    source = readings(history)
    states = by_machine(
        history, features=[hw.last("state", "mood", "machine"), hw.mean("state", windows=["6h"])]
    )
    twin = hw.FeatureView(
        "twin", source=source, keys=["machine"], features=[hw.count()], freshness=DAILY
    )
    other = twin.alias("other", keys={"machine": states["last_machine"]})

    @hw.request_feature
    def louder(amount: float, state: float | None = states["last_state"]) -> float:
        return amount * (1 + (state or 0.0))

    members = [
        states,
        twin.alias("same", keys={"machine": "unit"}),
        other,
        twin["count"],
        louder,
        hw.RequestField("amount", float),
    ]
    table = rows.with_columns(unit="machine")
    return hw.Model(
        "breaks",
        task="binary",
        features=hw.FeatureService("svc", members),
        labels=labels(table),
        estimator=logistic(),
    )


def test_request_only_alone_touches_no_history(made, tmp_path):
    path = tmp_path / "readings.parquet"
    made.events.write_parquet(path)
    of = _everything(hw.parquet(path), made.rows)
    path.unlink()
    result = backtest.backtest(
        of,
        levels={"request only": LEVELS["request only"]},
        evaluation=hw.Evaluation(split=SPLIT, resamples=20),
    ).result
    assert level(result, "request only").age_seconds is None
    assert result.audit.findings == []
    assert result.slices == []  # the cold start is told from the history
    with pytest.raises(DataError, match="no file at"):
        backtest.backtest(of, levels=LEVELS, evaluation=hw.Evaluation(split=SPLIT, resamples=20))


def test_request_only_is_the_same_whatever_the_history_says(made):
    other = made.events.with_columns(state=1 - pl.col("state"), mood=pl.lit("?"))
    one, two = (
        _rows(_everything(history, made.rows), LEVELS)["request only"].frame
        for history in (made.events, other)
    )
    assert one.equals(two)
    assert one["twin__count"].unique().to_list() == [0]
    assert one["machine__last_mood"].null_count() == one.height


def test_aliases_and_filled_keys_are_those_of_training_data(made):
    of = _everything(made.events, made.rows)
    found = _rows(of, LEVELS)
    for name, at in LEVELS.items():
        expected = hw.get_historical_features(of.features, of.labels, level=at)
        names = list(of.features.feature_names)
        assert found[name].frame.select(names).equals(expected.select(names)), name
    fresh = found["instant"].frame
    assert fresh["same__count"].equals(fresh["twin__count"].alias("same__count"))
    assert fresh["other__count"].to_list() == fresh["twin__count"].to_list()
    assert fresh["twin__count"].max() > found["daily"].frame["twin__count"].max() > 100


# ---- precomputed predictions


@pytest.fixture(scope="module")
def shop():
    """Buys of users, of whom new ones come every day, and requests of known and of new users."""
    rng = np.random.default_rng(3)
    n = 3000
    at = np.sort(rng.random(n)) * 30
    user = (rng.random(n) * (5 + 12 * at)).astype(np.int64)
    buys = pl.DataFrame(
        {"user": user, "price": rng.random(n), "at": [day(0) + dt.timedelta(days=d) for d in at]}
    ).cast({"at": US})
    asked = np.sort(2 + rng.random(1500) * 27)
    rows = pl.DataFrame(
        {
            "user": (rng.random(1500) * (8 + 13 * asked)).astype(np.int64),
            "amount": rng.normal(size=1500),
            "asked": [day(0) + dt.timedelta(days=d) for d in asked],
            "bad": rng.random(1500) < 0.3,
        }
    ).cast({"asked": US})
    return buys, rows.with_columns(known=pl.col("asked") + dt.timedelta(minutes=5))


def _shop_model(buys, rows, *, keys=("user",), members=(), **rules):
    source = hw.Source("buys", history=buys, timestamp_field="at")
    features = [hw.count(), hw.last("price"), hw.mean("price", windows=["7d"])]
    views = [
        hw.FeatureView(
            "by_" + "_".join(keys), source=source, keys=keys, features=features, freshness=DAILY
        )
    ]
    service = hw.FeatureService("shop", [*views, hw.RequestField("amount", float), *members])
    return hw.Model(
        "shop", task="binary", features=service, labels=labels(rows), estimator=logistic(), **rules
    )


AHEAD = hw.precomputed(DAILY, keys=["user"])
STATUS_QUO = {
    "status quo": hw.Level(DAILY, predictions=AHEAD),
    "on request": hw.Level(hw.on_request()),
}


def test_nothing_after_the_cut_changes_a_score(shop):
    buys, rows = shop
    late = pl.col("at") >= day(28)
    moved = buys.with_columns(
        at=pl.when(late).then(pl.col("at") + dt.timedelta(hours=7, minutes=3)).otherwise("at"),
        user=pl.when(late).then((pl.col("user") * 7) % 400).otherwise("user"),
        price=pl.when(late).then(5.0).otherwise("price"),
    )
    # the last cut is that of day 28
    rows = rows.filter(pl.col("asked") < day(29) + dt.timedelta(hours=4))
    frames, scores = [], []
    for history in (buys, moved):
        of = _shop_model(history, rows)
        frames.append(_rows(of, STATUS_QUO))
        scores.append(
            level(
                backtest.backtest(
                    of, levels=STATUS_QUO, evaluation=hw.Evaluation(split=day(18), resamples=30)
                ).result,
                "status quo",
            )
        )
    assert frames[0]["status quo"].frame.equals(frames[1]["status quo"].frame)
    assert frames[0]["status quo"].answered.tolist() == frames[1]["status quo"].answered.tolist()
    assert repr(scores[0]) == repr(scores[1])
    assert not frames[0]["on request"].frame.equals(frames[1]["on request"].frame)


def test_a_score_needs_nothing_of_the_request_but_its_key(shop):
    buys, rows = shop
    one, two = (
        _rows(_shop_model(buys, table), STATUS_QUO)["status quo"]
        for table in (rows, rows.with_columns(amount=-pl.col("amount")))
    )
    assert one.frame.columns == ["by_user__count", "by_user__last_price", "by_user__mean_price_7d"]
    assert one.frame.equals(two.frame)


@pytest.mark.parametrize(
    # prices are hours after the first midnight, one each half hour; the cut is at 24
    ("features", "last"),
    [
        (DAILY, 23.5),  # published with the scores: features of the same cut
        (hw.batch("1d", delay="1h"), 23.5),
        # published after the scores: features of the cut before, when nothing was known
        (hw.batch("1d", delay="5h"), None),
        (hw.batch("1h", delay="15m"), 23.5),
        (hw.on_request(), 23.5),
        (hw.streaming("30m"), 23.5),
        (hw.streaming("31m"), 23.0),
        (hw.batch("1d", at="23:00", delay="2h"), 22.5),
        (hw.never(), None),
    ],
)
def test_a_score_reads_what_its_job_can_know_of_the_cut(features, last):
    at = [day(0) + dt.timedelta(minutes=m) for m in range(0, 3 * 24 * 60, 30)]
    buys = pl.DataFrame({"user": 1, "price": [i / 2 for i in range(len(at))], "at": at}).cast(
        {"at": US}
    )
    asked = day(1) + dt.timedelta(hours=12)
    rows = pl.DataFrame(
        {"user": [1], "amount": [0.0], "asked": [asked], "bad": [True], "known": [asked]}
    ).cast({"asked": US, "known": US})
    ahead = {"": hw.Level(features, predictions=AHEAD)}
    found = _rows(_shop_model(buys, rows), ahead)[""]
    assert found.answered[0] == (last is not None)
    assert found.frame["by_user__last_price"][0] == last


def test_scores_made_a_lag_behind_are_made_then(shop):
    buys, rows = shop
    lag = hw.precomputed(hw.streaming("6h"), keys=["user"])
    found = _rows(_shop_model(buys, rows), {"": hw.Level(hw.on_request(), predictions=lag)})[""]
    earlier = _shop_model(buys, rows.with_columns(asked=pl.col("asked") - dt.timedelta(hours=6)))
    then = _rows(earlier, {"": hw.Level(hw.on_request())})[""]
    assert found.frame.equals(then.frame.select(found.frame.columns))
    assert found.answered.tolist() == (then.frame["by_user__count"] > 0).to_list()


def test_a_training_row_has_the_features_of_its_own_cut(shop):
    """Precomputed predictions are trained on what was known ahead, row by row."""
    buys, rows = shop
    found = _rows(_shop_model(buys, rows), STATUS_QUO)["status quo"].frame
    daily = hw.get_historical_features(
        _shop_model(buys, rows).features, labels(rows), level=hw.Level(DAILY)
    )
    assert found.equals(daily.select(found.columns))


def test_a_model_is_trained_on_what_made_the_scores(shop):
    """At a level with precomputed predictions, a training row is what its job knew, and a row
    without a score trains nothing.
    """
    of = _shop_model(*shop)
    levels = {
        "ahead": STATUS_QUO["status quo"],
        "chain": hw.Level(DAILY, hw.precomputed(DAILY, keys=["user"], otherwise="on_request")),
    }
    found = _rows(of, levels)
    for name, at in levels.items():
        rows = training_set(of, level=at, as_of=day(40))
        assert rows.features.equals(found[name].frame.filter(pl.Series(found[name].answered)))
        assert (
            rows.left_out.get("no prediction was precomputed", 0) == (~found[name].answered).sum()
        )
        assert len(rows.requests.t) == rows.features.height
    assert (~found["ahead"].answered).any()
    nobody = hw.Level(hw.never(), AHEAD)
    with pytest.raises(
        DataError,
        match=r"no event of the keys \['user'\] was known when scores would have been made",
    ):
        training_set(of, level=nobody, as_of=day(40))
