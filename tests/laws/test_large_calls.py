"""A call of a million rows of one key has the values of the same rows in small calls."""

import gc
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import headwater as hw

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MILLION = 1 << 20


def times(seconds):
    return pl.Series(
        np.rint(seconds * 1e6).astype(np.int64) + int(NOON.timestamp()) * 1_000_000
    ).cast(pl.Datetime("us", "UTC"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [MILLION + 1000])
def test_a_million_rows_of_one_key(count):
    """They are worked on in pieces; another key and an alias are asked in the same call."""
    chance = np.random.default_rng(2)
    table = pl.DataFrame(
        {
            "user": [1] * 290 + [2] * 10,
            "x": chance.integers(-9, 9, 300),
            "at": times(chance.integers(0, 3600, 300)),
        }
    )
    source = hw.Source("s", history=table, timestamp_field="at")
    features = [hw.sum("x"), hw.count()]
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        features=features,
        windows=["10m"],
        freshness=hw.on_request(),
    )
    asked = [view, view.alias("peer", keys={"user": "peer"})]
    seconds = chance.uniform(-60, 5000, count + 2)
    rows = pl.DataFrame(
        {"user": [1] * count + [2, 3], "peer": [2] * count + [1, 1], "timestamp": times(seconds)}
    )
    found = hw.get_historical_features(asked, rows)
    assert found.height == count + 2
    for first in (0, count // 2 - 20, count - 1000, count - 38):
        few = hw.get_historical_features(asked, rows[first : first + 40])
        assert found[first : first + 40].equals(few)


def resident():
    """Megabytes of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads the size of the process as Linux tells it"
)
def test_the_memory_of_keys_is_given_back():
    """Calls with 20 MB of keys each, one after the other, do not add up."""
    size, sizes = 100_000, []
    for call in range(8):
        keys = [f"{call}-{n}-".ljust(200, "k") for n in range(size)]
        table = pl.DataFrame({"user": keys, "at": [NOON] * size})
        source = hw.Source("s", history=table, timestamp_field="at")
        view = hw.FeatureView(
            "v",
            source=source,
            keys=["user"],
            features=[hw.count()],
            windows=["1h"],
            freshness=hw.on_request(),
        )
        rows = pl.DataFrame({"user": keys[::-1], "timestamp": [NOON.replace(minute=30)] * size})
        found = hw.get_historical_features(view, rows)
        assert found["v__count_1h"].sum() == size
        del keys, table, source, view, rows, found
        sizes.append(resident())
    assert sizes[-1] - sizes[2] < 60, sizes


def test_more_than_two_million_events_of_one_key_in_no_order():
    chance = np.random.default_rng(0)
    at = chance.permutation(2_200_000) * 1_000_000  # a second apart
    events = pl.DataFrame({"key": 1, "n": at // 1_000_000, "at": at}).with_columns(
        pl.from_epoch("at", time_unit="us").dt.replace_time_zone("UTC")
    )
    source = hw.Source("events", history=events, timestamp_field="at")
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        windows=["1h"],
        features=[hw.count(), hw.sum("n"), hw.first("n"), hw.last("n")],
        freshness=hw.on_request(),
    )
    asked = chance.integers(3_600, 2_200_000, 50)
    rows = pl.DataFrame({"key": 1, "timestamp": asked * 1_000_000}).with_columns(
        pl.from_epoch("timestamp", time_unit="us").dt.replace_time_zone("UTC")
    )
    found = hw.get_historical_features(view, rows)
    hop = 60  # the tail of the window moves in steps of this
    first = (asked - 3_600) // hop * hop
    assert found["v__count_1h"].to_list() == (asked - first).tolist()
    assert found["v__first_n_1h"].to_list() == first.tolist()
    assert found["v__last_n_1h"].to_list() == (asked - 1).tolist()
    assert found["v__sum_n_1h"].to_list() == [
        sum(range(low, high)) for low, high in zip(first.tolist(), asked.tolist(), strict=True)
    ]
