"""A call of a million rows of one key has the values of the same rows in small calls."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

import headwater as hw

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MILLION = 1 << 20


def times(seconds):
    return pl.Series(np.rint(seconds * 1e6).astype(np.int64) + int(NOON.timestamp()) * 1_000_000).cast(pl.Datetime("us", "UTC"))


@pytest.mark.parametrize("count", [MILLION + 1000])
def test_a_million_rows_of_one_key(count):
    """They are worked on in pieces; another key and an alias are asked in the same call."""
    chance = np.random.default_rng(2)
    table = pl.DataFrame({"user": [1] * 290 + [2] * 10, "x": chance.integers(-9, 9, 300), "at": times(chance.integers(0, 3600, 300))})
    source = hw.Source("s", history=table, timestamp_field="at")
    features = [hw.sum("x"), hw.count()]
    view = hw.FeatureView("v", source=source, keys=["user"], features=features, windows=["10m"], freshness=hw.on_request())
    asked = [view, view.alias("peer", keys={"user": "peer"})]
    seconds = chance.uniform(-60, 5000, count + 2)
    rows = pl.DataFrame({"user": [1] * count + [2, 3], "peer": [2] * count + [1, 1], "timestamp": times(seconds)})
    found = hw.get_historical_features(asked, rows)
    assert found.height == count + 2
    for first in (0, count // 2 - 20, count - 1000, count - 38):
        few = hw.get_historical_features(asked, rows[first : first + 40])
        assert found[first : first + 40].equals(few)
