"""Each example runs as its README says, and says what its README says."""

import itertools
import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import headwater as hw
from headwater.cli.projects import load

ROOT = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A copy of an example, with its data, in the working folder."""

    def prepare(name):
        for file in (ROOT / name).glob("*.py"):
            shutil.copy(file, tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["data.py", "data"])
        runpy.run_path("data.py", run_name="__main__")
        return load("features.py")

    return prepare


def _backtest(loaded, **more):
    model = loaded.project.models[0]
    return hw.backtest(model, levels=loaded.project.levels, split=loaded.names["split"], **more).result


def _verdicts(result):
    """The verdict of each step in the headline metric, by the level that it leads to, from the one before."""
    names = [level.name for level in result.levels]
    steps = list(itertools.pairwise(names))
    return {pair.to: pair.verdict for pair in result.paired if pair.metric == result.headline and (pair.from_, pair.to) in steps}


@pytest.mark.skipif(find_spec("ISLP") is None, reason="the data of the bikes are in ISLP: pip install --no-deps ISLP")
def test_each_fresher_hour_of_rentals_pays(example):
    result = _backtest(example("bikes"))
    assert result.split.test_rows == 2587
    assert set(_verdicts(result).values()) == {"LIFT"}


def test_credit_is_scored_on_request_and_needs_no_stream(example):
    verdicts = _verdicts(_backtest(example("credit")))
    assert verdicts["on request, nightly"] == "LIFT"
    assert "LIFT" not in (verdicts["on request, hourly"], verdicts["on request, live"])
