"""OpenMLDB's own window cases: what headwater can say agrees."""

import json
import math

import pytest

from tests.golden.openmldb import answers


@pytest.fixture(scope="module")
def cases(shared):
    file = shared / "golden" / "openmldb_windows.jsonl"
    if not file.is_file():
        pytest.skip(f"needs {file.name} in the folder {file.parent.name} of {shared.name}")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def found(cases):
    return {case["id"]: answers(case) for case in cases}


def differences(case, name, values):
    """The rows where `values` are not what OpenMLDB expects; its rows come in any order, so both
    sides are sorted.
    """
    have = [column for column, _ in case["tables"][0]["columns"]]
    want = [column for column, _ in case["expect_columns"]]
    plain = [s for s in case["window"]["select"] if "col" in s]
    mine = [
        (*(row[have.index(s["col"])] for s in plain), value)
        for row, value in zip(case["tables"][0]["rows"], values, strict=True)
    ]
    theirs = [
        (*(row[want.index(s["as"])] for s in plain), row[want.index(name)])
        for row in case["expect_rows"]
    ]
    pairs = zip(sorted(mine, key=nulls_first), sorted(theirs, key=nulls_first), strict=True)
    return [f"{a}, not {b}" for a, b in pairs if not (a[:-1] == b[:-1] and same(a[-1], b[-1]))]


def nulls_first(row):
    return [(value is not None, value) for value in row]


def same(mine, theirs):
    if isinstance(mine, float) and isinstance(theirs, float):
        # theirs are written to five decimals, and add up float32 as such
        return math.isclose(mine, theirs, rel_tol=1e-6)
    return type(mine) is type(theirs) and mine == theirs


def wrong(case, columns):
    said = {
        name: differences(case, name, answer.values)
        for name, answer in columns.items()
        if answer.values is not None
    }
    return {name: rows for name, rows in said.items() if rows}


@pytest.mark.slow
def test_every_value_that_can_be_said_agrees(cases, found):
    assert {
        case["id"]: columns for case in cases if (columns := wrong(case, found[case["id"]]))
    } == {}
