"""Versions of fitted models from the command line: kept, listed, promoted and rolled back."""

import json

import polars as pl
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
    assert (
        "model: churn as defined, version 1, which is current, in .headwater/models/churn/as "
        "defined/1"
    ) in done.stderr
    # no online store to serve from yet
    assert "next: headwater serve --project features.py --materialize\n" in done.stderr
    assert "/v1/predict/churn " in done.stderr.splitlines()[-1]
    done = run("train", *UNTIL, "--no-promote")
    assert "version 2, which waits to be promoted" in done.stderr
    assert done.stderr.endswith("next: headwater models promote 2 --project features.py\n")
    (folder / "headwater.toml").write_text('[serve]\nlisten = "0.0.0.0:9001"\n', encoding="utf-8")
    done = run("train", *UNTIL, "--level", "instant")
    assert "http://127.0.0.1:9001/v1/predict/churn " in done.stderr.splitlines()[-1]
    assert _versions(run) == [
        ("as defined", 1, True),
        ("as defined", 2, False),
        ("instant", 1, True),
    ]
    assert _versions(run, "--level", "instant") == [("instant", 1, True)]

    done = run("models", "promote", "2")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        0,
        "churn as defined, version 2, is current from now on",
    )
    assert "no service that runs takes this model" in done.stderr
    assert _versions(run, "--level", "as defined") == [
        ("as defined", 1, False),
        ("as defined", 2, True),
    ]
    done = run("models", "rollback", "--json")
    assert json.loads(done.stdout)["version"] == 1
    done = run("models", "rollback")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no version was current before version 1; promote one of 1 to 2" in done.stderr

    shown = run("models").stdout
    assert "1 current" in shown
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


def test_a_version_that_the_definitions_cannot_serve_is_not_made_current(folder, run):
    """A feature is added, the model is trained again, and rolled back: a service could not start
    with the result.
    """
    events, labels = (
        pl.read_parquet(folder / "events.parquet"),
        pl.read_parquet(folder / "labels.parquet"),
    )
    events.head(400).write_parquet(folder / "events.parquet")
    labels.head(100).write_parquet(folder / "labels.parquet")
    assert run("apply").returncode == 0
    assert run("train", *UNTIL).returncode == 0
    before = (folder / "features.py").read_text(encoding="utf-8")
    (folder / "features.py").write_text(
        before.replace('hw.mean("amount")]', 'hw.mean("amount"), hw.max("amount")]'),
        encoding="utf-8",
    )
    planned = run("plan")
    assert (
        "model churn as defined cannot be served with these definitions: version 1: "
        in " ".join(planned.stdout.split())
    )
    assert planned.stderr == "next: headwater apply --project features.py --expect 1\n"
    applied = run("apply", "--expect", "1")
    assert "next: headwater train --model churn --project features.py" in applied.stderr
    assert run("train", *UNTIL).returncode == 0
    for command in (("rollback",), ("rollback", "--dry-run"), ("promote", "1")):
        refused = run("models", *command)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "'user__max_amount_1d' is served, and it does not know it" in refused.stderr
        assert (
            "Nothing was changed. To serve it, put the definitions that it was trained with back "
            "into features.py"
        ) in refused.stderr
    assert _versions(run) == [("as defined", 1, False), ("as defined", 2, True)]
    (folder / "features.py").write_text(before, encoding="utf-8")
    planned = run("plan")
    assert (
        planned.stderr.splitlines()[-1]
        == "next: headwater apply --project features.py --expect 2 --allow-breaking"
    )
    assert run("apply", "--expect", "2", "--allow-breaking").returncode == 0
    done = run("models", "rollback")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "churn as defined, version 1, is current from now on",
        (
            "no service that runs takes this model from .headwater/models; the next one that "
            "starts serves it"
        ),
    ]
