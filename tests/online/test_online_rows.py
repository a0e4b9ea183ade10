"""`OnlineFeatures.row` and `rows`: plain values in and out, for every way that makes them."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, StaleError
from headwater.events.columns import STATUSES
from headwater.events.read_events import TIME
from headwater.ingestion.commit import Progress
from headwater.state.record import with_section
from headwater.state.view_state import Cut, State, ViewTiles, encoded, schema_bytes
from headwater.stores import keyspace
from headwater.testing.online import KeptState

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
T = int(NOON.timestamp()) * 1_000_000
SCHEMA = {
    "user": pl.Int64(), "shop": pl.String(), "amount": pl.Float64(), "paid": pl.Boolean(), "at": pl.Datetime("us", "UTC"),
    "small": pl.Int8(), "card": pl.String(),
}  # fmt: skip
EVENTS = [
    {"user": 1, "shop": "é", "amount": 2.0, "paid": True, "small": 3, "card": "x"},
    {"user": 1, "shop": "b", "amount": 6.0, "paid": False, "small": 5, "card": "y"},
    {"user": -2, "shop": "b", "amount": None, "paid": True, "small": None, "card": None},
]


def stored(*views, at=T, partitioned=False):
    """A store in which the three events came a minute before noon."""
    store = KeptState()
    events = pl.DataFrame(EVENTS, schema={k: v for k, v in SCHEMA.items() if k != "at"})
    events = events.with_columns(
        pl.lit(NOON - timedelta(minutes=1)).alias("at"),
        pl.lit(T - 60_000_000, pl.Int64).alias(TIME),
    )
    whole = {view.tiles_fingerprint: "c" for view in views}
    for view in views:
        tiles = ViewTiles(view, events.schema)
        batch = isinstance(view.freshness, hw.batch("1h").__class__)
        partition = "1" if batch else "3" if partitioned else None
        made = tiles.update(events, T, T if batch else 0, lambda keys: [b""] * len(keys))
        for key, part in made.items():
            place = keyspace.record(view.record_group, key, partition)
            store.values[place] = with_section(
                store.values.get(place), view.tiles_fingerprint, part
            )
        state = State(
            view.name,
            schema_bytes(events.schema),
            [Cut(T, T)] if batch else [],
            None if batch else 0,
            coverage="c",
        )
        tiles = view.tiles_fingerprint
        state_key = (
            keyspace.state(tiles)
            if batch
            else keyspace.stream_state(tiles, "3" if partitioned else None)
        )
        store.values[state_key] = encoded(state)
        end = b"3\0" if partitioned else b""
        store.values[keyspace.PROGRESS + keyspace.name(view.source.name) + end] = (
            msgspec.msgpack.encode(Progress(4, at, known=at, views=whole))
        )
    return store


def view(name, *features, keys=("user",), **also):
    source = hw.Source("payments", timestamp_field="at")
    given = {"windows": ["1h"], "freshness": hw.streaming("1s")} | also
    return hw.FeatureView(name, source=source, keys=list(keys), features=list(features), **given)


def features(*members, store=None, at=T, partitioned=False):
    service = hw.FeatureService("service", list(members))
    return hw.operations.OnlineFeatures(
        service, store or stored(*service.views, at=at, partitioned=partitioned)
    )


def words(statuses):
    return [STATUSES[code] for code in statuses]


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_row_has_values_statuses_and_a_moment(partitioned):
    user = view(
        "user", hw.count(), hw.mean("amount"), hw.max("paid"), hw.max("small"), hw.max("at")
    )
    online = features(user, partitioned=partitioned)
    assert online.names == user.feature_names
    assert online.of == (0,) * 5
    values, statuses, moments = online.row({"user": 1}, t=T + 5)
    assert values == [2, 4.0, True, 5, NOON - timedelta(minutes=1)]
    assert [type(value) for value in values[:4]] == [int, float, bool, int]
    assert words(statuses) == ["present"] * 5
    assert [tuple(moment) for moment in moments] == [
        (T + 5, T, {"3" if partitioned else None: 4}, False, False)
    ]


def test_nulls_have_their_statuses():
    values, statuses, _ = features(
        view("user", hw.count(), hw.mean("amount"), hw.sum("small"))
    ).rows({"user": [-2, 5, None, 1]}, t=T)
    assert values == [[1, 0, 0, 2], [None, None, None, 4.0], [0, 0, 0, 8]]
    assert [words(said) for said in statuses] == [
        ["present", "missing", "missing", "present"],
        ["empty", "missing", "missing", "present"],
        ["empty", "missing", "missing", "present"],
    ]


def test_what_was_too_long_ago_is_expired():
    values, statuses, _ = features(view("user", hw.count(), hw.max("amount"), ttl="1m")).row(
        {"user": 1}, t=T + 1
    )
    assert (values, words(statuses)) == ([None, None], ["expired", "expired"])
    values, statuses, _ = features(view("user", hw.count(), ttl="1m")).row({"user": 1}, t=T)
    assert (values, words(statuses)) == ([2], ["present"])


@pytest.mark.parametrize(
    ("keys", "request_", "count"),
    [
        (["shop"], {"shop": "b"}, 2),
        (["shop"], {"shop": "é"}, 1),
        (["shop"], {"shop": "c" * 1000}, 0),
        (["user", "shop"], {"user": 1, "shop": "b"}, 1),
        (["user", "shop"], {"user": 1, "shop": None}, 0),
        (["user"], {"user": -2, "more": "is not read"}, 1),
        (["user"], {"user": np.int64(1)}, 2),
        (["small"], {"small": 3}, 1),
        (["paid"], {"paid": True}, 2),
        ([], {}, 3),
    ],
)
def test_keys_of_any_kind(keys, request_, count):
    online = features(view("v", hw.count(), keys=keys))
    assert online.row(request_, t=T).values == [count]
    if request_:
        assert online.rows(
            {name: [value, value] for name, value in request_.items()}, t=T
        ).values == [[count, count]]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"user": "1"}, "the key 'user' is Int64 in the source and String in the requests"),
        ({"user": 1.0}, "the key 'user' is a float"),
        ({"user": True}, "the key 'user' is Int64 in the source and Boolean"),
        ({"usr": 1}, "the rows have no column 'user', which view 'v' needs; .*usr"),
    ],
)
def test_bad_requests_are_told_apart(request_, says):
    online = features(view("v", hw.count()))
    with pytest.raises(DataError, match=says):
        online.row(request_, t=T)
    with pytest.raises(DataError, match=says):
        online.rows({name: [value] for name, value in request_.items()}, t=T)


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(DataError, match=r"the columns of a request hold \[1, 2\] values"):
        features(view("v", hw.count(), keys=["user", "shop"])).rows(
            {"user": [1], "shop": ["a", "b"]}, t=T
        )


@pytest.mark.parametrize("feature", [hw.count(), hw.last("shop")], ids=["by loops", "in general"])
def test_stale_values(feature):
    late = T + 10_000_000
    assert features(view("v", feature)).row({"user": 1}, t=late).read_versions[0].stale
    fallen = features(view("v", feature, on_stale="null")).rows({"user": [1, 1]}, t=late)
    assert fallen.values == [[None, None]]
    assert words(fallen.statuses[0]) == ["fallback", "fallback"]
    with pytest.raises(StaleError, match="on_stale='refuse'"):
        features(view("v", feature, on_stale="refuse")).row({"user": 1}, t=late)


def test_what_loops_make_and_what_they_do_not_stand_in_the_order_of_names():
    quick, other = (
        view("quick", hw.count(), hw.sum("amount")),
        view("other", hw.last("shop"), keys=["shop"]),
    )

    @hw.request_feature
    def share(amount: float, total: float | None = quick["sum_amount_1h"]) -> float | None:
        return amount / total if total else None

    online = features(share, other, hw.RequestField("amount", float), quick["count_1h"])
    values, statuses, moments = online.row({"user": 1, "shop": "b", "amount": 2}, t=T)
    assert dict(zip(online.names, values, strict=True)) == {
        "share": 0.25, "other__last_shop_1h": "b", "amount": 2.0, "quick__count_1h": 2,
    }  # fmt: skip
    assert words(statuses) == ["present"] * 4
    by_name = [view.name for view in online.service.views]
    assert [by_name[place] if place >= 0 else None for place in online.of] == [
        None,
        "other",
        None,
        "quick",
    ]
    assert len(moments) == len(by_name)


def test_a_key_that_is_a_feature():
    newest = view("newest", hw.last("shop"))
    shop = view("shop", hw.count(), keys=["shop"]).alias(
        "its_shop", keys={"shop": newest["last_shop_1h"]}
    )
    # of the two shops at one time, the greater text
    assert features(shop).row({"user": 1}, t=T).values == [1]


def test_a_batch_view_reads_the_record_of_the_last_whole_cut():
    nightly = view("nightly", hw.count(), freshness=hw.batch("1h"))
    values, statuses, moments = features(nightly).row({"user": 1}, t=T + 5)
    assert (values, words(statuses), moments[0].T, moments[0].sequences) == (
        [2],
        ["present"],
        T,
        {},
    )


def test_values_are_those_of_frames():
    one, two = (
        view("one", hw.std("amount"), hw.rate(), hw.fraction("paid"), hw.since_last()),
        view("two", hw.min("amount"), keys=["shop"]),
    )
    online = features(two, one)
    request = {"user": [1, -2, 9], "shop": ["b", "é", "no"]}
    frame = online.read(pl.DataFrame(request), at=NOON, details=True)
    found = online.rows(request, t=T)
    assert found.values == [frame[name].to_list() for name in online.names]
    assert [words(said) for said in found.statuses] == [
        frame[f"{name}__status"].to_list() for name in online.names
    ]
