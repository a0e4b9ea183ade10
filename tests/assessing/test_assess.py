"""A whole assessment: made of a small project, of a backtest's JSON, of nothing; shown as a page,
as Markdown and as JSON.
"""

import csv
import dataclasses
import io
import json
import re
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.assessing.lift import lift_of
from headwater.assessing.network import network
from headwater.assessing.questions import read_answers, with_effects, write_questions
from headwater.assessing.request_time import TimeoutJob, at_request, lost_at, over_budget
from headwater.cli.projects import load
from headwater.errors import UsageError
from headwater.journal.serving_log_rows import LATENCY
from headwater.reports.assessment_page import to_sections
from headwater.reports.document import Bullets, CsvDownloads, Section, Table, Text, to_markdown
from headwater.reports.readiness_and_cost import readiness_section
from headwater.results.measurement import Missing, measured
from tests.assessing.conftest import NOW, project, source, view

LEVELS = {"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())}
PLAIN = hw.Evaluation(attribute=False, timeouts=())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An assessment of events that pay by the day, with a function at request time; and its
    backtest.
    """
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
    backtest = hw.backtest(
        found.models[0], levels=found.levels, evaluation=hw.Evaluation(resamples=300)
    )
    return (
        found,
        backtest,
        hw.operations.assess(
            found,
            backtest=backtest,
            locations=hw.operations.Locations(data_dir=place / "home", store=f"lmdb:{place}/store"),
        ),
    )


# ---------------------------------------------------------------- the whole


@pytest.mark.slow
def test_every_part_is_there_or_says_why_not(made):
    _, _, found = made
    assert found.decision.action == "compute these at request time"
    assert found.verdict.startswith(
        "Compute features at request time (instant). Of 100 requests you flag, "
    )
    assert found.verdict.startswith(found.backtest.recommendation.first_line)
    assert "instant gives +0.1" in found.verdict
    assert "Views to keep fresh: user." in found.verdict
    assert "no stream=" in found.verdict
    assert [stage.name for stage in found.plan.stages] == ["on request, batch features", "user"]
    assert isinstance(found.latency, Missing)
    assert "serving log" in found.latency.reason
    assert found.cost.way("streaming").lacks == ["S"]  # no store: its size is not known
    assert found.network.experiment.startswith("not known")
    assert len(found.network.unanswered) == 3
    assert "Network effects are not ruled out: 3 of 3 questions are not answered." in found.risks
    (busy,) = found.at_request
    assert busy.p99.value < 0.001
    assert [one.share for one in busy.timed_out] == [0.0, 0.01, 0.05, 0.2]


@pytest.mark.slow
def test_the_page_needs_nothing_beside_itself(made, tmp_path):
    _, _, found = made
    html = found.write_html(tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:text/csv)', own)
    sections = re.findall(r'<section id="(\w+)"', own)
    assert sections == [
        "verdict",
        "glance",
        "curve",
        "next",
        "why",
        "plan",
        "changes",
        "risks",
        "lift",
        "attribution",
        "latency",
        "cost",
        "network",
        "readiness",
    ]
    assert "default-src 'none'" in own


def test_the_page_begins_with_four_lights_and_three_steps(made):
    sections = {section.name: section for section in to_sections(made[2])}
    (lights,) = sections["glance"].blocks
    assert [(light.question, light.state, light.word) for light in lights.lights] == [
        ("Lift", "good", "shown"),
        ("Cost", "unknown", "not known"),
        ("Readiness", "bad", "blocked"),
        ("Risk", "care", "not ruled out"),
    ]
    (steps,) = sections["next"].blocks
    assert len(steps.lines) == 3
    assert steps.lines[0].startswith("view user: ")
    open_ = [name for name, section in sections.items() if not section.folded]
    assert open_ == ["glance", "curve", "next"]


def test_the_checks_are_in_a_row_each_and_all_of_them_in_a_file(made):
    readiness = made[2].readiness
    (file,) = [
        block for block in readiness_section(readiness).blocks if isinstance(block, CsvDownloads)
    ]
    ((name, content),) = file.files
    assert name == "checks"
    assert len(list(csv.reader(io.StringIO(content)))) == 1 + len(readiness.findings)


def test_the_summary_says_what_blocks_it_and_what_is_not_known(made, tmp_path):
    _, _, found = made
    text = " ".join(found.summary().split())
    assert text.startswith(found.backtest.recommendation.sentence)
    assert "Until then: stay batch." in text
    assert "Network effects are not covered" in text
    assert "In the way: Not yet that fresh is user, since " in text
    page = found.write_summary(tmp_path / "deep" / "summary.html").read_text(encoding="utf-8")
    assert found.backtest.recommendation.sentence in page
    assert "<script" not in page


def test_markdown_has_the_same_parts(made):
    text = made[2].to_markdown()
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert heads[0] == made[2].decision.first_line
    assert heads[0].startswith("Compute features at request time (instant).")
    assert len(heads) == 12
    assert "Not answered" in text


def test_json_round_trip(made, tmp_path):
    """A backtest's JSON says what the backtest says, and so does the assessment of it."""
    of, backtest, found = made
    path = tmp_path / "backtest.json"
    path.write_text(json.dumps(backtest.to_dict(), allow_nan=False), encoding="utf-8")
    assert lift_of(path).backtest.to_dict() == backtest.to_dict()
    again = hw.operations.assess(
        of,
        backtest=path,
        locations=hw.operations.Locations(data_dir=tmp_path, store=f"lmdb:{tmp_path}/store"),
        evaluation=PLAIN,
    ).to_dict()
    whole = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["backtest"] == whole["backtest"]
    assert again["decision"]["action"] == whole["decision"]["action"]
    assert again["decision"]["gain"] == whole["decision"]["gain"]
    assert [each["level"] for each in again["cost"]["levels"]] == ["daily", "instant"]
    inner = hw.operations.assess(
        of,
        backtest=whole["backtest"],
        locations=hw.operations.Locations(data_dir=tmp_path, store=f"lmdb:{tmp_path}/store"),
        evaluation=PLAIN,
    )
    assert inner.decision.sentence == again["decision"]["sentence"]


def test_a_project_without_data_is_assessed_all_the_same(tmp_path):
    gone = hw.Source(
        "payments",
        history=hw.parquet(str(tmp_path / "gone.parquet")),
        timestamp_field="at",
        select=["card", "amount"],
    )
    of = project(view(gone), labels=hw.parquet(str(tmp_path / "labels.parquet")))
    found = hw.operations.assess(of, locations=hw.operations.Locations(data_dir=tmp_path))
    assert found.decision.action == "not decided"
    assert "could not be run" in found.verdict
    assert found.write_html(tmp_path / "page.html").stat().st_size > 1_000_000
    assert found.to_markdown().startswith("# Cannot decide: without a backtest")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"backtest": "nowhere.json"},
            "no backtest at nowhere.json; write one with: headwater backtest --json",
        ),
        (
            {"backtest": {"model": "churn"}},
            "is not the JSON of a backtest of this version: Object missing required field `task`",
        ),
        ({"backtest": 7}, "backtest is int"),
        (
            {"answers": {"adversary": "yes"}},
            "answers: no question is named 'adversary'; did you mean 'adversaries'?",
        ),
        (
            {"answers": {"supply": "maybe"}},
            "answers: supply is answered 'maybe'; give one of 'yes', 'no', or nothing",
        ),
        ({"answers": {"S2": True}}, "give a number of seconds"),
        ({"model": "chrun"}, "churn"),
    ],
)
def test_wrong_inputs_are_named(made, tmp_path, given, words):
    of, _, _ = made
    with pytest.raises(UsageError, match=re.escape(words)):
        hw.operations.assess(of, locations=hw.operations.Locations(data_dir=tmp_path), **given)


def test_a_backtest_of_another_model_is_refused(made, tmp_path):
    with pytest.raises(UsageError, match="of model 'churn', and the assessment of 'fraud'"):
        hw.operations.assess(
            project(view(source())),
            backtest=made[1],
            locations=hw.operations.Locations(data_dir=tmp_path),
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [("[1]", "an object"), ("{", "not the JSON"), ('{"model": 1}', "of this version")],
)
def test_a_file_that_is_no_backtest(tmp_path, text, words):
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        lift_of(path)


@pytest.mark.slow
def test_the_command_writes_page_markdown_and_json(folder, run):
    found = run(
        "assess",
        "--no-attribution",
        "--network",
        "none",
        "--json",
        "--markdown",
        "a.md",
        "--store",
        "lmdb:store",
        "--data-dir",
        "home",
    )
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["decision"]["action"] == "compute these at request time"
    assert said["network"]["experiment"].startswith("user-level A/B")
    assert (folder / said["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (
        (folder / "a.md")
        .read_text(encoding="utf-8")
        .startswith("# Compute features at request time (instant).")
    )
    (folder / "backtest.json").write_text(json.dumps(said["backtest"]), encoding="utf-8")
    cost = run(
        "assess",
        "cost",
        "--backtest",
        "backtest.json",
        "--store",
        "lmdb:store",
        "--data-dir",
        "home",
    )
    assert "runs a day" in cost.stdout, cost.stderr
    wrong = run("assess", "--backtest", "gone.json", "--store", "lmdb:store", "--data-dir", "home")
    assert wrong.returncode != 0
    assert "no backtest at gone.json" in wrong.stderr


# ---------------------------------------------------------------- features at request time


def world(rows=2000):
    """A score of the request says the label nearly; the card's history says nothing."""
    random = np.random.default_rng(0)
    at = [NOW - timedelta(days=40) + timedelta(minutes=29 * n) for n in range(rows)]
    risk = random.random(rows)
    asked = pl.DataFrame(
        {
            "card": [f"c{n % 50}" for n in range(rows)],
            "at": at,
            "risk": risk,
            "fraud": risk + random.normal(0, 0.2, rows) > 0.5,
        }
    )
    events = pl.DataFrame(
        {
            "id": [f"p{n}" for n in range(rows)],
            "card": [f"c{n % 50}" for n in range(rows)],
            "at": at,
            "amount": [1.0] * rows,
        }
    )
    return asked.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))), events.with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC"))
    )


def test_the_lift_falls_as_more_calls_time_out():
    asked, events = world()

    @hw.request_feature
    def doubled(risk: float) -> float:
        return 2 * risk

    of = view(source(events))
    stale = project(of, labels=asked, features=hw.FeatureService("card_v1", [of, doubled])).models[
        0
    ]
    shares = (0.0, 0.2, 1.0)
    (found,) = at_request(
        TimeoutJob(
            stale,
            ("daily", LEVELS["daily"]),
            ("instant", LEVELS["instant"]),
            hw.Evaluation(timeouts=shares),
        )
    )
    lifts = [one.lift for one in found.timed_out]
    assert abs(lifts[0].delta) < 0.02  # both levels have it
    assert lifts[0].delta > lifts[1].delta > lifts[2].delta
    assert lifts[2].delta < -0.3  # without it nothing is left
    assert lifts[2].verdict == "harm"


def test_what_a_third_party_feeds_is_computed_of_its_fallback():
    asked, events = world()
    answers = pl.DataFrame(
        {"card": asked["card"], "score": asked["risk"], "fetched": asked["at"].dt.offset_by("-1s")}
    )
    history = hw.Source(
        "answers", history=answers, timestamp_field="fetched", select=["card", "score"]
    )
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
    model = project(
        of, labels=asked, features=hw.FeatureService("card_v1", [of, party, seen])
    ).models[0]
    levels = ("daily", LEVELS["daily"]), ("instant", LEVELS["instant"])
    log = pl.DataFrame({f"{LATENCY}__third party": [1_000] * 98 + [90_000] * 2})
    function, http = at_request(
        TimeoutJob(model, *levels, hw.Evaluation(timeouts=(0.0, 1.0)), log=log)
    )
    # `seen` is lost with it, or the model would go by that
    assert http.timed_out[1].lift.delta < -0.3
    assert function.timed_out[1].lift.delta > http.timed_out[1].lift.delta
    assert (http.fallback, function.fallback) == ("score = 0.5", "null")
    assert http.p50.value == pytest.approx(0.001)
    assert http.p99.value > 0.05
    assert (
        "not called"
        in at_request(TimeoutJob(model, *levels, hw.Evaluation(timeouts=())))[1].p99.reason
    )


def test_a_budget_and_a_lost_lift_are_told(made):
    of, _, found = made
    (busy,) = found.at_request
    slow = type(busy)(
        busy.name, busy.kind, busy.p50, measured(0.2, "s", "planted"), "null", Missing("not tried")
    )
    budget = hw.Model(
        "m",
        features=of.models[0].features,
        labels=of.models[0].labels,
        task="binary",
        latency_budget="50ms",
    )
    assert over_budget(slow, budget)
    assert not over_budget(busy, budget)
    assert not lost_at(busy) < 1  # 20 % cost little here


# ---------------------------------------------------------------- network effects


NO = dict.fromkeys(("supply", "adversaries", "feedback"), False)


@pytest.mark.parametrize(
    ("answers", "effects", "experiment"),
    [
        ({}, [], "not known"),
        ({"feedback": False}, [], "not known"),
        (NO, [], "user-level A/B"),
        (NO | {"adversaries": True}, ["adversaries"], "cluster"),
        (NO | {"feedback": True}, ["feedback"], "interleaving"),
        ({"feedback": True}, ["feedback"], "interleaving"),
        # the strictest
        ({"adversaries": True, "supply": True}, ["supply", "adversaries"], "switchback"),
    ],
)
def test_answers_determine_the_experiment(answers, effects, experiment):
    found = network(answers)
    assert [effect.effect for effect in found.effects] == effects
    assert found.experiment.startswith(experiment)
    assert len(found.unanswered) == 3 - len(answers)


@pytest.mark.slow
def test_names_and_tasks_do_not_determine_it(made):
    """A model of fraud is not said to have adversaries: no one has answered."""
    of, backtest, _ = made
    fraud = hw.Project("p", [dataclasses.replace(of.models[0], name="card_fraud")])
    given = {**backtest.to_dict(), "model": "card_fraud"}
    found = hw.operations.assess(
        fraud,
        backtest=given,
        locations=hw.operations.Locations(data_dir="/nonexistent"),
        evaluation=PLAIN,
    )
    assert found.network.effects == []


@pytest.mark.slow
def test_answers_are_read_from_the_file_of_questions(made, tmp_path):
    of, backtest, found = made
    path = tmp_path / "questions.toml"
    write_questions(path)
    assert read_answers(path).effects == {}
    text = re.sub(
        r'(\[supply\].*?answer = )""', r'\1"yes"', path.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    path.write_text(text, encoding="utf-8")
    again = hw.operations.assess(
        of,
        backtest=backtest,
        answers=read_answers(path),
        locations=hw.operations.Locations(data_dir=tmp_path),
        evaluation=PLAIN,
    )
    assert again.network.experiment.startswith("switchback")
    assert [len(again.network.unanswered), len(again.to_dict()["network"]["not_answered"])] == [
        2,
        2,
    ]
    assert any("(supply, as answered)" in risk for risk in again.risks)
    # an effect changes the experiment, not the verdict
    assert again.decision.sentence == found.decision.sentence
    assert "Not answered" in again.to_markdown()
    settled = hw.operations.assess(
        of,
        backtest=backtest,
        answers={"supply": "no", "adversaries": "no", "feedback": "no"},
        locations=hw.operations.Locations(data_dir=tmp_path),
        evaluation=PLAIN,
    )
    assert "None, as you answered." in settled.to_markdown()


@pytest.mark.parametrize(
    ("effects", "words"),
    [("adversary", "adversaries"), ("none,supply", "cannot be combined"), ("", "of supply")],
)
def test_wrong_effects_are_named(effects, words):
    with pytest.raises(UsageError, match=words):
        with_effects(None, effects)


def test_markdown_shows_a_users_text_and_runs_none_of_it():
    text = to_markdown(
        Section(
            "x",
            "a|b",
            [
                Text("<i>"),
                Bullets(["*x*"]),
                Table("t", ("h",), [["1|2"]]),
                Table("none", ("h",), []),
            ],
        )
    )
    assert text.splitlines()[0] == r"## a\|b"
    assert "<i>" not in text
    assert r"| 1\|2 |" in text
    assert "none" not in text


def test_now_is_a_moment(made):
    assert datetime.fromisoformat(made[2].at).tzinfo is not None
