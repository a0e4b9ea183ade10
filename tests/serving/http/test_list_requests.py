"""Requests that carry lists of keys, by a real server: answers, errors, the document, the serving
log and parity.
"""

from contextlib import closing
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.jobs.key_match import ErasedKey, any_matches
from headwater.jobs.materialize import materialize_view
from tests.serving.world import Sum, asking

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ASKED = datetime(2024, 5, 1, 12, 20, tzinfo=UTC)


def at(hour):
    return datetime(2024, 5, 1, hour, tzinfo=UTC)


SOLD = pl.DataFrame(
    {
        "product": ["tea", "tea", "jam"],
        "user": [1, 2, 1],
        "price": [2.0, 4.0, 5.0],
        "at": [at(8), at(9), at(10)],
    }
)
SALES = hw.Source("sales", history=SOLD, timestamp_field="at")
PRODUCT = hw.FeatureView(
    "product",
    source=SALES,
    keys=["product"],
    features=[hw.count(), hw.mean("price")],
    windows=["1d"],
    freshness=hw.batch("1h", delay="10m"),
)
USER = hw.FeatureView(
    "user",
    source=SALES,
    keys=["user"],
    features=[hw.last_n("product", k=3)],
    windows=["1d"],
    freshness=hw.batch("1h", delay="10m"),
)
BASKET = PRODUCT.alias("basket", keys={"product": hw.each("products", max_length=3)})
SEEN = PRODUCT.alias("seen", keys={"product": hw.each(USER["last_n_product_1d"])})


@hw.request_feature
def dearest(prices: list[float | None] | None = BASKET["mean_price_1d"]) -> float | None:
    return max((price for price in prices or () if price is not None), default=None)


@hw.request_feature
def popular(counts: list[int] | None = SEEN["count_1d"]) -> int:
    return sum(counts or ())


LABELS = hw.Labels(
    "bought",
    table=pl.DataFrame(
        {
            "products": [["tea"], ["jam"], []] * 8,
            "user": [1, 2, 3] * 8,
            "asked": [at(11)] * 24,
            "y": [True, False] * 12,
        }
    ),
    timestamp_field="asked",
    label="y",
    known_after="1m",
)
LISTED = hw.Model(
    "listed", task="binary", features=hw.FeatureService("listed_v1", [BASKET, SEEN]), labels=LABELS
)
BUYS = hw.Model(
    "buys", task="binary", features=hw.FeatureService("buys_v1", [dearest, popular]), labels=LABELS
)
SHOP = hw.Project("shop", [LISTED, BUYS])
ROWS = [
    {"products": ["jam", "tea", "nuts"], "user": 1},
    {"products": [], "user": 2},
    {"products": None, "user": None},
    {"products": ["tea", None, "tea"], "user": 9},
]
OF_BASKET = [[5.0, 3.0, None], [], None, [3.0, None, 3.0]]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with closing(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('lists') / 'online'}?size=1GB")
    ) as made:
        for view in (PRODUCT, USER):
            materialize_view(view, made, int(NOON.timestamp()) * 1_000_000)
        yield made


@pytest.fixture(scope="module")
def served(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    with asking(
        store,
        SHOP,
        models={"listed": Sum(), "buys": Sum()},
        serving_log=hw.operations.ServedLog(folder),
        now=lambda: int(ASKED.timestamp()) * 1_000_000,
    ) as client:
        yield client


def good(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_features_of_lists(served):
    one = [
        good(served.post("/v1/features/listed_v1", json={"row": row}))["features"][
            "basket__mean_price_1d"
        ]
        for row in ROWS
    ]
    assert [feature["value"] for feature in one] == OF_BASKET
    assert [feature["status"] for feature in one] == ["present", "empty", "missing", "present"]
    many = good(served.post("/v1/features/listed_v1", json={"rows": ROWS}))["rows"]
    assert [row["basket__mean_price_1d"]["value"] for row in many] == OF_BASKET
    assert [row["seen__count_1d"]["value"] for row in many] == [[2, 1], [2], [], []]
    columns = good(
        served.post(
            "/v1/features/listed_v1",
            json={"columns": {name: [row[name] for row in ROWS] for name in ROWS[0]}},
        )
    )
    assert columns["features"]["basket__mean_price_1d"]["values"] == OF_BASKET


def test_predictions_of_lists(served):
    one = [
        good(served.post("/v1/predict/buys", json={"row": row}))["prediction"]["value"]
        for row in ROWS
    ]
    assert one == [5.0 + 3, 2.0, 0.0, 3.0]
    many = good(served.post("/v1/predict/buys", json={"rows": ROWS}))["predictions"]
    assert [prediction["value"] for prediction in many] == one


@pytest.mark.parametrize(
    ("products", "message"),
    [
        (
            ["a"] * 4,
            (
                "the field 'products' is a list of up to 3 keys; give a shorter one, or raise "
                "each(max_length=)"
            ),
        ),
        ("tea", "give a list of keys, such as [1, 2], or null"),
        (["tea", 3], "the key 'product' is String in the source and Int64 in the requests"),
        ({"a": 1}, "give a list of keys, such as [1, 2], or null"),
    ],
)
def test_what_is_no_list_of_keys_is_refused(served, products, message):
    answer = served.post("/v1/features/listed_v1", json={"row": {"products": products, "user": 1}})
    assert answer.status_code == 422
    assert message in answer.text
    second = served.post(
        "/v1/features/listed_v1", json={"rows": [ROWS[0], {"products": products, "user": 1}]}
    )
    assert second.status_code == 422
    assert "row 1: " in second.text
    assert message in second.text


def test_what_was_served_is_compared_element_by_element(store, tmp_path):
    log = hw.operations.ServedLog(tmp_path)
    with asking(
        store,
        SHOP,
        models={"listed": Sum(), "buys": Sum()},
        serving_log=log,
        now=lambda: int(ASKED.timestamp()) * 1_000_000,
    ) as client:
        for row in ROWS:
            good(client.post("/v1/features/listed_v1", json={"row": row}))
            good(client.post("/v1/predict/buys", json={"row": row}))
        good(client.post("/v1/features/listed_v1", json={"rows": ROWS}))
        good(client.post("/v1/predict/buys", json={"rows": ROWS}))
    log.close()
    logged = hw.operations.served(tmp_path, service="listed_v1").collect()
    assert sorted(map(str, logged["basket__mean_price_1d"].to_list())) == sorted(
        map(str, OF_BASKET * 2)
    )
    assert sorted(map(str, logged["products"].to_list())) == sorted(
        str(row["products"]) for row in ROWS * 2
    )
    compared = hw.operations.served_parity(SHOP, store=store, data_dir=tmp_path)
    assert {one.view for one in compared} >= {"basket", "seen"}
    assert [one.mismatches for one in compared if one.mismatches] == []
    assert sum(one.values for one in compared) > 0
    mask = any_matches([ErasedKey({"products": "jam"})], logged)
    assert mask.tolist() == [
        row is not None and "jam" in row for row in logged["products"].to_list()
    ]
