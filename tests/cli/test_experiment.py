"""An experiment from the command line: advised, planned, started, followed, ramped and stopped; and
refusals on the way.
"""

from __future__ import annotations

import json
import shlex
from datetime import datetime

import pytest

from headwater.journal.exposure_log import ExposureLog
from headwater.journal.exposure_rows import Exposure
from headwater.models.experiment_store import ExperimentStore
from tests.cli.conftest import PROJECT

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
