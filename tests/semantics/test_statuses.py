"""The status next to a value: present, empty, missing, expired, overflow."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
BIG = 2**62
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)

STATUSES = [
    # feature, events, asked, rules, statuses
    ("present", hw.count(), [{"at": -1}], [0], {}, ["present"]),
    (
        "of no one",
        hw.count(),
        [{"at": -1}],
        [{"key": 2, "timestamp": 0}, {"key": None, "timestamp": 0}],
        {},
        ["missing"] * 2,
    ),
    (
        "before and after",
        hw.sum("x"),
        [{"at": 0, "x": 1}],
        [0, 1, 2 * HOUR],
        {},
        ["missing", "present", "missing"],
    ),
    ("not known yet", hw.count(), [{"at": -9, "known": 5}], [4, 5], {}, ["missing", "present"]),
    ("never", hw.count(), [{"at": -1}], [0], {"freshness": hw.never()}, ["missing"]),
    (
        "null values",
        hw.mean("x"),
        [{"at": -1, "x": None}, {"at": -2 * HOUR, "x": 1.0}],
        [0, -HOUR - 1],
        {},
        ["empty", "present"],
    ),
    ("no flag", hw.count(where="x"), [{"at": -1, "x": False}], [0], {}, ["empty"]),
    ("one value has no deviation", hw.std("x"), [{"at": -1, "x": 1.0}], [0], {}, ["present"]),
    (
        "a null row is a row",
        hw.latest("x"),
        [{"at": -1, "x": None}, {"at": -2, "x": 1}],
        [0],
        {},
        ["present"],
    ),
    ("expired", hw.last("x"), [{"at": -5, "x": 1}], [0, 1], {"ttl": "5us"}, ["present", "expired"]),
    (
        "expired, not empty",
        hw.count("x"),
        [{"at": -5, "x": 1}, {"at": 0, "x": None}],
        [1],
        {"ttl": "5us"},
        ["expired"],
    ),
    (
        "overflow",
        hw.sum("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [-1, 0],
        {},
        ["present", "overflow"],
    ),
    (
        "an overflow expires",
        hw.sum("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [9],
        {"ttl": "5us"},
        ["expired"],
    ),
    (
        "a mean does not overflow",
        hw.mean("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [0],
        {},
        ["present"],
    ),
    (
        "nothing is open",
        hw.open_age(until="until"),
        [{"at": -9, "until": -5}],
        [-6, 0],
        {},
        ["present", "empty"],
    ),
    ("none is open", hw.open_count(until="until"), [{"at": -9, "until": -5}], [0], {}, ["present"]),
    ("a list", hw.last_n("x", k=2), [{"at": -1, "x": None}], [0, -1], {}, ["empty", "missing"]),
]


@pytest.mark.parametrize(
    ("feature", "events", "asked", "rules", "expected"),
    [row[1:] for row in STATUSES],
    ids=[row[0] for row in STATUSES],
)
def test_statuses(planted, feature, events, asked, rules, expected):
    whole = (
        {"x": pl.Float64()}
        if feature.function in ("mean", "std") and "overflow" not in str(events)
        else None
    )
    whole = (
        {"x": pl.Int64()}
        if any(e.get("x") == BIG for e in events) or feature.function == "last_n"
        else whole
    )
    assert planted(feature, events, asked, statuses=True, schema=whole, **rules) == expected


PAID = pl.DataFrame(
    {
        "user": [1, 1, 2],
        "at": [NOON - timedelta(minutes=m) for m in (90, 30, 90)],
        "amount": [1.0, None, 2.0],
    }
)
SOURCE = hw.Source("paid", history=PAID, timestamp_field="at")
ROWS = pl.DataFrame({"user": [1, 2, 3], "timestamp": [NOON] * 3})


def _view(name, windows, features=None):
    features = features or [hw.mean("amount")]
    return hw.FeatureView(
        name,
        source=SOURCE,
        keys=["user"],
        features=features,
        windows=windows,
        freshness=hw.on_request(),
    )


def test_the_longest_window_of_the_view_says_what_is_missing():
    """Also where only the short one is asked for, and next to a view that has no other."""
    both, short = _view("both", ["1h", "2h"]), _view("short", ["1h"])
    found = hw.get_historical_features(
        [both["mean_amount_1h"], short["mean_amount_1h"]], ROWS, statuses=True
    )
    assert found["both__mean_amount_1h__status"].to_list() == ["empty", "empty", "missing"]
    assert found["short__mean_amount_1h__status"].to_list() == ["empty", "missing", "missing"]


def test_statuses_come_last_and_change_no_value():
    view = _view("user", ["1h", "1d"], [hw.count(), hw.mean("amount"), hw.last_n("amount", k=2)])
    alias = view.alias("again", keys={"user": "user"})
    plain = hw.get_historical_features([view, alias], ROWS)
    found = hw.get_historical_features([view, alias], ROWS, statuses=True)
    assert found.columns == [*plain.columns, *(f"{name}__status" for name in plain.columns[2:])]
    assert found.select(plain.columns).equals(plain, null_equal=True)
    words = pl.Enum(["present", "empty", "missing", "expired", "fallback", "overflow"])
    assert set(found.select(pl.col("^.*__status$")).dtypes) == {words}
    assert (
        found["again__mean_amount_1d__status"].to_list()
        == found["user__mean_amount_1d__status"].to_list()
    )


def test_what_the_request_makes_is_present_or_empty():
    view = _view("user", ["1d"])

    @hw.request_feature
    def doubled(mean: float | None = view["mean_amount_1d"]) -> float | None:
        return None if mean is None else 2 * mean

    rows = ROWS.with_columns(limit=pl.Series([5.0, None, 7.0]))
    found = hw.get_historical_features(
        [doubled, hw.RequestField("limit", float)], rows, statuses=True
    )
    assert found["doubled__status"].to_list() == ["present", "present", "empty"]
    assert found["limit__status"].to_list() == ["present", "empty", "present"]


def test_a_column_named_like_a_status_is_refused_where_statuses_are_asked_for():
    view, rows = (
        _view("user", ["1d"]),
        ROWS.with_columns(user__mean_amount_1d__status=pl.lit("fine")),
    )
    assert hw.get_historical_features(view, rows).height == 3
    with pytest.raises(
        DataError, match="'user__mean_amount_1d__status' of the rows is named like a feature"
    ):
        hw.get_historical_features(view, rows, statuses=True)


def test_no_row_has_statuses_too():
    found = hw.get_historical_features(_view("user", ["1d"]), ROWS.clear(), statuses=True)
    assert found.height == 0
    assert found.columns[-1] == "user__mean_amount_1d__status"
