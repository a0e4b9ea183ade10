"""Each fast path can be turned off and has rows that measure it; each function has a row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import functions
from bench.layers import LAYERS, rows
from bench.switches import OFF
from headwater.aggregations.table import TABLE

ROOT = Path(__file__).resolve().parents[2]


def test_every_layer_has_a_switch_and_rows():
    assert sorted(layer.name for layer in LAYERS) == sorted(OFF)
    names = set(rows(1.0, "localhost:9092"))
    assert {row for layer in LAYERS for row in layer.rows} <= names


@pytest.mark.slow
def test_every_switch_replaces_something_that_there_is():
    """In a process of its own: replaced functions stay replaced."""
    code = "from bench.switches import OFF\nfor off in OFF.values(): off()\nprint(len(OFF))"
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{len(OFF)}\n", done.stderr


def test_every_function_has_a_row():
    made = functions.functions()
    assert {name for name in made if " " not in name} == set(TABLE)
    assert [name for name in made if " " in name] == ["sum by", "count by"]


@pytest.mark.slow
def test_a_layer_is_measured_on_and_off(tmp_path):
    output = tmp_path / "layers.json"
    options = ["--only", "distinct requests", "--turns", "1", "--scale", "0.001"]
    command = [sys.executable, "-m", "bench.layers", *options, "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(output.read_text(encoding="utf-8"))
    assert (row["layer"], row["row"]) == ("distinct requests", "levels, 4 together")
    assert row["ratio"] == pytest.approx(row["off"] / row["on"], rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["offline", "online"])
def test_functions_are_measured_beside_another_version(kind):
    """Here the other version is this one; each side has a process of its own."""
    command = [sys.executable, "-m", "bench.functions", kind, "2000", "100", "1", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["functions"]
    assert list(measured) == list(functions.functions())
    assert all(side["busy"][0] > 0 for sides in measured.values() for side in sides.values())
