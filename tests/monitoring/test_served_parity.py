"""What was served is compared at the very commit, or cut, that it was read at; what differs is
named, and nothing else is cried about.
"""

from contextlib import closing

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.jobs.materialize import materialize_view
from headwater.journal.fetching import fetch
from headwater.journal.serving_log_rows import EntryContext, RowEntry
from headwater.monitoring.explain import explain_feature
from headwater.monitoring.served_parity import _chains
from headwater.stores import Capabilities, keyspace
from headwater.testing.examples import visiting
from tests.flow import SCHEMA, Flow, at, frame, micros, streaming_view, view_of
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


@pytest.mark.slow
def test_a_log_that_was_fetched_is_compared_with_the_archive_of_another_machine(streamed, tmp_path):
    """Machine A ingests, B serves and ships its log, C has fetched that: the archive is linked
    there, or it is said to be missing.
    """
    together = tmp_path / "together"
    with hw.operations.ServedLog(tmp_path / "b", ship_to=f"file://{tmp_path}/shipped") as log:
        for n in range(4):
            streamed.flow.send(events_of([(1, 10 * n, 0.5 * n)]), 10 * n + 2)
            serve(log, streamed.features, streamed.of, n, {"key": 1}, 10 * n + 3)
    streamed.flow.ingestor.roll(least=1)
    assert fetch(together, f"file://{tmp_path}/shipped").rows == 4
    with pytest.raises(
        DataError,
        match=r"4 events of source 'events' are archived, and no archive of it is in .*together/archive",
    ):
        hw.operations.served_parity(streamed.project, store=streamed.store, data_dir=together)
    missing = {f"events of every key, whose archive is not in {together}/archive": 4}
    assert (
        explain_feature(
            streamed.view, "count_1h", {"key": 1}, streamed.store, together, at=micros(40)
        ).notes
        == missing
    )
    (together / "archive").symlink_to(tmp_path / "archive")
    (made,) = hw.operations.served_parity(streamed.project, store=streamed.store, data_dir=together)
    assert (made.rows, made.values, made.mismatches) == (4, 12, [])
    explained = explain_feature(
        streamed.view, "count_1h", {"key": 1}, streamed.store, together, at=micros(40)
    )
    assert (explained.notes, explained.offline) == ({}, 4)


def test_what_was_committed_at_the_same_moment_after_the_read_does_not_count(streamed):
    streamed.flow.send(events_of([(1, 10, 1.5)]), 100)
    streamed.serve(100, key=1)
    streamed.flow.send(events_of([(1, 20, 2.0)]), 100)
    streamed.serve(100, key=1)
    assert streamed.found() == []


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


def test_several_writers_each_at_its_own_commit(store, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(0))
    view = streaming_view(source={"stream": hw.kafka("events", schema=SCHEMA)})
    project = project_of(view)
    kept = store

    class Partitioned:  # an LMDB that is told apart by partition, as Redis is
        capabilities = Capabilities(atomic=True, multi_process=True, remote=False)

        def __getattr__(self, name):
            return getattr(kept, name)

    world = World(project, view, Partitioned(), tmp_path)
    for n in range(8):
        world.flow.send(events_of([(1, 10 * n, 1.0)]), 10 * n + 1, partition=str(n % 2))
        # looks for partitions again
        world.features = hw.operations.OnlineFeatures(world.service, world.store)
        world.serve(10 * n + 2, key=1)
    sequences = (
        world.log.flush() and hw.operations.served(tmp_path).collect()["view__sequence"].to_list()
    )
    assert len(set(sequences)) == 8
    assert any('"1"' in text for text in sequences)
    (made,) = world.compared()
    assert (made.rows, made.values, made.mismatches) == (8, 16, [])


def test_commits_that_are_in_no_order_are_compared_apart():
    said = pl.Series(
        ['{"a": 1, "b": 5}', '{"a": 2, "b": 4}', '{"a": 3, "b": 6}', '{"a": 1, "b": 5}', '{"a": 1}']
    )
    chains = _chains(said)
    assert [chain.rows.tolist() for chain in chains] == [[0, 2, 3, 4], [1]]
    assert chains[0].K.tolist() == [1, 2, 1, 0]
    assert {part: last for part, (last, _) in chains[0].known.items()} == {"a": 3, "b": 6}
    for part, expected in (("a", [0, 0, 2, 2, 3]), ("b", [1, 1, 1, 1, 1])):
        placed = (
            pl.DataFrame({"headwater_sequence": [0, 1, 2, 3, 4]})
            .select(chains[0].known[part][1])
            .to_series()
        )
        assert placed.to_list() == expected


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


def test_what_is_made_of_the_request_is_made_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(0))
    view = streaming_view()
    total = view["sum_amount_1h"]

    @hw.request_feature
    def share(amount: float, total: float | None = total) -> float | None:
        return None if not total else amount / total

    @hw.request_feature
    def cents(amount: float) -> int:
        return round(amount * 100)

    world = World(
        project_of(view["count_1h"], share, cents, hw.RequestField("amount", float)),
        view,
        store,
        tmp_path,
    )
    world.flow.send(events_of([(1, 10, 1.5), (1, 20, 2.5)]), 100)
    for amount in (1, 2.5, 3):
        world.serve(110, key=1, amount=amount)
    compared = world.compared()
    assert [(one.view, one.values, one.mismatches) for one in compared] == [
        ("view", 3, []),
        ("made of the request", 6, []),
    ]
    got = world.serve(111, key=1, amount=4)
    place = world.service.feature_names.index("cents")
    wrong = [*got.values[:place], 399, *got.values[place + 1 :]]
    world.log.put(
        RowEntry(
            world.of,
            "x",
            micros(111),
            {"key": 1, "amount": 4},
            wrong,
            got.statuses,
            got.read_versions,
        )
    )
    assert world.found() == [
        (
            "cents",
            {"key": 1, "amount": 4.0, "headwater_request": "x"},
            399,
            400,
            "the value differs",
        )
    ]


def test_what_a_third_party_said_is_taken_from_the_log(store, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(0))
    view = streaming_view()
    rates = hw.HttpFeatures(
        "rates",
        url="http://127.0.0.1:9/rates",
        request={"currency": str},
        response={"rate": float, "risk": float},
        timeout="1s",
    )
    rate, risk = rates["rate"], rates["risk"]

    @hw.request_feature
    def cost(amount: float, rate: float | None = rate) -> float | None:
        return None if rate is None else amount * rate

    @hw.request_feature
    def danger(amount: float, risk: float | None = risk) -> float | None:
        return risk

    world = World(project_of(view["count_1h"], rate, cost, danger), view, store, tmp_path)
    world.flow.send(events_of([(1, 10, 1.5)]), 100)
    got = hw.operations.OnlineFeatures(hw.FeatureService("part", [view["count_1h"]]), store).row(
        {"key": 1}, t=micros(110)
    )
    request = {"key": 1, "amount": 2.0, "currency": "eur"}
    for number, total in enumerate((6.0, 7.0)):
        values = [*got.values, 3.0, total, 0.5]
        world.log.put(
            RowEntry(
                world.of,
                f"r{number}",
                micros(110),
                request,
                values,
                got.statuses + bytes(3),
                got.read_versions,
            )
        )
    compared = {
        one.view: (
            one.values,
            [(m.feature, m.online, m.offline) for m in one.mismatches],
            dict(one.notes),
        )
        for one in world.compared()
    }
    assert compared == {
        "view": (2, [], {}),
        "made of the request": (
            2,
            [("cost", 7.0, 6.0)],
            {
                "values of third parties, taken from the log": 2,
                "values computed from a third-party response that was not logged": 2,
            },
        ),
    }


def test_what_cannot_be_compared_is_counted(streamed):
    streamed.flow.send(events_of([(1, 10, 1.5)]), 100)
    got = streamed.serve(110, key=1)
    fallen = RowEntry(
        streamed.of, "x", micros(111), {"key": 1}, [None] * 3, bytes([4] * 3), got.read_versions
    )
    streamed.log.put(fallen)
    other = EntryContext(
        "predict",
        "project",
        "service",
        "model",
        features=streamed.of.features,
        views={"view": "another"},
        request=("key",),
    )
    streamed.log.put(
        RowEntry(other, "y", micros(112), {"key": 1}, [9, 9.0, []], bytes(3), got.read_versions)
    )
    streamed.log.put(
        RowEntry(
            streamed.of,
            "z",
            micros(113),
            {"key": 1},
            [9, 9.0, []],
            bytes(3),
            [(got.read_versions[0][0], got.read_versions[0][1], {}, False, False)],
        )
    )
    (made,) = streamed.compared()
    assert made.mismatches == []
    assert made.notes == {
        "rows of another definition of the view": 1,
        "rows without a commit": 1,
        "values that fell back": 3,
    }
    assert (made.rows, made.values) == (2, 3)


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


def test_rows_of_two_versions_of_a_view_are_compared_each_by_its_own_name(store, tmp_path):
    rows = frame([(1, 10, 1.5), (1, HOUR + 1, 4.0)])
    hourly = {"freshness": hw.batch("1h"), "windows": ["1d"]}
    first = view_of(rows, **hourly)
    second = view_of(rows, features=[hw.max("amount", name="count")], version=2, **hourly)
    world = World(project_of(first, second), second, store, tmp_path, flow=False)
    for each in (first, second):
        for hour in (1, 2):
            materialize_view(each, store, micros(hour * HOUR + 60))
    assert list(world.serve(2 * HOUR + 61, key=1).values) == [2, 5.5, 4.0]
    found = {one.view: (one.rows, one.values, one.mismatches) for one in world.compared()}
    assert found == {"view": (1, 2, []), "view@2": (1, 1, [])}


def test_rows_since_and_so_many(streamed):
    streamed.flow.send(events_of([(1, 10, 1.5)]), 100)
    for second in range(110, 120):
        streamed.serve(second, key=1)
    assert streamed.compared(since=at(115))[0].rows == 5
    assert streamed.compared(rows=3)[0].rows == 3
    with pytest.raises(UsageError, match="no view 'vew'; did you mean 'view'"):
        streamed.compared("vew")


def test_nothing_was_served(streamed, tmp_path):
    with pytest.raises(DataError, match="no serving log at"):
        hw.operations.served_parity(streamed.project, store=streamed.store, data_dir=tmp_path)


@pytest.mark.slow
def test_the_command(tmp_path, run):
    (tmp_path / "features.py").write_text(
        "import headwater as hw\nfrom headwater.testing.examples import visiting\nproject = "
        "visiting(hw.batch('1h'))\n"
    )
    made = visiting(hw.batch("1h"))
    url = f"lmdb:{tmp_path}/online?size=100MB"
    with closing(hw.operations.open_store(url)) as store:
        hw.materialize(made, store=store, at="2024-05-01T12:00Z")
        service = made.models[0].features
        of, features = (
            EntryContext.for_service("predict", "shop", service, model="churn"),
            hw.operations.OnlineFeatures(service, store),
        )
        with hw.operations.ServedLog(tmp_path) as log:
            serve(log, features, of, 1, {"user": 1}, 12 * HOUR + 5)
            got = features.row({"user": 2}, t=micros(12 * HOUR + 6))
            log.put(
                RowEntry(
                    of,
                    "r2",
                    micros(12 * HOUR + 6),
                    {"user": 2},
                    [99, got.values[1]],
                    got.statuses,
                    got.read_versions,
                )
            )
    call = [
        "parity",
        "--served",
        "--project",
        f"{tmp_path}/features.py",
        "--store",
        url,
        "--data-dir",
        str(tmp_path),
    ]
    done = run(*call)
    assert done.returncode == 1
    assert "headwater_request" in done.stdout
    assert "1 of 4 values differ from what training computes" in done.stderr
    assert "explain user__count_1d user=2" in done.stderr
    assert run(*call, "--since", "2024-05-01T12:00:06Z").returncode == 1
    assert run(*call, "--at", "2024-05-01T12:00:06Z").returncode == 2
