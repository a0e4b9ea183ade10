"""Rows whose requests are equal at a level share one computation; each gets the bits that it gets
alone, at that level alone.
"""

import itertools
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.engine.local import compute
from headwater.engine.query import EngineRun
from headwater.kernel.distinct_requests import distinct_requests
from headwater.testing import cases
from headwater.testing.conformance import bits
from headwater.testing.engine_laws import query_of, requests_of
from tests.effort import LONG, tries

pytestmark = pytest.mark.filterwarnings(
    "ignore::headwater.errors.HeadwaterWarning"
)  # a drawn window may be shorter than the source's delay

LEVELS = [
    hw.batch("1d", at="06:00"),
    hw.batch("1h", delay="15m"),
    hw.batch("1m", delay="1m", wait="30s"),
    hw.streaming("2s"),
    hw.on_request(),
    hw.never(),
]


@pytest.mark.slow
@settings(max_examples=tries(150 if LONG else 60), deadline=None)
@given(
    random=st.randoms(use_true_random=False),
    late=st.booleans(),
    changes=st.booleans(),
    steps=st.lists(st.sampled_from([0, 1, 30_000_000, 3_600_000_000]), min_size=1, max_size=6),
)
def test_a_row_among_others_at_several_levels_gets_the_bits_that_it_gets_alone(
    random, late, changes, steps
):
    drawn = cases.case(random, late=late or changes, changes=changes)
    rows = [
        row | {"timestamp": row["timestamp"] + timedelta(microseconds=step)}
        for row, step in itertools.product(drawn.rows, steps)
    ]
    query, request_set = query_of(drawn), requests_of(rows, LEVELS)
    (together,) = compute.compute(query, [request_set], EngineRun(threads=2))
    for row in random.sample(range(len(rows)), min(4, len(rows))):
        for level, values in enumerate(together):
            ((alone,),) = compute.compute(
                query, [requests_of([rows[row]], [LEVELS[level]])], EngineRun(threads=1)
            )
            assert bits(values.values[row]) == bits(alone.values), (
                f"row {row} at {LEVELS[level]}: {rows[row]}; {drawn}"
            )
            assert values.statuses[row].rows() == alone.statuses.rows()
            assert values.known_at[row] == alone.known_at[0]


def test_a_daily_level_computes_one_request_a_key_and_day(monkeypatch):
    """And reports every row as done."""
    computed, done = [], []

    def watched(times, rows):
        distinct = distinct_requests(times, rows)
        computed.append(len(distinct.times.T))
        return distinct

    monkeypatch.setattr(compute, "distinct_requests", watched)
    drawn = cases.case(Random(1), [hw.count()], late=False)
    rows = [
        {"key": key, "timestamp": cases.BASE + timedelta(minutes=minute)}
        for key, minute in itertools.product((1, 2, None), range(50))
    ]
    request_set = requests_of(rows, [hw.batch("1d", delay="4h"), hw.on_request()])
    compute.compute(query_of(drawn), [request_set], EngineRun(threads=1, on_progress=done.append))
    assert computed == [3, 150]
    assert sum(done) == 300
