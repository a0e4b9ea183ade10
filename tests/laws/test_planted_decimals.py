"""Decimals, integers of 128 bits and numeric ids: exact, or an error, offline, as a batch and as a
stream; never two ids as one.
"""

from datetime import timedelta

import polars as pl
import pytest

import headwater as hw
from tests.flow import BASE

FIRST, SECOND = 2**53 + 1, 2**53  # which are one float
EXACT = [
    hw.first("x"),
    hw.last("x"),
    hw.min("x"),
    hw.max("x"),
    hw.count_distinct("x"),
    hw.sum("x"),
    hw.mode("x"),
    hw.last_n("x", k=3),
]
WANTED = (FIRST, SECOND, SECOND, FIRST, 2, FIRST + SECOND, SECOND, [FIRST, SECOND])
WHOLE = {
    "decimal": pl.Decimal(20, 0),
    "decimal of 38 digits": pl.Decimal(38, 0),
    "int128": pl.Int128(),
    "uint64": pl.UInt64(),
    "int64": pl.Int64(),
}


def events(dtype, *values):
    times = [BASE + timedelta(seconds=n) for n in range(len(values))]
    return pl.DataFrame(
        {"key": [1] * len(values), "x": pl.Series(values, dtype=dtype), "at": times}
    )


def view(history, features, freshness=None, keys=("key",), **source):
    return hw.FeatureView(
        "v",
        source=hw.Source("events", history=history, timestamp_field="at", **source),
        keys=list(keys),
        features=features,
        windows=["1h"],
        freshness=freshness or hw.on_request(),
    )


def values(of, rows=None):
    asked = pl.DataFrame({"key": [1]} if rows is None else rows).with_columns(
        timestamp=pl.lit(BASE + timedelta(minutes=9))
    )
    return hw.get_historical_features(of, asked).select(of.feature_names)


@pytest.mark.parametrize("kind", WHOLE)
def test_integers_are_exact_whatever_type_holds_them(tmp_path, kind):
    path = tmp_path / "events.parquet"
    events(WHOLE[kind], FIRST, SECOND).write_parquet(path)
    for history in (path, events(WHOLE[kind], FIRST, SECOND)):
        found = values(view(history, EXACT))
        assert found.row(0) == WANTED
        if "decimal" in kind:
            assert found.dtypes[:7] == [pl.Int64] * 7
    by = values(view(path, [hw.count().by("x")]))
    assert by.row(0) == ({FIRST: 1, SECOND: 1},)
