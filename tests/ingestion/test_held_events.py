"""Held events: a commit pays for due events, not for waiting ones."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.validate import DUE, HeldEvents, waiting
from headwater.stores import keyspace
from tests.flow import Flow, at, frame, home, store, streaming_view  # noqa: F401 (fixtures)


def count_of(store, view, second):
    return hw.get_online_features(view, [{"key": 1}], store=store, at=at(second))["view__count_1d"][
        0
    ]


def held_blocks(store):
    return sum(1 for _ in store.scan(keyspace.HELD))


# ---------------------------------------------------------------- laws of the structure


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 40), max_size=5),
            st.integers(0, 6),
            st.sampled_from(["go", "restart", "fail"]),
        ),
        max_size=60,
    )
)
def test_every_held_event_is_released_once_at_its_time(steps):
    """Any held events, restarted, or committed for nothing: as a list that is filtered at each
    commit says.
    """
    values, now, expected, number = {}, 0, [], 0
    held = HeldEvents.load(values, now)
    for step, (ahead, later, how) in enumerate(steps):
        then = now + later
        released, without = held.release(then)
        came = sorted(n for rows in released for n in rows["n"].to_list())
        assert came == sorted(n for n, due in expected if due < then)
        fresh = [(number + i, then + a) for i, a in enumerate(ahead)]
        rows = (
            pl.DataFrame(fresh, schema={"n": pl.Int64, DUE: pl.Int64}, orient="row")
            if fresh
            else None
        )
        changes, after = without.put(b"%08d" % step, rows)
        if how == "fail":  # the value is as it was
            continue
        held, number, now = after, number + len(fresh), then
        expected = [(n, due) for n, due in expected if due >= then] + fresh
        values = {k: v for k, v in {**values, **changes}.items() if v is not None}
        if how == "restart":
            held = HeldEvents.load(values, now)
        assert held.due == min((due for _, due in expected), default=None)
        assert held.latest >= max((due for _, due in expected), default=0)
        assert (
            sum(waiting(value, now).height for value in values.values())
            == len(held)
            == len(expected)
        )


# ---------------------------------------------------------------- through a store


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted at each commit"])
def test_events_held_one_a_commit_count_at_their_time(store, tmp_path, restart):
    view = streaming_view(windows=["1d"])
    flow = Flow([view], store, tmp_path)
    for n in range(40):
        flow = Flow([view], store, tmp_path) if restart else flow
        (made,) = flow.send([{"key": 1, "at": 1000 + n, "amount": 1.0}], n)
        assert made.counts["held"] == 1
    assert held_blocks(store) < 30
    assert hw.status(_project(view), store=store, data_dir=tmp_path).streams[0].held == 40
    flow = Flow([view], store, tmp_path) if restart else flow
    (made,) = flow.send([], 1010)
    assert (made.counts["released"], count_of(store, view, 1010)) == (10, 10)
    flow = Flow([view], store, tmp_path) if restart else flow
    (made,) = flow.send([], 1010)
    assert made.counts.get("released", 0) == 0
    assert hw.status(_project(view), store=store, data_dir=tmp_path).streams[0].held == 30
    (made,) = flow.send([], 2000)
    assert (made.counts["released"], count_of(store, view, 2000), held_blocks(store)) == (30, 40, 0)


def test_what_a_failed_commit_released_is_released_by_the_next(store, tmp_path, monkeypatch):
    view = streaming_view(windows=["1d"])
    flow = Flow([view], store, tmp_path)
    flow.send([{"key": 1, "at": 100, "amount": 1.0}], 0)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "commit", _fails)
        with pytest.raises(hw.errors.StoreError, match="no room"):
            flow.send([], 200)
    (made,) = flow.send([], 201)
    assert (made.counts["released"], count_of(store, view, 201)) == (1, 1)


def _fails(*_):
    raise hw.errors.StoreError("no room")


def _project(view):
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    return hw.Project(
        "project",
        [hw.Model("m", task="regression", features=hw.FeatureService("s", [view]), labels=labels)],
    )
