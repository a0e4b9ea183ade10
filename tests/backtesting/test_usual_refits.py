"""A backtest trains each level again unless it is told not to, says what that took, and shows the
fitted models separately.
"""

import pytest
from sklearn.base import clone

import headwater as hw
from headwater.definitions import evaluations
from tests.backtesting.world import STALE_AND_FRESH, day, judge, level, logistic, model, step, world

GIVEN = {"levels": STALE_AND_FRESH, "split": day(16), "metrics": ["auc"], "resamples": 200}


@pytest.fixture(scope="module")
def made():
    return world()


@pytest.fixture(autouse=True)
def usual(monkeypatch, one_fit_a_level):
    monkeypatch.setattr(evaluations, "USUAL_REFITS", hw.evaluation.Refits())


def test_the_default_trains_again_and_keeps_the_values_of_the_first_fit(made):
    for estimator in ("logistic", None):
        of = model(made, estimator=estimator)
        usual, once = judge(of, **GIVEN), judge(of, **GIVEN, refits=0)
        for name in STALE_AND_FRESH:
            assert level(usual, name).metrics["auc"].value == level(once, name).metrics["auc"].value
        procedure, alone = step(usual, "daily", "hourly"), step(once, "daily", "hourly")
        assert procedure.delta == alone.delta
        assert procedure.high - procedure.low >= alone.high - alone.low
        assert repr(usual.fixed_models) == repr(once.fixed_models)
        assert (usual.fixed_models[0].low, usual.fixed_models[0].high) == (alone.low, alone.high)


def test_a_fitted_estimator_is_not_trained_again(made):
    rows = made.rows.select("amount")
    fitted = clone(logistic()).fit(rows.to_pandas().to_numpy(), made.rows["bad"].to_numpy())
    of = model(made, estimator=fitted, members=[hw.RequestField("amount", float)])
    result = judge(
        of,
        {"a": hw.Level(hw.never()), "b": hw.Level(hw.never())},
        split=day(16),
        metrics=["auc"],
        resamples=100,
    )
    assert "fitted models only" in result.intervals
    assert "refits" not in result.seconds


@pytest.mark.slow
def test_refits_are_the_same_with_any_number_of_threads(made):
    of = model(made, estimator=None)
    assert repr(judge(of, **GIVEN, threads=1).comparisons) == repr(
        judge(of, **GIVEN, threads=4).comparisons
    )
