"""Training on a log of positives: which negatives are drawn, when they are known, and that the
draws are corrected for.
"""

import dataclasses
import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.models.fit import fit_outcomes
from headwater.models.outcomes import LabelValues
from headwater.training.negatives import draw
from headwater.training.train import training_set
from tests.training.choices import DAY, LIVE, NIGHTLY, START, every_candidate, ranker, shop, times

UNTIL = "2025-01-01T00:00Z"


@pytest.fixture(scope="module")
def tables():
    return shop()


def drawn(model, level=NIGHTLY):
    return training_set(model, level=hw.Level(level), as_of=UNTIL)


# ---- draws


@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=12),
    st.integers(1, 6),
    st.integers(0, 2**40),
    st.data(),
)
def test_weights_of_draws_estimate_every_candidate(weights, n, seed, data):
    """The mean of 1/q over draws is 1 for each candidate that may be drawn; the excluded ones never
    are.
    """
    weight = np.array(weights)
    excluded = np.sort(
        np.array(
            data.draw(
                st.lists(st.integers(0, len(weights) - 1), unique=True, max_size=len(weights) - 1)
            ),
            np.int64,
        )
    )
    streams = np.random.default_rng(seed).integers(-(2**62), 2**62, 4000)
    draws, rate = draw(n, weight, excluded, streams)
    sums, squares = np.zeros(len(weight)), np.zeros(len(weight))
    for picked, log_q in draws:
        assert not np.isin(picked, excluded).any()
        assert len(np.unique(picked)) == len(picked)
        np.add.at(sums, picked, np.exp(-log_q))
        np.add.at(squares, picked, np.exp(-2 * log_q))
    left = np.setdiff1d(np.arange(len(weight)), excluded)
    mean = sums[left] / len(streams)
    error = np.sqrt(np.maximum(squares[left] / len(streams) - mean**2, 0) / len(streams))
    assert (np.abs(mean - 1) <= 6 * error + 1e-9).all()
    assert rate.shape == weight.shape


def test_draws_depend_on_the_stream_alone():
    weight, streams = np.arange(1, 30), np.array([3, 4, 3])
    first, second, third = (
        picked.tolist() for picked, _ in draw(5, weight, np.array([2]), streams)[0]
    )
    assert first == third
    assert first != second


# ---- rows


def test_each_positive_is_followed_by_negatives_of_its_request(tables):
    catalogue, log = tables
    rows = drawn(ranker(catalogue, log)).frame
    positives = rows.filter(pl.col("chosen") == 1)
    assert positives.height > 0.98 * log.height
    by_request = rows.group_by("request", maintain_order=True).agg(
        "chosen", "item", "taste", pl.col("chosen_at").n_unique()
    )
    assert by_request["chosen"].list.get(0).to_list() == [1] * by_request.height
    assert by_request["chosen"].list.sum().to_list() == [1] * by_request.height
    assert (by_request["item"].list.n_unique() == by_request["item"].list.len()).all()
    assert (by_request["taste"].list.n_unique() == 1).all()
    assert by_request["chosen_at"].max() == 1
    assert rows["log_q"].null_count() == 0


@pytest.mark.parametrize("by", ["uniform", "popularity"])
@pytest.mark.parametrize(
    "freshness", [NIGHTLY, LIVE, hw.batch("1d", delay="6h")], ids=["nightly", "live", "delayed"]
)
def test_negatives_were_known_to_the_level(tables, freshness, by):
    """No negative is of an item whose first event the level did not know when the request asked."""
    catalogue, log = tables
    rows = drawn(
        ranker(catalogue, log, hw.evaluation.NegativeSampling(30, by)), freshness
    ).frame.join(catalogue.select("item", "at"), on="item")
    delay = {NIGHTLY: 0, LIVE: 0}.get(freshness, 6 * 3600)
    asked = rows["chosen_at"] - dt.timedelta(seconds=delay)
    cut = asked if freshness is LIVE else asked.dt.truncate("1d")
    assert (rows["at"] < cut).all()
    if by == "uniform":
        late = rows.filter((pl.col("chosen") == 0) & (pl.col("at") >= START))
        assert late.height > 0  # items that were born during the log are drawn later on


def test_items_of_the_future_change_no_row(tables):
    """Independently of events after day 6, rows of the days before have the same negatives,
    features and corrections, bit for bit.
    """
    catalogue, log = tables
    until = times([6 * DAY])[0]
    for by in ("uniform", "popularity"):
        sampling = hw.evaluation.NegativeSampling(8, by)
        whole = drawn(ranker(catalogue, log, sampling)).frame.filter(pl.col("chosen_at") < until)
        born_later = pl.col("at") >= until
        later = catalogue.with_columns(
            item=pl.when(born_later).then(pl.col("item") + "x").otherwise("item"),
            quality=pl.when(born_later).then(99.0).otherwise("quality"),
        )
        more = pl.concat(
            [later, later.with_columns(item=pl.lit("new_") + pl.col("item"), at=pl.lit(until))]
        )
        before = drawn(ranker(more, log.filter(pl.col("chosen_at") < until), sampling)).frame
        assert before.equals(whole), by


def test_levels_draw_alike_where_candidates_agree(tables):
    catalogue, log = tables
    old = catalogue.filter(pl.col("at") < START)
    rows = log.join(old, on="item", how="semi")
    for by in ("uniform", "popularity"):
        night, live = (
            drawn(ranker(old, rows, hw.evaluation.NegativeSampling(8, by)), freshness).frame
            for freshness in (NIGHTLY, LIVE)
        )
        same = ["request", "item", "chosen", "log_q", "item__last_quality"]
        assert night.select(same).equals(live.select(same)), by
        assert not night["sold__count_7d"].equals(live["sold__count_7d"])


def test_draws_do_not_depend_on_the_order_of_the_table(tables):
    catalogue, log = tables
    orders = {"as is": log, "shuffled": log.sample(fraction=1, shuffle=True, seed=1)}
    of = {
        name: drawn(ranker(catalogue, rows)).frame.sort("request", "item")
        for name, rows in orders.items()
    }
    assert of["as is"].equals(of["shuffled"])
    other = drawn(ranker(catalogue, log, hw.evaluation.NegativeSampling(8, seed=1))).frame.sort(
        "request", "item"
    )
    assert not other.equals(of["as is"])


def test_a_dataset_is_made_again(tables, tmp_path):
    model = ranker(*tables)
    made = hw.dataset(model, tmp_path / "rows.parquet", as_of=UNTIL)
    again = hw.operations.reproduce(model, made.manifest_path, tmp_path / "again.parquet")
    assert made.manifest["digest"] == again.manifest["digest"]
    assert "log_q" in made.manifest["columns"]
    changed = dataclasses.replace(
        model, task=dataclasses.replace(model.task, negatives=hw.evaluation.NegativeSampling(9))
    )
    with pytest.raises(DataError, match="the sampling of negatives is defined differently"):
        hw.operations.reproduce(changed, made.manifest_path, tmp_path / "third.parquet")


# ---- off the beaten path


@pytest.mark.parametrize(
    "by_id",
    ["item {}é".format, int, lambda n: n - 20],
    ids=["text", "integers", "negative integers"],
)
@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_ids_of_any_type(by_id, by):
    catalogue, log = shop(by_id=by_id, days=6)
    rows = drawn(ranker(catalogue, log, hw.evaluation.NegativeSampling(4, by))).frame
    assert rows["item"].dtype == log["item"].dtype
    assert rows.filter(pl.col("chosen") == 0).height > 3 * 250


def test_more_draws_than_candidates_take_each_once(tables):
    catalogue, log = tables
    rows = drawn(ranker(catalogue, log, hw.evaluation.NegativeSampling(1000))).frame
    order = ["request", "item"]
    full = every_candidate(catalogue, log).join(
        rows.select("request").unique(), on="request", how="semi"
    )
    full = full.select(*order, pl.col("chosen").cast(pl.Float64)).sort(order)
    assert rows.select(*order, "chosen").sort(order).equals(full)
    assert rows["log_q"].abs().max() == 0


def test_several_positives_of_a_request():
    catalogue, log = shop(choose=3, days=6)
    rows = drawn(ranker(catalogue, log, hw.evaluation.NegativeSampling(4))).frame
    chosen = log.group_by("request").agg(wanted=pl.col("item"))
    negatives = rows.filter(pl.col("chosen") == 0).join(chosen, on="request")
    assert not negatives.select(pl.col("item").is_in(pl.col("wanted"))).to_series().any()
    # Three positives together estimate the candidates once, not three times; uniform draws do so
    # exactly.
    size = negatives.group_by("request").agg(estimate=pl.col("log_q").neg().exp().sum())
    full = (
        every_candidate(catalogue, log).group_by("request").agg(left=(pl.col("chosen") == 0).sum())
    )
    both = size.join(full, on="request")
    assert both.height > 250
    assert np.allclose(both["estimate"], both["left"])


def test_repeated_choices_count_once_and_are_said():
    catalogue, log = shop(days=6)
    rows = drawn(ranker(catalogue, pl.concat([log, log.head(30)])))
    assert rows.left_out["labels: item repeated in its request"] == 30
    assert rows.frame.drop("sold__count_7d").equals(
        drawn(ranker(catalogue, log)).frame.drop("sold__count_7d")
    )


def test_one_candidate_leaves_no_order_to_learn():
    catalogue, log = shop(days=6)
    one = catalogue.filter(pl.col("item") == "i0")
    mine = log.filter(pl.col("item") == "i0")
    rows = drawn(ranker(one, mine))
    assert rows.frame["chosen"].to_list() == [1] * mine.height
    with pytest.raises(DataError, match="no order can be learned"):
        hw.train(ranker(one, mine), as_of=UNTIL)


def test_chosen_items_that_are_no_candidates_do_not_train(tables):
    catalogue, log = tables
    unknown = catalogue.filter(pl.col("item") != "i3")
    rows = drawn(ranker(unknown, log))
    assert "i3" not in rows.frame["item"].to_list()
    assert (
        rows.left_out["chosen item not among the candidates"]
        >= log.filter(pl.col("item") == "i3").height
    )


def test_no_candidates(tables):
    catalogue, log = tables
    late = catalogue.with_columns(at=times([900 * DAY])[0])
    with pytest.raises(
        DataError, match=r"the chosen item of none of the .* is among the candidates"
    ):
        drawn(ranker(late, log))
    with pytest.raises(
        DataError,
        match=r"level 'nightly': none of the .* training rows has its chosen item among the candidates",
    ):
        hw.backtest(ranker(late, log), {"nightly": hw.Level(NIGHTLY)}, hw.Evaluation(resamples=0))


def test_a_log_holds_positives_only(tables):
    catalogue, log = tables
    with pytest.raises(DataError, match=r"2 of .* labels are 0 or less"):
        drawn(
            ranker(
                catalogue,
                log.with_columns(chosen=pl.when(pl.int_range(pl.len()) < 2).then(0).otherwise(1)),
            )
        )


def test_a_column_of_the_chosen_item_is_not_known_of_others():
    catalogue, log = shop(choose=2, days=4)
    priced = log.with_columns(price=pl.int_range(pl.len()))
    with pytest.raises(
        DataError, match=r"'price' differs within .* groups, so it belongs to the chosen item"
    ):
        drawn(ranker(catalogue, priced, members=[hw.RequestField("price", int)]))


def test_columns_that_nothing_reads_are_null_on_negatives(tables):
    catalogue, log = tables
    rows = drawn(ranker(catalogue, log.with_columns(dwell=1.0))).frame
    assert (
        rows.filter(pl.col("chosen") == 0)["dwell"].null_count()
        == rows.filter(pl.col("chosen") == 0).height
    )
    assert rows.filter(pl.col("chosen") == 1)["dwell"].null_count() == 0


def test_what_is_not_tuned(tables):
    with pytest.raises(UsageError, match="tune"):
        hw.backtest(ranker(*tables), {"nightly": hw.Level(NIGHTLY)}, hw.Evaluation(tune=2))


# ---- corrections


def test_an_estimator_that_takes_no_weight_is_refused(tables):
    model = ranker(*tables, estimator=make_pipeline(SimpleImputer(), KNeighborsClassifier()))
    with pytest.raises(DataError, match="cannot correct for sampled negatives"):
        hw.train(model, as_of=UNTIL)


class Remembers:
    """A ranker that keeps what it is fitted with."""

    def fit(self, X, y, group=None, base_margin=None):
        self.given = {"y": y, "group": group, "base_margin": base_margin}

    def predict(self, X):
        return np.zeros(len(X))


class RemembersNoOffset(Remembers):
    def fit(self, X, y, group=None):
        raise AssertionError("not corrected")


@pytest.mark.parametrize(
    ("estimator", "refused"), [(Remembers(), False), (RemembersNoOffset(), True)]
)
def test_rankers_of_lists_get_an_offset(tables, estimator, refused):
    model, frame = ranker(*tables, estimator=estimator), pl.DataFrame({"a": [1.0, 2, 3, 4]})
    outcomes = LabelValues(
        np.array([1.0, 0, 1, 0]), groups=np.array([1, 1, 0, 0]), log_q=np.array([0.5, -1, 2, 3])
    )
    if refused:
        with pytest.raises(DataError, match="takes none of init_score, base_margin"):
            fit_outcomes(model, frame, outcomes)
        return
    given = fit_outcomes(model, frame, outcomes).estimator.given
    assert given["base_margin"].tolist() == [-2, -3, -0.5, 1]
    assert given["y"].tolist() == [1, 0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_probabilities_are_those_of_the_full_candidate_set(tables, by):
    """Weighted by 1/q, a logistic regression on 8 draws finds the coefficients of one on all
    candidates; unweighted, it does not.
    """
    catalogue, log = shop(days=40, requests=100)
    estimator = make_pipeline(SimpleImputer(), LogisticRegression(C=1e6, max_iter=1000))
    level = hw.Level(NIGHTLY)
    whole = ranker(catalogue, every_candidate(catalogue, log), None, estimator)
    full = hw.train(whole, level=level, as_of=UNTIL)
    mine = hw.train(
        ranker(catalogue, log, hw.evaluation.NegativeSampling(8, by), estimator),
        level=level,
        as_of=UNTIL,
    )
    every = training_set(whole, level=level, as_of=UNTIL)
    features, y = every.features, every.requests.label.to_numpy()

    def probability(trained):
        return trained.fitted.estimator.predict_proba(trained.fitted.inputs(features))[:, 1]

    expected, sampled = probability(full), probability(mine)
    assert expected.mean() == pytest.approx(y.mean(), rel=5e-3)
    assert sampled.mean() == pytest.approx(y.mean(), rel=0.05)
    deciles = np.argsort(np.argsort(expected)) * 10 // len(expected)
    for tenth in range(10):
        rows = deciles == tenth
        assert sampled[rows].mean() == pytest.approx(expected[rows].mean(), rel=0.2), tenth
    rows = drawn(ranker(catalogue, log, hw.evaluation.NegativeSampling(8, by), estimator))
    uncorrected = estimator.fit(mine.fitted.inputs(rows.features), rows.requests.label.to_numpy())
    assert uncorrected.predict_proba(mine.fitted.inputs(features))[:, 1].mean() > 2 * y.mean()
