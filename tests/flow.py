"""A home and a store of each test's own, and views over handfuls of events whose times are
seconds.
"""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.ingestion.ingest import IngestLimits, SourceIngestor
from headwater.ingestion.sources.stream_reader import RecordBatch, between, offset_at

BASE = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path):
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


def project_of(*views):
    """A project of a model over these views."""
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "model",
        task="regression",
        features=hw.FeatureService("service", list(views)),
        labels=labels,
    )
    return hw.Project("project", [model])


def at(seconds):
    """A time, so many seconds after the first of May."""
    return BASE + timedelta(microseconds=round(seconds * 1_000_000))


def micros(seconds):
    return round(BASE.timestamp() * 1_000_000) + round(seconds * 1_000_000)


def frame(rows, **columns):
    """Events of rows (key, second, amount); `columns` next to them."""
    made = pl.DataFrame(
        rows, schema={"key": pl.Int64, "second": pl.Float64, "amount": pl.Float64}, orient="row"
    )
    times = pl.Series("at", [at(s) for s in made["second"]], pl.Datetime("us", "UTC"))
    return made.drop("second").with_columns(
        times, *(pl.Series(name, values) for name, values in columns.items())
    )


def view_of(events, *, freshness, features=None, windows=("1h",), source=None, **more):
    """A view of events by `key`: how many, and the sum of their amounts."""
    rules = {"history": events, "timestamp_field": "at", "select": ["key", "amount"]} | (
        source or {}
    )
    return hw.FeatureView(
        more.pop("name", "view"),
        source=hw.Source("events", **rules),
        keys=more.pop("keys", ["key"]),
        features=features or [hw.count(), hw.sum("amount")],
        windows=list(windows),
        freshness=freshness,
        **more,
    )


@pytest.fixture
def clock(monkeypatch):
    """Sets the present moment, in seconds."""

    def to(second):
        monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(second))

    to(0)
    return to


SCHEMA = {"key": int, "amount": float, "at": datetime}


def streaming_view(
    features=None, *, freshness=None, schema=SCHEMA, name="view", source=None, **more
):
    """A view of a stream of events by `key`."""
    rules = {"stream": hw.push(schema=schema, at_least_once=True), "timestamp_field": "at"} | (
        source or {}
    )
    return hw.FeatureView(
        name,
        source=hw.Source("events", **rules),
        keys=more.pop("keys", ["key"]),
        features=features or [hw.count(), hw.sum("amount")],
        windows=None if (windows := more.pop("windows", ["1h"])) is None else list(windows),
        freshness=freshness or hw.streaming("2s"),
        **more,
    )


class Flow:
    """A stream that a test writes: views over a store, and records of one partition."""

    def __init__(self, views, store, folder, *, limits=None, **more):
        self.ingestor = SourceIngestor(
            views[0].source, views, store, folder, limits or IngestLimits(), **more
        )
        stored = self.ingestor.writer("0").positions
        self.offset = offset_at(stored["0"]) if "0" in stored else 0

    def send(self, events, now, partition="0", known=None):
        """Commit records at `now`, in seconds; each a mapping whose times are seconds. All that
        came by `known` has been read then.
        """
        events = [
            {
                k: at(v).isoformat() if k in ("at", "until") and v is not None else v
                for k, v in e.items()
            }
            for e in events
        ]
        n = len(events)
        offsets = np.arange(self.offset, self.offset + n)
        payloads = [json.dumps(e).encode() for e in events]
        stored = self.ingestor.writer(partition).positions.get(partition)
        # a stream may leave offsets out
        first = self.offset if stored is None else min(self.offset, offset_at(stored))
        position = between(first, self.offset + n)
        self.offset += n
        records = RecordBatch(
            [partition],
            np.zeros(n, np.int64),
            offsets,
            np.full(n, micros(now)),
            {partition: position},
            payloads,
        )
        return self.ingestor.commit(
            [(records, dict(self.ingestor.turns))],
            micros(now),
            None if known is None else micros(known),
        )
