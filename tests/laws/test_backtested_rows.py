"""Rows of the semantics that a backtest shows: coarse times, the audit's table, rankings with
sampled negatives.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.errors import DataError, LeakError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

START = datetime(2024, 3, 4, tzinfo=UTC)
LEVELS = {"request only": hw.never(), "instant": hw.on_request()}
N, USERS = 3000, 150


def instants(minutes):
    return (
        pl.Series(np.rint(np.asarray(minutes) * 60e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


def shop():
    """An order a row: delivered 30 minutes or more after it was asked for; late ones took longer
    than 100.
    """
    rng = np.random.default_rng(0)
    asked, user = np.sort(rng.random(N)) * 40 * 24 * 60, rng.integers(0, USERS, N)
    took = 30 + rng.gamma(2, 30, N) + 25 * (user % 3 == 0)
    columns = {"user": user, "amount": rng.exponential(20, N), "took": took, "late": took > 100}
    return pl.DataFrame(columns).with_columns(
        asked_at=instants(asked), delivered_at=instants(asked + took)
    )


ORDERS = shop()
NOISE = pl.Series(np.random.default_rng(7).normal(size=N))
DELIVERED = ORDERS.select("user", "took", at="delivered_at")


def estimator():
    return make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression(max_iter=200))


def labels(
    table=ORDERS,
    select=("user", "amount", "asked_at", "delivered_at", "late"),
    known="delivered_at",
    **given,
):
    columns = {
        "table": table,
        "timestamp_field": "asked_at",
        "label": "late",
        "select": select,
        "known_at_field": known,
    }
    return hw.Labels("late", **(columns | given))


def view(history=DELIVERED, features=None, name="view", at="at", **rules):
    source = hw.Source("past", history=history, timestamp_field=at, **rules)
    features = features or [hw.mean("took"), hw.count()]
    return hw.FeatureView(
        name,
        source=source,
        keys=["user"],
        features=features,
        windows=["7d"],
        freshness=hw.batch("1d"),
    )


def model(members, of=None):
    service = hw.FeatureService("s", members)
    return hw.Model(
        "m",
        task="binary",
        features=service,
        labels=labels() if of is None else of,
        estimator=estimator(),
    )


def backtest(made, levels=LEVELS, **how):
    evaluation = hw.Evaluation(
        split=START + timedelta(days=30), resamples=20, **({"refits": 0} | how)
    )
    return hw.backtest(made, levels, evaluation).result


# ---------------------------------------------------------------------------------- usual refits


def test_the_usual_refits_keep_the_values_of_one_fit_and_narrow_no_interval():
    """A backtest that says nothing of refits trains each level again; the others here do once."""
    made, levels = model([view(DELIVERED)]), {name: STEPS[name] for name in ("daily", "instant")}
    usual, once = (backtest(made, levels, refits=refits) for refits in (hw.evaluation.Refits(), 0))
    assert [level.metrics["auc"].value for level in usual.levels] == [
        level.metrics["auc"].value for level in once.levels
    ]
    for again, first in zip(usual.comparisons, once.comparisons, strict=True):
        assert again.delta == first.delta
        if again.metric == "auc":
            assert again.high - again.low >= first.high - first.low
    assert "refits" in usual.seconds


# ---------------------------------------------------------------------------------- coarse times


WHOLE_DAYS = DELIVERED.with_columns(
    took=NOISE,
    at=pl.Series(
        [START + timedelta(days=n % 40) for n in range(N)], dtype=pl.Datetime("us", "UTC")
    ),
)
STEPS = {"daily": hw.batch("1d"), "hourly": hw.batch("1h"), "instant": hw.on_request()}


def test_levels_that_timestamps_cannot_tell_apart_are_not_measurable():
    """Whole days: no step from a daily level has a verdict; times as they are: each is
    measurable.
    """
    for history, state, rules in (
        (WHOLE_DAYS, "not measurable", {"known_after": "1d"}),
        (DELIVERED, "measurable", {}),
    ):
        result = backtest(model([view(history, **rules)]), STEPS)
        assert {level.level: level.state for level in result.measurable}.get(
            "hourly", "measurable"
        ) == state
        (step,) = [
            each
            for each in result.comparisons
            if (each.from_, each.to, each.metric) == ("daily", "hourly", "auc")
        ]
        assert (step.verdict == "not measurable") == (state == "not measurable")


def test_coarse_request_times_cannot_measure_levels_within_their_step():
    """Requests at whole days, and a source that is known by the hour: an hourly level knows no
    more.
    """
    table = ORDERS.with_columns(pl.col("asked_at").dt.truncate("1d"))
    fresh = {"daily": hw.batch("1d"), "hourly": hw.batch("1h")}
    for exact, state in ((False, "not measurable"), (True, "measurable")):
        result = backtest(model([view()], labels(table, exact_times=exact)), fresh)
        assert {level.level: level.state for level in result.measurable}.get(
            "hourly", "measurable"
        ) == state


# ------------------------------------------------------------------------------ the audit's table


def told(**columns):
    """Labels whose requests carry further columns, and the fields that a model reads of them."""
    of = labels(
        ORDERS.with_columns(**columns), ["user", "asked_at", "delivered_at", "late", *columns]
    )
    return model([view(), *(hw.RequestField(name, float) for name in columns)], of)


def dimension():
    means = (
        ORDERS.group_by("user")
        .agg(pl.col("late").mean().alias("score"))
        .with_columns(since=pl.lit(START - timedelta(days=30)))
    )
    source = hw.Source("users", history=means, timestamp_field="since", select=["user", "score"])
    return hw.FeatureView(
        "users", source=source, keys=["user"], features=[hw.last("score")], freshness=hw.batch("1d")
    )


def early(minutes):
    return (pl.col("asked_at") - pl.duration(minutes=minutes)).alias("at")


# the planted faults: the model, the check that finds it, and whether the verdict is withheld or
# questioned
AUDIT = {
    "no event of the requests' keys": (
        lambda: model([view(DELIVERED.with_columns(pl.col("user") + 1000))]),
        "events of requests",
        "EMPTY",
    ),
    "the labels' own rows, known at the request": (
        lambda: model(
            [view(ORDERS.drop("delivered_at", "late"), [hw.mean("took")], at="asked_at")], of_took()
        ),
        "label rows",
        "LEAK",
    ),
    "local times declared as UTC": (
        lambda: model([view(DELIVERED.with_columns(pl.col("at") - pl.duration(hours=5)))]),
        "own outcome",
        "LEAK",
    ),
    "an outcome dated before its request": (
        lambda: model([view(ORDERS.select("user", "took", early(65)))]),
        "own outcome",
        "LEAK",
    ),
    "another table with the label rows": (
        lambda: model(
            [
                view(
                    ORDERS.select("user", "took", early(1 + pl.col("user"))).with_columns(
                        ordered=ORDERS["asked_at"]
                    ),
                    select=["user", "took"],
                )
            ]
        ),
        "label rows in another table",
        "LEAK",
    ),
    "times that were rounded down": (
        lambda: model([view(DELIVERED.with_columns(pl.col("at").dt.truncate("6h")))]),
        "coarse timestamps",
        "LEAK",
    ),
    "the time until the outcome": (
        lambda: told(
            waited=(pl.col("delivered_at") - pl.col("asked_at")).dt.total_minutes().cast(pl.Float64)
        ),
        "request fields",
        "LEAK",
    ),
    "outcomes that change after they are known": (
        lambda: model([view()], labels(pl.concat([ORDERS, changed()]).sort("asked_at"))),
        "label times",
        "SUSPECT",
    ),
    "a dimension of the whole period": (lambda: model([dimension()]), "static tables", "SUSPECT"),
    "a field that follows the outcome": (
        lambda: told(rating=pl.col("took") + 30 * NOISE),
        "late request fields",
        "SUSPECT",
    ),
}


def of_took():
    known = (pl.col("delivered_at") + pl.duration(days=2)).alias("known")
    return labels(
        select=["user", "amount", "asked_at", known, (pl.col("took") > 100).alias("late")],
        known="known",
    )


def changed():
    return ORDERS.head(300).with_columns(
        ~pl.col("late"), pl.col("delivered_at") + pl.duration(days=2)
    )


@pytest.mark.parametrize("planted", AUDIT)
def test_the_audit_finds_what_is_planted(planted):
    """A proven leak withholds the verdict; what data can only suggest is a question below it."""
    make, check, severity = AUDIT[planted]
    result = backtest(make())
    assert (check, severity) in [
        (finding.check, finding.severity) for finding in result.audit.findings
    ]
    assert ("No verdict" in result.verdict) == (severity in ("LEAK", "EMPTY"))


def test_what_is_proven_of_few_requests_is_a_question():
    """A LEAK takes at least 1 % of the requests: of half of that it is a question at most."""
    few = ORDERS.select("user", "took", early(65)).gather_every(200)
    shares = [
        f.severity
        for f in backtest(model([view(pl.concat([DELIVERED, few]))])).audit.findings
        if f.check == "own outcome"
    ]
    assert "LEAK" not in shares


def test_an_honest_design_is_not_accused():
    honest = model([view(), hw.RequestField("amount", float)])
    assert [
        f for f in backtest(honest).audit.findings if f.severity in ("LEAK", "EMPTY", "SUSPECT")
    ] == []


def test_an_answer_never_lifts_a_leak_and_must_name_a_check():
    answer = hw.evaluation.Acknowledgement("own outcome", "past", "we know", "me")
    shifted = model([view(DELIVERED.with_columns(pl.col("at") - pl.duration(hours=5)))])
    assert [f.severity for f in backtest(shifted, acknowledged=[answer]).audit.leaks] == ["LEAK"]
    with pytest.raises(UsageError, match="own outcomes"):
        backtest(
            shifted,
            acknowledged=[hw.evaluation.Acknowledgement("own outcomes", "past", "we know", "me")],
        )


# --------------------------------------------------------------------- rankings from a log of positives


def choices(negatives=None, days=6, requests=25, extra=(), **of_estimator):
    """A model of a log of choices among items, a fifth of it late; and the tables."""
    rng, items = np.random.default_rng(1), 20
    born = np.where(np.arange(items) < 16, -1.0, rng.integers(1, days, items)) * 1440
    catalogue = pl.DataFrame(
        {
            "item": [f"i{n}" for n in range(items)],
            "quality": rng.normal(size=items),
            "at": instants(born),
        }
    )
    asked = np.sort(rng.random(days * requests)) * days * 1440
    chosen = [f"i{rng.choice(np.flatnonzero(born < t - 1440))}" for t in asked]
    log = pl.DataFrame(
        {
            "request": [f"r{n}" for n in range(len(asked))],
            "item": chosen,
            "chosen_at": instants(asked),
            "chosen": 1,
        }
    )
    log = pl.concat([log, *extra]) if extra else log
    nightly = hw.batch("1d")
    source = hw.Source("items", history=catalogue, timestamp_field="at", select=["item", "quality"])
    every = hw.FeatureView(
        "catalogue",
        source=source,
        keys=[],
        features=[hw.collect_set("item", max_size=100)],
        freshness=nightly,
    )
    item = hw.FeatureView(
        "item", source=source, keys=["item"], features=[hw.last("quality")], freshness=nightly
    )
    task = hw.Ranking(
        "request",
        "item",
        [every["collect_set_item"]],
        negatives or hw.evaluation.NegativeSampling(3),
    )
    of = hw.Labels(
        "choice", table=log, timestamp_field="chosen_at", label="chosen", known_after="1m"
    )
    made = hw.Model(
        "shop",
        features=hw.FeatureService("f", [item]),
        labels=of,
        task=task,
        estimator=of_estimator.get("estimator"),
    )
    return made, catalogue, log


def drawn(made, tmp_path, level=None):
    until = START + timedelta(days=30)
    return hw.dataset(
        made,
        tmp_path / "rows.parquet",
        level=level,
        as_of=until,
        resources=hw.Resources(cache=False),
    ).rows.frame


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_negatives_are_drawn_from_the_candidates_of_the_request(by, tmp_path):
    """Never the chosen item, never one that is not yet known, at most `n` rows; features are those
    of the request's time; `log_q` says how many draws were expected."""
    made, catalogue, log = choices(hw.evaluation.NegativeSampling(3, by))
    rows = drawn(made, tmp_path)
    quality = dict(catalogue.select("item", "quality").iter_rows())
    born = dict(catalogue.select("item", "at").iter_rows())
    positives = 0
    for request, group in rows.group_by("request", maintain_order=True):
        (chosen,) = log.filter(pl.col("request") == request[0])["item"].to_list()
        night = group["chosen_at"][0].replace(hour=0, minute=0, second=0, microsecond=0)
        assert group.filter(pl.col("chosen") == 1)["item"].to_list() == [chosen]
        assert 2 <= len(group) <= 4
        assert group["item"].n_unique() == len(group)
        assert all(born[item] < night for item in group["item"])
        assert group["item__last_quality"].to_list() == [quality[item] for item in group["item"]]
        negative = group.filter(pl.col("chosen") == 0)
        if by == "uniform":  # 3 draws among the candidates but the chosen one
            candidates = sum(at < night for at in born.values()) - 1
            # an item drawn twice is one row
            times = 3 / candidates / np.exp(negative["log_q"].to_numpy())
            assert np.allclose(times, np.rint(times))
            assert times.sum() == pytest.approx(3)
        positives += 1
    assert positives == log.height
    assert rows.equals(drawn(made, tmp_path)), "levels with equal candidates draw alike"
    assert rows.select("request", "item").equals(
        drawn(made, tmp_path, hw.batch("1d", delay="1s")).select("request", "item")
    )


def test_popular_items_are_drawn_by_the_positives_known_before_the_day(tmp_path):
    """Popularity is 1 + the positives of the item that were known when the UTC day of the request
    began.
    """
    made, catalogue, log = choices(hw.evaluation.NegativeSampling(3, "popularity"))
    rows = drawn(made, tmp_path)
    for _, group in rows.group_by("request"):
        day = group["chosen_at"][0].replace(hour=0, minute=0, second=0, microsecond=0)
        known = log.filter(pl.col("chosen_at") + pl.duration(minutes=1) <= day)["item"].to_list()
        (chosen,) = group.filter(pl.col("chosen") == 1)["item"]
        weights = {
            item: 1 + known.count(item)
            for item, at in catalogue.select("item", "at").iter_rows()
            if at < day and item != chosen
        }
        negative = group.filter(pl.col("chosen") == 0)
        expected = np.array(
            [3 * weights[item] / sum(weights.values()) for item in negative["item"]]
        )
        times = expected / np.exp(negative["log_q"].to_numpy())
        assert np.allclose(times, np.rint(times))
        assert times.sum() == pytest.approx(3)


def test_candidates_beyond_the_memory_change_nothing(tmp_path):
    made, _, _ = choices()
    whole = drawn(made, tmp_path)
    little = hw.Resources(cache=False, memory="1MB")
    assert hw.dataset(
        made, tmp_path / "little.parquet", as_of=START + timedelta(days=30), resources=little
    ).rows.frame.equals(whole)


def test_every_candidate_is_ranked_and_the_ladder_leaves_out_the_request_alone():
    """The test has a row for each candidate, of the same requests at each level."""
    made, _, _ = choices()
    how = hw.Evaluation(
        split=START + timedelta(days=4),
        metrics=["recall@1000", "hit_rate@1"],
        resamples=0,
        refits=0,
    )
    result = hw.backtest(made, {"nightly": hw.batch("1d")}, how).result
    assert result.levels[0].metrics["recall@1000"].value == pytest.approx(1.0)
    assert "tested on all candidates" in result.levels[0].note
    with pytest.raises(UsageError, match="tune"):
        hw.backtest(made, {"nightly": hw.batch("1d")}, hw.Evaluation(tune=3))
    with pytest.raises(DataError, match="candidates"):
        hw.backtest(made, {"nothing": hw.never(), "nightly": hw.batch("1d")}, how)


def test_an_item_repeated_in_a_group_counts_once(tmp_path):
    _, _, log = choices()
    made, _, _ = choices(extra=[log.head(5)])
    written = hw.dataset(
        made,
        tmp_path / "rows.parquet",
        as_of=START + timedelta(days=30),
        resources=hw.Resources(cache=False),
    )
    assert written.rows.frame.filter(pl.col("chosen") == 1).height == log.height
    assert 5 in written.manifest["left_out"].values()


def test_a_source_over_the_labels_that_knows_the_label_early_is_refused():
    with pytest.raises(LeakError, match="took"):
        backtest(model([view(ORDERS, at="asked_at", select=["user", "took"])], of_took()))
