"""Each example runs as its README says, and says what its README says."""

import dataclasses
import itertools
import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.cli.projects import load

ROOT = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A copy of an example, with its data, in the working folder."""

    def prepare(name, **smaller):
        for file in (ROOT / name).glob("*.py"):
            shutil.copy(file, tmp_path)
        monkeypatch.chdir(tmp_path)
        if smaller:
            Path("data").mkdir()
            made = runpy.run_path("data.py")
            if "payments" in made:
                made["payments"](**smaller).write_parquet("data/payments.parquet")
            else:
                made["write"](Path("data"), **smaller)
        else:
            monkeypatch.setattr("sys.argv", ["data.py", "data"])
            runpy.run_path("data.py", run_name="__main__")
        return load("features.py")

    return prepare


def _backtest(loaded, **more):
    model = loaded.project.models[0]
    return hw.backtest(
        model, loaded.project.levels, dataclasses.replace(loaded.project.evaluation, **more)
    ).result


def _verdicts(result):
    """What each step in the headline metric shows by its own interval, by the level that it leads
    to, from the one before.
    """
    names = [level.name for level in result.levels]
    steps = list(itertools.pairwise(names))
    return {
        pair.to: "LIFT" if pair.low > 0 else "not"
        for pair in result.comparisons
        if pair.metric == result.headline and (pair.from_, pair.to) in steps
    }


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("ISLP") is None,
    reason="the data of the bikes are in ISLP: pip install --no-deps ISLP",
)
def test_each_fresher_hour_of_rentals_pays(example):
    result = _backtest(example("bikes"))
    assert result.split.test_rows == 2587
    verdicts = _verdicts(result)
    assert verdicts.pop("daily") == "not", "a forecast without history depends on its training days"
    assert set(verdicts.values()) == {"LIFT"}


@pytest.mark.slow
def test_credit_is_scored_on_request_and_needs_no_stream(example):
    verdicts = _verdicts(_backtest(example("credit")))
    assert verdicts["on request, nightly"] == "LIFT"
    assert "LIFT" not in (verdicts["on request, hourly"], verdicts["on request, live"])


@pytest.mark.slow
def test_outcomes_that_are_known_sooner_beat_fresher_features(example):
    loaded = example("fraud", cards=1_000, terminals=2_000, days=110)
    result = _backtest(loaded, metrics=["average_precision", "auc"])
    steps = {
        (pair.from_, pair.to): pair
        for pair in result.comparisons
        if pair.metric == "average_precision"
    }
    sooner = steps["live, known in a week", "nightly, known in a day"]
    fresher = steps["nightly, known in a week", "live, known in a week"]
    assert sooner.low > 0
    assert sooner.low > fresher.high


def test_the_features_of_the_handbook_are_those_of_its_rolling_windows(example):
    example("fraud", cards=60, terminals=40, days=60)
    handbook = runpy.run_path("handbook.py")
    rows = pl.read_parquet("data/payments.parquet")
    asked = rows.filter(pl.col("paid_at") >= pl.datetime(2018, 5, 15, time_zone="UTC"))
    made = handbook["features"](rows, asked)
    second = (rows["paid_at"].dt.epoch("s")).to_numpy()
    day, week = 86_400, 7 * 86_400
    for place in range(0, asked.height, 37):
        t = int(asked["paid_at"].dt.epoch("s")[place])
        own, there = ((rows[key] == asked[key][place]).to_numpy() for key in ("card", "terminal"))
        for length in (1, 7, 30):
            mine = own & (second > t - length * day) & (second <= t)
            assert made[f"card__count_{length}d"][place] == mine.sum()
            assert made[f"card__mean_amount_{length}d"][place] == pytest.approx(
                rows["amount"].to_numpy()[mine].mean()
            )
            theirs = there & (second > t - week - length * day) & (second <= t - week)
            fraud = rows["is_fraud"].to_numpy()[theirs]
            assert made[f"terminal__count_{length}d_offset_7d"][place] == len(fraud)
            assert made[f"terminal__risk_{length}d_offset_7d"][place] == pytest.approx(
                fraud.mean() if len(fraud) else 0
            )


@pytest.mark.slow
def test_the_protocol_of_the_handbook_runs_and_finds_fraud(example):
    example("fraud", cards=1_000, terminals=1_000, days=150)
    handbook = runpy.run_path("handbook.py")
    found = handbook["run"](pl.read_parquet("data/payments.parquet"))
    assert set(found) >= {
        "logistic regression",
        "decision tree, depth 2",
        "decision tree",
        "random forest",
    }
    assert all(auc > 0.65 and precision > 0.1 for auc, precision, _ in found.values())


@pytest.mark.slow
def test_the_visit_pays_and_the_rest_may_stay_nightly(example):
    loaded = example("sessions", users=150)
    result = _backtest(loaded, metrics=["ndcg@10", "recall@5"])
    steps = {
        (pair.from_, pair.to): pair for pair in result.comparisons if pair.metric == result.headline
    }
    live = steps["ranked on request", "session live"]
    assert live.low > 0
    assert live.low > steps["lists made nightly", "ranked on request"].high
