"""What only data can tell: zones of naive times, NaN, and labels that leak."""

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import LeakError

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": [1, 1], "amount": [1.0, 2.0], "text": ["a", "b"], "at": [AT, AT]})
ROWS = pl.DataFrame({"user": [1], "timestamp": [AT + timedelta(hours=1)]})
COUNT = (hw.count(),)


def _view(features=COUNT, keys=("user",), **rules):
    source = hw.Source("pay", **({"history": EVENTS, "timestamp_field": "at"} | rules))
    return hw.FeatureView(
        "user",
        source=source,
        keys=keys,
        features=features,
        windows=["1d"],
        freshness=hw.on_request(),
    )


def _ask(view=None, rows=ROWS, **more):
    return hw.get_historical_features(view or _view(), rows, **more)


@pytest.mark.parametrize(
    ("zone", "count"), [("UTC", 0), ("America/New_York", 2), ("Europe/Berlin", 0)]
)
def test_a_declared_zone_is_that_of_naive_times(zone, count):
    """08:00 on the wall is 12:00 UTC in New York, and 06:00 in Berlin: only the first falls into
    the hour asked for.
    """
    history = pl.DataFrame({"user": [1, 1], "at": [datetime(2024, 5, 1, 8)] * 2})  # noqa: DTZ001
    source = hw.Source("pay", history=history, timestamp_field="at", timezone=zone)
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    for rows, zone_of_rows in (
        (ROWS, None),
        (pl.DataFrame({"user": [1], "timestamp": [datetime(2024, 5, 1, 9)]}), "America/New_York"),  # noqa: DTZ001
    ):
        assert _ask(view, rows, timezone=zone_of_rows)["user__count_1h"].to_list() == [count]


def test_events_without_a_time_are_left_out_and_counted():
    history = pl.DataFrame({"user": [1, 1, 1], "at": [AT, None, AT], "known": [AT, AT, None]})
    assert _ask(_view(history=history, known_at_field="known"))["user__count_1d"].to_list() == [1]


NAN = pl.DataFrame({"user": [1, 1, 1], "amount": [1.0, math.nan, None], "at": [AT] * 3})


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (hw.count(), 3),
        (hw.count("amount"), 1),
        (hw.sum("amount"), 1.0),
        (hw.max("amount"), 1.0),
        (hw.last("amount"), 1.0),
        (hw.latest("amount"), 1.0),
    ],
)
def test_nan_in_events_is_null(feature, value):
    assert _ask(_view([feature], history=NAN)).row(0)[-1] == value


# ---------------------------------------------------------------- leaks

LEAKS = [
    # rules, minutes after the event time of `paid` in each row, share that is later than known
    ({}, [1, -1, 0, -5], "25.0%"),
    ({}, [1, 1, 1, 1], "100.0%"),
    ({"known_after": "10m"}, [10, 11, 12, 0], "50.0%"),
    ({"known_at_field": "known"}, [20, 30, 31, 45], "50.0%"),
    ({}, [-1, 0, None, -9], None),
    ({"known_after": "10m"}, [10, 9, 8, None], None),
    ({"known_at_field": "known"}, [30, 1, 2, 3], None),
    ({"select": ["user"]}, [1, 1, 1, 1], None),
]


@pytest.mark.parametrize(("rules", "minutes", "share"), LEAKS)
def test_later_timestamps_without_a_selection_are_a_leak(rules, minutes, share):
    paid = pl.Series(
        [None if m is None else AT + timedelta(minutes=m) for m in minutes],
        dtype=pl.Datetime("us", "UTC"),
    )
    history = pl.DataFrame(
        {
            "user": 1,
            "at": [AT] * 4,
            "known": [AT + timedelta(minutes=30)] * 4,
            "paid": paid,
            "birthday": [date(2050, 1, 1)] * 4,
        }
    )
    view = _view(history=history if "known_at_field" in rules else history.drop("known"), **rules)
    if share is None:
        _ask(view)
        return
    with pytest.raises(LeakError) as caught:
        _ask(view)
    by = "known" if "known_at_field" in rules else "at" + (" + 10m" if rules else "")
    says = [
        "source 'pay' (test_bad_data.py:",
        f"({by})",
        f"'paid' (in {share} of rows)",
        (
            "Name with select= the columns known at the event time; two times of one table are two "
            "sources"
        ),
    ]
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)
    assert "birthday" not in str(caught.value)
