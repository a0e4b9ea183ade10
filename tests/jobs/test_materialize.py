"""Cuts: which events are in them, when they are seen, and what happens when a run does not end, or
comes late, or comes twice.
"""

from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, HeadwaterWarning, StoreError, UsageError
from tests.flow import at, frame, home, micros, project_of, store, view_of  # noqa: F401 (fixtures)

HOUR = 3600
US = 1e-6


def materialize_view(view, store, second, **more):
    (made,) = hw.materialize(project_of(view), store=store, at=at(second), **more)
    return made


def read(view, store, second, keys=(1,)):
    asked = pl.DataFrame({"key": list(keys)}, schema={"key": pl.Int64})
    return hw.get_online_features(view, asked, store=store, at=at(second), details=True)


def counts(view, store, second, keys=(1,)):
    return read(view, store, second, keys)[view.feature_names[0]].to_list()


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
        materialize_view(view, store, hour * HOUR + 300)
        found.append(counts(view, store, hour * HOUR + 600))
    assert found == [first, second]


@pytest.mark.slow
@pytest.mark.parametrize("ids", [False, True])
def test_a_run_adds_exactly_what_the_cut_before_did_not_have(ids, store):
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
        made = materialize_view(view, store, K)
        assert (made.cut.T, made.cut.K, made.events) == (micros(T), micros(K), visible - before)
        before = visible
        assert sum(counts(view, store, T + 600, range(5))) == visible
    assert materialize_view(view, store, 6 * HOUR + 301).done_before


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
        materialize_view(view, store, hour * HOUR)
        served = read(view, store, hour * HOUR, [1, 2, 3])
        sums.append(served.select("view__sum_amount_1d", "view__sum_amount_1d__status").rows())
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
    materialize_view(view, store, HOUR)
    materialize_view(view, store, 2 * HOUR)
    assert [counts(view, store, s) for s in (2 * HOUR + 599, 2 * HOUR + 600)] == [[1], [0]]
    state = dict(store.scan(b"t"))
    materialize_view(view, store, 3 * HOUR)
    assert dict(store.scan(b"t")) == state


# ---------------------------------------------------------------- when a cut is seen


def test_a_delay_longer_than_the_step_still_shows_each_cut_at_its_time(store):
    view = view_of(
        frame([(1, 60 * n + 30, 1.0) for n in range(30)]),
        freshness=hw.batch("1m", delay="5m"),
        windows=["300d"],
    )
    for minute in range(6, 30):
        materialize_view(view, store, 60 * minute)
        served = read(view, store, 60 * minute + 59)
        assert served["view__count_300d"].to_list() == [minute - 5]
        assert served["view__count_300d__age"][0] == 59 + 5 * 60
        assert not served["view__count_300d__stale"][0]


def test_a_changed_definition_is_not_read_until_it_is_materialized(store):
    events = frame([(1, 10, 2.0)])
    old = view_of(events, freshness=hw.batch("1h"))
    new = view_of(events, freshness=hw.batch("1h"), features=[hw.count(), hw.max("amount")])
    materialize_view(old, store, HOUR)
    with pytest.raises(
        StoreError,
        match=r"not in the online store, or its definition has changed since; run `headwater materialize`",
    ):
        read(new, store, HOUR)
    materialize_view(new, store, HOUR)
    assert read(new, store, HOUR)["view__max_amount_1h"].to_list() == [2.0]
    assert read(old, store, HOUR)["view__sum_amount_1h"].to_list() == [2.0]


def test_a_column_that_changed_its_type_is_refused(store, tmp_path):
    events, path = frame([(1, 10, 2.0), (1, HOUR + 1, 3.0)]), tmp_path / "events.parquet"
    view = view_of(hw.parquet(path), freshness=hw.batch("1h"))
    events.with_columns(pl.col("amount").cast(pl.Int64)).write_parquet(path)
    materialize_view(view, store, HOUR)
    events.write_parquet(path)
    with pytest.raises(
        DataError,
        match=r"'amount' is Float64, and was Int64 when 'view' was materialized before; cast it",
    ):
        materialize_view(view, store, 2 * HOUR)
    assert read(view, store, HOUR)["view__sum_amount_1h"].to_list() == [2]


# ---------------------------------------------------------------- by the clock, and as a project


def test_rows_without_a_time_are_counted(store):
    events = frame([(1, 10, 1.0), (2, 20, 1.0), (3, 30, 1.0)], known=[at(11), None, at(31)])
    events = events.with_columns(at=pl.when(pl.col("key") == 3).then(None).otherwise("at"))
    source = {"known_at_field": "known", "select": ["key", "amount"]}
    view = view_of(events, freshness=hw.batch("1h"), source=source)
    made = materialize_view(view, store, HOUR)
    left_out = {"source events: no at": 1, "source events: no known, so never known": 1}
    assert (made.events, made.left_out) == (1, left_out)


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
