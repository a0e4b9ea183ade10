"""Runs from the command line: listed, shown, compared."""

import json

import polars as pl
import pytest

from tests.cli.conftest import START


@pytest.mark.slow
def test_runs_are_listed_shown_and_compared(folder, run, monkeypatch):
    monkeypatch.setenv("HEADWATER_RUNS", "on")
    done = run("runs")
    assert done.returncode == 0, done.stderr
    assert "next: headwater backtest" in done.stderr
    times = pl.datetime_range(START, interval="5h", end=START.replace(day=13), eager=True)
    scores = pl.DataFrame(
        {"id": range(len(times)), "time": times, "label": [n % 2 for n in range(len(times))]}
    )
    scores.with_columns(stale=pl.lit(0.5), fresh=pl.col("label") * 0.8 + 0.1).write_parquet(
        folder / "scores.parquet"
    )
    for _ in range(2):
        done = run("backtest", "--scores", "scores.parquet", "--output", "report.html")
        assert done.returncode == 0, done.stderr
    listed = json.loads(run("runs", "--json").stdout)["runs"]
    assert [each["kind"] for each in listed] == ["backtest", "backtest"]
    assert listed[0]["id"] in run("runs").stdout
    shown = run("runs", "show", "latest", "--output", "again.html")
    assert listed[0]["id"] in shown.stdout
    assert (folder / "again.html").stat().st_size > 10_000
    compared = json.loads(run("runs", "compare", listed[0]["id"], listed[1]["id"], "--json").stdout)
    assert compared["figures"]["auc fresh"] == [1.0, 1.0]
    assert run("runs", "compare", listed[0]["id"]).returncode == 2
