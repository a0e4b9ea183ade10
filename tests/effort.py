"""How much a run of the tests does: the short form of `make test`, everything with
HEADWATER_TESTS=full, as `make test-full` sets it, and the longest form of some with
HEADWATER_TRUST=long, as `make trust` sets it.

HEADWATER_TESTS=services, as `make mutants` sets it, is every test with the examples of the short
form.

HEADWATER_TESTS=rest, as `make test-rest` sets it, is the full form without the tests that the short
form has run just as they are there, and with a quarter of the parameters of each test: other ones at
each commit. Slow tests of IN_CLUSTERS run with HEADWATER_TESTS=cluster, as
`make test-cluster` sets it, and nothing else does then.
"""

import ast
import os
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

LONG = os.environ.get("HEADWATER_TRUST") == "long"
_FORM = os.environ.get("HEADWATER_TESTS", "")
if _FORM not in ("", "full", "rest", "services", "cluster"):
    raise ValueError(
        f"HEADWATER_TESTS is {_FORM!r}; give full, rest, services or cluster, or unset it"
    )
SERVICES = _FORM == "services"
CLUSTER = _FORM == "cluster"
REST = _FORM == "rest"
FULL = LONG or CLUSTER or REST or _FORM == "full"


def tries(full: int) -> int:
    """How many examples Hypothesis tries of a law: all in the longest form, a fifth in the full, a
    tenth in the short one, at least 5.
    """
    return full if LONG else min(full, max(5, full // 5 if FULL else full // 10))


_PART = 4


def sample(tests: Iterable[str], seed: str) -> set[str]:
    """Of the ids of tests, those to run: every fourth set of parameters of a test, at least one. The
    seed decides where each test begins.
    """
    parameters: dict[str, list[str]] = {}
    for test in tests:
        parameters.setdefault(test.partition("[")[0], []).append(test)
    chosen = set[str]()
    for name, ids in parameters.items():
        first = sha256(f"{seed} {name}".encode()).digest()[0] % min(_PART, len(ids))
        chosen.update(ids[first::_PART])
    return chosen


IN_CLUSTERS = ("tests/cluster/", "tests/engine/spark/", "tests/ingestion/kinesis/")
"""Folders of tests of several servers and processes."""


_EFFORT = frozenset({"FULL", "LONG", "REST", "CLUSTER", "SERVICES", "tries"})
_ROOT = Path(__file__).resolve().parents[1]


@cache
def depends_on_effort(path: Path) -> frozenset[str]:
    """The names of a module of tests that mean something else in another form: what is computed from
    `FULL` and the like, or uses, as a fixture or otherwise, what is.
    """
    if path == Path(__file__).resolve():
        return _EFFORT
    uses: dict[str, set[str]] = {}
    found = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            other = _ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            names = depends_on_effort(other) if other.exists() else frozenset()
            found |= {each.asname or each.name for each in node.names if each.name in names}
            continue
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        used |= {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            targets = {node.name}
        else:
            targets = {
                each.id
                for each in ast.walk(node)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
        for target in targets:
            uses.setdefault(target, set()).update(used)
    while more := {name for name, used in uses.items() if used & found} - found:
        found |= more
    return frozenset(found)
