"""Operators change what they say and no more; survivors are reported; a stopped run goes on."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from scripts.mutation.drawing import draw, equivalent, mutants, shares
from scripts.mutation.operators import parses, sites

ROOT = Path(__file__).resolve().parents[2]


def changed(code):
    """Each mutant of a source, as (operator, source)."""
    source = dedent(code).encode()
    return [(site.operator, site.applied(source).decode()) for site in sites(source, "x.py")]


@pytest.mark.parametrize(
    ("operator", "code", "expected"),
    [
        ("boundary", "a < b", ["(a <= b)"]),
        ("negation", "a < b", ["(a >= b)"]),
        ("negation", "a is not b", ["(a is b)"]),
        ("arithmetic", "a - b", ["(a + b)"]),
        ("arithmetic", "a += b", ["a -= b"]),
        ("number", "a[7]", ["a[(8)]", "a[(6)]"]),
        ("boolean", "a = True", ["a = (False)"]),
        ("and/or", "a or b", ["(a and b)"]),
        ("not", "not a", ["(a)"]),
        ("condition", "b if a else c", ["(b if not a else c)"]),
        ("dropped call", "a.b(c)", ["pass"]),
        ("returned value", "def f():\n    return a", ["def f():\n    return None"]),
        ("returned value", "def f():\n    return [a]", ["def f():\n    return []"]),
        ("swapped arguments", "f(a, b)", ["(f(b, a))"]),
        ("slice", "a[b:]", ["a[b + 1:]", "a[b:-1]"]),
        ("dropped jump", "while a:\n    break", ["while a:\n    pass"]),
        (
            "exception handler",
            "try:\n    a = b\nexcept KeyError:\n    a = c",
            ["try:\n    a = b\nexcept KeyError:\n    raise"],
        ),
    ],
)
def test_an_operator_changes_what_it_says(operator, code, expected):
    found = [after for name, after in changed(code) if name == operator]
    assert found == expected
    assert all(parses(after.encode()) for after in found)


@pytest.mark.parametrize(
    "code",
    [
        'def f(a: int | None) -> "x":\n    """Text."""\n',
        "raise ValueError(f'{a + 1} is wrong')",
        "assert a < 1",
        "warnings.warn('a', b)",
        "logger.info('a %s', 1)",
        "@f(True)\nclass A(B, frozen=True):\n    c: 'd[1]'\n",
        "if TYPE_CHECKING:\n    a = 1",
        "def __repr__(self):\n    return 'a' + str(1)",
        "a = b + f'{c}'",
        "return_ = None",
    ],
)
def test_what_no_answer_depends_on_is_left_alone(code):
    assert changed(code) == []


def test_a_key_survives_a_move():
    """A mutant of code that stands elsewhere in the file, in another folder, is the same one."""
    one = sites(b"def f(a):\n    return a < 1\n", "x.py")
    other = sites(b"B = 2\n\n\nasync def g(): ...\n\n\ndef f(a):\n    return a < 1\n", "x.py")
    assert {site.key for site in one} < {site.key for site in other}
    twice = sites(b"def f(a):\n    return a < 1 or a < 1\n", "x.py")
    assert len({site.key for site in twice}) == len(twice)


def test_each_folder_has_its_share():
    assert shares({"a": 70.0, "b": 20.0, "c": 10.0}, 12) == {"a": 9, "b": 2, "c": 1}


CODE = """
def larger(a, b):
    return a if a > b else b


def unused(a):
    return a + 1
"""
LAW = """
import pathlib, subprocess, sys
from headwater.kernel.compare import larger

def test_larger():
    assert larger(1, 2) == 2

def test_another_process():
    code = "from headwater.kernel.compare import larger; print(larger(5, 3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "5\\n"

def test_fails_anyway():
    assert False
"""


@pytest.fixture
def checkout(tmp_path):
    """A package of one function that laws check and one that none runs."""
    made = tmp_path / "checkout"
    for name, text in {
        "src/headwater/__init__.py": "",
        "src/headwater/kernel/__init__.py": "",
        "src/headwater/kernel/compare.py": CODE,
        "tests/laws/test_compare.py": LAW,
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n',
    }.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return made


def run(checkout, *arguments, grace=600):
    code = (
        "import sys; from scripts import mutants; from scripts.mutation import laws; "
        f"laws.GRACE = {grace}; sys.exit(mutants.main(sys.argv[1:], ()))"
    )
    folders = ["--checkout", str(checkout), "--folder", str(checkout / "build")]
    command = [
        sys.executable,
        "-c",
        code,
        *folders,
        "--folders",
        "kernel",
        "--count",
        "20",
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_survivors_are_reported_and_a_stopped_run_goes_on(checkout):
    first = run(checkout)
    left_out = "left out, fails without a mutant: tests/laws/test_compare.py::test_fails_anyway"
    assert left_out in first.stderr
    kept = checkout / "build" / "outcomes.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines()
    outcomes = {record["text"].split(" ", 1)[1]: record for record in map(json.loads, lines)}
    told = {text: record["outcome"] for text, record in outcomes.items()}
    place = "kernel/compare.py:3 larger"
    assert told[f"{place} [boundary] `a > b` -> `(a >= b)`"] == "survived"
    assert told[f"{place} [negation] `a > b` -> `(a <= b)`"] == "caught"
    assert told[f"{place} [returned value] `return a if a > b else b` -> `return None`"] == "caught"
    assert {outcome for text, outcome in told.items() if " unused " in text} == {"not run"}
    assert (first.returncode, "  survived" in first.stdout) == (1, True)
    assert (checkout / "src/headwater/kernel/compare.py").read_text(encoding="utf-8") == CODE

    # stopped while the last was written: only that one is run again
    kept.write_text("\n".join(lines[:-1]) + '\n{"mut', encoding="utf-8")
    second = run(checkout)
    begun = [line for line in second.stdout.splitlines() if line.split(" ")[0].count("/")]
    assert [line.split(" ")[0] for line in begun] == [f"{len(lines)}/{len(lines)}"]

    # a survivor that is argued is drawn no more
    survivor = outcomes[f"{place} [boundary] `a > b` -> `(a >= b)`"]["mutant"]
    argued = checkout / "scripts" / "equivalent_mutants.toml"
    argued.parent.mkdir()
    entry = f'[[equivalent]]\nmutant = "{survivor}"\nreason = "Equal numbers are equal."\n'
    argued.write_text(entry, encoding="utf-8")
    assert survivor not in run(checkout, "--report").stdout


ENDLESS = """
def larger(a, b):
    while a > 9:
        a -= 1
    return 5 if a == 5 else max(a, b)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_mutant_in_a_subprocess_is_caught_and_an_endless_one_ends(checkout):
    """The program that a law starts is the only one to tell; a loop without an end is stopped."""
    (checkout / "src/headwater/kernel/compare.py").write_text(ENDLESS, encoding="utf-8")
    law = LAW.replace("larger(1, 2) == 2", "larger(11, 2) == 9")
    (checkout / "tests/laws/test_compare.py").write_text(law, encoding="utf-8")
    run(checkout, grace=15)
    lines = (checkout / "build" / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = {record["text"].split("larger ", 1)[1]: record for record in map(json.loads, lines)}
    assert outcomes["[arithmetic] `a -= 1` -> `a += 1`"]["outcome"] == "timed out"
    fives = [record for change, record in outcomes.items() if change.startswith("[number] `5`")]
    assert {record["test"].rpartition("::")[2] for record in fives} == {"test_another_process"}


def test_the_draw_is_of_the_seed_and_skips_what_is_argued(checkout):
    every = mutants(checkout, ["kernel"])
    assert mutants(checkout, ["kernel"], ["kernel/compare.py"]) == []
    drawn = draw(checkout, every, 3, 4)
    assert drawn == draw(checkout, reversed(every), 3, 4)
    assert len({mutant.place for mutant in drawn}) == 4
    other = draw(checkout, every, 3, 4, {drawn[0].key})
    assert set(drawn[1:]) < set(other)
    assert drawn[0] not in other


@pytest.mark.slow
def test_a_run_without_laws_counts_nothing(checkout):
    """A folder that is missing, and laws that all fail, are no mutants that were found."""
    missing = run(checkout, "--laws", "tests/none")
    assert (missing.returncode, "has no tests/none" in missing.stderr) == (2, True)
    law = "def test_fails():\n    assert False\n"
    (checkout / "tests/laws/test_compare.py").write_text(law, encoding="utf-8")
    failing = run(checkout)
    assert (failing.returncode, "no law passes" in failing.stderr) == (1, True)
    assert not (checkout / "build" / "outcomes.jsonl").exists()


def test_an_equivalent_mutant_needs_a_reason(tmp_path):
    path = tmp_path / "equivalent.toml"
    path.write_text('[[equivalent]]\nmutant = "0123456789"\nreason = " "\n', encoding="utf-8")
    with pytest.raises(ValueError, match="gives no reason for 0123456789"):
        equivalent(path)
