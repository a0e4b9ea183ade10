"""Calls that are larger than the pieces in which they are worked on, on one thread and on several."""

import numpy as np
import polars as pl
import pytest

import headwater as hw


@pytest.mark.parametrize("threads", ["1", "4"])
def test_more_than_two_million_events_of_one_key_in_no_order(threads, monkeypatch):
    monkeypatch.setenv("HEADWATER_THREADS", threads)
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
