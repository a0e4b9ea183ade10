"""Assignment: the same in every process and language, sticky under ramps, layers and holdouts that
never overlap.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import DefinitionError, UsageError
from headwater.experiments.assignment import BUCKETS, Assignment, bucket, buckets, unit_text

VECTORS = [
    ("checkout/1/arm", "u1", 6882),
    ("checkout/1/arm", "Zoë", 2707),
    ("", "17", 9586),
    ("holdout", "true", 8704),
]
VECTORS += [
    ("pricing/layer", "2026-03-01", 3933),
    ("checkout/1/enrolled", "18446744073709551615", 8771),
]
HALF = {"daily": 0.5, "streaming": 0.5}


@pytest.mark.parametrize(("salt", "unit", "expected"), VECTORS)
def test_buckets_are_the_published_vectors(salt: str, unit: str, expected: int) -> None:
    assert bucket(salt, unit) == expected


def _block(language: str) -> str:
    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
    after = page[page.index("## Assignment") :]
    return after.partition(f"```{language}\n")[2].partition("```")[0]


@pytest.mark.parametrize("program", ["sha256sum", pytest.param("node", marks=pytest.mark.services)])
def test_the_code_of_the_docs_gives_the_vectors_in_other_languages(program: str) -> None:
    rows = [
        *[(salt, unit) for salt, unit, _ in VECTORS],
        *[("spread/1/arm", f"unit {n} é") for n in range(40)],
    ]
    if program == "node":
        code = (
            _block("js")
            + f"console.log({json.dumps(rows)}.map(([s, u]) => bucket(s, u)).join(' '))"
        )
        command = ["node", "-e", code]
    else:
        calls = "".join(f"bucket {shlex.quote(salt)} {shlex.quote(unit)}\n" for salt, unit in rows)
        command = ["sh", "-c", _block("sh") + calls]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [int(number) for number in done.stdout.split()] == [
        bucket(salt, unit) for salt, unit in rows
    ]


def test_another_process_assigns_alike() -> None:
    code = (
        "from headwater.experiments.assignment import bucket; print([bucket('s', str(n)) for n in "
        "range(50)])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "5"},
    )
    assert other.stdout.strip() == str([bucket("s", str(n)) for n in range(50)])


def test_many_buckets_equal_single_ones_and_are_uniform() -> None:
    drawn = buckets("uniform", [str(n) for n in range(100_000)])
    assert drawn[:5].tolist() == [bucket("uniform", str(n)) for n in range(5)]
    counts = np.histogram(drawn, bins=20, range=(0, BUCKETS))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 45.3  # chi-squared of 19 degrees, p = .0006


def test_units_of_every_type_have_one_text() -> None:
    assert [unit_text(unit) for unit in ("a", 3, np.int32(3), True, date(2026, 1, 2))] == [
        "a",
        "3",
        "3",
        "true",
        "2026-01-02",
    ]
    for bad in (None, "", 1.5, datetime(2026, 1, 2, tzinfo=UTC), b"a"):
        with pytest.raises(UsageError, match="unit"):
            unit_text(bad)


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.text(min_size=1), min_size=1, max_size=50))
def test_a_wider_enrolment_moves_no_unit(first: float, second: float, units: list[str]) -> None:
    small, large = (
        Assignment("checkout/1", HALF, enrolled=share) for share in sorted((first, second))
    )
    for unit in units:
        if small.arm(unit) is not None:
            assert large.arm(unit) == small.arm(unit)


@given(st.floats(0.05, 0.95), st.floats(0, 0.5))
def test_experiments_of_a_layer_share_no_unit_and_holdouts_are_in_none(
    cut: float, holdout: float
) -> None:
    left = Assignment("left/1", HALF, layer="home page", span=(0.0, cut), holdout=holdout)
    right = Assignment("right/1", HALF, layer="home page", span=(cut, 1.0), holdout=holdout)
    for n in range(300):
        arms = [left.arm(str(n)), right.arm(str(n))]
        held = bucket("holdout", str(n)) < round(holdout * BUCKETS)
        assert sum(arm is not None for arm in arms) == (0 if held else 1)


def test_arms_have_their_shares_and_do_not_depend_on_the_enrolment() -> None:
    thirds = Assignment("thirds/1", {"a": 0.2, "b": 0.3, "c": 0.5}, enrolled=0.5)
    arms = [thirds.arm(str(n)) for n in range(40_000)]
    for arm, share in thirds.weights.items():
        assert thirds.propensity(arm) == pytest.approx(share)
        assert arms.count(arm) / 20_000 == pytest.approx(share, abs=0.015)
    assert arms.count(None) / 40_000 == pytest.approx(0.5, abs=0.01)


def test_a_new_version_shuffles_anew() -> None:
    one, two = Assignment("checkout/1", HALF), Assignment("checkout/2", HALF)
    same = sum(one.arm(str(n)) == two.arm(str(n)) for n in range(10_000))
    assert 0.48 < same / 10_000 < 0.52


def test_weights_that_floats_cannot_write_leave_no_bucket_out() -> None:
    thirds = Assignment("t/1", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert all(thirds.arm(str(n)) in thirds.weights for n in range(5_000))
    assert sum(thirds.propensity(arm) for arm in thirds.weights) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": {"a": 0.5, "b": 0.6}}, "sum to 1.1"),
        ({"weights": {"a": 1.0}}, "at least two arms"),
        ({"weights": {"a": 0.0, "b": 1.0}}, "weight of arm 'a'"),
        ({"weights": HALF, "enrolled": 1.2}, "enrolled is 1.2"),
        ({"weights": HALF, "holdout": -0.1}, "holdout is -0.1"),
        ({"weights": HALF, "layer": "x", "span": (0.5, 0.5)}, "part of the layer"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        Assignment("checkout/1", **options)
