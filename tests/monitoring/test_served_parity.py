"""What was served is compared at the very commit, or cut, that it was read at; what differs is
named, and nothing else is cried about.
"""

from contextlib import closing

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_rows import EntryContext, RowEntry
from headwater.stores import keyspace
from tests.flow import Flow, frame, micros, streaming_view, view_of
from tests.journal.conftest import home, run, serve  # noqa: F401 (fixtures)

HOUR = 3600


def project_of(*members, model="model"):
    asked = frame([(1, 10, 1.0)]).rename({"amount": "paid"})
    labels = hw.Labels("labels", table=asked, timestamp_field="at", label="paid", known_after="1h")
    return hw.Project(
        "project",
        [
            hw.Model(
                model,
                task="regression",
                features=hw.FeatureService("service", list(members)),
                labels=labels,
            )
        ],
    )


def events_of(rows):
    return [{"key": key, "at": second, "amount": amount} for key, second, amount in rows]


@pytest.fixture
def store(tmp_path):
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as made:
        yield made


class World:
    """A project over a stream, a store, and the log of what was served."""

    def __init__(self, project, view, store, folder, flow=True):
        self.project, self.view, self.store, self.folder = project, view, store, folder
        self.flow = Flow([view], store, folder) if flow else None
        self.service = project.models[0].features
        self.features = hw.operations.OnlineFeatures(self.service, store)
        self.of = EntryContext.for_service(
            "predict", "project", self.service, model="model", version="1"
        )
        self.log, self.number = hw.operations.ServedLog(folder), 0

    def serve(self, second, **request):
        self.number += 1
        return serve(self.log, self.features, self.of, self.number, request, second)

    def compared(self, *views, **more):
        self.log.flush()
        return hw.operations.served_parity(
            self.project, views, store=self.store, data_dir=self.folder, **more
        )

    def found(self, **more):
        return [
            (m.feature, m.keys, m.online, m.offline, m.reason)
            for one in self.compared(**more)
            for m in one.mismatches
        ]


@pytest.fixture
def streamed(store, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(0))
    view = streaming_view([hw.count(), hw.sum("amount"), hw.last_n("amount", k=2)])
    return World(project_of(view), view, store, tmp_path)


def test_each_row_is_compared_at_the_commit_it_was_read_at(streamed):
    for n in range(12):
        streamed.flow.send(events_of([(n % 2, 10 * n, 0.1 * n), (2, 10 * n + 1, 1.5)]), 10 * n + 2)
        for key in (0, 1, 2, 9, None):
            streamed.serve(10 * n + 3, key=key)
        if n == 5:
            streamed.flow.ingestor.roll(least=1)
    (made,) = streamed.compared()
    assert (made.view, made.rows, made.values, made.mismatches, dict(made.notes)) == (
        "view",
        60,
        180,
        [],
        {},
    )
    assert made.events == 24


def test_a_value_that_was_served_wrong(streamed):
    streamed.flow.send(events_of([(1, 10, 1.5), (1, 20, 2.0)]), 100)
    place = keyspace.record(streamed.view.record_group, (1).to_bytes(8, "big", signed=True), None)
    record = streamed.store.get([place])[0]
    old, new = (np.array([value]).tobytes() for value in (3.5, 4.5))
    streamed.serve(110, key=1)
    streamed.store.commit({place: record.replace(old, new)}, {})
    streamed.serve(111, key=1)
    streamed.store.commit({place: record}, {})  # it was right again later
    streamed.serve(112, key=1)
    keys = {"key": 1, "headwater_request": "r2"}
    assert streamed.found() == [("view__sum_amount_1h", keys, 4.5, 3.5, "the value differs")]


def test_a_status_that_was_served_wrong(streamed):
    streamed.flow.send(events_of([(1, 10, 1.5)]), 100)
    got = streamed.serve(110, key=2)
    entry = RowEntry(
        streamed.of,
        "x",
        micros(111),
        {"key": 2},
        got.values,
        bytes([1, got.statuses[1], got.statuses[2]]),
        got.read_versions,
    )
    streamed.log.put(entry)
    assert [(feature, reason) for feature, *_, reason in streamed.found()] == [
        ("view__count_1h", "the status is empty, and offline missing")
    ]


def test_an_event_that_the_archive_lost(streamed, tmp_path):
    streamed.flow.send(events_of([(1, 10, 1.5), (1, 20, 2.0)]), 100)
    streamed.serve(110, key=1)
    streamed.flow.ingestor.roll(least=1)
    (path,) = (tmp_path / "archive").rglob("*.parquet")
    pl.read_parquet(path).filter(pl.col("amount") != 2.0).write_parquet(path)
    assert {feature for feature, *_ in streamed.found()} == {
        "view__count_1h",
        "view__sum_amount_1h",
        "view__last_n_amount_1h",
    }


def test_a_batch_view_is_compared_at_its_cuts(store, tmp_path):
    path = tmp_path / "events.parquet"
    rows = frame([(1, 10, 1.5), (1, 20, 2.0), (1, HOUR + 1, 4.0), (2, HOUR + 2, 8.0)])
    rows.write_parquet(path)
    view = view_of(hw.parquet(path), freshness=hw.batch("1h"), windows=["1d"])
    world = World(project_of(view), view, store, tmp_path, flow=False)
    for hour in (1, 2):
        materialize_view(view, store, micros(hour * HOUR))
        for key in (1, 2, 3):
            world.serve(hour * HOUR + 5, key=key)
    (made,) = world.compared()
    assert (made.rows, made.values, made.mismatches) == (6, 12, [])
    assert [
        row["view__count_1d"]
        for row in hw.operations.served(tmp_path)
        .sort("headwater_at", "headwater_request")
        .collect()
        .to_dicts()
    ] == [
        2,
        0,
        0,
        3,
        1,
        0,
    ]
    rows.filter(pl.col("amount") != 4.0).write_parquet(path)
    assert {keys["headwater_request"] for _, keys, *_ in world.found()} == {"r4"}, (
        "only at the second cut was it counted"
    )


def test_levels_are_compared_at_their_own_freshness(store, tmp_path):
    rows = frame([(1, 10, 1.5), (1, HOUR + 1, 4.0)])
    view = view_of(rows, freshness=hw.batch("1h"), windows=["1d"])
    made = project_of(view)
    project = hw.Project(
        "project", made.models, levels={"late": hw.Level(hw.batch("1h", delay="30m"))}
    )
    world = World(project, view, store, tmp_path, flow=False)
    late = project.variant("model", "late").service
    for each in (view, late.views[0]):
        for hour in (1, 2):
            materialize_view(each, store, micros(hour * HOUR + 1800))
    world.serve(2 * HOUR + 1860, key=1)
    world.features, world.of = (
        hw.operations.OnlineFeatures(late, store),
        EntryContext.for_service("predict", "project", late, model="model", level="late"),
    )
    world.serve(2 * HOUR + 1860, key=1)
    got = world.serve(2 * HOUR + 1861, key=1)
    world.log.put(
        RowEntry(
            world.of,
            "x",
            micros(2 * HOUR + 1862),
            {"key": 1},
            [9, got.values[1]],
            got.statuses,
            got.read_versions,
        )
    )
    gone = EntryContext.for_service("predict", "project", late, model="model", level="gone")
    world.log.put(
        RowEntry(
            gone,
            "y",
            micros(2 * HOUR + 1863),
            {"key": 1},
            got.values,
            got.statuses,
            got.read_versions,
        )
    )
    said = {
        one.view: (one.values, [m.feature for m in one.mismatches], dict(one.notes))
        for one in world.compared()
    }
    assert said == {
        "view": (2, [], {}),
        "view@late": (6, ["view__count_1d"], {}),
        "model@gone": (0, [], {"rows of a level that the project does not have": 1}),
    }
