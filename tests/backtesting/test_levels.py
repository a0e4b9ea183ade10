"""What each level reads: nothing at 'request only', nothing after the cut for precomputed
predictions, and as old as it promises.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting import backtest
from headwater.backtesting.levels import level_rows, mean_age
from headwater.errors import DataError, UsageError
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
    model,
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


def test_request_only_asks_for_no_type_of_a_flag_or_an_end(made):
    source = readings(
        made.events,
        select=[
            "machine",
            (pl.col("state") > 0).alias("high"),
            (pl.col("at") + dt.timedelta(hours=1)).alias("until"),
        ],
    )
    features = [hw.count(where="high"), hw.open_count(until="until"), hw.fraction("high")]
    view = hw.FeatureView(
        "machine",
        source=source,
        keys=["machine"],
        features=features,
        windows=["1d"],
        freshness=DAILY,
    )
    of = model(made, members=[view, hw.RequestField("amount", float)])
    frame = _rows(of, {"request only": LEVELS["request only"]})["request only"].frame
    assert set(frame.drop("amount").rows()) == {(0, 0, None)}


# ---- enriched events


def test_chained_views_at_every_level(made, tmp_path):
    """The state of a machine, told by readings that each carry the one before it."""
    path = tmp_path / "readings.parquet"
    made.events.write_parquet(path)
    source = readings(hw.parquet(path))
    before = hw.FeatureView(
        "before",
        source=source,
        keys=["machine"],
        features=[hw.last("state")],
        freshness=hw.on_request(),
    )
    changed = (pl.col("state") != pl.col("before__last_state")).alias("changed")
    told = hw.enrich(
        source, "told", [before], select=["machine", "state", "before__last_state", changed]
    )
    features = [hw.last("before__last_state"), hw.count(where="changed", windows=["1d"])]
    view = hw.FeatureView(
        "machine", source=told, keys=["machine"], features=features, freshness=DAILY
    )
    of = model(made, members=[view, hw.RequestField("amount", float)])
    ahead = hw.Level(hw.batch("1h"), predictions=hw.precomputed(hw.batch("1h"), keys=["machine"]))
    result = backtest.backtest(
        of, levels={**LEVELS, "ahead": ahead}, evaluation=hw.Evaluation(split=SPLIT, resamples=20)
    ).result
    aucs = [
        level(result, name).metrics["auc"].value for name in ("daily", "hourly", "instant", "ahead")
    ]
    assert min(aucs[1:]) - aucs[0] > 0.1
    assert [part.name for part in result.slices] == ["cold start"]
    assert [(finding.severity, finding.check) for finding in result.audit.findings] == [
        ("question", "coarse timestamps")
    ]
    assert (
        "of source told (readings, each event with before__last_state), known as late as the last "
        "of these"
    ) in result.definitions
    assert (
        "view before: last(state) over lifetime by (machine) of source readings at at"
        in result.definitions
    )
    by_hand = hw.FeatureView(
        "by_hand",
        source=source,
        keys=["machine"],
        features=[hw.last_n("state", k=2)],
        freshness=DAILY,
    )
    rows = read_labels(of.labels)
    found = level_rows(of, rows, LEVELS, Notes(), hw.Resources(threads=2))["hourly"].frame
    other = hw.get_historical_features(
        by_hand, rows.frame.drop("bad"), timestamp_field="asked", level=LEVELS["hourly"]
    )
    assert found["machine__last_before__last_state"].equals(
        other["by_hand__last_n_state"].list.first(), null_equal=True
    )
    path.unlink()
    backtest.backtest(
        of,
        levels={"request only": LEVELS["request only"]},
        evaluation=hw.Evaluation(split=SPLIT, resamples=20),
    )


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


def _known(buys, rows, delay="4h"):
    """Whether each request's user had bought before the last midnight that was published by
    then.
    """
    first = buys.group_by("user").agg(pl.col("at").min().alias("first"))
    cut = pl.col("asked").dt.offset_by(f"-{delay}").dt.truncate("1d")
    found = rows.with_columns(cut=cut).join(first, on="user", how="left", maintain_order="left")
    return found.select((pl.col("first") < pl.col("cut")).fill_null(value=False)).to_series()


def test_coverage_is_the_share_of_known_keys(shop):
    buys, rows = shop
    result = backtest.backtest(
        _shop_model(buys, rows),
        levels=STATUS_QUO,
        evaluation=hw.Evaluation(split=day(18), resamples=20),
    ).result
    known = _known(buys, rows).filter(rows["asked"] >= day(18))
    assert 0.3 < known.mean() < 0.9
    assert level(result, "status quo").coverage == known.mean()
    assert level(result, "on request").coverage == 1.0
    assert level(result, "status quo").kind == "batch"
    note = level(result, "status quo").note
    assert "precomputed without 1 of 4 features: amount" in note
    assert f"{(~known).sum()} requests are not answered; the mean of the training rows, " in note


def test_a_request_without_an_answer_gets_the_default(shop):
    buys, rows = shop
    worst = {}
    for default in (0.0, 1.0):
        result = backtest.backtest(
            _shop_model(buys, rows, default=default),
            levels=STATUS_QUO,
            evaluation=hw.Evaluation(split=day(18), resamples=0, metrics=["recall@10%"]),
        )
        found = level(result.result, "status quo")
        worst[default] = found.metrics["recall@10%"].value
        assert f"the default, {default:g}, stands in for them" in found.note
    assert worst[0.0] != worst[1.0]


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


def test_functions_of_features_alone_can_be_precomputed(shop):
    buys, rows = shop
    by_user = _shop_model(buys, rows).features.views[0]

    @hw.request_feature
    def dear(price: float | None = by_user["last_price"]) -> bool:
        return (price or 0.0) > 0.5

    @hw.request_feature
    def bigger(amount: float, price: float | None = by_user["last_price"]) -> bool:
        return amount > (price or 0.0)

    of = _shop_model(buys, rows, members=[dear, bigger])
    found = _rows(of, STATUS_QUO)["status quo"]
    assert "dear" in found.frame.columns
    assert found.note == "precomputed without 2 of 6 features: amount, bigger"


def test_a_request_without_a_score_is_predicted_on_request(shop):
    buys, rows = shop
    of = _shop_model(buys, rows)
    ahead, instant = hw.Level(hw.on_request(), predictions=AHEAD), hw.Level(hw.on_request())
    chain = hw.Level(
        hw.on_request(), predictions=hw.precomputed(DAILY, keys=["user"], otherwise="on_request")
    )
    found = _rows(of, {"ahead": ahead, "chain": chain, "instant": instant})
    known = pl.Series(found["ahead"].answered)
    assert 0 < known.sum() < len(known)
    assert found["chain"].answered.all()
    assert (
        found["chain"].frame.columns
        == list(of.features.feature_names)
        == list(chain.feature_names(of))
    )
    assert list(ahead.feature_names(of)) == found["ahead"].frame.columns
    assert (
        found["chain"].frame.drop("amount").filter(known).equals(found["ahead"].frame.filter(known))
    )
    # no job knows what a request says
    assert found["chain"].frame["amount"].filter(known).null_count() == known.sum()
    assert found["chain"].frame.filter(~known).equals(found["instant"].frame.filter(~known))
    assert (
        not found["chain"]
        .frame.filter(known)
        .drop("amount")
        .equals(found["instant"].frame.filter(known).drop("amount"))
    )
    result = backtest.backtest(
        of,
        levels={"ahead": ahead, "chain": chain},
        evaluation=hw.Evaluation(split=day(18), resamples=20),
    ).result
    assert level(result, "chain").coverage == 1.0
    assert (
        f"{(~known).sum()} requests without a score are predicted on request"
        in level(result, "chain").note
    )


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


def test_every_key_of_a_score_must_be_known():
    at = [day(0)] * 2
    buys = pl.DataFrame({"user": [1, 2], "shop": ["a", "b"], "price": [1.0, 2.0], "at": at}).cast(
        {"at": US}
    )
    asked = [day(2)] * 4
    rows = pl.DataFrame(
        {
            "user": [1, 1, 9, 9],
            "shop": ["a", "z", "b", "z"],
            "amount": 0.0,
            "asked": asked,
            "known": asked,
            "bad": True,
        }
    )
    source = hw.Source("buys", history=buys, timestamp_field="at")
    views = [
        hw.FeatureView(f"by_{k}", source=source, keys=[k], features=[hw.count()], freshness=DAILY)
        for k in ("user", "shop")
    ]
    of = hw.Model(
        "m",
        task="binary",
        features=hw.FeatureService("s", views),
        labels=labels(rows.cast({"asked": US, "known": US})),
    )
    both = hw.Level(predictions=hw.precomputed(DAILY, keys=["user", "shop"]))
    one = hw.Level(predictions=AHEAD)
    found = _rows(of, {"both": both, "one": one})
    assert found["both"].answered.tolist() == [True, False, False, False]
    assert found["one"].answered.tolist() == [True, True, False, False]
    assert found["one"].frame.columns == ["by_user__count"]


def _precomputed(keys, freshness=DAILY):
    return {
        "status quo": hw.Level(hw.on_request(), predictions=hw.precomputed(freshness, keys=keys))
    }


@pytest.mark.parametrize(
    ("levels", "error", "says"),
    [
        (
            _precomputed(["usr"]),
            UsageError,
            r"precomputed for \['usr'\], .* key 'usr', .*did you mean 'user'\?",
        ),
        (
            _precomputed(["user", "device"]),
            UsageError,
            "no view of these keys alone has the key 'device'",
        ),
        (
            _precomputed(["user"], hw.never()),
            UsageError,
            r"precomputed\(never\(\)\) makes no predictions",
        ),
        (
            {"unanswered": hw.Level(hw.never(), predictions=AHEAD)},
            DataError,
            (
                "level 'unanswered': none of the .* training rows is answered, since no event of "
                "their keys was known"
            ),
        ),
    ],
)
def test_scores_that_cannot_be_precomputed(shop, levels, error, says):
    with pytest.raises(error, match=says):
        backtest.backtest(
            _shop_model(*shop), levels=levels, evaluation=hw.Evaluation(split=day(18), resamples=0)
        )


# ---- kinds and ages


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (hw.Level(hw.batch("1h")), "batch"),
        (hw.Level(hw.batch("30m", delay="29m")), "real-time"),
        (hw.Level(hw.streaming("59m")), "real-time"),
        (hw.Level(hw.streaming("60m")), "batch"),
        (hw.Level(hw.measured(["1s", "2h"])), "batch"),
        (hw.Level(hw.never()), "batch"),
        (hw.Level(hw.on_request(), predictions=AHEAD), "batch"),
        (hw.Level(DAILY, predictions=hw.precomputed(hw.batch("10m"), keys=["user"])), "real-time"),
    ],
)
def test_the_one_hour_rule(shop, given, kind):
    assert given.kind(_shop_model(*shop)) == kind


@pytest.mark.parametrize(
    ("given", "hours"),
    [
        (hw.Level(DAILY), 12),
        (hw.Level(hw.batch("1d", delay="4h", wait="2h")), 10),
        (hw.Level(hw.batch("1d", delay="13h")), 36),
        (hw.Level(hw.streaming("30m")), 0.5),
        (hw.Level(hw.on_request()), 0),
        (hw.Level(hw.never()), None),
        (hw.Level(DAILY, predictions=AHEAD), 12),
        (hw.Level(hw.on_request(), predictions=AHEAD), 12),
        (hw.Level(hw.streaming("2h"), predictions=AHEAD), 14),
        (hw.Level(hw.batch("1d", delay="5h"), predictions=AHEAD), 36),
    ],
)
def test_the_age_of_a_level_is_that_of_what_it_reads(shop, given, hours):
    noon = np.array([(day(5) + dt.timedelta(hours=12)).timestamp() * 1e6], np.int64)
    age = mean_age(_shop_model(*shop), given, noon)
    assert age == (None if hours is None else hours * 3600)


def test_the_age_on_a_slice_is_that_of_its_rows(made):
    morning = {"at five": pl.col("asked").dt.hour() == 5}
    result = backtest.backtest(
        model(made),
        levels={"daily": LEVELS["daily"]},
        evaluation=hw.Evaluation(split=SPLIT, slices=morning, resamples=0),
    ).result
    assert result.slices[0].levels[0].age_seconds == pytest.approx(5.5 * 3600, abs=600)
    # between 4 and 28 hours
    assert result.levels[0].age_seconds == pytest.approx(16 * 3600, abs=1800)


def test_a_level_may_speak_of_some_views_and_keep_the_others(made):
    live = by_machine(made.events)
    other = hw.FeatureView(
        "other",
        source=readings(made.events),
        keys=["machine"],
        features=[hw.count()],
        freshness=DAILY,
    )
    of = model(made, members=[live, other])
    found = _rows(of, {"daily": hw.Level(), "mixed": hw.Level({live: hw.on_request()})})
    assert found["mixed"].frame["other__count"].equals(found["daily"].frame["other__count"])
    assert (
        not found["mixed"]
        .frame["machine__last_state"]
        .equals(found["daily"].frame["machine__last_state"])
    )
