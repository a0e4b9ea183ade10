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
