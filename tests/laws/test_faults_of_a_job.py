"""For any fault at any call of a job: readers have the cut before or the new one, and the job that
is started again ends as one without a fault.
"""

import os
from datetime import UTC, datetime, timedelta
from functools import cache, partial

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

import headwater as hw
from headwater.testing import examples, faults
from tests.laws import shop

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
# when the one of 11:00 is read, and the one of 12:00
CUTS = [NOON + timedelta(minutes=minutes) for minutes in (-30, 30)]


def visits():
    """Nine events of three users, the last three of them after eleven."""
    at = [NOON - timedelta(minutes=10 + 15 * n) for n in range(8, -1, -1)]
    rows = {
        "user": [shop.USERS[n % 3] for n in range(9)],
        "n": [1 << n for n in range(9)],
        "at": at,
    }
    return hw.Source(
        "visits", history=pl.DataFrame(rows), timestamp_field="at", select=["user", "n"]
    )


def project():
    features = [hw.count(), hw.sum("n"), hw.last("n")]
    freshness = hw.batch("1h", delay="10m")
    view = hw.FeatureView(
        "user",
        source=visits(),
        keys=["user"],
        windows=["30d"],
        features=features,
        freshness=freshness,
    )
    table = pl.DataFrame({"user": shop.USERS, "asked": [NOON] * 3, "paid": [10.0, 20.0, 30.0]})
    labels = hw.Labels("paid", table=table, timestamp_field="asked", label="paid", known_after="1d")
    predictions = hw.precomputed(freshness, keys=["user"])
    model = hw.Model(
        "pays",
        task="regression",
        features=hw.FeatureService("s", [view]),
        labels=labels,
        predictions=predictions,
        estimator=LinearRegression(),
    )
    return hw.Project("shop", [model]), view


def materialized(watch, place, at=NOON + timedelta(minutes=10)):
    with shop.opened(watch, place) as store, watch.disk(place.home):
        hw.materialize(project()[0], store=store, at=at)


def prepared(places, work):
    place = places()
    work(faults.Watch(), place, at=NOON - timedelta(minutes=50))
    return place


def served(place):
    _, view = project()
    return [shop.values(place, [view], at=at) for at in CUTS]


def goes_on(places, work, read):
    """That the work, done again after each fault, ends as without, and that a read in between is
    one of before or after.
    """
    place = prepared(places, work)
    before = read(place)
    work(faults.Watch(), place)
    after = read(place)
    assert before != after

    def reads(place):
        for now, old, new in zip(read(place), before, after, strict=True):
            assert now in (old, new)

    for fault in faults.every(partial(prepared, places, work), work, in_turn=True, meanwhile=reads):
        assert fault.error is None or isinstance(fault.error, hw.errors.HeadwaterError), fault
        reads(fault.place)
        work(faults.Watch(), fault.place)
        assert read(fault.place) == after, fault


def test_a_cut_is_there_as_a_whole_or_not(places):
    goes_on(places, materialized, served)


@cache
def fitted():
    model = project()[0].models[0]
    return examples.precomputed_variant(model, model.predictions)[1]


def scored(watch, place, at=NOON + timedelta(minutes=10)):
    model = project()[0].models[0]
    # for finished parts; this process may be a forked one
    os.environ["HEADWATER_HOME"] = str(place.home)
    with shop.opened(watch, place) as store, watch.disk(place.folder):
        hw.operations.materialize_model(
            model, fitted(), version="1", store=store, at=at, sinks=[place.folder / "published"]
        )


def predictions(place):
    """Those of each time in the store, and those of each file."""
    variant = hw.operations.ModelVariant("as_defined", project()[0].models[0])
    with shop.readable(place) as store:
        reader = hw.operations.PrecomputedReader(variant, store)
        found = [
            [reader.one({"user": user}, int(at.timestamp() * 1e6))[:2] for user in shop.USERS]
            for at in CUTS
        ]
    cuts = sorted((place.folder / "published").glob("2*Z"))
    return [
        *found,
        [pl.read_parquet(cut / "*.parquet").drop("published_at").rows() for cut in cuts],
    ]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))  # taken back afterwards


def test_predictions_of_a_cut_are_there_as_a_whole_or_not(places):
    goes_on(places, scored, predictions)
