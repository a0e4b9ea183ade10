"""headwater against the naive reference on random cases, and the laws that every aggregation obeys,
found by Hypothesis.
"""

import warnings
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.testing import cases, conformance

RANDOM = st.randoms(use_true_random=False)
AGGREGATIONS = cases.aggregations()

# windows shorter than delays are meant
pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")


@pytest.mark.parametrize(
    ("late", "changes"),
    [(False, False), (True, False), (True, True)],
    ids=["in order", "late", "changes"],
)
@settings(max_examples=15)
@given(random=RANDOM)
def test_every_value_is_the_naive_one(late, changes, random):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadwaterWarning)
        conformance.compare(cases.case(random, late=late, changes=changes))


FUNCTIONS = sorted({each.function for each in AGGREGATIONS})
PAIRS = [  # the short form has each function by some of the laws, and each law on some functions
    pytest.param(law, function, marks=() if (m + n) % 3 == 0 else pytest.mark.slow)
    for m, law in enumerate(conformance.LAWS)
    for n, function in enumerate(FUNCTIONS)
]


@pytest.mark.parametrize(("law", "function"), PAIRS)
@settings(max_examples=5)
@given(random=RANDOM)
def test_every_aggregation_obeys(law, function, random):
    chosen = random.choice([a for a in AGGREGATIONS if a.function == function])
    conformance.LAWS[law](chosen, random)


@pytest.mark.parametrize("changes", [False, True], ids=["events", "images"])
@given(random=RANDOM)
def test_what_becomes_known_after_k_changes_nothing(changes, random):
    """Every event not known by the greatest K of any row may say anything, and take back
    anything.
    """
    case = cases.case(random, late=True, changes=changes)
    source = case.view.source if changes else replace(case.view.source, id_field=None)
    case = replace(case, view=replace(case.view, freshness=hw.streaming("10s"), source=source))
    last = max(r["timestamp"] for r in case.rows) - timedelta(seconds=10)
    before = conformance.bits(conformance.compare(case))
    kept = [e for e in case.events if e["known"] is not None and e["known"] <= last]
    said = {
        "known": last + timedelta(microseconds=1),
        "real": 9.0,
        "whole": 9,
        "word": "zz",
        "flag": True,
    }
    told = [e | said | {"before": random.random() < 0.5} for e in case.events]
    assert conformance.bits(conformance.compare(case.with_events(kept))) == before
    assert conformance.bits(conformance.compare(case.with_events([*kept, *told]))) == before
