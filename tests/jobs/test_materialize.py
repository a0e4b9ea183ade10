"""Cuts: which events are in them, when they are seen, and what happens when a run does not end, or
comes late, or comes twice.
"""

import polars as pl
import pytest

import headwater as hw
from headwater.errors import StoreError
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
