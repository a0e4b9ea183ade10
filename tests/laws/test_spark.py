"""Spark computes and writes what one machine computes, and batches of Structured Streaming are
committed where their store is named.
"""

import random
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
import headwater_spark
from headwater.errors import UsageError
from tests.laws import shop, test_erasure
from tests.laws.streams import TIME, project

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def session():
    """A session of a server in this process, whose workers are this process too."""
    server = pytest.importorskip("pysail.spark").SparkConnectServer("127.0.0.1", 0)
    sessions = pytest.importorskip("pyspark.sql").SparkSession
    server.start(background=True)
    host, port = server.listening_address
    with pytest.MonkeyPatch.context() as patched:  # a process without one is taken for doctests
        patched.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        made = sessions.builder.remote(f"sc://{host}:{port}").getOrCreate()
    made.conf.set("spark.sql.shuffle.partitions", "2")
    yield made
    made.stop()
    server.stop()


def tables(seed):
    chance = random.Random(seed)
    events = [
        {
            "id": f"e{chance.randint(0, 150)}",
            "user": chance.choice(["a", "b", "c", None]),
            "n": chance.choice([None, chance.randint(-9, 9)]),
            "at": NOON - timedelta(seconds=chance.randint(0, 7200)),
            "known": NOON - timedelta(seconds=chance.randint(0, 3600)),
        }
        for _ in range(200)
    ]
    asked = [
        {
            "number": n,
            "user": chance.choice(["a", "b", "never"]),
            "other": "c",
            "amount": n / 7,
            "timestamp": NOON - timedelta(minutes=n),
        }
        for n in range(40)
    ]
    frame = pl.DataFrame(
        events,
        schema={"id": pl.String, "user": pl.String, "n": pl.Int64, "at": TIME, "known": TIME},
    )
    return frame, pl.DataFrame(asked, schema_overrides={"timestamp": TIME})


@pytest.mark.services
@pytest.mark.filterwarnings(
    "ignore::headwater.errors.HeadwaterWarning", "ignore:PySpark does not yet fully support pandas"
)
def test_spark_writes_what_one_machine_computes(session, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    events, asked = tables(0)
    source = hw.Source(
        "events",
        history=events,
        timestamp_field="at",
        id_field="id",
        known_at_field="known",
        select=["user", "n"],
    )
    features = [hw.count(), hw.sum("n"), hw.last_n("n", k=3), hw.std("n"), hw.count_distinct("n")]
    user = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=["30m", "2h"],
        freshness=hw.on_request(),
    )

    @hw.request_feature
    def above(amount: float, mean: float = user["sum_n_2h"]) -> float:
        return -1.0 if mean is None else amount - mean

    service = [user, user.alias("of_other", {"user": "other"}), above]
    given = headwater_spark.spark_table(
        session.createDataFrame(asked.to_arrow()).repartition(2), name="rows"
    )
    engine = headwater_spark.spark(session)
    for level in (None, hw.batch("15m")):
        expected = hw.get_historical_features(service, asked, level=level, statuses=True)
        written = headwater_spark.write_historical_features(
            service,
            given,
            headwater_spark.spark_output(),
            resources=hw.Resources(engine=engine),
            level=level,
            statuses=True,
        )
        found = written.scan().collect().sort("number")
        assert found.equals(
            expected.with_columns(pl.selectors.enum().cast(pl.String)).sort("number")
        ), level


def test_batches_are_committed_where_the_store_is_named(tmp_path):
    schema = {"user": str, "n": int, "at": datetime}
    source = hw.Source(
        "visits", stream=headwater_spark.spark_stream("visits", schema=schema), timestamp_field="at"
    )
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.streaming("1m"),
        on_incomplete="value",
    )
    made = project([view])
    for url in ("redis://127.0.0.1:9/0", f"lmdb:{tmp_path}/store?size=64MB"):
        told = headwater_spark.commit_batches(
            made, "visits", store=url, data_dir=tmp_path / "home", allow_unapplied=True
        )
        assert repr(told) == "commit_batches(project='shop', source='visits')"
    assert (tmp_path / "store").exists()
    with pytest.raises(UsageError, match="'visits'"):
        headwater_spark.commit_batches(made, "visit", store=url, allow_unapplied=True)
    with pytest.raises(UsageError, match="URL"):
        headwater_spark.commit_batches(made, "visits", store=tmp_path, allow_unapplied=True)


@pytest.mark.services
@pytest.mark.filterwarnings(
    "ignore::headwater.errors.HeadwaterWarning", "ignore:PySpark does not yet fully support pandas"
)
@pytest.mark.parametrize("rules", test_erasure.TABLES.values(), ids=test_erasure.TABLES)
def test_jobs_on_spark_leave_out_an_erased_key(session, tmp_path, monkeypatch, rules):
    place = shop.Place(tmp_path, f"lmdb:{tmp_path}/store?size=64MB")
    resources = hw.Resources(engine=headwater_spark.spark(session))
    test_erasure.check_jobs(place, monkeypatch, resources, rules)
