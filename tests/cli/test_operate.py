"""materialize, status, parity and explain as a user calls them, one after the other."""

import json
from contextlib import closing

import numpy as np
import pytest

import headwater as hw
from headwater.cli import main
from headwater.stores import keyspace
from tests.flow import (
    frame,
    home,  # noqa: F401 (fixtures)
)

PROJECT = """
import headwater as hw

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["key", "word", "amount"])
view = hw.FeatureView("view", source=events, keys=["key", "word"], windows=["1d"], features=[hw.count(), hw.sum("amount")], freshness=hw.batch("1h"))
labels = hw.Labels("labels", table=hw.parquet("events.parquet"), timestamp_field="at", label="amount", known_after="1h")
model = hw.Model("model", task="regression", features=hw.FeatureService("service", [view]), labels=labels)
project = hw.Project("project", [model])
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `headwater ARGUMENTS` in the test's folder: exit code, output, errors."""
    words = ["a, b=c", "a, b=c", "d", "d"]
    events = frame([(1, 10, 1.5), (1, 20, 2.0), (2, 30, 5.0), (1, 7300, 9.0)], word=words)
    events.write_parquet(tmp_path / "events.parquet")
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main([*arguments, "--store", f"lmdb:{tmp_path}/online"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_night_of_operation(run, tmp_path):
    code, out, err = run("status")
    assert code != 0
    assert "there is no online store" in err
    code, out, err = run("materialize", "--at", "2024-05-01T01:00Z", "--json")
    assert code == 0, err
    (made,) = json.loads(out)["views"]
    assert (made["view"], made["cut"], made["events_added"], made["was_there"]) == (
        "view",
        "2024-05-01T01:00:00+00:00",
        3,
        False,
    )
    code, out, err = run("materialize", "--at", "2024-05-01T01:30Z")
    assert code == 0
    assert "was there" in out
    code, out, err = run("status", "--json")
    assert code == 0, err
    assert json.loads(out)["views"][0]["state"] == "stale"
    code, out, err = run("parity", "--at", "2024-05-01T01:30Z", "--json")
    assert (code, json.loads(out)["mismatches"]) == (0, 0), err
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online")) as store:
        ((place, record),) = [(k, v) for k, v in store.scan(keyspace.RECORD) if b"a, b=c" in k]
        store.commit(
            {place: record.replace(np.array([3.5]).tobytes(), np.array([4.5]).tobytes())}, {}
        )
    code, out, err = run("parity", "--at", "2024-05-01T01:30Z", "--json")
    assert code == 1
    assert json.loads(out)["views"][0]["mismatches"] == [
        {
            "feature": "view__sum_amount_1d",
            "keys": {"key": 1, "word": "a, b=c"},
            "online": 4.5,
            "offline": 3.5,
            "reason": "the value differs",
        }
    ]
    assert "1 of 6 values differ" in err
    code, out, err = run("parity", "--at", "2024-05-01T01:30Z")
    assert code == 1
    assert "next: headwater explain view__sum_amount_1d key=1 'word=a, b=c'" in err
    code, out, err = run("explain", "view__sum_amount_1d", "key=1", "word=a, b=c", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["online"], said["offline"], [e["why"] for e in said["events"]]) == (
        4.5,
        3.5,
        ["it counts", "it counts"],
    )
    code, out, err = run(
        "explain", "view__sum_amount_1d", "key=1", "word=d", "--at", "2024-05-01T02:00Z"
    )
    assert code == 0, err
    assert "0 of 1 events of the key count" in out


def test_a_comparison_of_nothing_is_no_success(run):
    run("materialize", "--at", "2024-05-01T01:00Z")
    run("materialize", "--at", "2024-06-01T01:00Z")
    code, _, err = run("parity")  # the keys are there, and all their events are a month old
    assert code == 1
    assert "nothing was compared: view" in err
    assert "`headwater status`" in err
