"""Which engine a call uses: that of its resources for all that it reads and computes, else that of
the settings.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.testing.naive_engine import NaiveEngine

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class WatchedEngine(NaiveEngine):
    """The methods that were called, and their sources."""

    def __init__(self):
        self.calls = []

    def features(self, query, requests, run):
        self.calls.append(("features", query.source.name))
        return super().features(query, requests, run)

    def events(self, query, run):
        self.calls.append(("events", query.source.name))
        return super().events(query, run)

    def states(self, query, run):
        self.calls.append(("states", query.source.name))
        return super().states(query, run)


@pytest.fixture
def watched(monkeypatch):
    """An engine, where that of the settings does not exist."""
    monkeypatch.setenv("HEADWATER_ENGINE", "none such")
    return WatchedEngine()


def payments():
    at = [NOON + timedelta(minutes=10 * i) for i in range(30)]
    table = pl.DataFrame(
        {"user": [i % 3 for i in range(30)], "amount": [float(i) for i in range(30)], "at": at}
    )
    return hw.Source("paid", history=table, timestamp_field="at", select=["user", "amount"])


def view_of(source, *features, freshness=None, name="user"):
    return hw.FeatureView(
        name,
        source=source,
        keys=["user"],
        features=list(features),
        windows=["1h"],
        freshness=freshness or hw.on_request(),
    )


def test_training_rows_enriched_events_and_outcomes(watched):
    paid = payments()
    rated = hw.enrich(paid, "rated", [view_of(paid, hw.count())])
    outcome = hw.outcome(rated, hw.count(), keys=["user"], within="1h")
    requests = pl.DataFrame({"user": [0, 1], "at": [NOON + timedelta(hours=2)] * 2})
    labels = hw.Labels("more", table=requests, timestamp_field="at", label=outcome)
    view = view_of(rated, hw.max("user__count_1h"), name="of_rated")
    rows = hw.get_historical_features(view, labels, resources=hw.Resources(engine=watched))
    assert watched.calls == [
        ("events", "paid"),
        ("features", "rated"),
        ("events", "paid"),
        ("features", "paid"),
        ("features", "rated"),
    ]
    assert rows.select("of_rated__max_user__count_1h_1h").to_series().to_list() == [2, 2]


def test_cuts_and_parity(watched, tmp_path):
    view = view_of(payments(), hw.sum("amount"), freshness=hw.batch("1h"))
    requests = pl.DataFrame({"user": [0], "at": [NOON], "y": [1]})
    labels = hw.Labels("y_of", table=requests, timestamp_field="at", label="y", known_after="1h")
    model = hw.Model(
        "m", task="regression", features=hw.FeatureService("service", [view]), labels=labels
    )
    project, store = hw.Project("shop", [model]), f"lmdb:{tmp_path}/online?size=100MB"
    at, mine = NOON + timedelta(hours=3), hw.Resources(engine=watched)
    hw.materialize(project, store=store, at=at, resources=mine)
    (compared,) = hw.parity(project, store=store, at=at, resources=mine)
    assert compared.mismatches == []
    assert compared.rows == 4
    assert watched.calls == [
        ("states", "paid"),
        ("events", "paid"),
        ("events", "paid"),
        ("features", "paid"),
    ]


def test_an_engine_by_name(monkeypatch):
    view = view_of(payments(), hw.sum("amount"))
    rows = pl.DataFrame({"user": [0, 1], "timestamp": [NOON + timedelta(hours=1)] * 2})
    local = hw.get_historical_features(view, rows)
    naive = hw.get_historical_features(view, rows, resources=hw.Resources(engine="naive"))
    assert naive.equals(local)
    monkeypatch.setenv("HEADWATER_ENGINE", "lokal")
    with pytest.raises(UsageError, match="no engine 'lokal'; did you mean 'local'"):
        hw.get_historical_features(view, rows)
