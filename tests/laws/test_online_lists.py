"""Features looked up by a list of keys, online: each element as if it were looked up alone."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.aggregations.reference import Row, as_micros
from headwater.testing.cases import case
from headwater.testing.examples import temporary_store
from headwater.testing.online import KEY_KINDS, ingested

NOON = datetime(2024, 5, 1, 12, 10, tzinfo=UTC)
PLACES = ("overflow", "fallback", "present", "expired", "empty", "missing")


def at(hour: int) -> datetime:
    return datetime(2024, 5, 1, hour, tzinfo=UTC)


SOLD = pl.DataFrame(
    {
        "product": ["tea", "tea", "jam"],
        "shop": [1, 1, 2],
        "price": [2.0, 4.0, 5.0],
        "at": [at(8), at(9), at(9)],
    }
)
SALES = hw.Source("sales", history=SOLD, timestamp_field="at")
HOURLY = hw.batch("1h", delay="10m")
FEATURES = [
    hw.count(),
    hw.mean("price"),
    hw.last_n("shop", k=2),
    hw.last("product"),
    hw.sum("price").by("shop"),
]
PRODUCT = hw.FeatureView(
    "product", source=SALES, keys=["product"], features=FEATURES, windows=["1d"], freshness=HOURLY
)
SHOP = hw.FeatureView(
    "shop",
    source=SALES,
    keys=["shop"],
    features=[hw.last_n("product", k=3)],
    windows=["1d"],
    freshness=HOURLY,
)
BOTH = hw.FeatureView(
    "both",
    source=SALES,
    keys=["shop", "product"],
    features=[hw.count(), hw.max("price")],
    windows=["1d"],
    freshness=HOURLY,
)
BASKET = PRODUCT.alias("basket", keys={"product": hw.each("products", max_length=3)})
RECENT = PRODUCT.alias("recent", keys={"product": hw.each(SHOP["last_n_product_1d"])})
THERE = BOTH.alias("there", keys={"product": hw.each("products")})


@hw.request_feature
def dearest(prices: list[float | None] | None = BASKET["mean_price_1d"]) -> float | None:
    return max((price for price in prices or () if price is not None), default=None)


SERVICE = hw.FeatureService("shopping", [BASKET, RECENT, THERE, dearest, SHOP])
ROWS = [
    {"products": ["jam", "tea", "nuts"], "shop": 1},
    {"products": [], "shop": 2},
    {"products": None, "shop": None},
    {"products": ["tea", None, "tea"], "shop": 1},
    {"products": ["nuts"], "shop": 9},
]


@pytest.fixture(scope="module")
def online():
    labels = hw.Labels(
        "bought",
        table=pl.DataFrame({"products": [["tea"]], "shop": [1], "at": [at(10)], "y": [1]}),
        timestamp_field="at",
        label="y",
        known_after="1h",
    )
    project = hw.Project(
        "shop", models=[hw.Model("m", features=SERVICE, labels=labels, task="binary")]
    )
    with temporary_store() as store:
        hw.materialize(project, store=store, at=at(12))
        yield hw.operations.OnlineFeatures(SERVICE, store)


def test_lists_online_are_those_offline(online):
    rows = pl.DataFrame(ROWS).with_columns(timestamp=NOON)
    offline = hw.get_historical_features(SERVICE, rows, statuses=True)
    read = online.read(ROWS, at=NOON, details=True)
    names = [name for feature in SERVICE.feature_names for name in (feature, f"{feature}__status")]
    assert read.select(names).rows() == offline.select(names).rows()
    assert read.select(SERVICE.feature_names).schema == offline.select(SERVICE.feature_names).schema


def test_values_stand_in_the_order_of_the_list(online):
    read = online.read(ROWS, at=NOON)
    assert read["basket__mean_price_1d"].to_list() == [
        [5.0, 3.0, None],
        [],
        None,
        [3.0, None, 3.0],
        [None],
    ]
    assert read["basket__count_1d"].to_list() == [[1, 2, 0], [], None, [2, 0, 2], [0]]
    assert read["recent__last_product_1d"].to_list() == [
        ["tea", "tea"],
        ["jam"],
        [],
        ["tea", "tea"],
        [],
    ]
    assert read["there__count_1d"].to_list() == [[0, 2, 0], [], None, [2, 0, 2], [0]]
    assert read["dearest"].to_list() == [5.0, None, None, 3.0, None]


LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from([1, 2, 3, None]), max_size=5)),
    min_size=1,
    max_size=5,
)


@pytest.mark.filterwarnings("ignore:.*is not longer than the delay of source")
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), LISTS, st.sampled_from(KEY_KINDS))
def test_an_element_is_as_a_lookup_of_it_alone(seed, lists, kind):
    random = Random(seed)
    drawn = case(random, late=False, changes=False)
    source = hw.Source(
        "events",
        timestamp_field="at",
        stream=None,
        history=drawn.frame,
        id_field=drawn.view.source.id_field,
    )
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=drawn.view.features,
        windows=drawn.view.windows,
        freshness=hw.on_request(),
    )
    row: Row = random.choice(drawn.rows)
    t = as_micros(row["timestamp"])  # type: ignore[arg-type]
    scalar = ingested(type(drawn)(view, drawn.events, drawn.rows), t, random, kind)
    listed = view_of(scalar).alias("view", keys={"key": hw.each("keys")})
    online = hw.operations.OnlineFeatures(hw.FeatureService("service", [listed]), scalar.store)
    given_lists = [
        None if keys is None else [kind.key_value(key) for key in keys] for keys in lists
    ]
    read = online.rows({"keys": given_lists}, t=t)
    ones = [online.row({"keys": keys}, t=t) for keys in given_lists]
    for number, keys in enumerate(given_lists):
        alone = [scalar.row({"key": key}, t=t) for key in keys or ()]
        for n, codes in enumerate(read.statuses):
            value = read.values[n][number]
            assert repr(value) == repr(None if keys is None else [one.values[n] for one in alone])
            assert repr(ones[number].values[n]) == repr(value)
            names = {hw_status(one.statuses[n]) for one in alone}
            expected = next(
                (s for s in PLACES if s in names), "missing" if keys is None else "empty"
            )
            assert hw_status(codes[number]) == hw_status(ones[number].statuses[n]) == expected


def view_of(features: hw.operations.OnlineFeatures) -> hw.FeatureView:
    (view,) = features.service.views
    return view


def hw_status(code: int) -> str:
    return ("present", "empty", "missing", "expired", "fallback", "overflow")[code]
