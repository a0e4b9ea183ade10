"""Features that come from the cache are those that would be computed, and nothing else does."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.engine.local.local_engine import LocalEngine
from headwater.events.read_events import Notes
from headwater.testing.conformance import bits
from headwater.training.feature_frames import feature_frames
from headwater.training.requests import read_rows

START = datetime(2024, 5, 1, tzinfo=UTC)
ASKED = read_rows(
    pl.DataFrame(
        {"user": [1, 2, 1, 9], "timestamp": [START + timedelta(hours=h) for h in (5, 6, 30, 31)]}
    ),
    "timestamp",
)


def events(rows=40):
    at = [START + timedelta(hours=h) for h in range(rows)]
    known = [t + timedelta(hours=3 * (i % 4 == 0)) for i, t in enumerate(at)]
    return pl.DataFrame(
        {
            "user": [i % 3 for i in range(rows)],
            "at": at,
            "known": known,
            "amount": [0.1 * i for i in range(rows)],
            "n": range(rows),
        }
    )


def service(path, *features, select=("user", "amount", "n"), **source):
    source = hw.Source(
        "payments", history=hw.parquet(path), timestamp_field="at", select=list(select), **source
    )
    made = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=list(features),
        windows=["6h", "1d"],
        freshness=hw.on_request(),
    )
    return hw.FeatureService("all", [made])


@pytest.fixture
def path(tmp_path):
    events().write_parquet(tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


@pytest.fixture
def computed(monkeypatch):
    """The names of the features that the engine computes, call by call."""
    calls, compute = [], LocalEngine.features

    def watched(engine, query, *given):
        calls.append([f.name for f in query.features])
        return compute(engine, query, *given)

    monkeypatch.setattr(LocalEngine, "features", watched)
    return calls


@pytest.fixture
def ask(tmp_path):
    """The features of the rows, through a cache; with what was counted."""

    def call(of, levels=None, rows=ASKED, cache=None):
        notes = Notes()
        found = feature_frames(
            of,
            rows,
            levels or {"": hw.Level()},
            notes,
            hw.Resources(cache=cache or hw.operations.Cache(tmp_path / "cache")),
        )
        return {name: bits(frame) for name, frame in found.items()}, notes

    return call


def test_what_is_unchanged_is_not_computed_again(path, ask, computed):
    first, told = ask(service(path, hw.count(), hw.sum("amount")))
    again, told_again = ask(service(path, hw.count(), hw.sum("amount")))
    assert first == again
    assert told == told_again
    assert len(computed) == 1


def test_only_what_is_new_is_computed(path, ask, computed):
    ask(service(path, hw.count(), hw.sum("amount")))
    found, _ = ask(service(path, hw.max("amount"), hw.count(), hw.sum("amount")))
    assert computed[1] == ["max_amount_6h", "max_amount_1d"]
    fresh = feature_frames(
        service(path, hw.max("amount"), hw.count(), hw.sum("amount")),
        ASKED,
        {"": hw.Level()},
        Notes(),
    )
    assert found[""] == bits(fresh[""])


@pytest.mark.parametrize(
    "changed",
    [
        {"timestamp_field": "known"},
        {"known_after": "1h"},
        {"filter": pl.col("amount") > 1},
    ],
)
def test_another_source_is_computed(path, ask, computed, changed):
    ask(service(path, hw.sum("amount")))
    source = {"timestamp_field": "at", **changed}
    given = hw.Source(
        "payments", history=hw.parquet(path), select=["user", "amount", "n"], **source
    )
    view = hw.FeatureView(
        "user",
        source=given,
        keys=["user"],
        features=[hw.sum("amount")],
        windows=["6h", "1d"],
        freshness=hw.on_request(),
    )
    ask(hw.FeatureService("all", [view]))
    assert len(computed) == 2


def test_other_rows_levels_and_another_column_beside_it_are_computed(path, ask, computed):
    ask(service(path, hw.sum("amount")))
    ask(service(path, hw.sum("amount")), rows=ASKED.take([0, 1]))
    ask(service(path, hw.sum("amount")), levels={"": hw.Level(hw.batch("1d"))})
    # which of two tied events is first can depend on n
    ask(service(path, hw.sum("amount"), hw.sum("n")))
    assert len(computed) == 4


def test_a_changed_file_is_computed(path, ask, computed):
    first, _ = ask(service(path, hw.sum("amount")))
    events().with_columns(pl.col("amount") + 1).write_parquet(path)
    second, _ = ask(service(path, hw.sum("amount")))
    assert first != second
    assert len(computed) == 2


def test_a_broken_file_is_computed_again(tmp_path, path, ask, computed):
    first, _ = ask(service(path, hw.count()))
    for file in (tmp_path / "cache").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:20])
    assert ask(service(path, hw.count()))[0] == first
    assert len(computed) == 2
