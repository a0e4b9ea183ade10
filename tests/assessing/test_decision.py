"""The verdict, by its rules: rows of levels, lifts, money and readiness, and what has to be said of them."""

import math
from dataclasses import replace

import pytest

from headwater.assessing.cost import costed
from headwater.assessing.cost_inputs import Inputs
from headwater.assessing.decision import decide
from headwater.assessing.decision_words import changes
from headwater.assessing.lift import lift_of
from headwater.assessing.stages import staged
from headwater.results.decision_result import Barred, Evidence, alike
from headwater.results.lift_result import Earned
from headwater.results.measurement import Missing, Number
from headwater.results.readiness_result import LEARNING, ONLINE, Blocker, Ladder, Readiness, ViewReadiness
from tests.assessing.conftest import project, source, view
from tests.assessing.test_cost import A, C

NONE = Missing("not looked at")
LEVELS = {
    "none": ("batch", None),
    "daily": ("batch", 57_600.0),
    "hourly": ("batch", 2_700.0),
    "minute": ("real-time", 60.0),
    "instant": ("real-time", 0.0),
}
BOUNDS = {"LIFT": (0.01, 0.03), "harm": (-0.03, -0.01), "not shown": (-0.01, 0.02), "no lift worth having": (-0.002, 0.003)}


def step(from_, to, verdict, metric="auc", delta=None):
    low, high = BOUNDS[verdict]
    delta = (low + high) / 2 if delta is None else delta
    sentence = f"{verdict}: {delta:+.3f}"
    return {"from": from_, "to": to, "metric": metric, "delta": delta, "low": low, "high": high, "detectable": 0.02, "verdict": verdict} | {
        "sentence": sentence
    }


def said(names, verdicts, *, whole=None, leak=False, money=None, attribution=None):
    """What a backtest of these levels says, in the form of its JSON."""
    pairs = list(zip(names, names[1:], verdicts, strict=False))
    paired = [step(*pair) for pair in pairs]
    paired += [step(names[0], names[-1], whole)] if whole else []
    paired += [step(a, b, "LIFT", "cost", money) for a, b, _ in pairs] if money else []
    leaks = [{"subject": "source 'x'", "message": "holds the label", "severity": "leak"}] if leak else []
    return {
        "model": "fraud",
        "headline": "auc",
        "levels": [
            {"name": n, "kind": LEVELS[n][0], "describes": n, "age_seconds": LEVELS[n][1], "metrics": {"auc": {"value": 0.7}}}
            for n in names
        ],
        "paired": paired,
        "leak_audit": leaks,
        "attribution": attribution,
    }


def attributed(chosen, stay):
    """An attribution that makes some views fresh, in this order."""
    units = [{"name": name, "views": [name], "added": step("daily", "minute", "LIFT")} for name in [*chosen, *stay]]
    path = [{"name": name, "gain": step("daily", "minute", "LIFT")} for name in chosen]
    return {"stale": "daily", "fresh": "minute", "plan": "a plan", "chosen": chosen, "stay": stay, "units": units, "path": path}


def ready(**blockers):
    """Views with the state of what bars them from streaming, None for nothing."""
    views = []
    for name, state in blockers.items():
        barred = [] if state is None else [Blocker("streaming", state, "E3", f"view {name}: ingest lag: 9 s", "shorten it")]
        views.append(ViewReadiness(name, "1m", "hourly" if barred else "at request time", "at request time", (barred or [None])[0], barred))
    ladders = Ladder("online", ONLINE, 1, 3, []), Ladder("learning", LEARNING, 0, 3, [])
    return Readiness("shop", "now", views, [], *ladders, {})


def spent(**given):
    """A cost of the worked examples' inputs."""
    readings = {name: Number(value, "", "given", "here") for name, value in (C | A | {"tau": 60} | given).items()}
    own = {"E": readings["E"], "A": readings["A"], "U": readings["U"], "tau": readings["tau"]}
    of = project(view(source()))
    return costed(of.models[0], Inputs(readings, NONE, {"card": own}))


def evidence(lift, *, cost=NONE, readiness=NONE, worth=None, views=("card",)):
    return Evidence(views, lift if isinstance(lift, Missing) else lift_of(lift), cost, readiness, worth)


# ---------------------------------------------------------------- which level


@pytest.mark.parametrize(
    ("names", "verdicts", "whole", "action", "level"),
    [
        ("daily hourly minute", ["LIFT", "LIFT"], "LIFT", "stream these views", "minute"),
        ("daily hourly minute", ["LIFT", "not shown"], "LIFT", "go hourly", "hourly"),
        ("daily hourly minute", ["LIFT", "no lift worth having"], "LIFT", "go hourly", "hourly"),
        ("daily hourly minute", ["not shown", "not shown"], "not shown", "stay batch", "daily"),
        ("daily hourly minute", ["no lift worth having", "harm"], "not shown", "stay batch", "daily"),
        ("none daily hourly", ["LIFT", "no lift worth having"], "LIFT", "stay batch", "daily"),
        ("daily minute instant", ["LIFT", "LIFT"], "LIFT", "compute these at request time", "instant"),
        ("daily minute instant", ["LIFT", "not shown"], "LIFT", "stream these views", "minute"),
        # A step that is not shown between two LIFTs does not stop the walk; a harm does.
        ("daily hourly minute", ["not shown", "LIFT"], "LIFT", "stream these views", "minute"),
        ("daily hourly minute instant", ["LIFT", "harm", "LIFT"], "LIFT", "go hourly", "hourly"),
        # All together are a LIFT, and no single step is.
        ("daily hourly minute", ["not shown", "not shown"], "LIFT", "stream these views", "minute"),
        ("daily hourly minute", ["harm", "not shown"], "LIFT", "stay batch", "daily"),
    ],
)
def test_only_a_lift_counts(names, verdicts, whole, action, level):
    made = decide(evidence(said(names.split(), verdicts, whole=whole)))
    assert (made.action, made.level) == (action, level)


@pytest.mark.parametrize(
    ("lift", "rule", "words"),
    [
        (Missing("no labels"), "unknown", "no labels"),
        (said(["daily", "minute"], ["LIFT"], leak=True), "leak", "holds the label"),
        (said(["daily"], []), "unknown", "no two levels"),
    ],
)
def test_nothing_is_decided_on_nothing(lift, rule, words):
    found = evidence(lift)
    made = decide(found)
    assert made.action == "not decided"
    assert made.rules[0][0] == rule
    assert words in made.sentence
    assert staged(found, made).stages == []
    assert changes(found, made)


def test_the_gain_is_over_what_batch_gives():
    made = decide(evidence(said(["none", "daily", "hourly", "minute"], ["LIFT", "not shown", "LIFT"], whole="LIFT")))
    assert made.base == "daily"
    assert made.gain == pytest.approx(0.005 + 0.02)


# ---------------------------------------------------------------- money

STREAMED = said(["daily", "hourly", "minute"], ["LIFT", "LIFT"], whole="LIFT")


def test_what_costs_more_than_it_earns_is_not_taken():
    extra = decide(evidence(STREAMED, cost=spent())).extra
    assert extra.value == pytest.approx(3.84 + 62.5 + 0.42, abs=0.01)  # the stream of one view; answers cost the same on request
    price = decide(evidence(STREAMED, cost=spent())).per_point.value
    assert price == pytest.approx(extra.value / 4)  # +0.04 in two steps
    assert decide(evidence(STREAMED, cost=spent(), worth=price * 1.01)).action == "stream these views"
    below = decide(evidence(STREAMED, cost=spent(), worth=price * 0.99))
    assert below.action == "go hourly"
    assert [rule for rule, _ in below.rules][:2] == ["lift", "money"]
    assert "costs" in dict(below.rules)["money"]


def test_money_stays_batch_where_no_cheaper_lift_is_left():
    made = decide(evidence(said(["daily", "minute"], ["LIFT"]), cost=spent(), worth=0.0))
    assert made.action == "stay batch"
    assert "so it does not pay" in made.sentence


def test_the_costs_of_a_backtest_are_money_where_nobody_said_what_a_point_is_worth():
    lift = said(["daily", "minute"], ["LIFT"], money=2.0)
    made = decide(evidence(lift, cost=spent(R=1e6)))
    assert made.earns.value == pytest.approx(2.0 * 1e6 / 1000)
    assert decide(evidence(said(["daily", "minute"], ["LIFT"]), cost=spent())).earns.to_dict()["value"] is None


def test_money_that_is_not_known_is_said_and_decides_nothing():
    made = decide(evidence(STREAMED, worth=1.0))
    assert made.action == "stream these views"
    assert "The cost is not known: not looked at." in made.sentence


# ---------------------------------------------------------------- views, readiness, plan


def test_the_attribution_chooses_the_views_and_their_order():
    lift = said(["daily", "minute"], ["LIFT"], attribution=attributed(["shop", "card"], ["user"]))
    found = evidence(lift, views=("card", "shop", "user"), readiness=ready(card=None, shop=None, user="red"))
    made = decide(found)
    assert list(made.views) == ["shop", "card"]
    assert made.attributed
    assert made.barred == []  # user is barred, and need not be fresh
    plan = staged(found, made)
    assert [stage.name for stage in plan.stages] == ["on request, batch features", "shop", "card"]
    assert [stage.transition for stage in plan.stages] == [1, 2, 2]
    assert plan.stay == ["user"]


def test_without_an_attribution_all_views_are_named_and_that_is_said():
    found = evidence(said(["daily", "minute"], ["LIFT"]), views=("card", "shop"))
    made = decide(found)
    assert list(made.views) == ["card", "shop"]
    assert "which of them earn is not known" in made.sentence
    assert any(change.input == "which views earn" for change in changes(found, made))


@pytest.mark.parametrize(
    ("state", "lead", "stage"), [("red", "Blocked: card", "blocked"), ("unknown", "Not possible yet: card", "not known")]
)
def test_what_is_in_the_way_is_named_and_what_can_be_done_until_then(state, lead, stage):
    found = evidence(STREAMED, readiness=ready(card=state))
    made = decide(found)
    assert made.action == "stream these views"
    assert lead in made.sentence
    assert made.until == "go hourly"  # which is a LIFT of its own
    assert staged(found, made).stages[1].state == stage
    assert any(change.input == "E3 of card" for change in changes(found, made))


def test_nothing_in_the_way():
    found = evidence(STREAMED, readiness=ready(card=None))
    made = decide(found)
    assert "No blocker was found." in made.sentence
    assert made.until == made.action
    assert staged(found, made).stages[1].state == "ready"


def test_each_step_that_is_not_taken_says_what_would_take_it():
    found = evidence(said(["daily", "hourly", "minute"], ["LIFT", "not shown"], whole="LIFT"))
    tips = {change.input: change for change in changes(found, decide(found))}
    assert tips["lift of hourly to minute"].then == "stream"
    assert "0.02 would have been detected" in tips["lift of hourly to minute"].threshold
    assert tips["lift of daily to hourly"].then == "stay batch"


def test_a_price_tips_the_verdict_where_it_says():
    found = evidence(STREAMED, cost=spent())
    made = decide(found)
    tip = next(change for change in changes(found, made) if change.input == "worth of 0.01 of auc")
    assert tip.now == "not given"
    assert f"{made.per_point.value:,.3g}" in tip.threshold
    assert not math.isnan(made.per_point.value)


@pytest.mark.parametrize(("verdicts", "then"), [(["LIFT", "LIFT"], "go hourly"), (["not shown", "LIFT"], "stay batch")])
def test_without_its_last_lift_the_one_before_is_taken(verdicts, then):
    found = evidence(said(["daily", "hourly", "minute"], verdicts), cost=spent())
    tips = {change.input: change.then for change in changes(found, decide(found))}
    assert tips["lift of hourly to minute"] == tips["worth of 0.01 of auc"] == then


def test_views_that_the_same_thing_bars_are_named_together():
    blocked = [Blocker("hourly", "unknown", "E3", f"view {name}: lag: nobody looked", "look") for name in ("a", "b")]
    one, two, three = (Barred(b.what[5], "daily", b) for b in (*blocked, replace(blocked[0], what="view c: lag: 3 h", state="red")))
    assert [(names, b.certain) for names, b in alike([one, three, two])] == [(["a", "b"], False), (["c"], True)]


def test_views_that_were_made_fresh_together_are_one_stage():
    found = evidence(STREAMED, views=("a", "b", "c"))
    gain, other = found.lift.steps[0], replace(found.lift.steps[0])
    earned = Earned("daily", "live", "stream all", ["a", "b", "c"], [], {"b": gain, "a": gain, "c": other}, {})
    found = replace(found, lift=replace(found.lift, earned=earned))
    assert [stage.name for stage in staged(found, decide(found)).stages][1:] == ["a, b", "c"]
