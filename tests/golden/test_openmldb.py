"""OpenMLDB's own window cases: what headwater can say agrees, and what it cannot say is counted by
reason.
"""

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from tests.golden.openmldb import ARRIVAL, MAXSIZE, NUMBERED, PLACE, ROWS, answers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "oracles.md"

AGREE = "agrees"
IN_PART, SEVERAL = "agrees in part, the rest cannot be said", "several of these reasons"
# what becomes of each column computed over a window
COLUMNS = {AGREE: 165, ROWS: 122, MAXSIZE: 54, PLACE: 29, ARRIVAL: 1}
CASES = {AGREE: 81, IN_PART: 27, ROWS: 62, MAXSIZE: 21, PLACE: 4, SEVERAL: 13}  # and of each case
USES = {  # the columns that agree, by what their frame asks of headwater
    NUMBERED: 61,
    "UNION": 38,
    "EXCLUDE CURRENT_ROW": 33,
    "a sum of nothing: 0, read as NULL": 20,
    "EXCLUDE CURRENT_TIME": 19,
    "the row's own value, by a request feature": 17,
    "an open start": 16,
    "an end n before t (offset)": 16,
    "MAXSIZE that never cuts": 16,
    "INSTANCE_NOT_IN_WINDOW": 12,
    "an open end": 4,
    "several keys": 2,
}
# By the time alone, these columns differ: of rows at one moment, only those that had arrived count,
# and headwater knows no arrival.
BY_ARRIVAL = {
    "function/window/test_current_row.yaml#3": {"w1_c4_sum"},
    "function/window/test_current_row.yaml#7": {"w1_c4_sum"},
    "function/window/test_current_row.yaml#9": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#5": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#7": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#9": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#10": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#12": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#14": {"w1_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#16": {"w1_c4_sum", "w7_c4_sum"},
    "function/window/test_window_exclude_current_time.yaml#19": {"w4_c4_sum", "w5_c4_sum"},
    "function/window/test_window_union.yaml#18-1": {"cnt", "mv"},
    "function/window/test_window_union.yaml#19-1": {"cnt", "mv"},
    "function/window/test_window_union.yaml#20": {"cnt", "mi"},
    "function/window/test_window_union.yaml#38": {"cnt", "mv"},
    "function/window/test_window_union.yaml#39": {"cnt", "mv"},
    "function/window/window_attributes.yaml#0": {"cnt", "mi", "mv"},
}


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


def verdicts(found):
    return {
        case: [answer.reason or AGREE for answer in columns.values()]
        for case, columns in found.items()
    }


def whole(reasons):
    if len(set(reasons)) == 1:
        return reasons[0]
    return IN_PART if AGREE in reasons else SEVERAL


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


@pytest.mark.slow
def test_the_time_alone_differs_only_where_rows_share_a_moment(cases, found):
    tied = [
        case
        for case in cases
        if any(NUMBERED in answer.uses for answer in found[case["id"]].values())
    ]
    assert {
        case["id"]: set(columns)
        for case in tied
        if (columns := wrong(case, answers(case, number=False)))
    } == BY_ARRIVAL


def test_how_much_can_be_said(found):
    assert Counter(reason for reasons in verdicts(found).values() for reason in reasons) == COLUMNS
    assert Counter(whole(reasons) for reasons in verdicts(found).values()) == CASES
    assert (sum(COLUMNS.values()), sum(CASES.values())) == (371, 208)


def test_what_the_agreement_covers(found):
    assert (
        Counter(
            use for columns in found.values() for answer in columns.values() for use in answer.uses
        )
        == USES
    )


def test_the_page_says_the_same(found):
    text = PAGE.read_text(encoding="utf-8")
    names = [AGREE, IN_PART, ROWS, MAXSIZE, PLACE, ARRIVAL, SEVERAL]
    outcome = [f"| {name} | {COLUMNS.get(name, '')} | {CASES.get(name, '')} |" for name in names]
    by_arrival = sum(len(columns) for columns in BY_ARRIVAL.values())
    lines = [
        *outcome,
        f"| in all | {sum(COLUMNS.values())} | {sum(CASES.values())} |",
        *(f"| {use} | {n} |" for use, n in USES.items()),
        f"By the time alone {COLUMNS[AGREE] - by_arrival} of the {COLUMNS[AGREE]} columns agree",
    ]
    assert [line for line in lines if line not in text] == [], "\n".join(lines)
