"""Windows that slide over many events: against plain counting, and the same bits for any order,
threads, chunks and slices.
"""

from collections import Counter, defaultdict
from datetime import timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.aggregations import base, run
from headwater.kernel.arrays import NOTHING, Column, Events, RequestTimes
from headwater.kernel.distinct_requests import DistinctRequests
from headwater.kernel.layers import Use
from headwater.testing import cases, conformance
from tests.effort import tries

FEATURES = [
    hw.top_k("word", k=3),
    hw.top_k("whole", k=1000, name="all_of_them"),
    hw.mode("word"),
    hw.collect_set("word", max_size=5),
    hw.count_distinct("whole"),
    hw.first_n("word", k=3),
    hw.last_n("word", k=4),
    hw.first_n("whole", k=3, distinct=True, name="early"),
    hw.last_n("whole", k=4, distinct=True, name="recent"),
    hw.approx_percentile("real", q=0.5),
    hw.max_by("word", "real"),
    hw.min_by("whole", "real"),
    hw.decayed_sum("real", half_life="1m"),
    hw.decayed_mean("real", half_life="1m"),
    hw.rate("real", windows=["10m"]),
    hw.fraction("flag"),
    hw.ratio("real", "whole"),
    hw.var("real"),
    hw.sum("real").by("word", max_keys=3),
    hw.mean("real").by("whole", max_keys=2),
    hw.decayed_mean("real", half_life="1m").by("whole", max_keys=900),
    hw.min_by("word", "real").by("flag"),
    hw.since_last().by("word", max_keys=3),
]
WINDOWS = [hw.window("1m", hop="1s"), hw.window("10m", offset="1m"), hw.window("lifetime")]


def table(random, events, kinds, keys=3):
    """Events at whole seconds, many at the same second and half of them of one key."""
    rows = []
    for number in range(events):
        second = random.randrange(3600)
        rows.append(
            {
                "key": 1 if random.random() < 0.5 else random.randrange(keys),
                "at": cases.BASE + timedelta(seconds=second),
                "known": cases.BASE
                + timedelta(seconds=second + random.choice([0, 0, 0, 5, 600, -3])),
                "id": number,
                "word": random.choice([None, *(f"w{i}" for i in range(kinds))]),
                "whole": random.randrange(kinds),
                "real": random.choice([0.1, 0.01, 1e9 / 3, -1e9 / 7, -0.0, None]),
                "flag": random.choice([True, False, None]),
            }
        )
    return pl.DataFrame(rows, schema={n: cases.SCHEMA[n] for n in rows[0]})


def asked(random, rows, keys=4):
    at = [cases.BASE + timedelta(seconds=random.randrange(4000)) for _ in range(rows)]
    return pl.DataFrame({"key": [random.randrange(keys) for _ in range(rows)], "timestamp": at})


def view(events, known, freshness):
    source = hw.Source(
        "events",
        history=events,
        timestamp_field="at",
        known_at_field=known,
        select=["key", "word", "whole", "real", "flag"],
    )
    return hw.FeatureView(
        "view", source=source, keys=["key"], features=FEATURES, windows=WINDOWS, freshness=freshness
    )


@pytest.mark.slow
@pytest.mark.parametrize("known", [None, "known"], ids=["in order", "late"])
@pytest.mark.parametrize(
    "freshness",
    [hw.streaming("1s"), hw.measured(["0s", "30s", "5m"])],
    ids=["streaming", "measured"],
)
@pytest.mark.parametrize("kinds", [4, 900])
def test_bits_do_not_depend_on_order_threads_chunks_or_slices(monkeypatch, known, freshness, kinds):
    random = Random(3)
    events, rows = table(random, 3000, kinds), asked(random, 1500)
    place = rows.with_row_index("place")
    seen = []
    for chunk, slices, threads, seed in [
        (1 << 18, 1 << 22, 1, None),
        (1 << 18, 1 << 22, 4, 1),
        (16, 1, 2, 2),
        (700, 1, 4, 3),
    ]:
        monkeypatch.setattr(run, "_CHUNK", chunk)
        monkeypatch.setattr(base, "_PLACES", slices)
        monkeypatch.setattr(base, "_LEAST", 1024 if slices > 1 else 7)
        mixed = events if seed is None else events.sample(fraction=1, shuffle=True, seed=seed)
        again = place if seed is None else place.sample(fraction=1, shuffle=True, seed=seed)
        made = view(mixed, known, freshness)
        found = (
            hw.get_historical_features(made, again, resources=hw.Resources(threads=threads))
            .sort("place")
            .select(made.feature_names)
        )
        seen.append([[repr(v) for v in column.to_list()] for column in found])
    assert all(bits == seen[0] for bits in seen)


@settings(max_examples=tries(15))
@given(seed=st.integers(0, 2**32), kinds=st.sampled_from([1, 5, 300]), late=st.booleans())
def test_a_few_hundred_events_are_counted_as_plain_python_does(seed, kinds, late):
    random = Random(seed)
    events, rows = table(random, 400, kinds), asked(random, 60)
    made = view(events, "known" if late else None, hw.on_request())
    found = hw.get_historical_features(made, rows)
    by_key = defaultdict(list)
    for event in sorted(events.iter_rows(named=True), key=lambda e: (e["at"], e["whole"])):
        by_key[event["key"]].append(event)
    for place, row in enumerate(rows.iter_rows(named=True)):
        T, start = row["timestamp"], row["timestamp"] - timedelta(minutes=1)
        seen = [
            e for e in by_key[row["key"]] if start <= e["at"] < T and (not late or e["known"] <= T)
        ]
        words, wholes = (
            Counter(e["word"] for e in seen if e["word"] is not None),
            [e["whole"] for e in seen],
        )
        assert (
            found["view__top_k_word_1m"][place].to_list()
            == sorted(words, key=lambda w: (-words[w], w))[:3]
        )
        assert found["view__collect_set_word_1m"][place].to_list() == sorted(words)[:5]
        assert found["view__mode_word_1m"][place] == min(
            words, key=lambda w: (-words[w], w), default=None
        )
        assert found["view__count_distinct_whole_1m"][place] == len(set(wholes))
        assert found["view__early_1m"][place].to_list() == list(dict.fromkeys(wholes))[:3]
        assert (
            found["view__recent_1m"][place].to_list() == list(dict.fromkeys(wholes[::-1]))[:4][::-1]
        )


AGGREGATIONS = [a for a in cases.aggregations() if a.function in {f.function for f in FEATURES}]


@settings(max_examples=tries(150))
@given(random=st.randoms(use_true_random=False))
def test_a_sweep_gives_the_bits_of_the_merge(random):
    conformance.sweeping_is_merging(random.choice(AGGREGATIONS), random)


@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
@settings(max_examples=tries(100))
@given(random=st.randoms(use_true_random=False))
@pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")
def test_every_value_is_the_naive_one(late, random):
    conformance.compare(cases.case(random, random.sample(AGGREGATIONS, 3), late=late))


def test_neighbours_that_see_the_same_events_share_a_list():
    """A nightly list of many items costs its room once, not once for each row."""
    events = Events(
        np.array([0, 100]), np.arange(100), NOTHING, 0, NOTHING, {"x": Column(np.arange(100))}
    )
    T = np.repeat(np.array([50, 100]), 1000)
    wanted = run.FeatureSpec("top_k", Use(("x",)), hw.window("lifetime"), (("k", 40),))
    ((found,),) = run.aggregate(
        events,
        [DistinctRequests(RequestTimes(np.array([0, 2000]), T, T), np.arange(2000))],
        [wanted],
        1,
    )
    assert len(found.items) == 80
    assert found.list_index.tolist() == [0] * 1000 + [1] * 1000


def test_each_of_several_sets_of_asks_gets_its_own_lists():
    events = Events(
        np.array([0, 4]), np.arange(4), NOTHING, 0, NOTHING, {"x": Column(np.array([3, 1, 2, 1]))}
    )
    asks = [
        RequestTimes(np.array([0, len(T)]), np.array(T), np.array(T))
        for T in ([1, 3], [], [2, 4, 9])
    ]
    wanted = run.FeatureSpec("top_k", Use(("x",)), hw.window("lifetime"), (("k", 2),))
    found = run.aggregate(
        events, [DistinctRequests(a, np.arange(len(a.T))) for a in asks], [wanted], 2
    )
    lists = [
        [part.items[part.starts[i] : part.starts[i + 1]].tolist() for i in part.list_index]
        for (part,) in found
    ]
    assert lists == [[[3], [1, 2]], [], [[1, 3], [1, 2], [1, 2]]]
