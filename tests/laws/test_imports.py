"""The laws outlive the code that they judge: they import its public names, and modules of their own
folder.
"""

import ast
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PUBLIC = (
    *(
        "headwater",
        "headwater.client",
        "headwater.errors",
        "headwater.evaluation",
        "headwater.experiments",
    ),
    *("headwater.operations", "headwater.testing", "headwater_aws", "headwater_spark"),
)
BESIDE = ("tests.effort", "tests.figures", "tests.laws")
LIBRARIES = {
    *("polars", "numpy", "httpx", "hypothesis", "pytest", "sklearn", "fastavro", "google"),
    *("psycopg", "redis"),  # what a server holds, whoever wrote it
}
OF_THE_ORACLE = {
    "__future__",
    "math",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "fractions",
    "functools",
    "zoneinfo",
}


def imported(source):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module if node.level == 0 else "." * node.level
            if node.module == "headwater":
                yield from (f"headwater.{alias.name}" for alias in node.names)


def allowed(module):
    parts = module.split(".")
    if parts[0].startswith("headwater"):
        return module in PUBLIC or module.startswith("headwater.testing.")
    if parts[0] == "tests":
        return any(module == name or module.startswith(f"{name}.") for name in BESIDE)
    return parts[0] in LIBRARIES | sys.stdlib_module_names


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.name)
def test_a_law_imports_public_names_alone(file):
    assert [
        module for module in imported(file.read_text(encoding="utf-8")) if not allowed(module)
    ] == []


def test_the_oracle_imports_the_standard_library_alone():
    """No numpy, no polars, nothing of headwater: what it shares with the code is the text of the
    semantics.
    """
    source = (FOLDER / "oracle.py").read_text(encoding="utf-8")
    assert {module.partition(".")[0] for module in imported(source)} <= OF_THE_ORACLE


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("import headwater as hw", True),
        ("from headwater.errors import DataError", True),
        ("from headwater import operations", True),
        ("from headwater.testing.clock import fixed", True),
        ("from headwater.kernel import as_of", False),
        ("from headwater import kernel", False),
        ("def law():\n    import headwater.kernel.layers", False),
        ("from tests.semantics.payments import x", False),
        ("from . import oracle", False),
        ("import duckdb", False),
    ],
)
def test_the_scan_sees_each_way_of_importing(line, good):
    assert all(map(allowed, imported(line))) == good
