"""An experiment from the command line: advised, planned, started, followed, ramped and stopped; and
refusals on the way.
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime

import pytest

from headwater import clock
from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import ExperimentStore, FrozenArm
from tests.cli.conftest import PROJECT
from tests.experiments.frozen_plans import frozen_plan

EXPERIMENT = """
fresher = hw.Experiment(
    "fresher",
    [hw.experiments.Arm("daily", model), hw.experiments.Arm("hourly", model, hw.batch("1h"))],
    unit="user_id",
    metrics=[hw.experiments.ExperimentMetric("churned", base="requests", higher_is_better=False)],
    plan=hw.experiments.ExperimentPlan(enrolled=(0.1, 0.5, 1.0), stage="1d", min_lift=0.05),
)
"""
WITH = PROJECT.replace(
    "labels=labels)\n", 'labels=labels, outcomes="independent")\n' + EXPERIMENT
).replace(
    "hw.Level(hw.on_request())})",
    "hw.Level(hw.on_request())}, experiments=[fresher], holdout=0.02)",
)


@pytest.fixture
def shop(folder):
    """The folder with an experiment in its project."""
    (folder / "features.py").write_text(WITH, encoding="utf-8")
    return folder


def _next(done):
    return shlex.split(done.stderr.splitlines()[-1].removeprefix("next: headwater "))


@pytest.mark.slow
def test_each_next_command_leads_to_a_running_experiment(shop, run):
    done = run("experiment", "plan", "fresher")
    seen = []
    for _ in range(8):
        assert done.returncode == 0, done.stderr
        command = _next(done)
        seen.append(command[:2])
        if command[:2] == ["experiment", "start"]:
            break
        made = run(*command)
        assert made.returncode == 0, made.stderr
        done = run("experiment", "plan", "fresher")
    # `user` makes both, where the hourly cut is due
    made = [["materialize", "user"], ["materialize", "user@fresher-hourly"]]
    assert seen[:3] == [["train", "--model"]] * 2 + made[:1]
    assert seen[3:] in ([["experiment", "start"]], [made[1], ["experiment", "start"]])
    planned = json.loads(run("experiment", "plan", "fresher", "--json").stdout)
    assert planned["ready"]
    assert planned["power"]["units"] == 41
    assert not planned["split"]["differs"]

    done = run(*command, "--by", "ann")
    assert done.returncode == 0, done.stderr
    assert f"started: plan {planned['digest']}; 10% of units take part" in done.stderr
    assert _next(done)[:3] == ["experiment", "ramp", "fresher"]
    again = run("experiment", "start", "fresher")
    assert again.returncode == 2
    assert "was started before and runs since" in again.stderr

    at = (
        int(
            datetime.fromisoformat(
                json.loads(run("experiment", "status", "fresher", "--json").stdout)["started"]
            ).timestamp()
            * 1e6
        )
        + 1
    )
    with ExposureLog(shop / ".headwater") as log:
        log.put(
            "fresher",
            1,
            [
                Exposure(
                    f"u{n:02}",
                    "daily" if n % 2 else "hourly",
                    at + n,
                    request=f"r{n}",
                    propensity=0.5,
                )
                for n in range(8)
            ],
        )
    status = json.loads(run("experiment", "status", "fresher", "--json").stdout)
    assert (status["state"], status["stage"], status["units"]) == (
        "running",
        1,
        {"daily": 4, "hourly": 4},
    )
    assert status["health"].startswith("ok")
    assert (status["matured"], status["changes"][0].split()[-1]) == (0.0, "ann")
    shown = run("experiment", "status")
    assert "1 of 3, 10%" in shown.stdout
    held = run("experiment", "ramp", "fresher", "--json")
    assert json.loads(held.stdout)["action"] == "hold"

    done = run("experiment", "stop", "fresher", "--reason", "enough")
    assert done.returncode == 0, done.stderr
    assert "was stopped: enough" in run("experiment", "status", "fresher").stdout
    for action in (("stop", "fresher", "--reason", "again"), ("start", "fresher")):
        refused = run("experiment", *action)
        assert refused.returncode == 2
        assert "version 1" in refused.stderr
    assert "version=2" in run("experiment", "plan", "fresher").stderr


def test_a_start_names_all_that_is_missing(shop, run):
    done = run("experiment", "start", "fresher", "--no-history")
    assert (done.returncode, done.stdout) == (2, "")
    assert "4 of its needs are missing" in done.stderr
    assert (
        "headwater train --model churn --level fresher-hourly; headwater materialize user"
        in done.stderr
    )
    assert ExperimentStore(shop / ".headwater/models").started() == []
    checked = run("experiment", "plan", "fresher", "--check", "--no-history")
    assert checked.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "fresh"), "did you mean 'fresher'?"),
        (("status", "fresher"), "was not started; run: headwater experiment start fresher"),
        (
            ("stop", "fresh", "--reason", "x"),
            "no experiment is named 'fresh'; did you mean 'fresher'?",
        ),
        (("stop", "fresher"), "--reason"),
        (("ramp", "fresher"), "was not started"),
        (("advise", "--supply", "perhaps"), "give yes or no"),
        (("pln", "fresher"), "did you mean 'plan'?"),
    ],
)
def test_what_is_asked_wrongly_is_answered_with_what_is_right(shop, run, arguments, words):
    done = run("experiment", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.slow
def test_one_command_trains_every_arm(shop, run):
    done = run("train", "--experiment", "fresher")
    assert done.returncode == 0, done.stderr
    assert _next(done)[:3] == ["experiment", "plan", "fresher"]
    versions = json.loads(run("models", "--json").stdout)["versions"]
    assert [(version["level"], version["version"]) for version in versions] == [
        ("as defined", 1),
        ("fresher-hourly", 1),
    ]
    assert run("train", "--experiment", "fresher", "--arm", "hourly").returncode == 0
    versions = json.loads(run("models", "--json").stdout)["versions"]
    assert [(version["level"], version["version"]) for version in versions][-1] == (
        "fresher-hourly",
        2,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--experiment", "fresher", "--arm", "hurly"), "did you mean 'hourly'?"),
        (("train", "--experiment", "fresher", "--level", "daily"), "leave out --model, --level"),
        (("train", "--arm", "hourly"), "name it with --experiment"),
        (
            ("dataset", "--output", "rows.parquet", "--experiment", "fresher", "--arm", "hourly"),
            "go together",
        ),
        (("train", "--experiment", "fresh"), "did you mean 'fresher'?"),
    ],
)
def test_arms_that_cannot_be_trained(shop, run, arguments, words):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_project_without_experiments(folder, run):
    done = run("experiment", "plan", "fresher")
    assert done.returncode == 2
    assert "defines no experiment" in done.stderr
    assert run("experiment", "status").returncode == 0


def test_undeclared_outcomes_are_explained_before_anything_is_trained(shop, run):
    (shop / "features.py").write_text(
        WITH.replace(', outcomes="independent"', ""), encoding="utf-8"
    )
    done = run("experiment", "start", "fresher", "--no-history")
    assert done.returncode == 2
    for choice in ("'independent'", "'censored'", "'caused'"):
        assert f"outcomes={choice}" in done.stderr


def test_advice_comes_from_flags_answers_and_definitions(shop, run):
    (shop / "features.py").write_text(
        WITH.replace('outcomes="independent"', 'outcomes="caused"'), encoding="utf-8"
    )
    (shop / "answers.toml").write_text(
        '[supply]\nanswer = "no"\n[adversaries]\nanswer = "no"\n', encoding="utf-8"
    )
    advice = json.loads(
        run(
            "experiment",
            "advise",
            "fresher",
            "--answers",
            "answers.toml",
            "--carry-over",
            "no",
            "--json",
        ).stdout
    )
    assert (advice["kind"], advice["unanswered"]) == ("ab", [])
    assert "own log" in advice["steps"][-1]
    planned = run("experiment", "plan", "fresher", "--no-history", "--answers", "answers.toml")
    assert "train each arm on its own log" in planned.stderr
    clusters = json.loads(
        run("experiment", "advise", "--adversaries", "yes", "--supply", "no", "--json").stdout
    )
    assert clusters["written"] == "hw.experiments.ClusterTest(cluster, burn_in='28d')"
    assert len(clusters["unanswered"]) == 2


def _exposed(shop, name, at):
    """Start an experiment as `headwater experiment start` writes it, without models, and expose
    four units from a time on.
    """
    store = ExperimentStore(shop / ".headwater/models")
    arms = tuple(
        FrozenArm(arm, "churn", level, 0.5, 1)
        for arm, level in (("daily", "as defined"), ("hourly", "fresher-hourly"))
    )
    store.start(
        frozen_plan(
            experiment=name,
            arms=arms,
            unit="user_id",
            start=at,
            metrics=("churned",),
            project="shop",
        ),
        at,
        "ann",
    )
    with ExposureLog(shop / ".headwater") as log:
        log.put(
            name,
            1,
            [
                Exposure(
                    f"u{n:02}",
                    "daily" if n % 2 else "hourly",
                    at + n,
                    request=f"r{n}",
                    propensity=0.5,
                )
                for n in range(4)
            ],
        )


@pytest.mark.parametrize("known", ['known_after="1d"', 'known_at_field="settled"'])
def test_it_says_when_outcomes_are_final(shop, run, known):
    """A label that a column dates is as late as nearly all were in its table, two hours here; else
    as its definition says.
    """
    (shop / "features.py").write_text(WITH.replace('known_after="1d"', known), encoding="utf-8")
    at = clock.now_micros() // 1_000_000 * 1_000_000
    _exposed(shop, "fresher", at)
    first = clock.timestamp(at + (86_400 if "after" in known else 7_200) * 1_000_000).isoformat()
    status, analysed = (
        run("experiment", "status", "fresher", "--json"),
        run("experiment", "analyse", "fresher", "--json"),
    )
    assert json.loads(status.stdout)["awaited"].startswith(
        f"the first outcome is final at {first}, all so far by "
    )
    assert f"the first outcome is final at {first}" in json.loads(analysed.stdout)["first_line"]
    assert f"the first outcome is final at {first}" in " ".join(
        run("experiment", "status").stdout.split()
    )


def test_a_short_stage_is_in_minutes(shop, run):
    (shop / "features.py").write_text(WITH.replace('stage="1d"', 'stage="1m"'), encoding="utf-8")
    assert "each at least 1 min" in " ".join(
        run("experiment", "plan", "fresher", "--no-history").stdout.split()
    )


AT_LEVELS = WITH.replace(
    'hw.experiments.Arm("daily", model)',
    'hw.experiments.Arm("daily", model, hw.batch("1d", delay="2h"))',
)


def _models_missing(run):
    planned = json.loads(run("experiment", "plan", "fresher", "--no-history", "--json").stdout)
    missing = [
        need
        for need in planned["needs"]
        if need["state"] == "missing" and need["what"].startswith("model ")
    ]
    return [(need["arm"], need["what"], need["command"]) for need in missing]


DEFAULT = ("default", "model churn at as defined", "headwater train --model churn")


def test_units_outside_need_a_model(shop, run):
    """Units that take no part get the model as defined, which neither arm is here; a service
    without it answers no one.
    """
    (shop / "features.py").write_text(AT_LEVELS, encoding="utf-8")
    assert _models_missing(run)[2] == DEFAULT
    (shop / "features.py").write_text(WITH, encoding="utf-8")
    # the first one is as defined
    assert [need[0] for need in _models_missing(run)] == ["daily", "hourly"]


@pytest.mark.slow
def test_models_must_be_there_and_fit(shop, run):
    (shop / "features.py").write_text(AT_LEVELS, encoding="utf-8")
    assert run("train", "--experiment", "fresher").returncode == 0
    assert _models_missing(run) == [DEFAULT]
    refused = run("experiment", "start", "fresher", "--no-history", "--accept-missing")
    assert refused.returncode == 2
    assert (
        "arm default: model churn at as defined (not trained). Run: headwater train --model churn"
        in refused.stderr
    )
    assert run("train", "--model", "churn").returncode == 0
    changed = AT_LEVELS.replace('hw.mean("amount")]', 'hw.mean("amount"), hw.max("amount")]')
    (shop / "features.py").write_text(changed, encoding="utf-8")
    refused = run("experiment", "start", "fresher", "--no-history", "--accept-missing")
    assert refused.returncode == 2
    assert "3 of its needs are missing" in refused.stderr
    assert "'user__max_amount_1d' is served, and it does not know it" in refused.stderr
    (shop / "features.py").write_text(AT_LEVELS, encoding="utf-8")
    started = run("experiment", "start", "fresher", "--no-history", "--accept-missing")
    assert started.returncode == 0, started.stderr
