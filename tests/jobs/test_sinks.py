"""Predictions in a PostgreSQL table: replaced by one transaction, so that no reader ever sees
half.
"""

import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import ConnectError
from headwater.jobs import precompute, sinks
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from tests.catalog.conftest import postgres_server, shop_files, shop_home  # noqa: F401 (fixtures)
from tests.waiting import until

psycopg = pytest.importorskip("psycopg", reason="needs the extra postgres")

BASE = datetime(2024, 5, 1, tzinfo=UTC)
KEYS = 3000


class Sum:
    """Its only input."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, 0]


def at(hours):
    return BASE + timedelta(hours=hours)


@pytest.fixture
def url(postgres_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    name = f"scores_{time.monotonic_ns()}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres_server}/{name}"


@pytest.fixture
def store(tmp_path):
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


def variant_of(events, key="user"):
    source = hw.Source("events", history=events, timestamp_field="at", select=[key, "amount"])
    view = hw.FeatureView(
        "user", source=source, keys=[key], features=[hw.sum("amount")], freshness=hw.on_request()
    )
    labels = hw.Labels("paid", table=events, timestamp_field="at", label="amount", known_after="1h")
    model = hw.Model(
        "pays", task="regression", features=hw.FeatureService("svc", [view]), labels=labels
    )
    return hw.operations.ModelVariant(
        "ahead", model, hw.Level(predictions=hw.precomputed(hw.batch("1h"), keys=[key]))
    )


FITTED = Fitted(Sum(), fit_encoding(pl.DataFrame({"user__sum_amount": [1.0]})), "regression", "sum")


def hourly(keys=KEYS, hours=3):
    """Each user pays 1 in each hour, so that all scores of a cut are equal."""
    times = pl.Series([at(hour) for hour in range(hours) for _ in range(keys)])
    return pl.DataFrame({"user": np.tile(np.arange(keys), hours), "amount": 1.0, "at": times})


def rows_of(url, statement):
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()


def test_a_reader_sees_one_cut_or_the_next_and_waits_for_none(url, store, monkeypatch):
    monkeypatch.setattr(precompute, "_KEYS", 500)
    variant, table = variant_of(hourly()), hw.operations.PredictionTable(url, "scores_pays")
    hw.operations.materialize_model(
        variant, FITTED, version="1", store=store, at=at(1), sinks=[table]
    )
    with psycopg.connect(url, autocommit=True) as connection:
        # what others have made of it stays
        connection.execute("CREATE VIEW best AS SELECT * FROM scores_pays WHERE score > 0")
    seen, midway, ended, looks = set(), 0, threading.Event(), threading.Semaphore(0)

    def read():
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.is_set():
                seen.add(
                    connection.execute(
                        "SELECT count(*), min(score), max(score), count(DISTINCT cut) FROM best"
                    ).fetchone()
                )
                looks.release()

    real = sinks.PredictionTable._copy

    def slow(self, *given):
        """Go on when the reader has looked twice while the table is half written."""
        nonlocal midway
        real(self, *given)
        while looks.acquire(blocking=False):
            pass
        midway += looks.acquire(timeout=60) and looks.acquire(timeout=60)

    monkeypatch.setattr(sinks.PredictionTable, "_copy", slow)
    reader = threading.Thread(target=read)
    reader.start()
    for hour in (2, 3):
        hw.operations.materialize_model(
            variant, FITTED, version="1", store=store, at=at(hour), sinks=[table]
        )
    until(lambda: (KEYS, 3.0, 3.0, 1) in set(seen), "the reader looks again")
    ended.set()
    reader.join()
    assert midway == 2 * -(-KEYS // 500)  # each copy of each run
    assert seen == {(KEYS, n, n, 1) for n in (1.0, 2.0, 3.0)}
    assert rows_of(url, "SELECT DISTINCT cut, known_until, model_version FROM scores_pays") == [
        (at(3), at(3), "1")
    ]


def test_a_run_that_fails_halfway_leaves_the_table_as_it_was(url, store, monkeypatch):
    monkeypatch.setattr(precompute, "_KEYS", 500)
    variant, table = variant_of(hourly()), hw.operations.PredictionTable(url, "scores_pays")
    hw.operations.materialize_model(
        variant, FITTED, version="1", store=store, at=at(1), sinks=[table]
    )
    real, written = sinks.PredictionTable._copy, 0

    def stops(self, connection, *given):
        nonlocal written
        written += 1
        if written == 3:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        real(self, connection, *given)

    monkeypatch.setattr(sinks.PredictionTable, "_copy", stops)
    with pytest.raises(
        ConnectError,
        match=r"the table scores_pays in postgresql://headwater@127.0.0.1:\d+/.* cannot be written: .*repeat the same call",
    ):
        hw.operations.materialize_model(
            variant, FITTED, version="1", store=store, at=at(2), sinks=[table]
        )
    assert rows_of(url, "SELECT count(*), max(score) FROM scores_pays") == [(KEYS, 1.0)]
    monkeypatch.setattr(sinks.PredictionTable, "_copy", real)
    made = hw.operations.materialize_model(
        variant, FITTED, version="1", store=store, at=at(2), sinks=[table]
    )
    assert made.cut == made.before  # the store had it
    assert made.parts == (0, 1)  # and nothing was scored again
    assert rows_of(url, "SELECT count(*), max(score) FROM scores_pays") == [(KEYS, 2.0)]
