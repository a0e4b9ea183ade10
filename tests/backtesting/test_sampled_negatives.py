"""Backtests of models that train on a log of positives with sampled negatives, against training on
every candidate.
"""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.training import candidate_sets
from tests.backtesting.feed import LEVELS, feed
from tests.backtesting.feed import shop as clicked
from tests.training.choices import DAY, LIVE, NIGHTLY, every_candidate, ranker, shop, times

DAILY = {"nightly": hw.Level(NIGHTLY)}
HOW = hw.Evaluation(
    split=times([30 * DAY])[0].isoformat(), metrics=["ndcg@10", "recall@50"], resamples=0
)


def measured(model, levels=DAILY, evaluation=HOW):
    return hw.backtest(model, levels, evaluation).result.levels


@pytest.fixture(scope="module")
def tables():
    return shop(days=40, requests=60)


@pytest.fixture(scope="module")
def full(tables):
    """NDCG of training on every candidate of each request, by estimator."""
    return {
        name: measured(ranker(tables[0], every_candidate(*tables), None, make()))[0]
        .metrics["ndcg@10"]
        .value
        for name, make in MAKE.items()
    }


MAKE = {
    "lambdarank": lambda: None,
    "logistic": lambda: make_pipeline(SimpleImputer(), LogisticRegression(C=1e6, max_iter=1000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["uniform", "popularity"])
@pytest.mark.parametrize("estimator", MAKE)
def test_sampled_training_ranks_nearly_as_full_training(tables, full, estimator, by):
    """8 of about 37 candidates a positive; both are tested on the same requests, on all candidates
    of each.
    """
    level = measured(ranker(*tables, hw.evaluation.NegativeSampling(8, by), MAKE[estimator]()))[0]
    print(estimator, by, level.metrics["ndcg@10"].value, full[estimator])
    assert level.metrics["ndcg@10"].value == pytest.approx(full[estimator], abs=0.02)
    assert level.metrics["recall@50"].value > 0.99
    assert "tested on all candidates" in level.note


def test_every_candidate_is_ranked_however_few_are_drawn(tables):
    """An order that knows nothing has the chosen item anywhere among all candidates, not among the
    chosen and one draw.
    """

    class Indifferent:
        def fit(self, X, y, sample_weight=None):
            return self

        def predict(self, X):
            return np.random.default_rng(len(X)).random(len(X))

    how = hw.Evaluation(split=HOW.split, metrics=["mrr@1000", "hit_rate@1"], resamples=0)
    level = measured(
        ranker(*tables, hw.evaluation.NegativeSampling(1), Indifferent()), evaluation=how
    )[0]
    assert level.metrics["hit_rate@1"].value < 0.08
    assert level.metrics["mrr@1000"].value == pytest.approx(
        np.mean([1 / k for k in range(1, 39)]), abs=0.04
    )


def test_an_item_that_is_no_candidate_is_missed(tables):
    catalogue, log = tables
    top = log["item"].value_counts(sort=True)["item"][0]
    level = measured(
        ranker(catalogue.filter(pl.col("item") != top), log, estimator=MAKE["logistic"]())
    )[0]
    late = log.filter(pl.col("chosen_at") >= times([30 * DAY])[0])
    assert level.metrics["recall@50"].value <= 1 - (late["item"] == top).mean()
    assert "training positives are not among the candidates and left out" in level.note
    assert (
        f"{100 * level.metrics['recall@50'].value:.1f} % of what was relevant is among the "
        "candidates"
    ) in level.note


@pytest.mark.slow
def test_batches_of_candidates_change_nothing(tables, monkeypatch):
    """Candidates that do not fit into memory are read in batches, and kept in files that are
    removed.
    """
    model, levels = (
        ranker(*tables, estimator=MAKE["logistic"]()),
        {"nightly": hw.Level(NIGHTLY), "live": hw.Level(LIVE)},
    )
    whole = measured(model, levels)
    folders = []

    def noted(prefix):
        folders.append(Path(tempfile.mkdtemp(prefix=prefix)))
        return str(folders[-1])

    monkeypatch.setattr("headwater.training.candidate_lists.mkdtemp", noted)
    monkeypatch.setattr(candidate_sets, "_MEMORY", 150_000)
    batched = measured(model, levels)
    values = [
        [{name: found.value for name, found in level.metrics.items()} for level in of]
        for of in (batched, whole)
    ]
    assert values[0] == values[1]
    assert folders
    assert not any(folder.exists() for folder in folders)


@pytest.mark.slow
def test_precomputed_lists_train_on_candidates_of_the_job():
    """The ladder of a feed: lists made nightly, ranked on request, and live, from its clicks
    alone.
    """
    clicks, _ = clicked(days=8, sessions=30)
    log = clicks.with_columns(chosen=pl.lit(1)).drop("category")
    of = feed(clicks, log)
    model = hw.Model(
        "feed",
        features=of.features,
        labels=hw.Labels(
            "clicked",
            table=log.drop("event_id"),
            timestamp_field="clicked_at",
            label="chosen",
            known_after="1m",
        ),
        task=hw.Ranking("request", "item", of.task.candidates, hw.evaluation.NegativeSampling(5)),
    )
    late = hw.precomputed(hw.batch("1d", delay="3h"), keys=["user"], otherwise="on_request")
    levels = {
        **LEVELS,
        "nightly, else on request": hw.Level(hw.batch("1d", delay="3h"), predictions=late),
    }
    results = {
        level.name: level
        for level in measured(
            model, levels, hw.Evaluation(metrics=["recall@50", "ndcg@10"], resamples=0)
        )
    }
    recall = {name: level.metrics["recall@50"].value for name, level in results.items()}
    assert 0 < recall["lists made nightly"] <= recall["nightly, else on request"]
    assert recall["ranked on request"] <= recall["all live"]
    assert all("negatives sampled from the candidates" in level.note for level in results.values())


@pytest.mark.slow
def test_a_trained_model_is_held_out_on_all_candidates(tables):
    model = ranker(*tables, estimator=MAKE["logistic"]())
    trained = hw.train(model, level=hw.Level(NIGHTLY), as_of="2025-01-01T00:00Z", holdout=HOW.split)
    assert "training" not in trained.metrics
    assert trained.metrics["holdout"]["ndcg@10"] == pytest.approx(
        measured(model)[0].metrics["ndcg@10"].value, abs=0.01
    )


@pytest.mark.slow
def test_refits_draw_halves_of_a_log_that_has_positives_alone(tables):
    how = hw.Evaluation(
        split=times([30 * DAY])[0].isoformat(), metrics=["ndcg@10"], resamples=50, refits=2
    )
    found = hw.backtest(ranker(*tables, hw.evaluation.NegativeSampling(4), None), DAILY, how).result
    assert "trained 3 times" in found.intervals


def test_the_usual_ladder_leaves_out_the_level_without_candidates():
    of = ranker(*shop(days=8, requests=30), estimator=MAKE["logistic"]())
    assert [level.name for level in measured(of, None, hw.Evaluation(resamples=0))] == [
        "daily",
        "hourly",
        "minute",
        "instant",
    ]
