"""`headwater materialize MODEL` as a user calls it: trained, scored, seen in status, on schedule,
and refused in words.
"""

import itertools
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from headwater.cli import main
from tests.figures import figure
from tests.flow import (
    at,
    home,  # noqa: F401 (fixtures)
)

PROJECT = """
import headwater as hw

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["key", "amount"])
view = hw.FeatureView("view", source=events, keys=["key"], windows=["1d"], features=[hw.count(), hw.sum("amount")], freshness=hw.batch("1h"))
labels = hw.Labels("labels", table=hw.parquet("labels.parquet"), timestamp_field="at", label="paid", known_after="1h")
model = hw.Model("model", task="regression", features=hw.FeatureService("service", [view]), labels=labels)
ahead = hw.Level(predictions=hw.precomputed(hw.batch(EVERY), keys=["key"]))
project = hw.Project("project", [model], {"ahead": ahead, "fresh": hw.Level(hw.batch("10m"))})
"""


def write(folder, every, now):
    rows = [(key, now - timedelta(minutes=7 * key)) for key in range(1, 60)]
    events = pl.DataFrame(
        {
            "key": [k % 9 for k, _ in rows],
            "amount": [float(k) for k, _ in rows],
            "at": [t for _, t in rows],
        }
    )
    events = events.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    events.write_parquet(folder / "events.parquet")
    events.with_columns(paid=pl.col("amount") * 2).write_parquet(folder / "labels.parquet")
    (folder / "features.py").write_text(PROJECT.replace("EVERY", repr(every)), encoding="utf-8")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `headwater ARGUMENTS` in the test's folder: exit code, output, errors."""
    write(tmp_path, "1h", at(8 * 3600))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(
            [
                *arguments,
                *([] if arguments[0] == "train" else ["--store", f"lmdb:{tmp_path}/online"]),
            ]
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_model_is_trained_and_its_predictions_are_made(run, tmp_path):
    code, _, err = run("train", "--level", "ahead", "--as-of", "2024-05-01T09:00Z")
    assert code == 0, err
    score = ["materialize", "model", "--level", "ahead", "--files", "scores"]
    code, out, err = run(*score, "--at", "2024-05-01T07:00Z", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["cut"], said["keys_scored"], said["keys_inactive"], said["was_there"]) == (
        "2024-05-01T07:00:00+00:00",
        9,
        0,
        False,
    )
    assert said["model_version"] == "1"
    code, out, err = run(*score, "--at", "2024-05-01T07:30Z")
    assert code == 0, err
    assert "9, was there" in out
    assert pl.read_parquet(tmp_path / "scores/*/*.parquet")["key"].sort().to_list() == list(
        range(9)
    )
    code, out, err = run("status", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["predictions"]
    assert (found["model"], found["level"], found["by"], found["state"], found["keys"]) == (
        "model",
        "ahead",
        ["key"],
        "stale",
        9,
    )
    code, out, err = run("status")
    assert "predictions" in out
    code, _, err = run("train", "--level", "ahead", "--as-of", "2024-05-01T09:00Z", "--seed", "1")
    code, out, err = run(*score, "--at", "2024-05-01T07:30Z", "--json")
    assert (code, json.loads(out)["model_version"], json.loads(out)["was_there"]) == (
        0,
        "2",
        False,
    ), err
    code, _, err = run("train", "--as-of", "2024-05-01T09:00Z", "--output", "kept")  # on request
    code, _, err = run(*score, "--fitted", "kept", "--at", "2024-05-01T08:00Z")
    assert code != 0
    assert "predictions are precomputed" in err
    assert "trained on features at the request time" in " ".join(err.split())
    code, out, err = run(*score, "--at", "2024-05-01T08:00Z", "--active", "1h", "--json")
    assert code == 0, err
    assert (json.loads(out)["keys_scored"], json.loads(out)["keys_skipped"]) == (8, 1)


def test_status_says_what_is_to_be_made(run):
    for name in ("view", "view@fresh"):
        assert run("materialize", name, "--at", "2024-05-01T07:00Z")[0] == 0
    _, _, err = run("status")
    assert "headwater materialize model --level ahead" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["model"],
            (
                "predictions of model 'model' are computed on request as defined; they are "
                "precomputed at 'ahead': name one with --level"
            ),
        ),
        (["model", "--level", "fresh"], "are computed on request at level 'fresh'"),
        (["model", "--level", "ahed"], "has no level 'ahed'; did you mean 'ahead'"),
        (["model", "--level", "ahead"], "holds no version of model at 'ahead'"),
        (
            ["model", "--level", "ahead", "--fitted", "a", "--models", "b"],
            "give --models or --fitted",
        ),
        (["model", "--level", "ahead", "--fitted", "nowhere"], "no model at nowhere"),
        (["modl"], "has no batch view 'modl'"),
        (
            ["model", "view"],
            "name views, or one model: 'model' is a model, and 1 more names were given",
        ),
        (["view", "--level", "ahead"], "--level is for predictions: name their model"),
        (["view", "--active", "1d"], "--active is for predictions: name their model"),
        (
            ["model", "--level", "ahead", "--active", "1d", "--keys-file", "k.csv"],
            "give --active or --keys-file",
        ),
        (["model", "--full-refresh"], "--full-refresh is for views"),
        (["model", "--level", "ahead", "--table", "t"], "--table names a table of --database"),
    ],
)
def test_what_is_refused(run, arguments, says):
    code, _, err = run("materialize", *arguments)
    assert code != 0
    assert says in " ".join(err.split())


def test_a_view_and_a_model_of_one_name(run, tmp_path):
    text = (tmp_path / "features.py").read_text(encoding="utf-8")
    (tmp_path / "features.py").write_text(
        text.replace('"view", source', '"model", source'), encoding="utf-8"
    )
    code, _, err = run("materialize", "model")
    assert code != 0
    assert "'model' is both a view and a model" in err


@pytest.mark.slow
def test_watch_makes_each_cut_when_it_can_be_made(tmp_path):
    now = datetime.now(UTC)
    write(tmp_path, "5s", now)
    headwater = [sys.executable, "-m", "headwater.cli"]
    subprocess.run(
        [*headwater, "train", "--level", "ahead"], cwd=tmp_path, check=True, capture_output=True
    )
    score = [
        *headwater,
        "materialize",
        "model",
        "--level",
        "ahead",
        "--watch",
        "--json",
        "--store",
        "lmdb:online",
    ]
    with subprocess.Popen(
        score, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        cuts, late, text = [], [], ""
        while len(cuts) < 3:
            line = watching.stdout.readline()
            assert line, watching.stderr.read()
            text += line
            if line == "}\n":
                said = json.loads(text)
                cuts.append(datetime.fromisoformat(said["cut"]))
                late.append(
                    (datetime.fromisoformat(said["published_at"]) - cuts[-1]).total_seconds()
                )
                text = ""
        watching.send_signal(signal.SIGTERM)
        # it has a handler, without which SIGTERM does nothing to the first process of a container
        assert watching.wait(60) == 0
    steps = [(b - a).total_seconds() for a, b in itertools.pairwise(cuts)]
    assert min(steps) >= 5
    assert [step % 5 for step in steps] == [0, 0]
    assert min(late[1:]) >= 0
    figure(f"cuts were published {late[1:]} s after they could be computed")
