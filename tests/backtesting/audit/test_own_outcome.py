"""A request that counts its own outcome, at a constant offset from a timestamp of its label row."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

import headwater as hw
from tests.backtesting.audit.planted import (
    ORDERS,
    accused,
    model,
    moments,
    source,
    view,
)
from tests.backtesting.world import day

EVENTS = ORDERS.select("user", "took", at="delivered_at")


def _earlier(**of):
    return EVENTS.with_columns(pl.col("at") - pl.duration(**of))


def test_events_at_their_own_time_are_silent():
    assert accused(model([view(source(EVENTS))])) == []


@pytest.mark.parametrize("windows", [["7d"], ["1d", "30d"]])
def test_local_time_declared_as_utc_is_a_leak(windows):
    (found,) = accused(model([view(source(_earlier(hours=5)), windows=windows)]), "own outcome")
    assert (found.check, found.severity, found.subject) == ("own outcome", "LEAK", "past")
    assert (
        "exactly 5 h before 'delivered_at', which is known only after the request" in found.evidence
    )
    assert found.share > 0.95


def test_local_time_with_daylight_saving_has_two_offsets():
    summer = pl.col("at") >= day(26)
    shifted = EVENTS.with_columns(
        pl.when(summer)
        .then(pl.col("at") - pl.duration(hours=4))
        .otherwise(pl.col("at") - pl.duration(hours=5))
    )
    (found,) = accused(model([view(source(shifted))]), "own outcome")
    assert (found.severity, found.check) == ("LEAK", "own outcome")
    assert "5 h before or 4 h before 'delivered_at'" in found.evidence
    assert found.share > 0.9


@pytest.mark.parametrize(
    ("part", "low", "high"), [(1.0, 0.999, 1.0), (0.6, 0.57, 0.63), (0.1, 0.08, 0.12)]
)
def test_an_outcome_dated_before_its_request_is_a_leak_in_a_sample_too(part, low, high):
    stamped = ORDERS.sample(fraction=part, seed=1).select(
        "user", "took", at=pl.col("asked_at") - pl.duration(minutes=65)
    )
    (found,) = accused(model([view(source(stamped))]), "own outcome")
    assert (found.severity, found.check, found.columns) == ("LEAK", "own outcome", ["took"])
    assert low <= found.share <= high
    assert (
        "exactly 65 min before the request time, and 'took' of that event is the outcome"
        in found.evidence
    )


def test_an_event_of_the_request_that_says_nothing_of_the_outcome_is_silent():
    stamped = ORDERS.select(
        "user",
        at=pl.col("asked_at") - pl.duration(seconds=1),
        took=pl.Series(np.random.default_rng(3).random(ORDERS.height)),
    )
    assert accused(model([view(source(stamped))])) == []


def test_a_value_of_the_key_that_lasts_is_silent():
    """The key's other events say as much: it is a state, and no outcome."""
    stamped = ORDERS.select(
        "user",
        at=pl.col("asked_at") - pl.duration(seconds=1),
        took=(pl.col("user") % 3 == 0).cast(pl.Float64),
    )
    assert accused(model([view(source(stamped))])) == []


def _hours(n=24 * 40):
    rng = np.random.default_rng(2)
    begins = moments(np.arange(n) * 60)
    level = 100 + 60 * np.sin(np.arange(n) * 2 * np.pi / 24)
    return pl.DataFrame({"begins_at": begins, "rented": level + rng.normal(0, 12, n)})


@pytest.mark.parametrize("shift", [0, 5])
def test_data_on_a_grid_are_compared_by_their_values(shift):
    hours = _hours()
    past = hours.select(
        bikers="rented", at=pl.col("begins_at") + dt.timedelta(hours=1 if not shift else -shift)
    )
    of = hw.Labels(
        "rented", table=hours, timestamp_field="begins_at", label="rented", known_after="1h"
    )
    found = accused(
        model(
            [view(source(past), [hw.last("bikers")], keys=[], windows=["2d"])],
            of,
            "regression",
            make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression()),
        )
    )
    assert [(f.severity, f.check) for f in found] == ([("LEAK", "own outcome")] if shift else [])
    if shift:
        assert (
            "on a fixed grid; 'bikers' of the one 5 h before the request time is the outcome itself"
            in found[0].evidence
        )
