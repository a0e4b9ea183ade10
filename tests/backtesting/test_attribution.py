"""Which views earn from freshness: planted ones are named, no day is used twice, and nothing is
computed again.
"""

import dataclasses
import datetime as dt
import io
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console
from sklearn.metrics import roc_auc_score

import headwater as hw
from headwater.backtesting import experiment_rows, freshness_subsets
from headwater.backtesting.attribution import _Attributing
from headwater.backtesting.view_groups import find_units, mixed_level
from headwater.errors import LeakError, UsageError
from headwater.reports import attribution_words, to_html
from headwater.testing.planted_effects import Planted, Shape, planted
from headwater.training.resources import QUIET
from tests.backtesting.world import day, logistic
from tests.effort import tries

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
def test_both_directions_are_told(found):
    verdicts = {unit.name: (unit.added.verdict, unit.removed.verdict) for unit in found.units}
    assert verdicts["heat"] == verdicts["belt"] == ("LIFT", "LIFT")
    assert verdicts["dust"] == verdicts["oil"] == ("negligible", "negligible")
    assert {unit.added.family for unit in found.units} == {8}, "all eight steps are one family"


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


def test_the_level_of_the_plan_has_its_views_fresh(model, found):
    assert {
        v.name for v in model.features.views if found.level.freshness(v) == hw.on_request()
    } == set(found.fresh_views)


def test_costs_come_first_and_efficient_sets_rise(found):
    assert [step.name for step in found.path] == ["belt", "heat"], "belt gives more for its money"
    assert (found.cost, found.cost_of_all) == (12, 14)
    costs = [one.cost for one in found.efficient]
    assert costs == sorted(set(costs))
    assert found.efficient[-1].lift.delta > 0.05
    assert all(
        math.isclose(one.per_unit, one.cost / one.lift.delta)
        for one in found.efficient
        if one.lift.delta > 0
    )


def test_noise_is_kept_stale():
    quiet = attribute(
        planted(3, [Planted("heat", 3, 0.0), Planted("oil", 3, 0.0)], estimator=logistic())
    )
    assert quiet.chosen == []
    assert quiet.plan.startswith("Keep all views daily")
    assert set(quiet.stay) == {"heat", "oil"}


def test_views_that_tell_something_only_together_are_found(model):
    assert path_of({"a": 0, "b": 0, "c": 0}, together={"a", "b"}) == ["a", "b"]


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


def test_slices_without_the_lift_are_told():
    """A machine that reads nothing has nothing to gain from fresher readings."""
    made = planted(2, [Planted("heat", 3, 1.0), Planted("oil", 3, 0.0)], estimator=logistic())
    told = attribute(made, slices={"nobody": pl.col("amount") > 99, "half": pl.col("machine") < 3})
    assert told.slices[0].whole is None
    assert told.slices[1].whole.verdict == "LIFT"
    flat = attribute(
        planted(3, [Planted("heat", 3, 0.0)], estimator=logistic()),
        slices={"half": pl.col("machine") < 3},
    )
    assert any(note.startswith("half: daily → instant is not a lift") for note in flat.notes)


def test_slices_where_only_the_plan_is_not_a_lift_are_told(found):
    assert found.slices[0].whole.verdict == found.slices[0].lift.verdict == "LIFT"
    assert not any(note.startswith("some:") for note in attribution_words.notes(found))
    unsure = structs.replace(
        found.slices[0].lift, verdict="inconclusive", sentence="not proven: +0.023 [-0.001, +0.046]"
    )
    told = attribution_words.notes(
        structs.replace(found, slices=[structs.replace(found.slices[0], lift=unsure)])
    )
    assert "some: the plan is not a lift (not proven: +0.023 [-0.001, +0.046])." in told


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


@pytest.mark.slow
def test_features_of_both_levels_are_computed_in_one_pass(model, monkeypatch):
    passes = []
    real = experiment_rows.level_rows
    monkeypatch.setattr(
        experiment_rows, "level_rows", lambda *given: passes.append(given[2]) or real(*given)
    )
    attribute(model, resamples=0)
    assert [list(levels) for levels in passes] == [["stale", "fresh"]]


@settings(max_examples=tries(200), deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sets(st.integers(0, 12), max_size=6), min_size=1)
)
def test_trying_again_only_what_may_be_best_finds_the_greedy_path(covers):
    """What a set covers: there a view adds less the more are fresh."""
    weight = np.random.default_rng(0).random(13)

    def value(chosen):
        return float(sum(weight[sorted(set().union(*(covers[name] for name in chosen)))]))

    now, naive = frozenset(), []
    while len(now) < len(covers) and value(now) < 0.95 * value(covers):
        gains = {
            name: value(now | {name}) - value(now) for name in sorted(covers) if name not in now
        }
        best = max(gains, key=gains.get)
        if gains[best] <= 0:
            break
        naive.append(gains[best])
        now |= {best}
    path = path_of(dict.fromkeys(sorted(covers), 0), value=value)
    gains = np.diff([value(path[:n]) for n in range(len(path) + 1)])
    assert gains == pytest.approx(naive)


class Valued:
    """Mixtures whose values are made up."""

    def __init__(self, names, value):
        self.units = [type("Unit", (), {"name": name}) for name in names]
        self.all, self.value = frozenset(names), value

    def train(self, sets):
        list(sets)


def path_of(names, value=None, together=frozenset()):
    value = value or (lambda chosen: float(bool(together) and together <= chosen))
    sets = _Attributing(Valued(names, value), None, 0.95)._path()
    return [next(iter(now - was)) for was, now in zip([frozenset(), *sets], sets, strict=False)]


def mixture(model, split=SPLIT):
    rows = experiment_rows.prepare(
        model, LEVELS, hw.Evaluation(split=split, metrics=["auc"], resamples=200), QUIET
    )
    return freshness_subsets.Mixtures(
        rows, DAILY, INSTANT, ("daily", "instant"), find_units(model, DAILY, INSTANT, None)
    )


# ---- attributions


def _tied():
    """A view keyed by a feature of another, a request feature of two, and one by itself."""
    base = planted(0, SIGNALS, shape=Shape(days=20), estimator=logistic())
    heat, dust, belt, oil = base.features.views
    busy = dataclasses.replace(heat, name="busy", features=[hw.count()], windows=["3h"])
    grades = pl.DataFrame(
        {
            "busy": [n % 19 for n in range(400)],
            "at": [day(0) + dt.timedelta(hours=n) for n in range(400)],
        }
    )
    source = hw.Source("grades", history=grades, timestamp_field="at")
    grade = hw.FeatureView(
        "grade",
        source=source,
        keys=["busy"],
        features=[hw.since_last()],
        windows=["7d"],
        freshness=DAILY.features,
        request_keys={"busy": busy["count_3h"]},
    )

    @hw.request_feature
    def both(
        a: float | None = dust["last_state_7d"], b: float | None = belt["last_state_7d"]
    ) -> float:
        return (a or 0) + (b or 0)

    service = hw.FeatureService(
        "tied", [busy, dust, belt, oil, grade, both, hw.RequestField("amount", float)]
    )
    return hw.Model(
        "breaks", task="binary", features=service, labels=base.labels, estimator=logistic()
    )


def test_views_of_one_value_are_one_unit():
    units = find_units(_tied(), DAILY, INSTANT, None)
    assert [unit.name for unit in units] == ["busy + grade", "dust + belt", "oil"]
    assert [bool(unit.joined) for unit in units] == [True, True, False]


@pytest.mark.parametrize(
    "fresh", [(), ("busy + grade",), ("dust + belt", "oil"), ("busy + grade", "dust + belt", "oil")]
)
def test_mixed_columns_are_those_of_the_mixed_level(fresh):
    model = _tied()
    mix = mixture(model, str(day(10)))
    units = [unit for unit in mix.units if unit.name in fresh]
    mixed = freshness_subsets.mixed_rows(model, *mix._ends, units).frame
    computed = hw.get_historical_features(
        model.features, model.labels, level=mixed_level(model, DAILY, INSTANT, units)
    )
    assert mixed.equals(computed.select(mixed.columns), null_equal=True)


@pytest.mark.slow
def test_views_of_a_source_or_a_group_are_fresh_together(model):
    by_source = attribute(model, groups="source", resamples=0)
    assert {unit.name for unit in by_source.units} == {f"{s.name}_readings" for s in SIGNALS}
    grouped = find_units(model, DAILY, INSTANT, {"machine": ["heat", model.features.view("oil")]})
    assert [(unit.name, [v.name for v in unit.views]) for unit in grouped] == [
        ("machine", ["heat", "oil"]),
        ("dust", ["dust"]),
        ("belt", ["belt"]),
    ]


# ---- refusals


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"levels": {"daily": DAILY, "also daily": DAILY}}, "nothing to attribute"),
        ({"levels": {"daily": "1d", "instant": INSTANT}}, "give a Level or a freshness"),
        ({"levels": {"daily": DAILY}}, "needs two levels"),
        (
            {
                "levels": {
                    "daily": hw.Level(
                        DAILY.features, hw.precomputed(DAILY.features, keys=["machine"])
                    ),
                    "instant": INSTANT,
                }
            },
            "predictions are precomputed",
        ),
        ({"share": 0}, "above 0 and up to 1"),
        ({"min_lift": -1}, "give 0 or more"),
        ({"groups": "sources"}, "give 'source'"),
        ({"groups": {"x": ["heet"]}}, "did you mean 'heat'?"),
        ({"groups": {"x": ["heat"], "y": ["heat"]}}, "in two groups"),
        ({"view_costs": {"heet": 1}}, "did you mean 'heat'?"),
        ({"view_costs": {"heat": 1}}, "view_costs lacks 'dust'"),
        ({"view_costs": {"heat": -1, "dust": 1, "belt": 1, "oil": 1}}, "give money a day"),
        ({"metrics": ["acu"]}, "did you mean 'auc'?"),
    ],
)
def test_it_refuses(model, rules, said):
    with pytest.raises(UsageError) as caught:
        attribute(model, **rules)
    assert said in str(caught.value)


def test_levels_that_differ_in_known_after_are_refused(model):
    source = model.features.sources[0]
    with pytest.raises(UsageError, match="known_after"):
        attribute(
            model, {"daily": DAILY, "soon": hw.Level(hw.on_request(), known_after={source: "1h"})}
        )


# ---- how it is shown


def test_it_is_json_and_a_table(found):
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["plan"] == found.plan
    assert data["fresh_views"] == list(found.fresh_views)
    assert {unit["name"] for unit in data["units"]} == {s.name for s in SIGNALS}
    assert data["units"][0]["added"]["from"] == "daily"
    written = io.StringIO()
    Console(width=160, file=written).print(found)
    text = written.getvalue()
    assert "One at a time" in text
    assert "money a day" in text
    assert "+ belt" in text


def test_a_report_has_it_as_a_part(model, found):
    made = hw.backtest(
        model,
        levels={"daily": DAILY, "instant": INSTANT},
        evaluation=hw.Evaluation(split=SPLIT, resamples=0, cold_start=0),
    ).result
    assert 'id="attribution"' not in to_html(made)
    page = to_html(structs.replace(made, attribution=found.plain))
    assert 'id="attribution"' in page
    assert "stream belt and heat" in page.lower()
