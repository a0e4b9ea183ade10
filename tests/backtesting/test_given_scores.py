"""Predictions as a frame, and predictions that were made elsewhere."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.cli import main
from tests.backtesting.world import step

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)


def scored(n=600, days=20, seed=0):
    """Requests with scores of two levels, the second better."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    times = [START + dt.timedelta(seconds=float(s)) for s in np.sort(rng.random(n)) * days * 86400]
    noise = rng.random(n)
    return pl.DataFrame(
        {
            "id": np.arange(n),
            "time": times,
            "label": y,
            "daily": 0.8 * noise + 0.1 * y,
            "minute": 0.5 * noise + 0.4 * y,
            "user": rng.integers(0, 30, n),
        }
    ).with_columns(pl.col("time").dt.convert_time_zone("UTC"))


def test_a_frame_of_scores_is_judged_without_definitions(tmp_path):
    rows = scored()
    found = hw.backtest(scores=rows).result
    assert [level.name for level in found.levels] == ["daily", "minute"]
    assert (
        found.task,
        found.headline,
        found.split.test_rows,
        step(found, "daily", "minute").verdict,
    ) == ("binary", "auc", 600, "LIFT")
    assert found.audit.checks_not_run[0].check == "all"
    rows.write_parquet(tmp_path / "scores.parquet")
    assert hw.backtest(scores=tmp_path / "scores.parquet").result.comparisons == found.comparisons
    assert (
        step(
            hw.backtest(scores=rows.sample(fraction=1, shuffle=True, seed=1)).result,
            "daily",
            "minute",
        ).verdict
        == "LIFT"
    )
    hw.backtest(scores=rows).write_html(tmp_path / "page.html")
    assert "scores that were given" in (tmp_path / "page.html").read_text()
    repr(hw.backtest(scores=rows))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_command_line_judges_a_file(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = scored().rename({"id": "request"})
    rows.write_parquet("s.parquet") if kind == "parquet" else rows.with_columns(
        pl.col("time").dt.to_string("iso:strict")
    ).write_csv("s.csv")
    assert main(
        [
            "backtest",
            "--scores",
            f"s.{kind}",
            "--id",
            "request",
            "--levels",
            "daily,minute",
            "--json",
            "--output",
            "page.html",
        ]
    ) in (0, None)
    printed = json.loads(capsys.readouterr().out)
    assert [found["verdict"] for found in printed["comparisons"] if found["metric"] == "auc"] == [
        "LIFT"
    ]
    assert (tmp_path / "page.html").exists()
