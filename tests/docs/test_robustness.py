"""docs/robustness.md names a test for each case: the test is there, and no case is told twice."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "`tests/" in line
]


def _named(row: str) -> list[tuple[str, str]]:
    """File and test of each name in a row; `b` or `::b` after `tests/a.py::c` is of the same file."""
    names, file = [], ""
    for name in re.findall(r"`(tests/[^`]+|::[^`]+)`", row):
        for one in name.split(" (")[0].split(", "):
            path, _, test = one.partition("::") if "/" in one else ("", "", one.lstrip(":"))
            file = path or file
            names.append((file, test))
    return names


NAMED = sorted({name for row in ROWS for name in _named(row)})


@cache
def _tests_of(path: Path) -> set[str]:
    """The functions of a file, those of its classes as `Class::function`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    names |= {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
    return names


def _is_there(path: Path, test: str) -> bool:
    if not path.exists():
        return False
    return not test or path.is_dir() or test.partition("[")[0] in _tests_of(path)


def test_there_are_rows() -> None:
    assert len(ROWS) > 300
    assert len(NAMED) > 300


def test_named_tests_are_there() -> None:
    missing = [f"{file}::{test}" for file, test in NAMED if not _is_there(ROOT / file, test)]
    assert not missing


def test_no_case_is_told_twice() -> None:
    cases = Counter(row.split(" | ")[0] for row in ROWS)
    assert not [case for case, rows in cases.items() if rows > 1]
