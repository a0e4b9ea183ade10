"""Readiness of a stream of Kinesis: measured like a topic of Kafka; its arrival times are the service's own."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.assessing.readiness import readiness
from tests.assessing.conftest import SCHEMA, of, payments, project, records, source, view
from tests.ingestion.kinesis.conftest import credentials  # noqa: F401 (a fixture)
from tests.ingestion.kinesis.faithful import FaithfulKinesis


@pytest.fixture
def stream(credentials):
    made = FaithfulKinesis(2)
    yield made
    made.stop()


def over(stream, **given):
    kinesis = hw.kinesis("clicks", region="eu-central-1", endpoint_url=stream.url, schema=SCHEMA)
    return readiness(project(view(source(None, stream=kinesis, **given), windows=("1h",))), hw.Locations(watch=0.0))


@pytest.mark.parametrize(("late", "state"), [(5, "green"), (40, "amber"), (90, "red")])
def test_lag_by_arrival(stream, late, state):
    for n, line in enumerate(records(payments(50).with_columns(at=pl.lit(datetime.now(UTC) - timedelta(seconds=late))))):
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
