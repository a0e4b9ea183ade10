"""Versions of views from the command line: listed, promoted, rolled back, and read by training."""

import json
import subprocess

import pytest

from headwater.cli import main
from tests.cli.conftest import PROJECT

SECOND = """
newer = hw.FeatureView("user", source=events, keys=["user_id"], windows=["1d"], features=[hw.count()], freshness=hw.batch("1d"), version=2)
model = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [newer]), labels=labels)
project = hw.Project("shop", [model], versions=[view])
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `headwater ARGUMENTS` in this process, which has the libraries and kernels: a process for
    each command took most of the time.
    """
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(list(arguments))
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return call


@pytest.fixture
def both(folder):
    """A project with two versions of `user`."""
    (folder / "features.py").write_text(PROJECT + SECOND, encoding="utf-8")


def versions(run):
    done = run("views", "--json")
    assert done.returncode == 0, done.stderr
    return [
        (v["version"], v["promoted"], set(v["state"].values()), v["models"])
        for v in json.loads(done.stdout)["versions"]
    ]


def test_a_project_without_versions_says_what_to_give(folder, run):
    assert run("materialize").returncode == 0
    done = run("views")
    assert (done.returncode, done.stderr) == (
        0,
        "no view of project shop has several versions; give the project versions=[...]\n",
    )
    done = run("views", "promote", "user@2")
    assert done.returncode == 2
    assert (
        "project 'shop' has no version 'user@2' of a view; none of its views has several versions"
        in done.stderr
    )


@pytest.mark.slow
def test_versions_are_promoted_rolled_back_and_trained_on(both, run):
    done = run("plan")
    assert (
        "view user has several versions: user@1 (read by name), user@2 are all kept filled"
        in " ".join(done.stdout.split())
    )
    done = run("materialize", "user@1")
    assert done.returncode == 0, done.stderr
    done = run("views", "promote", "user@2")
    assert done.returncode == 2
    assert (
        "user@2 cannot be read yet: user@2 is absent in the online store. Fill it with headwater "
        "materialize"
    ) in done.stderr
    assert run("materialize").returncode == 0
    assert versions(run) == [(1, True, {"current"}, []), (2, False, {"current"}, [])]

    done = run("train", "--as-of", "2024-02-01T00:00Z", "--view", "user@2")
    assert done.returncode == 0, done.stderr
    done = run("views", "promote", "user@2", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "user would read user@2\n")
    assert versions(run) == [
        (1, True, {"current"}, []),
        (2, False, {"current"}, ["churn as defined, version 1"]),
    ]
    done = run("views", "promote", "user@2", "--yes")
    assert (done.returncode, done.stderr) == (
        0,
        "user reads user@2 from now on; fitted models read the version that they were trained on\n",
    )
    explained = json.loads(run("explain", "user__count_1d", "user_id=u01", "--json").stdout)
    assert explained["feature"] == "user@2__count_1d"
    done = run("views", "rollback", "user", "--json")
    assert json.loads(done.stdout) == {"view": "user", "version": 1, "promoted": True}
    assert [v[1] for v in versions(run)] == [True, False]
    done = run("views", "rollback", "user")
    assert done.returncode == 2
    assert (
        "no version of view 'user' was promoted before user@1; it has user@1, user@2. Run: "
        "headwater views promote VERSION"
    ) in done.stderr
    done = run("train", "--view", "user@7")
    assert done.returncode == 2
    assert "project 'shop' has no version 'user@7' of a view; did you mean 'user@" in done.stderr
