"""The resolution of timestamps, per period, and the question that it leaves open."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.training.timestamp_resolution import measured

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
RNG = np.random.default_rng(3)
SECONDS = np.sort(RNG.random(4_000)) * 60 * 86_400
SIZES = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def times(seconds, zone="UTC"):
    utc = (
        pl.Series("at", (np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )
    return (
        utc
        if zone == "UTC"
        else utc.dt.replace_time_zone(None).dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        )
    )


def source(at, **rules):
    frame = pl.DataFrame({"at": at, "key": ["a"] * len(at)})
    return hw.Source("sales", history=frame, timestamp_field="at", **rules)


def result(at, **rules):
    return measured(source(at, **rules)).result()


@pytest.mark.parametrize("name", SIZES)
def test_stamps_rounded_down_have_the_resolution_of_the_rounding(name):
    found = result(times(SECONDS // SIZES[name] * SIZES[name]))
    assert [period.resolution for period in found.periods] == [name]
    assert ("known_after=" in found.question) is (name != "second")


def test_finer_stamps_leave_no_question():
    assert (result(times(SECONDS)).coarsest, result(times(SECONDS)).question) == ("finer", "")


def test_days_of_a_zone_with_daylight_saving_are_days():
    days = times(SECONDS // 86_400 * 86_400 + 50 * 86_400, "Europe/Oslo")
    assert [period.resolution for period in result(days).periods] == ["day"]


def test_many_keys_a_day_are_days_too():
    assert result(times(np.repeat(np.arange(40) * 86_400, 900))).coarsest == "day"


def test_a_source_that_changed_midway_is_told_per_period():
    stamps = np.where(SECONDS < 30 * 86_400, SECONDS // 86_400 * 86_400, SECONDS)
    found = result(times(stamps))
    assert [(period.resolution, period.start[:7]) for period in found.periods] == [
        ("day", "2024-01"),
        ("finer", "2024-01"),
    ]
    assert "from 2024-01-01 to 2024-01-" in found.question


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        ({}, True),
        ({"known_after": "0s"}, False),
        ({"known_after": "1d"}, False),
        ({"known_after": "4h"}, True),
    ],
)
def test_known_after_answers_the_question(rules, asked):
    assert bool(result(times(SECONDS // 86_400 * 86_400), **rules).question) is asked


def test_a_date_is_known_at_its_end_and_leaves_no_question():
    dates = times(SECONDS).dt.date()
    found = result(dates, timezone="UTC")
    assert (found.coarsest, found.question) == ("day", "")


def test_too_few_stamps_say_nothing():
    assert result(times([0, 86_400])).periods == []


def test_known_times_before_the_event_were_rounded_down():
    at = times(SECONDS)
    frame = pl.DataFrame({"at": at, "known": at.dt.truncate("1d"), "key": "a"})
    of = hw.Source("sales", history=frame, timestamp_field="at", known_at_field="known")
    assert "lie before the event itself" in measured(of).result().question


def test_a_copied_definition_has_declared_as_much_as_the_first():
    import copy
    import pickle
    from dataclasses import replace

    plain, exact = source(times(SECONDS)), source(times(SECONDS), known_after="0s")
    assert [
        s.known_after_declared
        for s in (plain, exact, replace(plain, name="b"), copy.deepcopy(exact))
    ] == [False, True, False, True]
    assert type(pickle.loads(pickle.dumps(plain.known_after))) is type(plain.known_after)
    assert plain.fingerprint == exact.fingerprint
