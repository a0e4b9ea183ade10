"""Which categories a map holds, whose latest events are in several records, tiles and ties: loops
choose them as frames do.
"""

from datetime import timedelta
from random import Random

import pytest

import headwater as hw
from tests.state.test_compiled_reads import BEGIN, IDS, agrees, events_of, stored

CATEGORIES = [
    0,
    -1,
    1,
    2**63 - 1,
    -(2**63),
    2**62,
    *(n << 58 for n in range(1, 17)),
    *range(100, 118),
]


def rows(times, seed):
    """Three events of each category, at some of these seconds; ids in another order."""
    random = Random(seed)
    events = [(category, random.choice(times)) for category in CATEGORIES for _ in range(3)]
    ids = random.sample(range(len(events)), len(events))
    return [
        {"key": 1, "at": BEGIN + timedelta(seconds=at), "id": n, "real": random.choice([0.1, 1e17, -1e17]), "whole": category,
         "flag": n % 2 == 0, "word": f"w{category}", "moment": None}
        for (category, at), n in zip(events, ids, strict=True)
    ]  # fmt: skip


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize(
    "times",
    [[0], [0, 1], [0, 70, 140], range(0, 3_000, 7)],
    ids=["one time", "two seconds", "three tiles", "apart"],
)
@pytest.mark.parametrize("partitions", [1, 2, 3])
def test_the_latest_of_all_records_are_chosen_at_every_size(times, ids, partitions):
    count = len(CATEGORIES)
    sizes = [1, 2, 7, count - 1, count, count + 1, 1_000]
    maps = [hw.sum("real", name=f"sum_{size}").by("whole", max_keys=size) for size in sizes]
    maps += [hw.last("word", name=f"last_{size}").by("word", max_keys=size) for size in sizes]
    source = hw.Source("events", timestamp_field="at", id_field=None if ids == "none" else "id")
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=maps,
        windows=["1m", "1h"],
        freshness=hw.streaming("2s"),
    )
    tiles, store, T, ends = stored(
        view, events_of(rows(times, 3), IDS[ids]), 3, partitions, Random(5)
    )
    assert agrees(view, tiles, store, T, T, ends, [1, None, 2]) == len(view.outputs)


def test_a_category_of_one_record_keeps_its_place_when_another_record_has_its_latest_event():
    """Of two records, the second has the latest event of `a`, and the first that of `b`."""
    at = {"a": (0, 9), "b": (8, 1), "c": (5,)}
    events = [
        {"key": 1, "at": BEGIN + timedelta(seconds=second), "id": second, "real": float(second), "whole": second, "flag": True, "word": word,
         "moment": None}
        for word, seconds in at.items() for second in seconds
    ]  # fmt: skip
    source = hw.Source("events", timestamp_field="at", id_field="id")
    maps = [hw.count().by("word", max_keys=2), hw.first("whole").by("word", max_keys=3)]
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=maps,
        windows=["1h"],
        freshness=hw.streaming("2s"),
    )
    for seed in range(20):
        tiles, store, T, ends = stored(view, events_of(events, IDS["integers"]), 2, 2, Random(seed))
        assert agrees(view, tiles, store, T, T, ends, [1]) == 2
