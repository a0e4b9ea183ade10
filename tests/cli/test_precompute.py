"""`headwater materialize MODEL` as a user calls it: trained, scored, seen in status, on schedule,
and refused in words.
"""

import json
from datetime import timedelta

import polars as pl
import pytest

from headwater.cli import main
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
