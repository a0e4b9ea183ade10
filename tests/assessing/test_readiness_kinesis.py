"""Readiness of a stream of Kinesis: measured like a topic of Kafka; its arrival times are the
service's own.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater.assessing.readiness import readiness
from tests.assessing.conftest import SCHEMA, of, payments, project, records, source, view
from tests.aws.faithful import FaithfulKinesis
from tests.ingestion.kinesis.conftest import credentials  # noqa: F401 (a fixture)


@pytest.fixture
def stream(credentials):
    made = FaithfulKinesis(2)
    yield made
    made.stop()


def over(stream, history=None, windows=("1h",), **given):
    kinesis = headwater_aws.kinesis(
        "clicks", region="eu-central-1", endpoint_url=stream.url, schema=SCHEMA
    )
    return readiness(
        project(view(source(history, stream=kinesis, **given), windows=windows)),
        hw.operations.Locations(watch=0.0),
    )


@pytest.mark.parametrize(("late", "state"), [(5, "green"), (40, "amber"), (90, "red")])
def test_lag_by_arrival(stream, late, state):
    for n, line in enumerate(
        records(payments(50).with_columns(at=pl.lit(datetime.now(UTC) - timedelta(seconds=late))))
    ):
        stream.put(line, f"c{n}")
    found = of(over(stream), "E3")
    assert found.state == state
    assert found.reading.value == pytest.approx(late, abs=4)


def test_keys_and_retention(stream):
    for n, line in enumerate([*records(payments(98)), b"{", b'{"card": 7}']):
        stream.put(line, f"c{n}")
    found = over(stream)
    assert of(found, "E1").reading.value == pytest.approx(0.98)
    assert of(found, "E6").state == "green"  # a day, and the longest window is an hour
    assert of(found, "E8").reading.value == 0.5  # the schema is the reader's own


def late(frame):
    """One record of a hundred is 40 s behind the one before of its key."""
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 100 == 50)
        .then(pl.col("at") - timedelta(seconds=40))
        .otherwise("at")
        .alias("at")
    )


def hot(frame):
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 120).then(pl.lit("robot")).otherwise("card").alias("card")
    )


def expired(frame):
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) < 15)
        .then(pl.col("at") - timedelta(days=3))
        .otherwise("at")
        .alias("at")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "change", "state"),
    [
        ("E2", expired, "red"),
        ("E4", late, "amber"),
        ("E5", lambda frame: pl.concat([frame, frame.tail(6)]), "red"),
        ("E11", lambda frame: pl.concat([frame, frame.tail(6)]), "red"),
        ("E10", hot, "red"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_measured_of_a_topic(stream, check, change, state):
    """Times, order by key, duplicates and the busiest key; also after a split, from closed shards
    too.
    """
    frame = payments(300, cards=1, every=1.0) if check == "E4" else payments(300)
    good, bad = records(frame), records(change(frame))
    for n, line in enumerate(good):
        stream.put(line, f"c{n}" if check != "E4" else "c")
    assert of(over(stream), check).state == "green"
    again = FaithfulKinesis(2)
    for n, line in enumerate(bad):
        if n == len(bad) // 2 and check != "E4":
            again.split()
        again.put(line, f"c{n}" if check != "E4" else "c")
    found = of(over(again), check)
    again.stop()
    assert found.state == state, found.said


@pytest.mark.parametrize(("hours", "state"), [(49, "green"), (30, "amber"), (20, "red")])
def test_retention_against_the_longest_window(stream, hours, state):
    stream.retention = hours
    assert of(over(stream, windows=("1h", "1d")), "E6").state == state


@pytest.mark.parametrize(("lost", "state"), [(0, "green"), (60, "red")])
def test_stream_and_archive_by_key_hour(stream, lost, state):
    frame = payments(1000, every=15.0)
    for n, line in enumerate(records(frame)):
        stream.put(line, f"c{n}")
    rows = pl.int_range(pl.len())
    history = frame.with_columns(
        pl.when((rows >= 600) & (rows < 600 + lost)).then(99.5).otherwise("amount").alias("amount")
    )
    found = of(over(stream, history), "E9")
    assert found.state == state, found.said
