"""Versions of fitted models from the command line: kept, listed, promoted and rolled back."""

import json

import pytest

UNTIL = ("--as-of", "2024-02-01T00:00Z")


def _versions(run, *more):
    done = run("models", "--json", *more)
    assert done.returncode == 0, done.stderr
    return [(v["level"], v["version"], v["current"]) for v in json.loads(done.stdout)["versions"]]


@pytest.mark.slow
def test_versions_are_kept_promoted_and_rolled_back(folder, run):
    assert _versions(run) == []
    done = run("train", *UNTIL, "--holdout", "2024-01-20T00:00Z")
    assert done.returncode == 0, done.stderr
    assert "holdout: auc " in done.stderr
    assert "model: churn as defined, version 1, which is served from now on, in .headwater/models/churn/as defined/1" in done.stderr
    assert "next: headwater serve --project features.py --materialize\n" in done.stderr  # there is no online store to serve from yet
    assert "/v1/predict/churn " in done.stderr.splitlines()[-1]
    done = run("train", *UNTIL, "--no-promote")
    assert "version 2, which waits to be promoted" in done.stderr
    assert done.stderr.endswith("next: headwater models promote 2 --project features.py\n")
    (folder / "headwater.toml").write_text('[serve]\nlisten = "0.0.0.0:9001"\n', encoding="utf-8")
    done = run("train", *UNTIL, "--level", "instant")
    assert "http://127.0.0.1:9001/v1/predict/churn " in done.stderr.splitlines()[-1]
    assert _versions(run) == [("as defined", 1, True), ("as defined", 2, False), ("instant", 1, True)]
    assert _versions(run, "--level", "instant") == [("instant", 1, True)]

    done = run("models", "promote", "2")
    assert (done.returncode, done.stderr) == (0, "churn as defined, version 2 is served from now on\n")
    assert _versions(run, "--level", "as defined") == [("as defined", 1, False), ("as defined", 2, True)]
    done = run("models", "rollback", "--json")
    assert json.loads(done.stdout)["version"] == 1
    done = run("models", "rollback")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no version was current before version 1; promote one of 1 to 2" in done.stderr

    shown = run("models").stdout
    assert "1 served" in shown
    assert "(held out)" in shown


@pytest.mark.slow
def test_versions_are_kept_where_one_says(folder, run):
    assert run("train", *UNTIL, "--models", "kept").returncode == 0
    assert (folder / "kept/churn/as defined/1/model.txt").is_file()
    assert _versions(run) == []
    assert _versions(run, "--models", "kept") == [("as defined", 1, True)]


def test_a_model_without_versions_says_what_to_do(folder, run):
    done = run("models")
    assert done.returncode == 0
    assert done.stderr == "next: headwater train --project features.py\n"
    done = run("models", "promote", "1")
    assert done.returncode == 1
    assert "holds no version of churn at 'as defined'" in done.stderr
    assert "Run: headwater train --model churn" in done.stderr
