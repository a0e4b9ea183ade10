"""Commands that take something away ask first: `--yes`, `--dry-run`, an answer at a terminal, and
no terminal at all.
"""

import io
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from headwater.cli import main

PROJECT = """
import headwater as hw

visits = hw.Source("visits", history=hw.parquet("visits.parquet"), timestamp_field="at")
view = hw.FeatureView("user", source=visits, keys=["user"], features=[hw.count(), hw.sum("pages")], windows=["1d"], freshness=hw.batch("1h"))
labels = hw.Labels("leaving", table=hw.parquet("asked.parquet"), timestamp_field="at", label="left", known_after="1m")
project = hw.Project("shop", [hw.Model("churn", features=hw.FeatureService("churn_v1", [view]), labels=labels, task="binary")])
"""
CALLS = {
    "restore": ["store", "restore", "copy", "--store", "lmdb:again"],
    "compact": ["store", "compact"],
    "rollback": ["models", "rollback"],
    "revoke": ["token", "revoke", "app"],
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A store with one key that no window reaches any more, its backup, two versions of a model and
    a token.
    """
    folder = tmp_path_factory.mktemp("shop")
    now = datetime.now(UTC)
    at = [now - timedelta(hours=80), now - timedelta(hours=2), now - timedelta(hours=2)]
    pl.DataFrame({"user": [1, 2, 3], "at": at, "pages": [3, 5, 7]}).write_parquet(
        folder / "visits.parquet"
    )
    asked = {"user": [1, 2] * 20, "at": [now - timedelta(hours=1)] * 40, "left": [True, False] * 20}
    pl.DataFrame(asked).write_parquet(folder / "asked.parquet")
    (folder / "features.py").write_text(PROJECT, encoding="utf-8")
    jobs = [
        ["materialize", "--at", (now - timedelta(hours=hours)).isoformat()] for hours in (70, 30, 0)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HEADWATER_HOME", raising=False)
        calls = [*jobs, ["store", "backup", "copy"], ["train"], ["train"]]
        calls += [["token", "new", "--scope", "read", "--name", "app"]]
        for call in calls:
            assert main(call) == 0, call
    return folder


@pytest.fixture
def shop(prepared, monkeypatch, capsys):
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    monkeypatch.chdir(prepared)
    capsys.readouterr()
    return prepared


def state(folder, name, capsys):
    """What the command would change."""
    capsys.readouterr()
    if name == "restore":
        return (folder / "again").exists()
    if name == "revoke":
        return (folder / ".headwater" / "tokens.json").read_bytes()
    if name == "compact":
        assert main(["store", "compact", "--dry-run", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["views"]
    assert main(["models", "--json"]) == 0
    return [(v["version"], v["current"]) for v in json.loads(capsys.readouterr().out)["versions"]]


def at_terminal(monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Terminal(answer))


@pytest.mark.parametrize("name", CALLS)
def test_nothing_changes_without_consent(shop, name, monkeypatch, capsys):
    before = state(shop, name, capsys)
    assert main([*CALLS[name], "--dry-run"]) == 0
    assert main([*CALLS[name], "--dry-run", "--json"]) == 0
    assert '"dry_run": true' in capsys.readouterr().out
    assert state(shop, name, capsys) == before
    for answer in ("n\n", "\n", "", "what\n"):
        at_terminal(monkeypatch, answer)
        assert main(CALLS[name]) == 0
        found = capsys.readouterr()
        assert "[y/N]" in found.err
        assert "nothing was" in found.err
        assert state(shop, name, capsys) == before


@pytest.mark.parametrize("name", ["restore", "revoke"])
def test_what_cannot_be_undone_needs_consent(shop, name, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = state(shop, name, capsys)
    assert main(CALLS[name]) == 2
    assert "No terminal to confirm; give --yes, or --dry-run" in capsys.readouterr().err
    assert state(shop, name, capsys) == before


@pytest.mark.parametrize(
    ("name", "more"), [("restore", []), ("rollback", []), ("compact", []), ("revoke", ["--yes"])]
)
def test_consent_at_the_terminal_or_by_flag_is_enough(shop, name, more, monkeypatch, capsys):
    before = state(shop, name, capsys)
    at_terminal(monkeypatch, "" if more else "y\n")
    assert main([*CALLS[name], *more]) == 0, capsys.readouterr().err
    assert state(shop, name, capsys) != before


def test_a_restore_that_cannot_be_is_refused_before_the_question(shop, monkeypatch, capsys):
    at_terminal(monkeypatch, "y\n")
    assert main(["store", "restore", "nowhere", "--store", "lmdb:new"]) == 1
    assert main(["store", "restore", "copy", "--dry-run"]) == 1  # into its own store
    found = capsys.readouterr().err
    assert "there is no online store in nowhere" in found
    assert "is not empty" in found
    assert "[y/N]" not in found
    assert not (shop / "new").exists()
