"""Cuts: which events are in them, when they are seen, and what happens when a run does not end, or
comes late, or comes twice.
"""

import os
from contextlib import closing
from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.engine.local import local_engine
from headwater.errors import DataError, HeadwaterWarning, StaleError, StoreError, UsageError
from headwater.jobs import materialize
from headwater.jobs.materialize import cuts_at, materialize_view, next_due
from headwater.online.view_reader import OnlineView
from headwater.testing.processes import Process
from tests.children import KEYS, many, materialize_at, materialize_slowly, read_all
from tests.figures import figure
from tests.flow import at, frame, home, micros, project_of, store, view_of  # noqa: F401 (fixtures)

HOUR = 3600
US = 1e-6


def read(view, store, second, keys=(1,)):
    return OnlineView(view, store).read(
        pl.DataFrame({"key": list(keys)}, schema={"key": pl.Int64}), micros(second)
    )


def counts(view, store, second, keys=(1,)):
    return read(view, store, second, keys).features[0].to_list()


# ---------------------------------------------------------------- which events


@pytest.mark.parametrize(
    ("known", "first", "second"),
    [(HOUR + 300, [1], [1]), (HOUR + 300 + US, [0], [1]), (HOUR + 300 - US, [1], [1])],
    ids=["at K", "a microsecond after K", "a microsecond before K"],
)
def test_an_event_is_in_the_first_cut_whose_k_it_was_known_by(known, first, second, store):
    source = {"known_at_field": "known", "select": ["key", "amount"]}
    events = frame([(1, 1000, 1.0)], known=[at(known)])
    view = view_of(
        events, freshness=hw.batch("1h", delay="10m", wait="5m"), windows=["1d"], source=source
    )
    found = []
    for hour in (1, 2):
        materialize_view(view, store, micros(hour * HOUR + 300))
        found.append(counts(view, store, hour * HOUR + 600))
    assert found == [first, second]


@pytest.mark.parametrize(("second", "counted"), [(HOUR - US, 1), (HOUR, 0)])
def test_an_event_at_the_cut_is_not_in_it(second, counted, store):
    view = view_of(
        frame([(1, second, 1.0), (1, 2 * HOUR, 0.0)]), freshness=hw.batch("1h"), windows=["1d"]
    )
    materialize_view(view, store, micros(HOUR))
    assert counts(view, store, HOUR) == [counted]
    materialize_view(view, store, micros(2 * HOUR))
    assert counts(view, store, 2 * HOUR) == [1]


@pytest.mark.slow
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("memory", [None, "1MB"])
def test_a_run_adds_exactly_what_the_cut_before_did_not_have(memory, ids, store, monkeypatch):
    monkeypatch.setattr(local_engine, "EVENT_BYTES", 100_000)
    random = Random(7)
    rows = [(random.randrange(5), random.uniform(0, 5 * HOUR), 1.0) for _ in range(400)]
    lateness = [random.choice([0, 0, 10, 400, 4000]) for _ in rows]
    events = frame(
        rows,
        known=[at(second + late) for (_, second, _), late in zip(rows, lateness, strict=True)],
        id=list(range(400)),
    )
    source = {
        "known_at_field": "known",
        "select": ["key", "amount"],
        **({"id_field": "id"} if ids else {}),
    }
    view = view_of(
        events,
        freshness=hw.batch("1h", delay="10m", wait="5m"),
        windows=["300d", "2h"],
        source=source,
    )
    before = 0
    for hour in range(1, 7):
        T, K = hour * HOUR, hour * HOUR + 300
        visible = sum(
            s < T and s + late <= K for (_, s, _), late in zip(rows, lateness, strict=True)
        )
        made = materialize_view(view, store, micros(K), resources=hw.Resources(memory=memory))
        assert (made.cut.T, made.cut.K, made.events) == (micros(T), micros(K), visible - before)
        before = visible
        assert sum(counts(view, store, T + 600, range(5))) == visible
    assert materialize_view(view, store, micros(6 * HOUR + 301)).done_before


def test_rows_without_a_time_are_counted_in_memory_and_on_disk(store, monkeypatch):
    monkeypatch.setattr(local_engine, "EVENT_BYTES", 1_000_000)
    events = frame([(1, 10, 1.0), (2, 20, 1.0), (3, 30, 1.0)], known=[at(11), None, at(31)])
    events = events.with_columns(at=pl.when(pl.col("key") == 3).then(None).otherwise("at"))
    source = {"known_at_field": "known", "select": ["key", "amount"]}
    said = []
    for name, memory in (("one", None), ("two", "1MB")):
        view = view_of(events, freshness=hw.batch("1h"), name=name, source=source)
        made = materialize_view(view, store, micros(HOUR), resources=hw.Resources(memory=memory))
        said.append((made.events, made.left_out))
    assert (
        said == [(1, {"source events: no at": 1, "source events: no known, so never known": 1})] * 2
    )


def test_corrections_and_deletions_make_every_cut_anew(store):
    images = frame(
        [(1, 10, 5.0), (1, 10, 5.0), (1, 10, 7.0), (2, 20, 1.0), (2, 20, 1.0), (3, 30, 2.0)],
        id=[1, 1, 1, 2, 2, 3],
        before=[False, True, False, False, True, False],
        known=[at(s) for s in (10, HOUR + 1, HOUR + 1, 20, HOUR + 2, 30)],
    )
    source = {"id_field": "id", "changes": "before", "known_at_field": "known"}
    view = view_of(images, freshness=hw.batch("1h"), windows=["1d"], source=source)
    sums = []
    for hour in (1, 2, 3, 4):
        materialize_view(view, store, micros(hour * HOUR))
        served = read(view, store, hour * HOUR, [1, 2, 3])
        sums.append(list(zip(served.features[1].to_list(), served.statuses[1], strict=True)))
    kept = [(7.0, "present"), (0.0, "missing"), (2.0, "present")]
    assert sums == [[(5.0, "present"), (1.0, "present"), (2.0, "present")], kept, kept, kept]


def test_keys_that_lost_their_events_are_buried_once_and_only_with_the_new_cut(store):
    images = frame(
        [(1, 10, 1.0), (1, 10, 1.0)], id=[1, 1], before=[False, True], known=[at(10), at(HOUR + 1)]
    )
    view = view_of(
        images,
        freshness=hw.batch("1h", delay="10m"),
        windows=["1d"],
        source={"id_field": "id", "changes": "before", "known_at_field": "known"},
    )
    materialize_view(view, store, micros(HOUR))
    materialize_view(view, store, micros(2 * HOUR))
    assert [counts(view, store, s) for s in (2 * HOUR + 599, 2 * HOUR + 600)] == [[1], [0]]
    state = dict(store.scan(b"t"))
    materialize_view(view, store, micros(3 * HOUR))
    assert dict(store.scan(b"t")) == state


# ---------------------------------------------------------------- when a cut is seen


@pytest.mark.parametrize(
    ("freshness", "second", "expected"),
    [
        (hw.batch("1h"), 2 * HOUR, [2]),
        (hw.batch("1h", delay="10m"), 2 * HOUR, [1, 2]),
        (hw.batch("1h", delay="10m"), 2 * HOUR + 600, [2]),
        (hw.batch("1h", delay="10m", wait="5m"), 2 * HOUR + 299, [1]),
        (hw.batch("1h", delay="4h", wait="1h"), 9 * HOUR + 1, [5, 6]),
    ],
)
def test_a_job_makes_the_cut_that_is_due_and_the_next_one_at_most(freshness, second, expected):
    view = view_of(frame([(1, 0, 1.0)]), freshness=freshness)
    assert [T for T, _ in cuts_at(view, micros(second))] == [
        micros(hour * HOUR) for hour in expected
    ]


def test_values_can_be_read_at_once_after_the_first_run(store):
    view = view_of(frame([(1, 1800, 1.0)]), freshness=hw.batch("1h", delay="10m"))
    made = materialize_view(view, store, micros(2 * HOUR + 60))
    assert micros(2 * HOUR) == made.cut.T
    assert micros(HOUR) == read(view, store, 2 * HOUR + 60).read_version.T
    assert counts(view, store, 2 * HOUR + 60) == [1]


def test_a_delay_longer_than_the_step_still_shows_each_cut_at_its_time(store):
    view = view_of(
        frame([(1, 60 * n + 30, 1.0) for n in range(30)]),
        freshness=hw.batch("1m", delay="5m"),
        windows=["300d"],
    )
    for minute in range(6, 30):
        materialize_view(view, store, micros(60 * minute))
        served = read(view, store, 60 * minute + 59)
        assert (served.read_version.T, served.features[0].to_list(), served.read_version.stale) == (
            micros(60 * (minute - 5)),
            [minute - 5],
            False,
        )


def test_a_late_job_leaves_the_previous_cuts_exact_value_and_says_so(store):
    rows = [(1, 10, 2.0), (1, HOUR + 10, 3.0)]
    previous, null, refuse = (
        view_of(
            frame(rows),
            freshness=hw.batch("1h", delay="10m"),
            windows=["1d"],
            on_stale=how,
            name=how,
        )
        for how in ("previous", "null", "refuse")
    )
    for view in (previous, null, refuse):
        materialize_view(view, store, micros(HOUR))
        assert not read(view, store, 2 * HOUR + 599).read_version.stale
    served = read(previous, store, 2 * HOUR + 600)
    assert (served.features[1].to_list(), served.read_version.T, served.read_version.stale) == (
        [2.0],
        micros(HOUR),
        True,
    )
    nothing = read(null, store, 2 * HOUR + 600)
    assert (
        nothing.features[1].to_list(),
        nothing.statuses[1].to_list(),
        nothing.read_version.stale,
    ) == ([None], ["fallback"], True)
    with pytest.raises(StaleError, match="older than it promises"):
        read(refuse, store, 2 * HOUR + 600)
    for view in (previous, null, refuse):
        materialize_view(view, store, micros(2 * HOUR + 601))
        assert read(view, store, 2 * HOUR + 601).features[1].to_list() == [5.0]


def test_a_changed_definition_is_not_read_until_it_is_materialized(store):
    events = frame([(1, 10, 2.0)])
    old = view_of(events, freshness=hw.batch("1h"))
    new = view_of(events, freshness=hw.batch("1h"), features=[hw.count(), hw.max("amount")])
    materialize_view(old, store, micros(HOUR))
    with pytest.raises(
        StoreError,
        match=r"not in the online store, or its definition has changed since; run `headwater materialize`",
    ):
        read(new, store, HOUR)
    materialize_view(new, store, micros(HOUR))
    assert read(new, store, HOUR).features[1].to_list() == [2.0]
    assert read(old, store, HOUR).features[1].to_list() == [2.0]


def test_a_column_that_changed_its_type_is_refused(store, tmp_path):
    events, path = frame([(1, 10, 2.0), (1, HOUR + 1, 3.0)]), tmp_path / "events.parquet"
    view = view_of(hw.parquet(path), freshness=hw.batch("1h"))
    events.with_columns(pl.col("amount").cast(pl.Int64)).write_parquet(path)
    materialize_view(view, store, micros(HOUR))
    events.write_parquet(path)
    with pytest.raises(
        DataError,
        match=r"'amount' is Float64, and was Int64 when 'view' was materialized before; cast it",
    ):
        materialize_view(view, store, micros(2 * HOUR))
    assert read(view, store, HOUR).features[1].to_list() == [2]


# ---------------------------------------------------------------- runs that do not end, or meet


@pytest.mark.slow
def test_a_run_that_is_killed_changes_nothing_and_the_next_goes_on(tmp_path):
    url = f"lmdb:{tmp_path}/online?size=1GB"
    with closing(hw.operations.open_store(url)) as store:
        materialize_view(many(), store, micros(HOUR))
    random, total, killed = Random(3), 0, []
    for _ in range(3):
        child = Process(materialize_slowly, url, 3)
        steps = random.randrange(1, 25)
        for _ in range(steps):
            if child.wait() == "done":
                break
        killed.append(child.kill())
        with closing(hw.operations.open_store(url)) as store:
            assert set(counts_of(store, 3 * HOUR)) <= {1.0, 11.0, 111.0}
            assert len(set(counts_of(store, 3 * HOUR))) == 1
        total += 1
    child = Process(materialize_slowly, url, 3)
    while child.wait() != "done":
        pass
    with closing(hw.operations.open_store(url)) as store:
        # due at 3:00 is the cut of 2:00, made first
        assert counts_of(store, 3 * HOUR) == [11.0] * KEYS
        assert counts_of(store, 3 * HOUR + 600) == [111.0] * KEYS
    figure(f"{total} runs killed after {killed} commits")


def counts_of(store, second):
    return read(many(), store, second, range(KEYS)).features[0].to_list()


@pytest.mark.slow
def test_a_reader_never_sees_two_cuts_mixed_and_the_new_one_only_when_it_is_due(tmp_path):
    url = f"lmdb:{tmp_path}/online?size=1GB"
    with closing(hw.operations.open_store(url)) as store:
        materialize_view(many(), store, micros(HOUR))
        moments = [micros(2 * HOUR + 600), micros(2 * HOUR + 599)]
        reader = Process(read_all, url, KEYS, moments)
        assert reader.wait() == "reading"
        local_engine.EVENT_BYTES, event = 1_000_000, local_engine.EVENT_BYTES
        try:
            materialize_view(
                many(), store, micros(2 * HOUR), resources=hw.Resources(memory="1000MB")
            )
        finally:
            local_engine.EVENT_BYTES = event
        store.commit({b"end": b""}, {})
        seen = reader.answer()
    early = {row for row in seen if row[0] == moments[1]}
    assert early == {(moments[1], micros(HOUR), False, 1.0)}
    late = seen - early
    assert late == {
        (moments[0], micros(HOUR), True, 1.0),
        (moments[0], micros(2 * HOUR), False, 11.0),
    }


@pytest.mark.slow
def test_two_runs_of_one_view_come_one_after_the_other(tmp_path):
    url = f"lmdb:{tmp_path}/online?size=1GB"
    with closing(hw.operations.open_store(url)):
        pass
    runs = [Process(materialize_at, url, micros(HOUR), 30.0) for _ in range(2)]
    assert sorted(run.answer() for run in runs) == [(micros(HOUR), 0), (micros(HOUR), KEYS)]


def test_a_run_that_does_not_get_its_turn_says_who_holds_it(store):
    view = many()
    with (
        store.lease(f"materialize-{view.tiles_fingerprint}", wait=0),
        pytest.raises(
            StoreError,
            match=rf"another process holds the lease 'materialize-\w+' of .*: process {os.getpid()}; stop it",
        ),
    ):
        materialize_view(view, store, micros(HOUR), wait=0.1)


def test_work_that_is_done_is_that_of_its_store(tmp_path, monkeypatch):
    """A run killed over one store does not make another one, or an older state of it, whole."""
    url = f"lmdb:{tmp_path}/online?size=1GB"
    with closing(hw.operations.open_store(url)):
        pass
    child = Process(materialize_slowly, url, 1)
    for _ in range(8):
        child.wait()
    child.kill()
    monkeypatch.setattr(local_engine, "EVENT_BYTES", 1_000_000)
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/other?size=1GB")) as other:
        materialize_view(many(), other, micros(HOUR), resources=hw.Resources(memory="1000MB"))
        assert counts_of(other, HOUR + 600) == [1.0] * KEYS


def test_keys_are_written_in_chunks_and_in_parts(store, monkeypatch):
    monkeypatch.setattr(materialize, "_KEYS", 700)
    sizes, commit = [], store.commit
    monkeypatch.setattr(
        store,
        "commit",
        lambda changes, expect: (sizes.append(len(changes)), commit(changes, expect)),
    )
    made = materialize_view(many(), store, micros(HOUR))
    assert (made.events, made.keys) == (KEYS, KEYS)
    assert max(sizes) < 1000
    assert counts_of(store, HOUR + 600) == [1.0] * KEYS


# ---------------------------------------------------------------- by the clock, and as a project


@pytest.mark.parametrize(
    ("freshness", "now", "due"),
    [
        (hw.batch("1m"), 30, 60),
        (hw.batch("1h", delay="10m", wait="5m"), HOUR, HOUR + 300),
        # publishing one does not make the next
        (hw.batch("1h", delay="10m", wait="5m"), HOUR + 300, HOUR + 600),
        (hw.batch("1d", at="02:30", timezone="Europe/Berlin"), 0, 1800),
    ],
)
def test_when_the_next_cut_can_be_made(freshness, now, due):
    view = view_of(frame([(1, 0, 1.0)]), freshness=freshness)
    found = (next_due([view], micros(now)) - micros(0)) / 1_000_000
    assert found == due


def test_the_batch_views_of_a_project_by_name(store):
    day = view_of(frame([(1, 10, 1.0)]), freshness=hw.batch("1h"), name="day")
    live = view_of(frame([(1, 10, 1.0)]), freshness=hw.on_request(), name="live")
    project = project_of(day, live)
    (made,) = hw.materialize(project, store=store, at=at(HOUR))
    assert (made.view, made.events, made.before) == ("day", 1, None)
    with pytest.raises(UsageError, match=r"has no batch view 'dya'.*'day'"):
        hw.materialize(project, ["dya"], store=store)
    with pytest.raises(UsageError, match="no batch view"):
        hw.materialize(project_of(live), store=store)


def test_a_job_of_an_earlier_time_says_that_it_did_nothing(store):
    view = view_of(frame([(1, 10, 1.0)]), freshness=hw.batch("1h"))
    hw.materialize(project_of(view), store=store, at=at(7200))
    hw.materialize(project_of(view), store=store, at=at(7300))  # again, of the same cut
    with pytest.warns(
        HeadwaterWarning,
        match=r"nothing was done for at=2024-05-01T00:10:00\+00:00: 'view' has the cut 2024-05-01T02:00:00",
    ):
        hw.materialize(project_of(view), store=store, at=at(600))


def test_a_job_of_a_time_that_has_not_come_is_refused(store):
    view = view_of(frame([(1, 1000, 1.0)]), freshness=hw.batch("1h"), windows=["1d"])
    with pytest.raises(UsageError, match=r"at=2999-01-01T00:00:00\+00:00 has not come: it is 20"):
        hw.materialize(project_of(view), store=store, at="2999-01-01T00:00Z")
    (made,) = hw.materialize(project_of(view), store=store, at=at(HOUR))
    assert made.events == 1  # the refused job wrote nothing that this one lies behind
