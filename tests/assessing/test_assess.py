"""A whole assessment: made of a small project, of a backtest's JSON, of nothing; shown as a page, as Markdown and as JSON."""

import json
import re
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.assessing import network, published
from headwater.assessing.lift import lift_of
from headwater.assessing.request_time import Asked, at_request, lost_at, over_budget
from headwater.cli.projects import load
from headwater.errors import UsageError
from headwater.logs.serving_log_rows import LATENCY
from headwater.reports.document import Bullets, Part, Table, Text, to_markdown
from headwater.results.measurement import Missing, measured
from tests.assessing.conftest import NOW, project, source, view

LEVELS = {"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())}
PLAIN = {"attribute": False, "time_out": ()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An assessment of events that pay by the day, with a function at request time; and its backtest."""
    return assessed(tmp_path_factory.mktemp("made"))


def assessed(place):
    from tests.cli.conftest import PROJECT, tables

    events, labels = tables()
    events.write_parquet(place / "events.parquet")
    labels.write_parquet(place / "labels.parquet")
    busy = """
@hw.request_feature
def busy(asked: datetime, n: int | None = view["count_1d"]) -> float:
    return (n or 0) / (1 + asked.hour)

"""
    text = PROJECT.replace("labels = hw", f"{busy}labels = hw").replace("[view])", "[view, busy])")
    text = text.replace('hw.parquet("', f'hw.parquet("{place}/')
    (place / "features.py").write_text("from datetime import datetime\n" + text, encoding="utf-8")
    found = load(str(place / "features.py")).project
    backtest = hw.backtest(found.models[0], levels=found.levels, resamples=300)
    return found, backtest, hw.assess(found, backtest=backtest, folder=place / "home", store=f"lmdb:{place}/store")


# ---------------------------------------------------------------- the whole


def test_every_part_is_there_or_says_why_not(made):
    _, _, found = made
    assert found.decision.action == "compute these at request time"
    assert found.verdict.startswith("Compute user at request time: instant gives +0.1")
    assert "no stream=" in found.verdict
    assert [stage.name for stage in found.plan.stages] == ["on request, batch features", "user"]
    assert isinstance(found.latency, Missing)
    assert "served log" in found.latency.reason
    assert found.cost.way("streaming").lacks == ["S"]  # no store: its size is not known
    assert found.network.experiment.startswith("user-level A/B")
    (busy,) = found.at_request
    assert busy.p99.value < 0.001
    assert [one.share for one in busy.timed_out] == [0.0, 0.01, 0.05, 0.2]


def test_the_page_needs_nothing_beside_itself(made, tmp_path):
    _, _, found = made
    html = found.write_html(tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="', own)
    sections = re.findall(r'<section id="(\w+)"', own)
    assert sections == [
        "verdict",
        "why",
        "plan",
        "changes",
        "risks",
        "lift",
        "curve",
        "attribution",
        "latency",
        "cost",
        "network",
        "readiness",
        "others",
    ]
    assert "default-src 'none'" in own


def test_markdown_has_the_same_parts(made):
    text = made[2].to_markdown()
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert heads[0] == "Compute user at request time"
    assert len(heads) == 11
    assert "no published figures are shown" in text


def test_json_round_trip(made, tmp_path):
    """A backtest's JSON says what the backtest says, and so does the assessment of it."""
    of, backtest, found = made
    path = tmp_path / "backtest.json"
    path.write_text(json.dumps(backtest.to_dict(), allow_nan=False), encoding="utf-8")
    assert lift_of(path) == lift_of(backtest)
    again = hw.assess(of, backtest=path, folder=tmp_path, store=f"lmdb:{tmp_path}/store", **PLAIN).to_dict()
    whole = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["backtest"] == whole["backtest"]
    assert again["decision"]["action"] == whole["decision"]["action"]
    assert again["decision"]["gain"] == whole["decision"]["gain"]
    (point,) = again["cost"]["points"]
    assert (point["from"], point["to"], point["lift"]) == ("daily", "instant", whole["decision"]["gain"])
    inner = hw.assess(of, backtest=whole["backtest"], folder=tmp_path, store=f"lmdb:{tmp_path}/store", **PLAIN)
    assert inner.decision.sentence == again["decision"]["sentence"]


def test_a_project_without_data_is_assessed_all_the_same(tmp_path):
    gone = hw.Source("payments", history=hw.parquet(str(tmp_path / "gone.parquet")), timestamp_field="at", select=["card", "amount"])
    of = project(view(gone), labels=hw.parquet(str(tmp_path / "labels.parquet")))
    found = hw.assess(of, folder=tmp_path)
    assert found.decision.action == "not decided"
    assert "could not be run" in found.verdict
    assert "fraud" in {one.use for one in found.published}
    assert found.write_html(tmp_path / "page.html").stat().st_size > 1_000_000
    assert "Not decided yet" in found.to_markdown()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backtest": "nowhere.json"}, "no backtest at nowhere.json; write one with: headwater backtest --json"),
        ({"backtest": {"model": "churn"}}, "lacks headline, levels, paired, leak_audit"),
        ({"backtest": 7}, "backtest is int"),
        ({"worth": -1.0}, "worth is -1.0"),
        ({"time_out": (5,)}, "shares of calls from 0 to 1"),
        ({"network": ["adversary"]}, "adversaries"),
        ({"network": ["none", "supply"]}, "cannot be combined"),
        ({"model": "chrun"}, "churn"),
    ],
)
def test_wrong_inputs_are_named(made, tmp_path, given, words):
    of, _, _ = made
    with pytest.raises(UsageError, match=re.escape(words)):
        hw.assess(of, folder=tmp_path, **given)


def test_a_backtest_of_another_model_is_refused(made, tmp_path):
    with pytest.raises(UsageError, match="of model 'churn', and the assessment of 'fraud'"):
        hw.assess(project(view(source())), backtest=made[1], folder=tmp_path)


@pytest.mark.parametrize(("text", "words"), [("[1]", "an object"), ("{", "not the JSON"), ('{"model": 1}', "lacks headline")])
def test_a_file_that_is_no_backtest(tmp_path, text, words):
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        lift_of(path)


def test_the_command_writes_page_markdown_and_json(folder, run):
    found = run("assess", "--no-attribution", "--json", "--markdown", "a.md", "--store", "lmdb:store", "--data-dir", "home")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["decision"]["action"] == "compute these at request time"
    assert (folder / said["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (folder / "a.md").read_text(encoding="utf-8").startswith("# Compute user at request time")
    (folder / "backtest.json").write_text(json.dumps(said["backtest"]), encoding="utf-8")
    cost = run("assess", "cost", "--backtest", "backtest.json", "--store", "lmdb:store", "--data-dir", "home")
    assert "daily to instant" in cost.stdout, cost.stderr
    wrong = run("assess", "--backtest", "gone.json", "--store", "lmdb:store", "--data-dir", "home")
    assert wrong.returncode != 0
    assert "no backtest at gone.json" in wrong.stderr


# ---------------------------------------------------------------- features at request time


def world(rows=2000):
    """A score of the request says the label nearly; what is known of the card says nothing."""
    random = np.random.default_rng(0)
    at = [NOW - timedelta(days=40) + timedelta(minutes=29 * n) for n in range(rows)]
    risk = random.random(rows)
    asked = pl.DataFrame(
        {"card": [f"c{n % 50}" for n in range(rows)], "at": at, "risk": risk, "fraud": risk + random.normal(0, 0.2, rows) > 0.5}
    )
    events = pl.DataFrame(
        {"id": [f"p{n}" for n in range(rows)], "card": [f"c{n % 50}" for n in range(rows)], "at": at, "amount": [1.0] * rows}
    )
    return asked.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))), events.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))


def test_the_lift_falls_as_more_calls_time_out():
    asked, events = world()

    @hw.request_feature
    def doubled(risk: float) -> float:
        return 2 * risk

    of = view(source(events))
    stale = project(of, labels=asked, features=hw.FeatureService("card_v1", [of, doubled])).models[0]
    shares = (0.0, 0.2, 1.0)
    (found,) = at_request(Asked(stale, ("daily", LEVELS["daily"]), ("instant", LEVELS["instant"]), shares=shares))
    lifts = [one.lift for one in found.timed_out]
    assert abs(lifts[0].delta) < 0.02  # both levels have it
    assert lifts[0].delta > lifts[1].delta > lifts[2].delta
    assert lifts[2].delta < -0.3  # without it nothing is left
    assert lifts[2].verdict == "harm"


def test_what_a_third_party_feeds_is_computed_of_its_fallback():
    asked, events = world()
    answers = pl.DataFrame({"card": asked["card"], "score": asked["risk"], "fetched": asked["at"].dt.offset_by("-1s")})
    history = hw.Source("answers", history=answers, timestamp_field="fetched", select=["card", "score"])
    party = hw.HttpFeatures(
        "party",
        url="http://party.example/{card}",
        request={"card": str},
        response={"score": float},
        fallback={"score": 0.5},
        history=history,
    )

    @hw.request_feature
    def seen(score: float | None = party["score"]) -> float:
        return -1.0 if score is None else score

    of = view(source(events))
    model = project(of, labels=asked, features=hw.FeatureService("card_v1", [of, party, seen])).models[0]
    levels = ("daily", LEVELS["daily"]), ("instant", LEVELS["instant"])
    log = pl.DataFrame({f"{LATENCY}__third party": [1_000] * 98 + [90_000] * 2})
    function, http = at_request(Asked(model, *levels, shares=(0.0, 1.0), log=log))
    assert http.timed_out[1].lift.delta < -0.3  # `seen` is lost with it, or the model would go by that
    assert function.timed_out[1].lift.delta > http.timed_out[1].lift.delta
    assert (http.fallback, function.fallback) == ("score = 0.5", "null")
    assert http.p50.value == pytest.approx(0.001)
    assert http.p99.value > 0.05
    assert "not called" in at_request(Asked(model, *levels, shares=()))[1].p99.reason


def test_a_budget_and_a_lost_lift_are_told(made):
    of, _, found = made
    (busy,) = found.at_request
    slow = type(busy)(busy.name, busy.kind, busy.p50, measured(0.2, "s", "planted"), "null", Missing("not tried"))
    budget = hw.Model("m", features=of.models[0].features, labels=of.models[0].labels, task="binary", latency_budget="50ms")
    assert over_budget(slow, budget)
    assert not over_budget(busy, budget)
    assert not lost_at(busy) < 1  # 20 % cost little here


# ---------------------------------------------------------------- network effects, others' figures


def named(name, label="label", task="binary"):
    asked = pl.DataFrame({"list": [1, 1], "item": ["a", "b"], "card": ["c0", "c1"], "at": [NOW, NOW], label: [True, False]})
    labels = hw.Labels(name, table=asked, timestamp_field="at", label=label, known_after="1d")
    of = view(hw.Source("events", history=None, timestamp_field="at", select=["card", "amount"]))
    return hw.Model(name, features=hw.FeatureService("f_v1", [of]), labels=labels, task=task)


@pytest.mark.parametrize(
    ("model", "answered", "effects", "experiment"),
    [
        (named("card_fraud"), None, ["adversaries"], "cluster"),
        (named("next_click", task=hw.Ranking(group="list", item="item")), None, ["feedback"], "interleaving"),
        (named("hourly_rentals"), None, ["supply"], "switchback"),
        (named("credit_default"), None, [], "user-level A/B"),
        (named("card_fraud"), ["none"], [], "user-level A/B"),
        (named("eta"), ["supply", "adversaries"], ["adversaries", "supply"], "switchback"),
    ],
)
def test_network_effects_and_the_experiment_that_tells(model, answered, effects, experiment):
    found = network.network(model, answered)
    assert [one.effect for one in found.effects] == effects
    assert found.experiment.startswith(experiment)
    assert bool(found.questions) is (answered is None)
    assert all(one.known == ("likely" if answered is None else "answered") for one in found.effects)


def test_others_figures_have_a_source_of_their_own_each():
    assert all(one.source.startswith("https://") and one.gave and one.fresher for one in published.TABLE)
    assert {one.who for one in published.published(named("card_fraud"))} == {"Instacart"}
    assert {one.use for one in published.published(named("x", task=hw.Ranking(group="list", item="item")))} == {"recommendations"}
    assert published.published(named("credit_default")) == []


def test_others_figures_change_no_verdict(made, monkeypatch):
    of, backtest, found = made
    monkeypatch.setattr(published, "use_cases", lambda model: ["ads", "fraud"])
    again = hw.assess(of, backtest=backtest, attribute=True, time_out=(), folder=found_folder(found))
    assert again.published
    assert again.decision.sentence == found.decision.sentence


def found_folder(found):
    """A folder without logs."""
    return f"/nonexistent/{found.model}"


def test_markdown_shows_a_users_text_and_runs_none_of_it():
    text = to_markdown(Part("x", "a|b", [Text("<i>"), Bullets(["*x*"]), Table("t", ("h",), [["1|2"]]), Table("none", ("h",), [])]))
    assert text.splitlines()[0] == r"## a\|b"
    assert "<i>" not in text
    assert r"| 1\|2 |" in text
    assert "none" not in text


def test_now_is_a_moment(made):
    assert datetime.fromisoformat(made[2].at).tzinfo is not None
