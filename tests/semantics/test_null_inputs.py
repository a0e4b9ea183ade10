"""A request feature is null on a row where a parameter that takes no null is null; the other rows
of the call have their values.
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from tests.serving.world import free_port

NOW = datetime.now(UTC).replace(microsecond=0)
PAID = pl.DataFrame(
    {
        "user": ["a", "b"],
        "at": [NOW - timedelta(days=5)] * 2,
        "amount": [10.0, 4.0],
        "shop": ["x", None],
    }
)
user = hw.FeatureView(
    "user",
    source=hw.Source("paid", history=PAID, timestamp_field="at"),
    keys=["user"],
    features=[hw.count(), hw.mean("amount"), hw.last("shop")],
    windows=["60d"],
    freshness=hw.batch("1d"),
)
usual, shop = user["mean_amount_60d"], user["last_shop_60d"]


@hw.request_feature
def gap(price: float, mean: float = usual) -> float:
    return price - mean


@hw.request_feature
def unannotated(price: float, mean=usual) -> float:
    return price - mean


@hw.request_feature
def shouted(name: str = shop) -> str:
    return name.upper()


@hw.request_feature
def known(price: float | None, mean: float | None = usual) -> bool:
    return price is not None and mean is not None


MEMBERS = [user, gap, unannotated, shouted, known]
NAMES = ["gap", "unannotated", "shouted", "known"]
ROWS = [
    {"user": "a", "price": 1.0},
    {"user": "new", "price": 2.0},
    {"user": "b", "price": None},
    {"user": None, "price": 5.0},
]
EXPECTED = [
    (-9.0, -9.0, "X", True),
    (None, None, None, False),
    (None, None, None, False),
    (None, None, None, False),
]


def project():
    """Requests of users of whom one is unknown, some without a price."""
    n = 120
    asked = [NOW - timedelta(days=4) + timedelta(minutes=30 * i) for i in range(n)]
    table = pl.DataFrame(
        {
            "user": [["a", "b", "new"][i % 3] for i in range(n)],
            "price": [None if i % 7 == 0 else float(i % 5) for i in range(n)],
            "asked": asked,
            "y": [i % 2 == 0 for i in range(n)],
        }
    )
    labels = hw.Labels("labels", table=table, timestamp_field="asked", label="y", known_after="1m")
    return hw.Project(
        "shop",
        [hw.Model("m", task="binary", features=hw.FeatureService("s", MEMBERS), labels=labels)],
    )


@pytest.fixture
def store(tmp_path):
    url = f"lmdb:{tmp_path}/store?size=100MB"
    hw.materialize(project(), store=url)
    return url


def test_offline():
    rows = pl.DataFrame(ROWS).with_columns(timestamp=pl.lit(NOW))
    found = hw.get_historical_features(MEMBERS, rows, statuses=True)
    assert found.select(NAMES).rows() == EXPECTED
    assert found["gap__status"].to_list() == ["present", "empty", "empty", "empty"]


def test_online(store):
    service = hw.FeatureService("s", MEMBERS)
    assert hw.get_online_features(service, ROWS, store=store).select(NAMES).rows() == EXPECTED
    with closing(hw.operations.open_store(store, readonly=True)) as opened:
        online = hw.operations.OnlineFeatures(service, opened)
        every = [dict(zip(online.names, online.row(row)[0], strict=True)) for row in ROWS]
    assert [tuple(values[name] for name in NAMES) for values in every] == EXPECTED


def test_over_http(store):
    """Rows of one request, a row alone, and a prediction that is made of nulls."""

    class Known:
        version = "1"

        def score(self, frame):
            return frame["known"].cast(pl.Float64).to_numpy()

        def one(self, values):
            return float(values[-1])

    serving = hw.operations.serve(
        project(), store, listen=f"127.0.0.1:{free_port()}", models={"m": Known()}
    )
    with serving as url, httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/v1/features/s", json={"rows": ROWS})
        assert answer.status_code == 200, answer.text
        assert [
            tuple(row[name]["value"] for name in NAMES) for row in answer.json()["rows"]
        ] == EXPECTED
        alone = client.post("/v1/features/s", json={"row": ROWS[1]})
        assert alone.status_code == 200, alone.text
        scores = client.post("/v1/predict/m", json={"rows": ROWS})
        assert scores.status_code == 200, scores.text


def test_a_backtest_with_unknown_users():
    levels = {"request only": hw.Level(hw.never()), "daily": hw.Level()}
    found = hw.backtest(project().models[0], levels, hw.Evaluation(resamples=0))
    assert [level.name for level in found.result.levels] == ["request only", "daily"]


def test_a_function_that_raises_names_the_row_and_its_values():
    @hw.request_feature
    def share(price: float, mean: float = usual) -> float:
        return mean / price

    rows = pl.DataFrame([{"user": "a", "price": 1.0}, {"user": "b", "price": 0.0}]).with_columns(
        timestamp=pl.lit(NOW)
    )
    with pytest.raises(
        DataError,
        match=r"request feature 'share' failed on row 1 with price=0.0, mean=4.0: ZeroDivisionError",
    ):
        hw.get_historical_features([user, share], rows)
