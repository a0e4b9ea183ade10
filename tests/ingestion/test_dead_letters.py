"""Refused records are replayed through the same acceptance, each at most once."""

from datetime import datetime

import pytest

import headwater as hw
from headwater.errors import StoreError
from tests.flow import Flow, at, clock, home, project_of, store, streaming_view  # noqa: F401 (fixtures)

WITH_ID = {"key": int, "amount": float, "at": datetime, "id": str}


def count(store, view, second):
    return hw.get_online_features(view, [{"key": 1}], store=store, at=at(second), details=True)[
        "view__count_1d"
    ][0]


def event(n, second=1.0, **more):
    return {"key": 1, "at": second, "amount": 1.0, "id": f"e{n}"} | more


@pytest.mark.parametrize("rolled", [True, False], ids=["in files", "in the store"])
def test_what_a_wrong_limit_refused_is_taken_in_once(either, tmp_path, clock, rolled):
    """Events from the future of a clock that was behind: later they are none."""
    view = streaming_view(
        windows=["1d"], schema=WITH_ID, source={"id_field": "id", "select": ["key", "amount"]}
    )
    project = project_of(view)
    flow = Flow([view], either, tmp_path)
    flow.send([event(0)], 2)
    flow.send([event(n, 200_000.0) for n in range(1, 6)], 3)  # more than a day ahead: refused
    flow.send([event(0), event(9, amount="bad")], 4)  # a duplicate, and one that is not an event
    if rolled:
        flow.ingestor.roll(least=1)
    assert count(either, view, 5) == 1
    clock(200_001)
    tried = hw.operations.replay_dead_letters(
        project, "events", store=either, data_dir=tmp_path, dry_run=True
    )
    assert (tried.records, dict(tried.outcomes)) == (6, {"accepted": 5, "refused": 1})
    assert (
        hw.operations.dead_letters(project, "events", store=either, data_dir=tmp_path)[
            "replayed"
        ].sum()
        == 0
    )
    done = hw.operations.replay_dead_letters(project, "events", store=either, data_dir=tmp_path)
    assert (done.records, done.before, dict(done.outcomes)) == (6, 0, {"accepted": 5, "refused": 1})
    assert count(either, view, 200_002) == 5
    again = hw.operations.replay_dead_letters(project, "events", store=either, data_dir=tmp_path)
    assert (again.records, again.before, dict(again.outcomes)) == (1, 5, {"refused": 1}), (
        "a record refused again may be tried again"
    )
    assert count(either, view, 200_002) == 5
    listed = hw.operations.dead_letters(project, "events", store=either, data_dir=tmp_path)
    assert listed["replayed"].sum() == 5
    assert listed.height == 7, "each record once, however often it was refused"
    after = Flow([view], either, tmp_path)
    (made,) = after.send([event(3, 200_000.0), event(7, 200_000.0)], 200_003)
    assert (made.counts["copies"], made.counts["accepted"]) == (1, 1), (
        "a replayed event is known by its id, and offsets have not moved"
    )
    assert count(either, view, 200_004) == 6
    assert hw.parity(project, store=either, data_dir=tmp_path, at=at(200_004))[0].mismatches == []


def test_a_replay_that_fails_marks_nothing(store, tmp_path, clock, monkeypatch):
    view = streaming_view(windows=["1d"])
    Flow([view], store, tmp_path).send([event(1, 200_000.0)], 3)
    clock(200_001)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "commit", _fails)
        with pytest.raises(StoreError, match="no room"):
            hw.operations.replay_dead_letters(
                project_of(view), "events", store=store, data_dir=tmp_path
            )
    assert hw.operations.replay_dead_letters(
        project_of(view), "events", store=store, data_dir=tmp_path
    ).outcomes == {"accepted": 1}
    assert count(store, view, 200_002) == 1


@pytest.mark.parametrize(
    ("which", "found"),
    [
        ({}, {0, 1, 2, 3}),
        ({"reason": "after it was received"}, {0, 1, 2}),
        ({"reason": "no such reason"}, set()),
        ({"since": at(20)}, {2, 3}),
        ({"until": "2024-05-01T00:00:15Z"}, {0, 1}),
        ({"since": at(5), "until": at(25)}, {1, 2}),
        ({"offsets": [1, 3, 99]}, {1, 3}),
    ],
)
def test_some_of_them(store, tmp_path, clock, which, found):
    view = streaming_view(windows=["1d"])
    flow, project = Flow([view], store, tmp_path), project_of(view)
    for n, second in enumerate((3, 10, 20)):
        flow.send([event(n, 200_000.0)], second)
    flow.send([event(3, amount="bad")], 30)
    clock(200_001)
    chosen = hw.operations.DeadLetterFilter(**which)
    assert (
        set(
            hw.operations.dead_letters(project, "events", chosen, store=store, data_dir=tmp_path)[
                "headwater_offset"
            ]
        )
        == found
    )
    done = hw.operations.replay_dead_letters(
        project, "events", chosen, store=store, data_dir=tmp_path
    )
    assert done.records == len(found)
    assert done.outcomes.get("accepted", 0) == len(found - {3})


def _fails(*_):
    raise StoreError("no room")
