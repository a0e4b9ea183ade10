"""The value of one aggregation over a handful of events, for examples and quick tries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from headwater.definitions.aggregation import Aggregation
from headwater.definitions.durations import Duration, Window
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import on_request
from headwater.definitions.source import Source
from headwater.pipelines.historical import get_historical_features

_NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def value_of(aggregation: Aggregation, *, window: Duration | Window = "1h", **columns: Sequence[object]) -> object:
    """The aggregation's value over events one minute apart, asked for one minute after the last of them.

    Args:
        aggregation: with one feature, or the first of several.
        window: which of the events count.
        columns: the values of each column in the order of the events.

    >>> import headwater as hw
    >>> value_of(hw.max("amount"), amount=[3, 5, 4]), value_of(hw.count(), window="2m", amount=[3, 5, 4])
    (5, 2)
    """
    events = pl.DataFrame(columns)
    at = pl.Series("at", [_NOON - timedelta(minutes=events.height - i) for i in range(events.height)])
    source = Source("events", history=events.with_columns(at, key=pl.lit(1)), timestamp_field="at", select=["key", *events.columns])
    view = FeatureView("view", source=source, keys=["key"], features=[aggregation], windows=[window], freshness=on_request())
    asked = pl.DataFrame({"key": [1], "timestamp": [_NOON]})
    return get_historical_features(view, asked)[view.feature_names[0]].to_list()[0]
