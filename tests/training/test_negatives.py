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
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.errors import DataError
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


def test_a_column_of_the_chosen_item_is_not_known_of_others():
    catalogue, log = shop(choose=2, days=4)
    priced = log.with_columns(price=pl.int_range(pl.len()))
    with pytest.raises(
        DataError, match=r"'price' differs within .* groups, so it belongs to the chosen item"
    ):
        drawn(ranker(catalogue, priced, members=[hw.RequestField("price", int)]))


# ---- corrections


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
