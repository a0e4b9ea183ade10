"""Rankings, several classes, and the two transitions: backtests of whole models."""

import dataclasses
import math

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting import backtest
from headwater.errors import DataError, UsageError
from headwater.metrics.places import places
from tests.backtesting.feed import LEVELS, LIVE, NIGHTLY, feed, shop, times
from tests.backtesting.world import STALE_AND_FRESH, day, judge, level, model, step, world

SPLIT = day(12)
METRICS = ["ndcg@10", "recall@50", "hit_rate@3"]


@pytest.fixture(scope="module")
def tables():
    return shop(days=22, sessions=40)


@pytest.fixture(scope="module")
def ranked(tables):
    return backtest.backtest(
        feed(*tables),
        levels=LEVELS,
        evaluation=hw.Evaluation(metrics=METRICS, split=SPLIT, resamples=200),
    ).result


# ---- a feed as a user writes it


@pytest.mark.slow
def test_fresher_sessions_rank_better(ranked):
    assert ranked.task == "ranking"
    assert ranked.headline == "ndcg@10"
    assert step(ranked, ranked.levels[0].name, "session live", "ndcg@10").verdict == "LIFT"
    assert step(ranked, "ranked on request", "session live", "ndcg@10").low > 0
    values = [found.metrics["recall@50"].value for found in ranked.levels]
    assert values == sorted(values)
    assert values[-1] > 1.5 * values[0]


@pytest.mark.slow
def test_lists_precomputed_answer_those_who_were_known(ranked, tables):
    ahead, *others = ranked.levels
    assert ahead.coverage < 0.97
    assert [found.coverage for found in others] == [1.0] * 3
    assert "lists are not answered; what they would have shown counts as missed" in ahead.note
    assert "covisit_rank" in ahead.note
    assert ahead.replayed == {}
    assert set(others[0].replayed) == set(METRICS)


@pytest.mark.slow
def test_the_transitions_are_told_apart(ranked, tables):
    assert [(found.number, found.from_, found.to) for found in ranked.transitions] == [
        (1, "lists made nightly", "ranked on request"), (2, "ranked on request", "session live"), (2, "session live", "all live"),
    ]  # fmt: skip
    first = ranked.transitions[0]
    assert first.coverage == (ranked.levels[0].coverage, 1.0)
    assert first.coverage_of_new == (0.0, 1.0)
    clicks, impressions = tables
    asked = impressions.filter(pl.col("shown_at") >= SPLIT).unique("request")
    cut = (pl.col("shown_at") - pl.duration(hours=3)).dt.truncate("1d")
    seen = clicks.group_by("user").agg(pl.col("clicked_at").min().alias("first"))
    new = asked.join(seen, on="user").filter(pl.col("first") >= cut)
    assert ranked.new_keys.requests == new.height
    assert ranked.new_keys.per_day == pytest.approx(new["user"].n_unique() / 10)
    assert ranked.new_keys.share == pytest.approx(new.height / asked.height)
    part = next(part for part in ranked.slices if part.name == "new keys")
    assert level(part, "lists made nightly").metrics["recall@50"].value == 0
    assert level(part, "ranked on request").metrics["recall@50"].value > 0


@pytest.mark.slow
def test_slices_are_of_new_items_and_first_events(ranked, tables):
    assert [part.name for part in ranked.slices] == [
        "new item",
        "first event of user",
        "first event of session",
        "new keys",
    ]
    first = ranked.slices[2]
    clicks, impressions = tables
    seen = clicks.group_by("session").agg(pl.col("clicked_at").min().alias("first"))
    rows = impressions.filter(pl.col("shown_at") >= SPLIT).join(seen, on="session", how="left")
    assert first.rows == rows.filter(pl.col("first") >= pl.col("shown_at")).height
    # of what session?
    assert step(first, "ranked on request", "session live", "ndcg@10").verdict != "LIFT"


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


def test_without_candidates_what_was_shown_is_ranked(planted):
    rows, known = planted
    result = backtest.backtest(
        _plain(rows, known, candidates=False),
        levels={"live": hw.Level(LIVE)},
        evaluation=hw.Evaluation(split=day(5), metrics=["mrr@9", "recall@1"], resamples=0),
    ).result
    # d first of acd; b of ab; d of da; x is unknown and ranks below b: worth less than anything.
    assert result.levels[0].metrics["mrr@9"].value == pytest.approx(np.mean([1, 1, 1, 1 / 2]))
    assert result.levels[0].metrics["recall@1"].value == pytest.approx(np.mean([1, 1, 0.5, 0]))
    assert "candidates" not in result.levels[0].note


def test_the_order_of_equal_scores_does_not_follow_the_rows():
    groups = np.zeros(1000, np.int64)
    first = places(groups, np.zeros(1000))
    assert sorted(first) == list(range(1, 1001))
    assert abs(np.corrcoef(first, np.arange(1000))[0, 1]) < 0.1
    assert places(groups[:3], np.zeros(3), np.array([2, 0, 1])).tolist() == [3, 1, 2]


def test_a_column_of_the_item_is_not_known_of_candidates_that_were_not_shown(tables):
    clicks, impressions = tables
    priced = impressions.with_columns(price=pl.col("item").str.len_chars())
    of = feed(clicks, priced)
    service = hw.FeatureService("feed_v1", [*of.features.features, hw.RequestField("price", int)])
    with pytest.raises(
        DataError, match=r"the column 'price' differs within .* lists, so it belongs to the item"
    ):
        backtest.backtest(
            dataclasses.replace(of, features=service),
            levels={"live": hw.Level(LIVE)},
            evaluation=hw.Evaluation(split=SPLIT, resamples=0),
        )


def test_lists_of_candidates_that_no_job_can_find(tables):
    of = feed(*tables)
    covisited = of.task.candidates[1]
    of = dataclasses.replace(
        of, task=hw.Ranking(group="request", item="item", candidates=[covisited])
    )
    with pytest.raises(
        UsageError, match=r"none of the candidates .* is known by the keys of precomputed"
    ):
        backtest.backtest(of, levels=LEVELS, evaluation=hw.Evaluation(split=SPLIT, resamples=0))


def test_the_first_of_a_list_says_on_which_side_of_the_split_it_is(planted):
    rows, known = planted
    late = rows.with_columns(
        asked=pl.when((pl.col("list") == "l1") & (pl.col("item") == "c"))
        .then(day(6))
        .otherwise("asked")
    )
    result = backtest.backtest(
        _plain(late, known),
        levels={"live": hw.Level(LIVE)},
        evaluation=hw.Evaluation(split=day(5), metrics=["recall@1"], resamples=0),
    ).result
    assert result.split.test_rows == rows.filter(pl.col("asked") >= day(5)).height


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


def test_classes_precomputed_fall_back_on_their_shares():
    made = world(users=40)
    events = made.events.filter(pl.col("machine") != "m2")
    kind = pl.when(pl.col("bad")).then(2).otherwise(0) + (pl.col("amount") > 0)
    of = model(
        dataclasses.replace(made, events=events, rows=made.rows.with_columns(kind=kind)),
        task="multiclass",
        label="kind",
        estimator=None,
    )
    ahead = hw.Level(
        STALE_AND_FRESH["daily"].features,
        predictions=hw.precomputed(STALE_AND_FRESH["daily"].features, keys=["machine"]),
    )
    result = backtest.backtest(
        of, levels={"ahead": ahead}, evaluation=hw.Evaluation(split=day(18), resamples=0)
    ).result
    assert 0.5 < result.levels[0].coverage < 0.8
    assert (
        "the share of each class among the training rows stands in for them"
        in result.levels[0].note
    )


# ---- transitions


def test_the_standard_levels_of_the_transitions():
    made = world()
    of = model(made)
    levels = hw.evaluation.transitions(of)
    assert levels["precomputed"].predictions == hw.precomputed(
        hw.batch("1d", delay="4h"), keys=["machine"]
    )
    assert (
        levels["on request"].precomputed(
            dataclasses.replace(of, predictions=levels["precomputed"].predictions)
        )
        is None
    )
    rows = made.rows.with_columns(
        machine=pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("new")).otherwise("machine")
    )
    result = backtest.backtest(
        model(dataclasses.replace(made, rows=rows)),
        levels=levels,
        evaluation=hw.Evaluation(split=day(18), resamples=100),
    ).result
    assert [found.number for found in result.transitions] == [1, 2]
    assert result.new_keys.share == pytest.approx(0.25, abs=0.01)
    assert result.new_keys.per_day == pytest.approx(1 / 12)
    assert step(result, "precomputed", "on request").verdict in ("LIFT", "inconclusive")
    assert step(result, "precomputed", "fresher features").verdict == "LIFT"
    assert step(result, "on request", "fresher features").low > 0


def test_keys_of_transitions_are_named_where_there_are_several(tables):
    with pytest.raises(
        UsageError, match="are keyed by session, user; name the keys of the precomputed predictions"
    ):
        hw.evaluation.transitions(feed(*tables))
    assert hw.evaluation.transitions(feed(*tables), keys=["user"], nightly=NIGHTLY)[
        "precomputed"
    ].predictions.keys == ("user",)


@pytest.mark.slow
def test_lists_that_nobody_made_may_be_ranked_on_request(tables):
    """A level of both: lists made nightly for who was known, on request for the others."""
    both = hw.Level(
        NIGHTLY, predictions=hw.precomputed(NIGHTLY, keys=["user"], otherwise="on_request")
    )
    of, given = feed(*tables), {"split": SPLIT, "metrics": METRICS, "resamples": 0}
    result = judge(
        of, levels={"lists made nightly": LEVELS["lists made nightly"], "both": both}, **given
    )
    ahead, mixed = result.levels
    assert (ahead.coverage < 1, mixed.coverage) == (True, 1.0)
    part = next(part for part in result.slices if part.name == "new keys")
    assert level(part, "lists made nightly").metrics["recall@50"].value == 0
    assert level(part, "both").metrics["recall@50"].value > 0
    alone = judge(of, levels={"both": both}, **given)
    assert alone.new_keys == result.new_keys
    assert alone.new_keys.requests > 0


@pytest.mark.parametrize("leaks", [True, False])
def test_a_feature_that_tells_one_of_several_classes_is_flagged(leaks):
    made = world()
    kind = pl.when(pl.col("bad")).then(2).when(pl.col("amount") > 0.5).then(1).otherwise(0)
    rows = made.rows.with_columns(kind=kind).with_columns(
        told=((pl.col("kind") == 1) & leaks).cast(pl.Float64)
    )
    of = model(
        dataclasses.replace(made, rows=rows),
        task="multiclass",
        label="kind",
        members=[hw.RequestField("told", float)],
    )
    result = backtest.backtest(
        of,
        levels={"none": hw.Level(hw.never())},
        evaluation=hw.Evaluation(split=day(18), resamples=0),
    ).result
    assert [found.check for found in result.audit.findings] == (["request fields"] if leaks else [])
