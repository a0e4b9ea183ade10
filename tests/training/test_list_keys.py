"""Features looked up by a list of keys, offline: each element as if it were looked up alone, at
every level.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.testing.cases import case
from headwater.testing.naive import agree, evaluate
from headwater.training.resources import Resources

LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from([1, 2, 3, None, 4]), max_size=4)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), LISTS)
@pytest.mark.filterwarnings(
    "ignore:.*is not longer than the delay of source",
    "ignore::headwater.errors.RowsLeftOutWarning",
    "ignore::headwater.errors.NoEventsWarning",
)
def test_lists_are_lookups_of_each_element(seed, lists):
    random = Random(seed)
    drawn = case(random)
    view = drawn.readable()
    listed = view.alias("listed", keys={"key": hw.each("keys")})
    times = [random.choice(drawn.rows)["timestamp"] for _ in lists]
    rows = pl.DataFrame(
        {"keys": lists, "timestamp": times},
        schema={"keys": pl.List(pl.Int64), "timestamp": pl.Datetime("us", "UTC")},
    )
    level = hw.Level(
        random.choice(
            [hw.on_request(), hw.batch("1h", delay="10m"), hw.streaming("5s"), view.freshness]
        )
    )
    still = Resources(progress=False)
    offline = hw.get_historical_features(
        [view, listed],
        rows.with_columns(key=pl.lit(None, pl.Int64)),
        level=level,
        statuses=True,
        resources=still,
    )
    flat = (
        rows.with_row_index("row")
        .filter(pl.col("keys").list.len() > 0)
        .explode("keys")
        .rename({"keys": "key"})
    )
    alone = hw.get_historical_features(view, flat, level=level, statuses=True, resources=still)
    for name in view.feature_names:
        mine = offline[name.replace(view.name, "listed", 1)].to_list()
        for number, keys in enumerate(lists):
            values = alone.filter(pl.col("row") == number)[name].to_list()
            assert repr(mine[number]) == repr(None if keys is None else values)
    given_rows = [
        {"keys": keys, "timestamp": time} for keys, time in zip(lists, times, strict=True)
    ]
    of_events = drawn.view.alias("listed", keys={"key": hw.each("keys")})
    fresh = level.freshness(view)
    for number, answers in enumerate(
        evaluate(of_events, drawn.events, given_rows, freshness=fresh)
    ):
        for feature, name in zip(of_events.outputs, of_events.feature_names, strict=True):
            assert offline[f"{name}__status"][number] == answers[name].status
            assert agree(
                answers[name],
                offline[name].to_list()[number],
                squared=feature.aggregation.function in ("std", "var"),
            )


def sold():
    table = pl.DataFrame(
        {
            "product": ["a", "b", "a"],
            "user": [1, 1, 2],
            "at": [datetime(2024, 5, d, tzinfo=UTC) for d in (1, 2, 3)],
        }
    )
    source = hw.Source("sold", history=table, timestamp_field="at")
    product = hw.FeatureView(
        "product",
        source=source,
        keys=["product"],
        features=[hw.count(), hw.last("user")],
        freshness=hw.on_request(),
    )
    user = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[hw.count(), hw.last_n("product", k=2)],
        freshness=hw.on_request(),
    )
    return product, user


def test_a_backtest_reduces_lists_at_every_level():
    random = Random(1)
    start = datetime(2024, 5, 1, tzinfo=UTC)
    hours = [start.replace(day=1 + n // 24, hour=n % 24) for n in range(24 * 20)]
    table = pl.DataFrame(
        {"product": [random.choice("abcd") for _ in hours], "user": [1] * len(hours), "at": hours}
    )
    source = hw.Source("sold", history=table, timestamp_field="at")
    product = hw.FeatureView(
        "product",
        source=source,
        keys=["product"],
        features=[hw.count()],
        windows=["6h"],
        freshness=hw.streaming("1s"),
    )
    basket = product.alias("basket", keys={"product": hw.each("products")})

    @hw.request_feature
    def most(counts: list[int] | None = basket["count_6h"]) -> int | None:
        return max(counts) if counts else None

    rows = pl.DataFrame(
        {"products": [random.sample("abcd", random.randint(0, 3)) for _ in hours], "asked": hours}
    )
    rows = rows.with_columns(y=pl.Series([random.random() < 0.5 for _ in hours]))
    labels = hw.Labels("l", table=rows, timestamp_field="asked", label="y", known_after="1h")
    model = hw.Model("m", features=hw.FeatureService("s", [most]), labels=labels, task="binary")
    levels = {"daily": hw.Level(hw.batch("1d", delay="1h")), "live": hw.Level(hw.on_request())}
    result = hw.backtest(
        model,
        levels,
        hw.Evaluation(split="2024-05-12T00:00Z", refits=None),
        resources=Resources(progress=False),
    )
    assert [level.name for level in result.result.levels] == ["daily", "live"]
    assert "product = each of products" in result.result.definitions
    asked = rows.rename({"asked": "timestamp"})
    by_level = [
        hw.get_historical_features(most, asked, level=level)["most"].to_list()
        for level in levels.values()
    ]
    flat = asked.with_row_index("row").explode("products").rename({"products": "product"})
    for level, values in zip(levels.values(), by_level, strict=True):
        alone = (
            hw.get_historical_features(product, flat, level=level)
            .group_by("row", maintain_order=True)
            .agg(pl.max("product__count_6h"))
        )
        given_rows = [values[row] for row in alone["row"].to_list()]
        expected = [None if not rows["products"][row].len() else best for row, best in alone.rows()]
        assert given_rows == expected
    assert by_level[0] != by_level[1]


def test_events_are_enriched_with_lists():
    start = datetime(2024, 5, 1, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "product": ["a", "b", "c"],
            "others": [None, ["a", "x"], ["b", "a", "a"]],
            "user": [1, 1, 1],
            "at": [start.replace(day=day) for day in (1, 2, 3)],
        }
    )
    source = hw.Source("sold", history=table, timestamp_field="at")
    product = hw.FeatureView(
        "product", source=source, keys=["product"], features=[hw.count()], freshness=hw.on_request()
    )
    others = product.alias("others", keys={"product": hw.each("others")})
    seen = pl.col("others__count").list.sum().alias("seen")
    richer = hw.enrich(source, "richer", [others["count"]], select=["user", seen])
    user = hw.FeatureView(
        "u",
        source=richer,
        keys=["user"],
        features=[hw.last_n("seen", k=3)],
        freshness=hw.on_request(),
    )
    rows = pl.DataFrame({"user": [1], "timestamp": [start.replace(day=4)]})
    assert hw.get_historical_features(user, rows)["u__last_n_seen"].to_list() == [[1, 3]]
