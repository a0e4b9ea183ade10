"""Outcomes that are seen only where a prediction was not acted on: whose, by the rule of the page,
in another program's words.
"""

import hashlib
import random
from datetime import date
from fractions import Fraction

import pytest

import headwater as hw
from headwater.errors import DefinitionError, UsageError

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


REFUSED = {
    "no bound": ({}, ["above", "below", "one"]),
    "two bounds": ({"above": 0.9, "below": 0.1}, ["above", "below", "one"]),
    "a text": ({"above": "high"}, ["above", "high"]),
    "no number": ({"above": float("nan")}, ["above"]),
    "true": ({"below": True}, ["below"]),
    "a share of all": ({"above": 0.9, "holdout": 1, "unit": "card"}, ["holdout", "share"]),
    "a negative share": ({"above": 0.9, "holdout": -0.1, "unit": "card"}, ["holdout", "share"]),
    "less than a bucket": (
        {"above": 0.9, "holdout": 0.00005, "unit": "card"},
        ["holdout", "ten-thousandths"],
    ),
    "a holdout of nothing": ({"above": 0.9, "holdout": 0.02}, ["holdout", "unit"]),
    "a unit without a holdout": ({"above": 0.9, "unit": "card"}, ["holdout", "unit"]),
    "a unit without a name": ({"above": 0.9, "holdout": 0.02, "unit": ""}, ["unit", "column"]),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_a_rule_that_cannot_be_is_refused(given, words):
    with pytest.raises(DefinitionError) as raised:
        hw.censored(**given)
    assert [word for word in words if word not in str(raised.value)] == [], str(raised.value)
