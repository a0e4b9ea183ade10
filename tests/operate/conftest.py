"""A home and a store of each test's own, and views over handfuls of events whose times are seconds."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw

BASE = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path):
    with closing(hw.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


def at(seconds):
    """A moment, so many seconds after the first of May."""
    return BASE + timedelta(microseconds=round(seconds * 1_000_000))


def micros(seconds):
    return round(BASE.timestamp() * 1_000_000) + round(seconds * 1_000_000)


def frame(rows, **columns):
    """Events of rows (key, second, amount); `columns` beside them."""
    made = pl.DataFrame(rows, schema={"key": pl.Int64, "second": pl.Float64, "amount": pl.Float64}, orient="row")
    times = pl.Series("at", [at(s) for s in made["second"]], pl.Datetime("us", "UTC"))
    return made.drop("second").with_columns(times, *(pl.Series(name, values) for name, values in columns.items()))


def view_of(events, *, freshness, features=None, windows=("1h",), source=None, **more):
    """A view of events by `key`: how many, and the sum of their amounts."""
    rules = {"history": events, "timestamp_field": "at", "select": ["key", "amount"]} | (source or {})
    return hw.FeatureView(
        more.pop("name", "view"),
        source=hw.Source("events", **rules),
        keys=more.pop("keys", ["key"]),
        features=features or [hw.count(), hw.sum("amount")],
        windows=list(windows),
        freshness=freshness,
        **more,
    )
