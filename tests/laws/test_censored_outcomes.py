"""Outcomes that are seen only where a prediction was not acted on: whose, by the rule of the page,
in another program's words.
"""

import hashlib
import random
from datetime import date
from fractions import Fraction

import pytest

import headwater as hw
from headwater.errors import UsageError

ANYWAY = "approve-anyway"


def bucket(unit):
    """As docs/experiments.md has it in three languages."""
    return int(hashlib.sha256(f"{ANYWAY}:{unit}".encode()).hexdigest()[:16], 16) % 10_000


@pytest.mark.parametrize("bound", [0.9, 0.0, -1.5, 1])
def test_a_score_is_acted_on_from_the_bound_on(bound):
    above, below = hw.censored(above=bound), hw.censored(below=bound)
    for score in (bound - 1, bound - 1e-9, bound, bound + 1e-9, bound + 1):
        assert above.acts_on(score) == (score >= bound)
        assert below.acts_on(score) == (score < bound)


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.5, 0.9999])
def test_units_of_the_lowest_buckets_are_left_alone(share):
    chance, rule = random.Random(3), hw.censored(above=0.9, holdout=share, unit="card")
    limit = Fraction(str(share)) * 10_000
    units = (
        [chance.randint(-(2**63), 2**63 - 1) for _ in range(300)]
        + [f"card {chance.random()}" for _ in range(300)]
        + ["ü", " ", "0"]
    )
    expected = [bucket(unit) < limit for unit in units]
    assert [rule.approves_anyway(unit) for unit in units] == expected
    assert rule.held_out([None, *units, units[0]]) == [False, *expected, expected[0]]


def test_units_that_are_written_alike_are_left_alone_alike():
    rule = hw.censored(above=0.9, holdout=0.5, unit="card")
    for unit, text in [
        (17, "17"),
        (-3, "-3"),
        (True, "true"),
        (False, "false"),
        (date(2024, 2, 29), "2024-02-29"),
    ]:
        assert rule.approves_anyway(unit) == rule.approves_anyway(text) == (bucket(text) < 5_000)


def test_without_a_holdout_nobody_is_left_alone():
    assert hw.censored(above=0.9).held_out(range(50)) == [False] * 50


@pytest.mark.parametrize("unit", [None, "", 1.5, b"x", [1]])
def test_what_other_languages_write_in_other_ways_is_no_unit(unit):
    with pytest.raises(UsageError, match="unit"):
        hw.censored(above=0.9, holdout=0.5, unit="card").approves_anyway(unit)
