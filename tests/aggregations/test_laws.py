"""headwater against the naive reference on random cases, and the laws that every aggregation obeys,
found by Hypothesis.
"""

import warnings
from dataclasses import replace
from datetime import timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.aggregations import run
from headwater.aggregations.table import TABLE
from headwater.errors import HeadwaterWarning
from headwater.testing import cases, conformance
from tests.effort import FULL, LONG, tries

RANDOM = st.randoms(use_true_random=False)
AGGREGATIONS = cases.aggregations()

# windows shorter than delays are meant
pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")


@pytest.mark.parametrize(
    ("late", "changes"),
    [(False, False), (True, False), (True, True)],
    ids=["in order", "late", "changes"],
)
@settings(max_examples=tries(150))
@given(random=RANDOM)
def test_every_value_is_the_naive_one(late, changes, random):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadwaterWarning)
        conformance.compare(cases.case(random, late=late, changes=changes))


@pytest.mark.parametrize("function", TABLE)
@pytest.mark.parametrize("law", conformance.LAWS)
@settings(max_examples=tries(12))
@given(random=RANDOM)
def test_every_aggregation_obeys(law, function, random):
    chosen = random.choice([a for a in AGGREGATIONS if a.function == function])
    conformance.LAWS[law](chosen, random)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4 if LONG else 2 if FULL else 1))
@pytest.mark.parametrize("law", conformance.LAWS)
def test_seeded_cases_need_no_hypothesis(law, seed):
    for aggregation in AGGREGATIONS:
        conformance.LAWS[law](aggregation, Random(seed))


def test_the_aggregations_of_cases_are_those_of_the_table():
    assert {a.function for a in AGGREGATIONS} == set(TABLE)


@settings(max_examples=tries(25))
@given(random=RANDOM)
def test_any_threads_and_any_chunk_give_the_same_bits(random):
    given_ = cases.case(random)
    first = conformance.bits(conformance.compare(given_))
    original = run._CHUNK
    try:
        for chunk in (1, 3, 16):
            run._CHUNK = chunk
            for threads in (1, 2, 4):
                found = hw.get_historical_features(
                    given_.readable(), given_.asked, resources=hw.Resources(threads=threads)
                ).select(given_.view.feature_names)
                assert conformance.bits(found) == first, (
                    f"chunk {chunk}, {threads} threads: {given_}"
                )
    finally:
        run._CHUNK = original


def _many(random, keys, events):
    """Sums whose bits depend on the order of addition, over more events than asks and fewer."""
    rows = [
        {
            "key": random.randrange(keys),
            "at": cases.BASE + timedelta(seconds=random.randrange(3600)),
            "known": cases.BASE + timedelta(seconds=random.randrange(4000)),
            "real": random.choice([0.1, 0.01, 1e9 / 3, -1e9 / 7, -0.0, None]),
        }
        for _ in range(events)
    ]
    return pl.DataFrame(rows, schema={n: cases.SCHEMA[n] for n in ("key", "at", "known", "real")})


@pytest.mark.parametrize("asks", [20, 3000])
@pytest.mark.parametrize("known", [None, "known"], ids=["in order", "late"])
def test_bits_do_not_depend_on_order_threads_or_chunks(monkeypatch, asks, known):
    random = Random(7)
    events = _many(random, 3, 2000)
    rows = pl.DataFrame(
        {
            "key": [random.randrange(4) for _ in range(asks)],
            "timestamp": [
                cases.BASE + timedelta(seconds=random.randrange(4000)) for _ in range(asks)
            ],
        }
    )
    seen = []
    for chunk, threads, seed in [(1 << 18, 1, None), (1 << 18, 4, 1), (16, 2, 2), (100, 4, 3)]:
        monkeypatch.setattr(run, "_CHUNK", chunk)
        mixed = events if seed is None else events.sample(fraction=1, shuffle=True, seed=seed)
        place = rows.with_row_index("place")
        asked = place if seed is None else place.sample(fraction=1, shuffle=True, seed=seed)
        source = hw.Source(
            "events",
            history=mixed,
            timestamp_field="at",
            known_at_field=known,
            select=["key", "real"],
        )
        features = [
            hw.sum("real"),
            hw.mean("real"),
            hw.std("real"),
            hw.last("real"),
            hw.min("real"),
            hw.max("real"),
            hw.first("real"),
            hw.latest("real"),
        ]
        view = hw.FeatureView(
            "view",
            source=source,
            keys=["key"],
            features=features,
            windows=["1m", "10m", "lifetime"],
            freshness=hw.streaming("1s"),
        )
        found = hw.get_historical_features(
            view, asked, resources=hw.Resources(threads=threads)
        ).sort("place")
        seen.append(conformance.bits(found.select(view.feature_names)))
    assert all(bits == seen[0] for bits in seen)


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
