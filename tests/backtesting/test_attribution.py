"""Which views earn from freshness: planted ones are named, no day is used twice, and nothing is
computed again.
"""

import dataclasses

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

import headwater as hw
from bench.validation.planted_effects import Planted, Shape, planted
from headwater.backtesting import experiment_rows, freshness_subsets
from headwater.backtesting.view_groups import find_units
from headwater.errors import LeakError
from headwater.training.resources import QUIET
from tests.backtesting.world import day, logistic

DAILY, INSTANT = hw.Level(hw.batch("1d", delay="4h")), hw.Level(hw.on_request())
SPLIT = "2024-03-28T00:00Z"
SIGNALS = [
    Planted("heat", 3, 1.0),
    Planted("dust", 5000, 0.5),
    Planted("belt", 6, 0.9),
    Planted("oil", 3, 0.0),
]


LEVELS = {"daily": DAILY, "instant": INSTANT}
SEARCH = ("groups", "view_costs", "share")


def attribute(model, levels=LEVELS, threads=None, **rules):
    search = {name: rules.pop(name) for name in SEARCH if name in rules}
    how = hw.Evaluation(**({"split": SPLIT, "resamples": 400} | rules))
    return hw.evaluation.attribution(
        model, levels, how, resources=hw.Resources(threads=threads), **search
    )


@pytest.fixture(scope="module")
def model():
    return planted(1, SIGNALS, estimator=logistic())


@pytest.fixture(scope="module")
def found(model):
    return attribute(
        model,
        view_costs={"heat": 10, "belt": 2, "dust": 1, "oil": 1},
        slices={"some": pl.col("machine") < 3},
    )


# ---- what it says


def test_the_plan_names_the_planted_views(model):
    plain = attribute(model)
    assert plain.chosen == ["heat", "belt"]
    assert set(plain.stay) == {"dust", "oil"}
    assert plain.plan.startswith("Stream heat and belt: ")
    assert plain.plan.endswith("; dust and oil may stay daily.")
    assert plain.worth
    assert 0.9 < plain.share.value < 1.1


@pytest.mark.slow
def test_it_agrees_with_a_backtest_of_the_levels_that_it_generates(model, found):
    """The same levels, their features computed by the backtest itself."""
    heat = hw.Level(
        {model.features.view("heat"): hw.on_request()}
        | {v: DAILY.features for v in model.features.views if v.name != "heat"}
    )
    levels = {"daily": DAILY, "heat": heat, "plan": found.level, "instant": INSTANT}
    other = hw.backtest(
        model,
        levels=levels,
        evaluation=hw.Evaluation(split=SPLIT, metrics=["auc"], resamples=0, cold_start=0),
    ).result
    value = {level.name: level.metrics["auc"].value for level in other.levels}
    assert (
        next(u for u in found.units if u.name == "heat").added.delta
        == value["heat"] - value["daily"]
    )
    assert found.whole.delta == value["instant"] - value["daily"]
    assert other.levels[2].describes == found.level.describe(model)


def test_noise_is_kept_stale():
    quiet = attribute(
        planted(3, [Planted("heat", 3, 0.0), Planted("oil", 3, 0.0)], estimator=logistic())
    )
    assert quiet.chosen == []
    assert quiet.plan.startswith("Keep all views daily")
    assert set(quiet.stay) == {"heat", "oil"}


def test_few_days_give_no_plan():
    few = attribute(
        planted(1, SIGNALS[:2], shape=Shape(days=30), estimator=logistic()), split=str(day(18))
    )
    assert few.plan.startswith("No plan: ")
    assert "test on 16 days or more" in few.plan
    assert few.chosen == []


def reading_outcomes(made, history):
    """The same model with a view of outcomes that are dated by the request."""
    source = hw.Source(
        "past_outcomes", history=history, timestamp_field="asked", select=["machine", "bad"]
    )
    past = hw.FeatureView(
        "past",
        source=source,
        keys=["machine"],
        features=[hw.mean("bad")],
        windows=["3h"],
        freshness=DAILY.features,
    )
    return dataclasses.replace(
        made, features=hw.FeatureService("leaky", [*made.features.features, past])
    )


def test_a_leak_leaves_no_plan():
    made = planted(1, SIGNALS[:1], estimator=logistic())
    rows = made.labels.table.data
    with pytest.raises(LeakError):
        attribute(reading_outcomes(made, rows))
    leaky = attribute(
        reading_outcomes(made, rows.drop("known").sample(fraction=1.0, shuffle=True, seed=0))
    )
    assert leaky.plan.startswith("No plan: a leak in 'past_outcomes'")


# ---- how it is made


def test_days_that_choose_do_not_report(model):
    """Were the outcomes of all reporting days the other way round, the choice would be the same."""
    mix = mixture(model)
    made = mix.experiment
    days = made.blocks
    assert not set(days[mix.choosing]) & set(days[~mix.choosing])
    assert abs(len(set(days[mix.choosing])) - len(set(days[~mix.choosing]))) <= 1
    before = mix.value(mix.all)
    mix._values.clear()
    rows, spoiled = made.test[~mix.choosing], made.outcomes.y.copy()
    spoiled[rows] = 1 - spoiled[rows]
    other = dataclasses.replace(
        mix,
        experiment=dataclasses.replace(
            made, outcomes=dataclasses.replace(made.outcomes, y=spoiled)
        ),
    )
    assert other.value(mix.all) == before


def test_what_is_reported_is_of_the_days_that_did_not_choose(model, found):
    """AUC of every second day, by scikit-learn, of the models of the plan and of the stale
    level.
    """
    mix = mixture(model)
    mix.train([frozenset(), frozenset(found.chosen)])
    requests, outcomes, test = mix.experiment.requests, mix.experiment.outcomes, mix.experiment.test
    day_number = requests.t[test] // 86_400_000_000
    odd = np.isin(day_number, np.unique(day_number)[1::2])
    stale, plan = (
        roc_auc_score(outcomes.y[test][odd], of.seeds[0].score[odd]) for of in mix._scores.values()
    )
    assert found.lift.delta == pytest.approx(plan - stale, abs=1e-12)
    assert found.path[-1].lift.delta == found.lift.delta


def mixture(model, split=SPLIT):
    rows = experiment_rows.prepare(
        model, LEVELS, hw.Evaluation(split=split, metrics=["auc"], resamples=200), QUIET
    )
    return freshness_subsets.Mixtures(
        rows, DAILY, INSTANT, ("daily", "instant"), find_units(model, DAILY, INSTANT, None)
    )
