"""A whole assessment: made of a small project, of a backtest's JSON, of nothing; shown as a page,
as Markdown and as JSON.
"""

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.assessing.lift import lift_of
from headwater.assessing.network import network
from headwater.assessing.request_time import RequestTimeJob, at_request
from headwater.cli.projects import load
from headwater.errors import UsageError
from headwater.pages.document import Bullets, Section, Table, Text, to_markdown
from headwater.results.measurement import Missing
from tests.assessing.conftest import NOW, project, source, view

LEVELS = {"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())}
PLAIN = hw.Evaluation(attribute=False)


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
    assert isinstance(found.latency, Missing)
    assert "serving log" in found.latency.reason
    assert found.cost.way("streaming").lacks == ["S"]  # no store: its size is not known
    assert found.network.experiment.startswith("not known")
    assert len(found.network.unanswered) == 3
    (busy,) = found.at_request
    assert busy.p99.value < 0.001
    assert [one.share for one in busy.timed_out] == [0.0, 0.01, 0.05, 0.2]


@pytest.mark.slow
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
    assert found.write_html(tmp_path / "page.html").stat().st_size < 200_000
    assert found.to_markdown().startswith("# Cannot decide: without a backtest")


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


def test_a_function_of_the_request_is_timed_on_labelled_rows():
    asked, events = world()
    given = []

    @hw.request_feature
    def doubled(risk: float) -> float:
        given.append(risk)
        return 2 * risk

    of = view(source(events))
    model = project(of, labels=asked, features=hw.FeatureService("card_v1", [of, doubled])).models[
        0
    ]
    given.clear()
    (found,) = at_request(RequestTimeJob(model, LEVELS["instant"], hw.Evaluation()))
    assert (found.name, found.kind, found.fallback) == (
        "doubled",
        "function of the request",
        "null",
    )
    assert 0 < found.p50.value <= found.p99.value < 0.01
    assert set(given[-100:]) <= set(asked["risk"])


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
