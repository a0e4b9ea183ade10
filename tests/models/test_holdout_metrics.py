"""Train and backtest judge the same rows alike."""

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

import headwater as hw
from tests.models.worlds import FIELDS, RANKING, START, model, table

HALF = START.replace(hour=10)


def test_lists_of_tied_scores_have_the_same_ndcg_in_train_and_backtest():
    rows = table(per_list=15)
    # fitted, so that both score with it: every row is tied
    constant = DummyRegressor().fit(np.zeros((2, 2)), [1.0, 2.0])
    tied = model(RANKING, rows=rows, estimator=constant, fields=FIELDS[:2])
    trained = hw.train(tied, holdout=HALF)
    result = hw.backtest(
        tied,
        levels={"only": hw.Level()},
        evaluation=hw.Evaluation(split=HALF, metrics=["ndcg@10"], resamples=0),
    ).result
    assert trained.metrics["holdout"] == pytest.approx(
        {"ndcg@10": result.levels[0].metrics["ndcg@10"].value}, abs=1e-15
    )
