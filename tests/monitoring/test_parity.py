"""Parity finds what differs, names it, and cries about nothing else."""

import threading

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.jobs.materialize import materialize_view
from headwater.monitoring import parity
from headwater.monitoring.parity import check_view
from headwater.online.view_reader import OnlineView
from headwater.stores import keyspace
from tests.flow import (
    SCHEMA,
    Flow,
    at,
    clock,  # noqa: F401
    frame,
    home,  # noqa: F401
    micros,
    store,  # noqa: F401
    streaming_view,
    view_of,
)

HOUR = 3600


def events_of(rows):
    return [{"key": key, "at": second, "amount": amount} for key, second, amount in rows]


def record_of(view, store, key, slot=None):
    """Where the record of an integer key stands, and what it is."""
    place = keyspace.record(view.record_group, key.to_bytes(8, "big", signed=True), slot)
    return place, store.get([place])[0]


def raised(record):
    """The record with a float of 3.5 in it made 4.5: a sum of no events."""
    old, new = (np.array([value]).tobytes() for value in (3.5, 4.5))
    assert record.count(old) == 1
    return record.replace(old, new)


@pytest.fixture
def streamed(store, tmp_path, clock):
    view = streaming_view()
    flow = Flow([view], store, tmp_path)
    flow.send(events_of([(1, 10, 1.5), (1, 20, 2.0), (2, 30, 5.0)]), 100)
    return view, flow


def found(view, store, folder, second=110, **more):
    return [
        (m.feature, m.keys, m.online, m.offline, m.reason)
        for m in check_view(view, store, folder, at=micros(second), **more).mismatches
    ]


def test_what_is_equal_is_equal(streamed, store, tmp_path):
    view, flow = streamed
    made = check_view(view, store, tmp_path, at=micros(110))
    assert (made.rows, made.values, made.events, made.mismatches) == (3, 6, 3, [])
    flow.ingestor.roll(least=1)
    assert found(view, store, tmp_path) == []


def test_a_value_that_was_changed_in_the_store(streamed, store, tmp_path):
    view, _ = streamed
    place, record = record_of(view, store, 1)
    store.commit({place: raised(record)}, {})
    assert found(view, store, tmp_path) == [
        ("view__sum_amount_1h", {"key": 1}, 4.5, 3.5, "the value differs")
    ]


def test_a_record_that_was_lost(streamed, store, tmp_path):
    view, _ = streamed
    store.commit({record_of(view, store, 2)[0]: None}, {})
    assert found(view, store, tmp_path) == [
        ("view__count_1h", {"key": 2}, 0, 1, "the value differs"),
        ("view__sum_amount_1h", {"key": 2}, 0.0, 5.0, "the value differs"),
    ]


@pytest.mark.parametrize("rolled", [False, True])
def test_an_event_that_the_archive_lost(rolled, streamed, store, tmp_path):
    view, flow = streamed
    if not rolled:
        flow.ingestor.roll(least=1)  # the events before it are in a file
    flow.send(events_of([(1, 40, 8.0)]), 101)
    if rolled:
        flow.ingestor.roll(least=1)
        (path,) = (tmp_path / "archive").rglob("*.parquet")
        pl.read_parquet(path).filter(pl.col("amount") != 8.0).write_parquet(path)
    else:
        blocks = [key for key, _ in store.scan(keyspace.ARCHIVE)]
        store.commit({blocks[-1]: None}, {})
    assert found(view, store, tmp_path) == [
        ("view__count_1h", {"key": 1}, 3, 2, "the value differs"),
        ("view__sum_amount_1h", {"key": 1}, 11.5, 3.5, "the value differs"),
    ]


def test_an_event_that_the_archive_has_and_the_store_never_had(streamed, store, tmp_path):
    view, flow = streamed
    flow.ingestor.roll(least=1)
    (path,) = (tmp_path / "archive").rglob("*.parquet")
    rows = pl.read_parquet(path)
    pl.concat([rows, rows.tail(1).with_columns(key=pl.lit(9, pl.Int64))]).write_parquet(path)
    assert found(view, store, tmp_path) == [
        ("view__count_1h", {"key": 9}, 0, 1, "the value differs"),
        ("view__sum_amount_1h", {"key": 9}, 0.0, 5.0, "the value differs"),
    ]


@pytest.mark.parametrize("kind", ["stream", "batch"])
def test_a_record_of_a_key_that_no_event_names(kind, streamed, store, tmp_path):
    view, slot = streamed[0], None
    if kind == "batch":
        view, slot = view_of(frame([(1, 10, 1.5), (2, 30, 5.0)]), freshness=hw.batch("1h")), "0"
        materialize_view(view, store, micros(HOUR))
    place, _ = record_of(view, store, -7, slot)
    store.commit({place: record_of(view, store, 2, slot)[1]}, {})
    reason = "the store has a record of a key that no event names"
    assert found(view, store, tmp_path, HOUR + 10 if kind == "batch" else 110) == [
        ("view__count_1h", {"key": -7}, 1, 0, reason),
        ("view__sum_amount_1h", {"key": -7}, 5.0, 0.0, reason),
    ]


def test_a_batch_view_is_compared_at_its_cut(store, tmp_path):
    path = tmp_path / "events.parquet"
    rows = frame([(1, 10, 1.5), (1, 20, 2.0), (1, HOUR + 1, 4.0)])
    rows.write_parquet(path)
    view = view_of(hw.parquet(path), freshness=hw.batch("1h"), windows=["1d"])
    materialize_view(view, store, micros(HOUR))
    made = check_view(view, store, tmp_path, at=micros(HOUR + 5))
    assert (made.T, made.events, list(made.mismatches)) == (at(HOUR), 2, [])
    rows.filter(pl.col("amount") != 2.0).write_parquet(path)  # the history forgot an event
    assert found(view, store, tmp_path, HOUR + 5)[1] == (
        "view__sum_amount_1d",
        {"key": 1},
        3.5,
        1.5,
        "the value differs",
    )
    rows.write_parquet(path)
    place, record = record_of(view, store, 1, "0")
    store.commit({place: raised(record)}, {})
    assert found(view, store, tmp_path, HOUR + 5) == [
        ("view__sum_amount_1d", {"key": 1}, 4.5, 3.5, "the value differs")
    ]


@pytest.mark.parametrize("kind", ["stream", "batch"])
def test_rounding_is_no_mismatch_and_cents_beside_billions_are(kind, store, tmp_path, clock):
    rows = [
        (1, 10 * n + 1, value)
        for n, value in enumerate([4e9 + 0.25, 0.01, -4e9, 0.1, 3e8, 0.7, -3e8])
    ] + [(2, 5, 0.01), (2, 6, 0.02)]
    features = [
        hw.sum("amount"),
        hw.mean("amount"),
        hw.std("amount"),
        hw.var("amount"),
        hw.max("amount"),
    ]
    if kind == "stream":
        view, second = streaming_view(features), 110
        flow = Flow([view], store, tmp_path)
        for n, row in enumerate(reversed(rows)):  # in another order than offline
            flow.send(events_of([row]), 100 + n / 10)
    else:
        view, second = view_of(frame(rows), freshness=hw.batch("1h"), features=features), HOUR
        materialize_view(view, store, micros(HOUR))
    assert found(view, store, tmp_path, second) == []
    place, record = record_of(view, store, 2, "0" if kind == "batch" else None)
    sums = [value for value in (0.03, 0.01 + 0.02) if np.array([value]).tobytes() in record]
    store.commit(
        {
            place: record.replace(
                np.array([sums[0]]).tobytes(), np.array([sums[0] + 1e-8]).tobytes()
            )
        },
        {},
    )
    assert "view__sum_amount_1h" in {
        feature for feature, *_ in found(view, store, tmp_path, second)
    }


def test_nothing_differs_while_events_keep_coming(store, tmp_path, clock):
    clock(1000)
    view = streaming_view(windows=["3h", "300d"])
    flow, stop, commits, errors = Flow([view], store, tmp_path), threading.Event(), [0], []
    flow.send(events_of([(0, 1, 1.0)]), 1)

    def write():
        try:
            n = 0
            while not stop.is_set():
                n += 1
                # all commits at one moment
                flow.send(
                    events_of([(n % 300, 1000 + n / 100, 0.1), (n, 1000 + n / 100, 7.5)]), 9000
                )
                flow.ingestor.roll(least=20_000)
                commits[0] = n
        except BaseException as error:  # noqa: BLE001 (told below)
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        rounds = []
        for _ in range(8):
            before = commits[0]
            made = check_view(view, store, tmp_path, rows=200, at=micros(1000))
            rounds.append(commits[0] - before)
            assert made.mismatches == []
    finally:
        stop.set()
        thread.join(30)
    assert not errors
    assert sum(rounds) > 0


def test_what_is_committed_after_the_values_were_read_is_not_compared(
    streamed, store, tmp_path, monkeypatch
):
    view, flow = streamed
    read = OnlineView.read

    def read_and_go_on(self, keys, t):
        served = read(self, keys, t)
        flow.send(events_of([(1, 40, 8.0)]), 100)  # at the same moment
        return served

    monkeypatch.setattr(OnlineView, "read", read_and_go_on)
    assert found(view, store, tmp_path) == []


ADDING = {
    "sum": hw.sum("amount"),
    "mean": hw.mean("amount"),
    "std": hw.std("amount"),
    "var": hw.var("amount"),
    "rate": hw.rate("amount"),
    "ratio": hw.ratio("amount", "other"),
    "decayed_sum": hw.decayed_sum("amount", half_life="10m"),
    "decayed_mean": hw.decayed_mean("amount", half_life="10m"),
}


@pytest.mark.slow
@pytest.mark.parametrize("function", ADDING)
def test_floats_that_are_added_in_another_order_are_alike(function, store, tmp_path, clock):
    """Online and offline do differ by a bit for some key, or the test would show nothing."""
    clock(2000)
    drawn = np.random.default_rng(7)
    schema = {**SCHEMA, "other": float}
    view = streaming_view([ADDING[function]], schema=schema, windows=["1h"])
    flow = Flow([view], store, tmp_path)
    for _ in range(12):
        columns = (
            drawn.integers(0, 6, 40),
            drawn.uniform(1, 999, 40),
            drawn.uniform(0, 1, 40),
            drawn.uniform(1, 2, 40),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        flow.send([{"key": k, "at": s, "amount": a, "other": o} for k, s, a, o in rows], 1000)
    made = check_view(view, store, tmp_path, at=micros(1010))
    assert made.mismatches == []
    online, keys = OnlineView(view, store), pl.DataFrame({"key": range(6)})
    served = online.read(keys, micros(1010))
    offline = parity.answer(
        view,
        view.outputs,
        parity.Offline(view, store, tmp_path).events(served),
        parity.OfflineRequests.at(keys, served, view),
    )
    assert not served.features[0].equals(offline.values.to_series())
