"""Whose events count: keys of every type, on either side or neither, in other roles, and filled by
other features.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)

KEYS = [
    # the key's dtype, keys of events, keys asked for, counts
    ("integers", pl.Int64, [1, 1, 2], [1, 2, 3], [2, 1, 0]),
    ("negative", pl.Int64, [-5, -5, 0, 5], [-5, 0, 5, -6], [2, 1, 1, 0]),
    (
        "a huge range",
        pl.Int64,
        [-(2**63), 2**63 - 1, 2**63 - 1, 0],
        [2**63 - 1, -(2**63), 0, 1, -1],
        [2, 1, 1, 0, 0],
    ),
    (
        "far apart, and off the end",
        pl.Int64,
        [10**12, 10**12 + 10**9],
        [10**12, 10**12 + 10**9, 10**12 - 1],
        [1, 1, 0],
    ),
    ("small integers", pl.Int8, [-128, 127, 127], [127, -128, 0], [2, 1, 0]),
    ("unsigned", pl.UInt32, [0, 2**32 - 1], [2**32 - 1, 0, 1], [1, 1, 0]),
    (
        "64 bits of a hash",
        pl.UInt64,
        [2**64 - 1, 2**63, 7, 2**64 - 1],
        [2**64 - 1, 2**63 - 1, 2**63, 7, 0],
        [2, 0, 1, 1, 0],
    ),
    ("texts", pl.String, ["a", "b", "", "é", "a"], ["a", "", "é", "A"], [2, 1, 1, 0]),
    ("categories", pl.Categorical, ["a", "b", "a"], ["b", "a", "c"], [1, 2, 0]),
    ("booleans", pl.Boolean, [True, True, False], [False, True], [1, 2]),
    ("dates", pl.Date, [NOON.date()], [NOON.date(), NOON.date() + timedelta(days=1)], [1, 0]),
    ("nulls match nothing", pl.Int64, [None, None, 1], [None, 1, 2], [0, 1, 0]),
    ("null strings match nothing", pl.String, [None, "", "a"], [None, "", "a"], [0, 1, 1]),
    ("only nulls asked for", pl.Int64, [None, 1], [None, None], [0, 0]),
    ("only nulls in the events", pl.Int64, [None, None], [None, 1], [0, 0]),
    ("no event", pl.Int64, [], [1, None], [0, 0]),
    ("no event of a text", pl.String, [], ["a"], [0]),
    ("no request", pl.Int64, [1], [], []),
]


@pytest.mark.parametrize(
    ("dtype", "mine", "asked", "counts"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS]
)
@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
def test_keys(dtype, mine, asked, counts, late):
    at = [NOON - timedelta(seconds=i + 1) for i in range(len(mine))]
    known = [NOON - timedelta(seconds=len(mine) - i) if late else t for i, t in enumerate(at)]
    history = pl.DataFrame(
        {
            "key": pl.Series(mine, dtype=dtype),
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "known": pl.Series(known, dtype=pl.Datetime("us", "UTC")),
        }
    )
    source = hw.Source("events", history=history, timestamp_field="at", known_at_field="known")
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[hw.count(), hw.last("at")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    rows = pl.DataFrame(
        {
            "key": pl.Series(asked, dtype=dtype),
            "timestamp": pl.Series([NOON] * len(asked), dtype=pl.Datetime("us", "UTC")),
        }
    )
    found = hw.get_historical_features(view, rows)
    assert found["view__count_1h"].to_list() == counts
    latest = [
        max((a for k, a in zip(mine, at, strict=True) if k == key is not None), default=None)
        for key in asked
    ]
    assert found["view__last_at_1h"].to_list() == latest
    assert found["key"].equals(rows["key"], null_equal=True)


def test_a_negative_key_and_one_beyond_int64_match_nothing():
    history = pl.DataFrame(
        {"key": pl.Series([2**64 - 1, 2**63 + 5], dtype=pl.UInt64), "at": [NOON] * 2}
    )
    source = hw.Source("events", history=history, timestamp_field="at")
    view = hw.FeatureView(
        "view", source=source, keys=["key"], features=[hw.count()], freshness=hw.on_request()
    )
    # the same bits
    rows = pl.DataFrame({"key": [-1, -(2**63) + 5], "timestamp": [NOON + timedelta(seconds=1)] * 2})
    assert hw.get_historical_features(view, rows)["view__count"].to_list() == [0, 0]


def test_composite_keys(planted):
    pairs = [(1, "a"), (1, "b"), (2, "a"), (1, "a"), (None, "a"), (1, None)]
    events = [{"user": u, "page": p, "at": -i - 1} for i, (u, p) in enumerate(pairs)]
    asked = [
        {"user": u, "page": p, "timestamp": 0}
        for u, p in [(1, "a"), (1, "b"), (2, "b"), (None, "a"), (1, None), (2, "a")]
    ]
    assert planted(hw.count(), events, asked, keys=("user", "page")) == [2, 1, 0, 0, 0, 1]


def test_no_key_is_one_value_for_all(planted):
    assert planted(hw.count(), [{"key": k, "at": -1} for k in (1, 2, None)], [-1, 0], keys=()) == [
        0,
        3,
    ]
