"""Tables of Iceberg on a cluster of Spark: reads, writes, and which version a call reads."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.connectors.snapshots import VERSION, one_version
from headwater.connectors.spark import open_session
from headwater.errors import DataError
from tests.engine.spark import events as day

pytestmark = [
    pytest.mark.services,
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(400)
ROWS = day.requests(60).with_columns(number=pl.int_range(60))
RULES = {"known_at_field": "known", "id_field": "id", "id_horizon": "1h"}


def view(history):
    return day.view(
        day.source(history, **RULES),
        features=[hw.count(), hw.sum("real"), hw.last("word"), hw.max("moment")],
    )


def resources(cluster):
    return hw.Resources(engine=headwater_spark.spark(cluster.url))


@pytest.fixture
def session(iceberg):
    session = open_session(iceberg.url)
    session.sql("CREATE SCHEMA IF NOT EXISTS lake.shop")
    return session


@pytest.fixture
def table(session):
    """The events as a table of Iceberg."""
    session.createDataFrame(EVENTS.to_arrow()).writeTo("lake.shop.events").using(
        "iceberg"
    ).createOrReplace()
    return headwater_spark.spark_table("lake.shop.events", session=session)


def test_a_history_of_iceberg_has_the_bits_of_one_machine(iceberg, table):
    given = hw.get_historical_features(view(table), ROWS, resources=resources(iceberg))
    expected = hw.get_historical_features(
        view(EVENTS), ROWS, resources=hw.Resources(engine="local")
    )
    assert_frame_equal(given, expected, check_exact=True)


def test_a_call_reads_one_snapshot(iceberg, session, table):
    with one_version():
        before = table.contents()
        session.createDataFrame(EVENTS.head(5).to_arrow()).writeTo("lake.shop.events").append()
        assert table.contents() == before
        assert table.spark_frame().count() == EVENTS.height
    assert table.contents()[VERSION] != before[VERSION]
    with one_version({table.fingerprint: before[VERSION]}):
        assert table.spark_frame().count() == EVENTS.height


def test_training_data_is_written_to_iceberg(iceberg, table):
    session = open_session(iceberg.url)
    session.sql("DROP TABLE IF EXISTS lake.shop.training")

    def written(mode):
        output = headwater_spark.spark_output(
            "lake.shop.training", format="iceberg", mode=mode, partition_by=["day"]
        )
        return (
            headwater_spark.write_historical_features(
                view(table), ROWS, output, resources=resources(iceberg)
            )
            .scan()
            .collect()
            .sort("number")
        )

    expected = hw.get_historical_features(
        view(EVENTS), ROWS, resources=hw.Resources(engine="local")
    )
    assert_frame_equal(written("error"), expected, check_exact=True)
    assert {
        row["partition"]["day"] for row in session.table("lake.shop.training.partitions").collect()
    } == set(ROWS["day"])
    with pytest.raises(DataError, match=r"the Spark table lake\.shop\.training exists; give mode="):
        written("error")
    assert_frame_equal(written("overwrite"), expected, check_exact=True)
    assert written("append").height == 2 * ROWS.height
