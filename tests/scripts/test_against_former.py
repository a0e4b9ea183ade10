"""A planted difference between two versions is reported, unless it is named with a reason."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from scripts.against_former import compare
from scripts.former.differences import differences, meant

ROOT = Path(__file__).resolve().parents[2]


def folder(path, frame, answer):
    path.mkdir()
    pl.DataFrame(frame).write_parquet(path / "offline.parquet")
    (path / "http.json").write_text(json.dumps(answer), encoding="utf-8")
    return path


FRAME = {"a": [1.0, 0.1 + 0.2, float("nan")], "b": [["x"], [], None], "c": [1, 2, None]}
ANSWER = [200, {"value": 0.3, "rows": [{"status": "present"}]}]


@pytest.mark.parametrize(
    ("frame", "answer", "expected"),
    [
        ({}, ANSWER, None),
        ({"a": [1.0, 0.3, float("nan")]}, ANSWER, "offline.parquet/a"),
        ({"a": [1.0, 0.1 + 0.2, None]}, ANSWER, "offline.parquet/a"),
        ({"b": [["x"], None, None]}, ANSWER, "offline.parquet/b"),
        ({"c": [1.0, 2.0, None]}, ANSWER, "offline.parquet/c"),
        ({"d": [1, 2, 3]}, ANSWER, "offline.parquet/d"),
        ({}, [200, {"value": 0.3, "rows": [{"status": "empty"}]}], "http.json/1/rows/0/status"),
        ({}, [200, {"value": 0.3, "rows": []}], "http.json/1/rows"),
        ({}, [200, {"rows": [{"status": "present"}]}], "http.json/1/value"),
        ({}, [422, ANSWER[1]], "http.json/0"),
    ],
)
def test_a_difference_is_told_by_its_answer(tmp_path, frame, answer, expected):
    former, present = folder(tmp_path / "former", FRAME, ANSWER), tmp_path / "this"
    found = differences(former, folder(present, FRAME | frame, answer))
    assert [difference.answer for difference in found] == ([] if expected is None else [expected])


def test_an_answer_that_is_no_longer_given_is_a_difference(tmp_path):
    former, present = folder(tmp_path / "f", FRAME, ANSWER), folder(tmp_path / "t", FRAME, ANSWER)
    (present / "http.json").unlink()
    assert [difference.answer for difference in differences(former, present)] == ["http.json"]


def test_what_is_meant_is_named_and_a_name_without_a_difference_is_an_error(tmp_path, capsys):
    former = folder(tmp_path / "f", FRAME, ANSWER)
    present = folder(tmp_path / "t", FRAME | {"a": [1.0, 0.3, 0.0]}, ANSWER)
    named = tmp_path / "meant.toml"
    assert compare(former, present, _meant(named, {})) == 1
    told = "offline.parquet/a: 2 of 3 rows; row 1: 0.30000000000000004, now 0.3"
    assert told in capsys.readouterr().out
    assert compare(former, present, _meant(named, {"*.parquet/a": "Sums are rounded."})) == 0
    both = {"*.parquet/a": "Sums are rounded.", "http.json/*": "Nothing."}
    assert compare(former, present, _meant(named, both)) == 1
    with pytest.raises(ValueError, match="gives no reason"):
        meant(_meant(named, {"a": " "}))


def test_floats_that_are_rounded_may_differ_by_so_much_of_them(tmp_path):
    former = folder(tmp_path / "f", FRAME, ANSWER)
    answer = [200, ANSWER[1] | {"value": 0.3 + 1e-8}]
    present = folder(tmp_path / "t", FRAME | {"a": [1.0, 0.3, float("nan")]}, answer)
    rounded = {"*.parquet/a": 1e-9, "http.json/1/value": 1e-9}
    found = [difference.answer for difference in differences(former, present, rounded)]
    assert found == ["http.json/1/value"]
    other = folder(tmp_path / "o", FRAME | {"a": [1.0, 0.3, None]}, ANSWER)
    (found,) = differences(former, other, rounded)
    assert found.text.startswith("1 of 3 rows; row 2")  # a null is no number that is rounded


def _meant(path, reasons):
    entries = (f'[[change]]\nanswer = "{a}"\nreason = "{r}"\n' for a, r in reasons.items())
    path.write_text("".join(entries), encoding="utf-8")
    return path


@pytest.mark.long
def test_a_fault_that_is_planted_in_the_sources_is_reported(tmp_path):
    """Deviations of the population instead of the sample, in a copy of the sources."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    planted = tmp_path / "src" / "headwater" / "definitions" / "aggregation.py"
    text = planted.read_text(encoding="utf-8")
    right = "def std(\n    *columns: str,\n    ddof: int = 1"
    assert text.count(right) == 1
    planted.write_text(text.replace(right, right[:-1] + "0"), encoding="utf-8")
    options = ["--python", sys.executable, "--path", str(tmp_path / "src"), "--offline"]
    options += ["--events", "200", "--folder", str(tmp_path / "run")]
    command = [sys.executable, "-m", "scripts.against_former", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stdout.splitlines() if "/" in line]
    columns = {line.split(":")[0].rpartition("/")[2] for line in lines}
    assert columns
    assert all("std" in column for column in columns)
