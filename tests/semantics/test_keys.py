"""Whose events count: keys of every type, on either side or neither, in other roles, and filled by
other features.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing.naive import agree, evaluate

SECOND = 1_000_000
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


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (pl.Int32, pl.Int64),
        (pl.UInt8, pl.Int16),
        (pl.UInt64, pl.Int8),
        (pl.Int64, pl.UInt64),
        (pl.String, pl.Categorical),
        (pl.Enum(["1", "2"]), pl.String),
        (pl.Int64, pl.Null),
        (pl.String, pl.Null),
        (pl.Null, pl.String),
        (pl.Null, pl.Int64),
        (pl.Null, pl.Null),
    ],
)
def test_keys_of_kindred_types_match(mine, theirs):
    keys = (
        pl.Series([None] * 3, dtype=pl.Null)
        if mine == pl.Null
        else pl.Series(["1", "2", "1"]).cast(mine)
    )
    history = pl.DataFrame({"key": keys, "at": [NOON] * 3})
    view = hw.FeatureView(
        "view",
        source=hw.Source("events", history=history, timestamp_field="at"),
        keys=["key"],
        features=[hw.count()],
        freshness=hw.on_request(),
    )
    asked = (
        pl.Series([None, None], dtype=pl.Null)
        if theirs == pl.Null
        else pl.Series(["1", "2"]).cast(theirs)
    )
    rows = pl.DataFrame({"key": asked, "timestamp": [NOON + timedelta(seconds=1)] * 2})
    assert hw.get_historical_features(view, rows)["view__count"].to_list() == (
        [0, 0] if pl.Null in (mine, theirs) else [2, 1]
    )


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


def test_a_key_can_be_aggregated(planted):
    assert planted(hw.max("key"), [{"key": 7, "at": -1}], [{"key": 7, "timestamp": 0}]) == [7]


def test_one_key_that_holds_half_of_all_events(monkeypatch):
    """Its asks are cut into pieces too."""
    monkeypatch.setattr("headwater.aggregations.run._CHUNK", 16)
    keys = [0 if i % 2 else i for i in range(600)]
    events = [
        {"key": k, "at": NOON + timedelta(seconds=i), "x": float(i % 7)} for i, k in enumerate(keys)
    ]
    rows = [
        {"key": k, "timestamp": NOON + timedelta(seconds=10 * i)}
        for i in range(60)
        for k in (0, 2 * i, -1)
    ]
    source = hw.Source("events", history=pl.DataFrame(events), timestamp_field="at")
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[hw.count(), hw.sum("x"), hw.last("x")],
        windows=["1m", "lifetime"],
        freshness=hw.on_request(),
    )
    found = hw.get_historical_features(view, pl.DataFrame(rows), resources=hw.Resources(threads=2))
    for name in view.feature_names:
        assert all(
            agree(a[name], v)
            for a, v in zip(evaluate(view, events, rows), found[name].to_list(), strict=True)
        ), name


FLIGHTS = pl.DataFrame(
    {"origin": ["JFK", "JFK", "LAX"], "at": [NOON] * 3, "delay": [1.0, 3.0, 8.0]}
)


def _origin():
    source = hw.Source("flights", history=FLIGHTS, timestamp_field="at")
    return hw.FeatureView(
        "origin",
        source=source,
        keys=["origin"],
        features=[hw.mean("delay")],
        windows=["1h"],
        freshness=hw.on_request(),
    )


def test_an_alias_is_the_view_in_another_role():
    origin = _origin()
    dest = origin.alias("at_dest", keys={"origin": "dest"})
    rows = pl.DataFrame(
        {
            "origin": ["JFK", "LAX", "JFK"],
            "dest": ["LAX", "JFK", None],
            "timestamp": [NOON + timedelta(minutes=1)] * 3,
        }
    )
    found = hw.get_historical_features([origin, dest], rows)
    assert found["origin__mean_delay_1h"].to_list() == [2.0, 8.0, 2.0]
    assert found["at_dest__mean_delay_1h"].to_list() == [8.0, 2.0, None]
    alone = hw.get_historical_features(dest, rows.drop("origin"))
    assert alone["at_dest__mean_delay_1h"].to_list() == [8.0, 2.0, None]
    assert [
        a["at_dest__mean_delay_1h"].value
        for a in evaluate(dest, FLIGHTS.rows(named=True), rows.rows(named=True))
    ] == [8.0, 2.0, None]


def test_an_alias_follows_its_view_at_a_level_unless_it_is_named():
    origin = _origin()
    dest = origin.alias("at_dest", keys={"origin": "dest"})
    rows = pl.DataFrame(
        {"origin": ["JFK"], "dest": ["LAX"], "timestamp": [NOON + timedelta(minutes=1)]}
    )
    values = [
        hw.get_historical_features([origin, dest], rows, level=hw.Level(levels)).row(0)[3:]
        for levels in (
            {origin: hw.never()},
            {dest: hw.never()},
            {origin: hw.never(), dest: hw.on_request()},
        )
    ]
    assert values == [(None, None), (2.0, None), (None, 8.0)]


CARDS = pl.DataFrame(
    {
        "user": [1, 1, 2],
        "card": ["x", "y", "z"],
        "at": [NOON - timedelta(hours=3), NOON - timedelta(hours=1), NOON - timedelta(hours=3)],
    }
)
PAID = pl.DataFrame(
    {
        "card": ["x", "y", "y"],
        "at": [NOON - timedelta(minutes=m) for m in (3, 2, 1)],
        "amount": [10, 20, 30],
    }
)


def user_and_card():
    """A view of each user's last card, and one of what was paid by card."""
    user = hw.FeatureView(
        "user",
        source=hw.Source("cards", history=CARDS, timestamp_field="at"),
        keys=["user"],
        features=[hw.last("card")],
        freshness=hw.on_request(),
    )
    card = hw.FeatureView(
        "card",
        source=hw.Source("paid", history=PAID, timestamp_field="at"),
        keys=["card"],
        features=[hw.sum("amount")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    return user, card


@pytest.mark.parametrize(
    ("level", "card", "paid"),
    [
        (None, ["y", "z", None], [50, 0, 0]),
        (lambda user, _: hw.Level({user: hw.batch("2h")}), ["y", "z", None], [50, 0, 0]),
        (lambda user, _: hw.Level({user: hw.streaming("2h")}), ["x", "z", None], [10, 0, 0]),
        (lambda user, _: hw.Level({user: hw.never()}), [None, None, None], [0, 0, 0]),
        (lambda _, card: hw.Level({card: hw.never()}), ["y", "z", None], [0, 0, 0]),
        (lambda *_: hw.Level(hw.never()), [None, None, None], [0, 0, 0]),
    ],
    ids=["as defined", "batch", "streaming", "no card", "no payment", "nothing"],
)
def test_a_key_filled_by_a_feature_of_another_view(level, card, paid):
    user, view = user_and_card()
    of_user = view.alias("of_user", keys={"card": user["last_card"]})
    rows = pl.DataFrame({"user": [1, 2, 3], "timestamp": [NOON] * 3})
    found = hw.get_historical_features(
        [of_user, user], rows, level=None if level is None else level(user, of_user)
    )
    assert found["user__last_card"].to_list() == card
    assert found["of_user__sum_amount_1h"].to_list() == paid


def test_a_feeding_view_need_not_be_asked_for():
    user, view = user_and_card()
    found = hw.get_historical_features(
        view.alias("of_user", keys={"card": user["last_card"]}),
        pl.DataFrame({"user": [1], "timestamp": [NOON]}),
    )
    assert found.columns == ["user", "timestamp", "of_user__sum_amount_1h"]
    assert found["of_user__sum_amount_1h"].to_list() == [50]
