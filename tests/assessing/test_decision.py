"""The verdict, by its rules: rows of levels, lifts, money and readiness, and what has to be said of
them.
"""

import math
from itertools import combinations

import pytest
from msgspec import structs

from headwater.assessing.cost import costed
from headwater.assessing.cost_inputs import Inputs
from headwater.assessing.decision import decide, judged_by_money
from headwater.assessing.lift import lift_of
from headwater.backtesting.verdicts import verdict_of
from headwater.pages.recommending import with_recommendation
from headwater.results.audit_result import AuditFinding, AuditResult
from headwater.results.backtest_result import LevelResult, Value
from headwater.results.decision_result import Evidence
from headwater.results.estimate import Comparison, Estimate
from headwater.results.measurement import Missing, Number
from tests.assessing.conftest import project, source, view
from tests.assessing.test_cost import A, C
from tests.backtesting.sample_result import flights

NONE = Missing("not looked at")
RUNS = {"daily": 1.0, "hourly": 24.0}
LEVELS = {
    "none": ("batch", None),
    "daily": ("batch", 57_600.0),
    "hourly": ("batch", 2_700.0),
    "minute": ("real-time", 60.0),
    "instant": ("real-time", 0.0),
}
LEAST = 0.005


def said(
    values, half=0.003, *, baseline="daily", leak=False, money=None, attribution=None, value=None
):
    """A backtest whose levels have these values, and each difference this half width; `money`: each
    saves so much over the baseline.
    """
    names, metric = list(values), "auc" if value is None else f"precision@{100 * value.acted_on:g}%"
    comparisons = []
    for a, b in combinations(names, 2):
        delta = values[b] - values[a]
        low, high = delta - half, delta + half
        verdict = verdict_of(low, high, LEAST) if a == baseline else "not judged"
        comparisons.append(
            Comparison(
                a,
                b,
                metric,
                delta,
                low,
                high,
                half,
                verdict,
                f"{verdict}: {delta:+.3f}",
                0.001,
                len(names) - 1,
            )
        )
        comparisons += (
            [Comparison(a, b, "cost", money, money, money, 0.0, "not judged", "")] if money else []
        )
    levels = [
        LevelResult(
            n,
            LEVELS[n][0],
            n,
            LEVELS[n][1],
            {metric: Estimate(values[n], math.nan, math.nan)},
            1.0,
            runs_a_day=RUNS.get(n),
        )
        for n in names
    ]
    leaks = (
        [AuditFinding("label rows", "LEAK", "source 'x'", "holds the label", "leave it out")]
        if leak
        else []
    )
    return with_recommendation(
        structs.replace(
            flights(),
            model="fraud",
            headline=metric,
            levels=levels,
            comparisons=comparisons,
            slices=[],
            audit=AuditResult(leaks),
            attribution=attribution,
            baseline=baseline,
            value=value,
            min_lift={metric: LEAST},
        )
    )


def spent(lift=None, **given):
    """A cost of the worked examples' inputs, and of the levels of a backtest."""
    readings = {
        name: Number(value, "", "given", "here")
        for name, value in (C | A | {"tau": 60} | given).items()
    }
    own = {"E": readings["E"], "A": readings["A"], "U": readings["U"], "tau": readings["tau"]}
    of = project(view(source()))
    return costed(
        of.models[0], Inputs(readings, NONE, {"card": own}), None if lift is None else lift_of(lift)
    )


def evidence(lift, *, cost=NONE, readiness=NONE, views=("card",)):
    return Evidence(views, lift if isinstance(lift, Missing) else lift_of(lift), cost, readiness)


# ---------------------------------------------------------------- which level


@pytest.mark.parametrize(
    ("values", "half", "action", "level"),
    [
        ({"daily": 0.60, "hourly": 0.62, "minute": 0.64}, 0.003, "stream these views", "minute"),
        ({"daily": 0.60, "hourly": 0.64, "minute": 0.641}, 0.003, "go hourly", "hourly"),
        ({"daily": 0.60, "hourly": 0.601, "minute": 0.601}, 0.003, "stay batch", "daily"),
        ({"none": 0.60, "daily": 0.64, "hourly": 0.641}, 0.003, "stay batch", "daily"),
        (
            {"daily": 0.60, "minute": 0.62, "instant": 0.64},
            0.003,
            "compute these at request time",
            "instant",
        ),
        (
            {"daily": 0.60, "hourly": 0.64, "minute": 0.60, "instant": 0.61},
            0.003,
            "go hourly",
            "hourly",
        ),
        # No neighbour is told from the next, and the freshest is from the baseline: that is not
        # "stay batch".
        ({"daily": 0.60, "hourly": 0.6145, "minute": 0.629}, 0.012, "not decided", ""),
        ({"daily": 0.60, "hourly": 0.62}, 0.03, "not decided", ""),
    ],
)
def test_the_action_is_that_of_the_recommendation(values, half, action, level):
    lift = said(values, half)
    made = decide(evidence(lift))
    assert (made.action, made.level) == (action, level)
    assert made.sentence.startswith(lift.recommendation.first_line)
    assert made.first_line == lift.recommendation.first_line


@pytest.mark.parametrize(
    ("lift", "rule", "words"),
    [
        (Missing("no labels"), "unknown", "no labels"),
        (said({"daily": 0.6, "minute": 0.7}, leak=True), "leak", "holds the label"),
        (said({"daily": 0.6}), "recommendation", "only one level"),
        (said({"daily": 0.60, "hourly": 0.62}, 0.03), "recommendation", "more days would"),
    ],
)
def test_nothing_is_decided_on_nothing(lift, rule, words):
    found = evidence(lift)
    made = decide(found)
    assert made.action == "not decided"
    assert made.rules[0][0] == rule
    assert words in made.sentence


def test_the_gain_is_over_the_baseline():
    made = decide(evidence(said({"none": 0.5, "daily": 0.6, "hourly": 0.61, "minute": 0.64})))
    assert made.base == "daily"
    assert made.gain == pytest.approx(0.04)


# ---------------------------------------------------------------- money

STREAMED = said({"daily": 0.60, "hourly": 0.62, "minute": 0.64})


def worth(point):
    """What decisions are worth where 0.01 of precision is worth so much a day."""
    return Value(100 * point, 0.1, 8, 2)


def streamed(point):
    return said({"daily": 0.60, "hourly": 0.62, "minute": 0.64}, value=worth(point))


def by_money(lift, **given):
    return judged_by_money(evidence(lift, **given))


def test_what_costs_more_than_it_earns_is_not_taken():
    """The stream costs 69.79 a day by hand. Worth 1,000 for 0.01, the gain of 0.04 pays for any
    level; worth 1, it pays for none.
    """
    spending = spent(lift=STREAMED, U=1e5)
    costs = {each.level: each.a_day.value for each in spending.levels}
    # the stream, and on request instead of in batch
    assert costs["minute"] == pytest.approx(3.84 + 62.5 + 0.42 + 3.16 - 0.13, abs=0.01)
    assert costs["daily"] < costs["hourly"], "going hourly has a price"
    rich = by_money(streamed(1_000), cost=spending)
    assert decide(rich).level == "minute"
    assert decide(rich).earns.value == pytest.approx(4 * 1_000.0)
    assert decide(rich).extra.value == pytest.approx(costs["minute"] - costs["daily"])
    poor = by_money(streamed(1), cost=spending)
    assert decide(poor).level == "daily"
    assert {s.verdict for s in poor.lift.steps} == {"negligible"}, "no page says LIFT above: stay"


def test_break_even_is_where_the_gain_pays_for_the_level():
    """1,000 predictions a day, 10 % acted on, a hit of 8 and a false alarm of 2: 0.01 of precision
    is worth 100 x 10 x 0.01 = 10 a day.
    """
    value = Value(1_000, 0.1, 8, 2, costs={"daily": 5, "minute": 25})
    lift = said({"daily": 0.60, "minute": 0.64}, value=value)
    found = by_money(lift)
    # 20 a day more, 1,000 for 1
    assert found.lift.backtest.recommendation.break_even == {"minute": pytest.approx(0.02)}
    assert decide(found).level == "minute"
    assert decide(found).earns.value == pytest.approx(40.0)
    # 0.016 of precision is left of 0.04
    late = structs.replace(lift, value=structs.replace(value, late=0.6))
    assert by_money(late).lift.backtest.recommendation.break_even == {"minute": pytest.approx(0.05)}
    assert decide(by_money(late)).level == "daily"


def test_the_costs_of_errors_are_money_where_nobody_said_what_a_decision_is_worth():
    lift = said({"daily": 0.60, "minute": 0.64}, money=2.0)
    made = decide(evidence(lift, cost=spent(R=1e6)))
    assert made.earns.value == pytest.approx(2.0 * 1e6 / 1000)
    assert (
        decide(evidence(said({"daily": 0.60, "minute": 0.64}), cost=spent())).earns.to_dict()[
            "value"
        ]
        is None
    )
