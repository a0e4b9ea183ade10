"""Corrections and deletions of a stream, planted one by one: serving, archive, counts, explanation
and state of each.
"""

from datetime import datetime

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.ingestion import past_events
from headwater.ingestion.change_state import ACCEPTED, DUPLICATE, HELD, OLDER, PASSED
from headwater.ingestion.replay import replay_views
from headwater.jobs.drop_view import forget_view
from headwater.monitoring.explain import explain_feature
from headwater.monitoring.parity import Offline, OfflineRequests, answer, check_view
from headwater.monitoring.status import refused
from headwater.online.view_reader import OnlineView
from headwater.state import change_codec
from headwater.stores import keyspace
from tests.flow import (
    Flow,
    at,
    clock,  # noqa: F401
    frame,
    home,  # noqa: F401
    micros,
    project_of,
    store,  # noqa: F401
    streaming_view,
    view_of,
)

HOUR, DAY = 3600, 86_400
SCHEMA = {"key": int, "amount": float, "at": datetime, "id": str, "known": datetime, "gone": bool}
RULES = {"id_field": "id", "known_at_field": "known", "changes": "gone"}
FEATURES = [hw.sum("amount"), hw.max("amount"), hw.last_n("amount", k=3), hw.count()]


def view_with(windows=("1h",), features=None, source=None, **more):
    rules = {"stream": hw.push(schema=SCHEMA), **RULES} | (source or {})
    return streaming_view(features or FEATURES, windows=list(windows), source=rules, **more)


def after(known, amount, second=10, key=1, ident="a", **more):
    """The image after a change, or of a new event."""
    moment = None if known is None else at(known).isoformat()
    return {
        "key": key,
        "amount": amount,
        "at": second,
        "id": ident,
        "known": moment,
        "gone": False,
        **more,
    }


def before(known, amount=None, second=None, key=None, ident="a", **more):
    """The image before a change; alone, a deletion."""
    return after(known, amount, second, key, ident, gone=True, **more)


def sums(view, store, now, keys=(1, 2)):
    served = OnlineView(view, store).read(
        pl.DataFrame({"key": keys}, schema={"key": pl.Int64}), micros(now)
    )
    return served.features[0].to_list()


def reopened(view, store, folder):
    made = Flow([view], store, folder)
    made.offset = 1000
    return made


# the commits in order, and the sums of keys 1 and 2 after each
PLANTED = {
    "a value": [([after(10, 5.0)], [5, 0]), ([before(20, 5.0), after(20, 7.0)], [7, 0])],
    "a value, by an image after alone": [([after(10, 5.0)], [5, 0]), ([after(20, 7.0)], [7, 0])],
    "a value that is null": [([after(10, 5.0)], [5, 0]), ([after(20, None)], [0, 0])],
    "another key": [([after(10, 5.0)], [5, 0]), ([before(20, 5.0), after(20, 5.0, key=2)], [0, 5])],
    "no key any more": [([after(10, 5.0)], [5, 0]), ([after(20, 5.0, key=None)], [0, 0]), ([after(30, 5.0)], [5, 0])],
    "another time": [([after(10, 5.0), after(10, 1.0, ident="b")], [6, 0]), ([after(20, 5.0, second=-3 * HOUR)], [1, 0])],
    "a time that no window reached": [([after(10, 5.0, second=-3 * HOUR)], [0, 0]), ([after(20, 5.0)], [5, 0])],
    "no time any more": [([after(10, 5.0)], [5, 0]), ([after(20, 5.0, second=None)], [0, 0])],
    "a deletion": [([after(10, 5.0), after(10, 1.0, ident="b")], [6, 0]), ([before(20)], [1, 0])],
    "a deletion of all there is": [([after(10, 5.0)], [5, 0]), ([before(20)], [0, 0])],
    "deleted and stated again": [([after(10, 5.0)], [5, 0]), ([before(20)], [0, 0]), ([after(30, 2.0)], [2, 0])],
    "deleted and stated again together": [([after(10, 5.0)], [5, 0]), ([before(20), after(30, 2.0)], [2, 0])],
    "stated and deleted together": [([after(10, 5.0), before(20)], [0, 0])],
    "two corrections together": [([after(10, 5.0)], [5, 0]), ([after(20, 7.0), after(30, 9.0)], [9, 0])],
    ("two corrections together, out of "
    "order"): [([after(10, 5.0)], [5, 0]), ([after(30, 9.0), after(20, 7.0)], [9, 0])],
    "out of order": [([after(20, 7.0)], [7, 0]), ([after(10, 5.0)], [7, 0]), ([before(15)], [7, 0])],
    "a deletion before its event": [([before(20)], [0, 0]), ([after(10, 5.0)], [0, 0]), ([after(30, 6.0)], [6, 0])],
    "a copy of what was corrected": [([after(10, 5.0)], [5, 0]), ([after(20, 7.0)], [7, 0]), ([after(10, 5.0)], [7, 0])],
    "a copy of a correction": [([after(10, 5.0)], [5, 0]), ([after(20, 7.0)], [7, 0]), ([after(20, 7.0)], [7, 0])],
    "there and back": [([after(10, 5.0)], [5, 0]), ([after(20, 7.0), after(30, 5.0)], [5, 0]), ([after(30, 5.0)], [5, 0])],
    "its time of change told twice": [([after(10, 5.0)], [5, 0]), ([after(20, 5.0)], [5, 0]), ([before(30)], [0, 0])],
    "cents next to billions": [([after(10, 4e9), after(10, 0.01, ident="b")], [4e9 + 0.01, 0]), ([before(20)], [0.01, 0])],
    "the greatest": [([after(10, 9.0), after(10, 1.0, ident="b")], [10, 0]), ([before(20)], [1, 0]), ([before(30, ident="b")], [0, 0])],
    ("an image before at the time of its "
    "event"): [([after(10, 5.0)], [5, 0]), ([before(10)], [5, 0])],
    "what a commit passed through": [([after(10, 5.0)], [5, 0]), ([after(20, 1.0)], [1, 0]), ([before(20, 1.0, 10, 1), after(20, 7.0)], [7, 0])],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [False, True], ids=["in one run", "restarted"])
@pytest.mark.parametrize("commits", PLANTED.values(), ids=PLANTED)
def test_a_change(commits, restarts, store, tmp_path, clock):
    view, now, sent = view_with(["1h", "10m"]), 100, []
    flow = Flow([view], store, tmp_path)
    for records, expected in commits:
        if restarts:
            flow.ingestor.roll(least=1)
            flow = reopened(view, store, tmp_path)
            flow.offset += len(sent)
        flow.send(records, now)
        sent += records
        now += 1
        assert sums(view, store, now) == expected
        assert check_view(view, store, tmp_path, at=micros(now)).mismatches == []
    record_outcomes = flow.send(sent, now)[0].record_outcomes[0]
    assert set(record_outcomes.tolist()) == {DUPLICATE}
    assert sums(view, store, now) == expected


def test_in_redis_a_change_of_key_across_restarts(either, tmp_path, clock):
    view = view_with()
    flow = Flow([view], either, tmp_path)
    flow.send([after(10, 5.0), after(10, 1.0, ident="b")], 20)
    flow = reopened(view, either, tmp_path)
    flow.send([after(20, 5.0, key=2), before(20, ident="b")], 30)
    assert sums(view, either, 31) == [0, 5]
    flow = reopened(view, either, tmp_path)
    flow.offset = 2000
    flow.send([before(30)], 40)
    assert sums(view, either, 41) == [0, 0]
    assert check_view(view, either, tmp_path, at=micros(41)).mismatches == []


def test_a_late_event_is_corrected_in_coarse_tiles_of_both_keys(store, tmp_path, clock):
    view = view_with(["1h", "30d", "lifetime"])
    flow = Flow([view], store, tmp_path)
    flow.send([after(n, 2.0**n, second=n * HOUR, ident=f"e{n}") for n in range(20)], 40 * DAY)
    flow.send(
        [after(100, 1000.0, second=3 * HOUR + 1, key=2, ident="e3"), before(100, ident="e4")],
        40 * DAY + 1,
    )
    served = OnlineView(view, store).read(pl.DataFrame({"key": [1, 2]}), micros(40 * DAY + 2))
    found = {f.name: s.to_list() for f, s in zip(view.outputs, served.features, strict=True)}
    assert found["sum_amount_lifetime"] == [2.0**20 - 1 - 2**3 - 2**4, 1000.0]
    assert found["count_30d"] == [0, 0]
    assert check_view(view, store, tmp_path, at=micros(40 * DAY + 2)).mismatches == []


# ---------------------------------------------------------------- what has not happened yet


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ([], [5, 0]),
        ([after(20, 7.0, second=100)], [7, 0]),
        ([after(20, 5.0, second=100)], [5, 0]),
        ([before(20)], [0, 0]),
        ([after(20, 5.0, second=100, key=2)], [0, 5]),
        ([after(20, 7.0, second=30)], [7, 0]),
        ([after(20, 5.0, second=200)], [5, 0]),
        ([after(5, 7.0, second=30)], [5, 0]),
        ([after(10, 5.0, second=100)], [5, 0]),
    ],
    ids=[
        "left alone",
        "corrected",
        "told again",
        "deleted",
        "another key",
        "sooner",
        "later",
        "out of order",
        "a copy",
    ],
)
@pytest.mark.parametrize(
    "together", [False, True], ids=["before it happens", "in the commit that has it happen"]
)
def test_an_event_of_the_future_waits_with_all_that_is_said_of_it(
    changes, then, together, store, tmp_path, clock
):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    made = flow.send([after(10, 5.0, second=100)], 50)[0]
    assert made.record_outcomes[0].tolist() == [HELD]
    assert sums(view, store, 51) == [0, 0]
    flow = reopened(view, store, tmp_path)
    if not together:
        flow.send(changes, 60)
        assert sums(view, store, 61) == ([7, 0] if changes and changes[0]["at"] == 30 else [0, 0])
    flow.send(changes if together else [], 101)
    assert sums(view, store, 102) == then
    assert check_view(view, store, tmp_path, at=micros(102)).mismatches == []
    flow.send([], 201)
    assert sums(view, store, 202) == then
    assert check_view(view, store, tmp_path, at=micros(202)).mismatches == []
    assert flow.ingestor.due() is None
    (stream,) = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(202)).streams
    assert stream.archived == stream.counts.get("accepted", 0) + stream.counts.get("released", 0)


def test_what_held_goes_on_to_hold_until_a_change_to_the_future_comes_true(store, tmp_path, clock):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    flow.send([after(10, 5.0)], 50)
    flow.send([after(20, 7.0, second=100)], 60)
    flow.send([], 101)
    assert sums(view, store, 102) == [7, 0]
    flow.send([after(30, 9.0, second=200), before(40)], 110)
    for now in (111, 202):
        assert sums(view, store, now) == [0, 0]
        assert check_view(view, store, tmp_path, at=micros(now)).mismatches == []
        flow.send([], 201)


# ---------------------------------------------------------------- what no window reaches


def test_a_change_of_what_no_window_reaches_is_counted_and_archived(store, tmp_path, clock):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    flow.send([after(10, 5.0)], 20)
    flow.send([after(20, 7.0)], 10 * HOUR)
    flow.send([before(30)], 20 * HOUR)
    assert sums(view, store, 20 * HOUR + 1) == [0, 0]
    (stream,) = hw.status(
        project_of(view), store=store, data_dir=tmp_path, at=at(20 * HOUR)
    ).streams
    assert (
        stream.counts["outside"],
        stream.counts["corrected"],
        stream.counts["deleted"],
        stream.archived,
    ) == (3, 1, 1, 3)


def test_events_are_let_go_when_no_window_reaches_them(store, tmp_path, clock):
    view, short = view_with(["1d"]), view_with(["1h"], name="short")
    flow = Flow([view, short], store, tmp_path)

    def left():
        spaces_ = (
            keyspace.IMAGE,
            keyspace.events(view.tiles_fingerprint),
            keyspace.events(short.tiles_fingerprint),
            keyspace.DUE,
        )
        return [sum(1 for _ in store.scan(space)) for space in spaces_]

    flow.send([after(10, 5.0), after(10, 1.0, ident="b"), before(10, ident="c")], 20)
    assert left() == [3, 2, 2, 1]
    flow.send(
        [after(20, 5.0, second=20 * HOUR), after(20, 1.0, ident="d", second=2 * HOUR)], 21 * HOUR
    )
    assert left() == [4, 3, 3, 2]
    flow.send([], 26 * HOUR)  # b and c are beyond a day; a has moved
    assert left() == [2, 2, 2, 2]
    flow = reopened(view, store, tmp_path)
    flow.send([after(30, 9.0, ident="b")], 27 * HOUR)  # of an event that was released
    assert sums(view, store, 27 * HOUR) == [5, 0]
    flow = Flow([view, short], store, tmp_path)
    for hour in (60, 61, 62):
        flow.send([], hour * HOUR)
    assert left() == [0, 0, 0, 0]


def test_what_a_lifetime_reaches_is_kept(store, tmp_path, clock):
    view = view_with(["lifetime"])
    flow = Flow([view], store, tmp_path)
    flow.send([after(10, 5.0), after(10, 1.0, ident="b")], 20)
    flow.send([], 1000 * DAY)
    flow.send([before(20)], 1001 * DAY)
    assert sums(view, store, 1001 * DAY + 1) == [1, 0]


# ---------------------------------------------------------------- messages


def test_refused_images_change_nothing(store, tmp_path, clock):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    flow.send([after(10, 5.0)], 20)
    bad = [
        after(20, 7.0, ident=None),
        after(None, 7.0),
        after(20, 7.0, gone=None),
        after(20 + 2 * DAY, 7.0),
        after(20, 7.0, second=20 + 2 * DAY),
    ]
    made = flow.send([*bad, before(5)], 30)[0]
    reasons = [
        "no id",
        "no known",
        "no gone",
        "known is more than 1d after it was received",
        "at is more than 1d after it was received",
    ]
    assert made.dead["reason"].to_list() == reasons
    assert sums(view, store, 31) == [5, 0]
    flow.send([before(30, second=20 + 2 * DAY)], 40)  # what an image before says is not looked at
    assert sums(view, store, 41) == [0, 0]


def test_what_is_put_aside_says_why(store, tmp_path, clock):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    made = flow.send([after(10, 5.0), after(20, 7.0), after(20, 7.0)], 30)[0]
    assert made.record_outcomes[0].tolist() == [ACCEPTED, ACCEPTED, DUPLICATE]
    flow.send([after(15, 6.0)], 40)
    kept = refused(store, project_of(view), "events", tmp_path)
    assert sorted(kept["reason"]) == sorted([OLDER, PASSED, "a duplicate of an accepted event"])
    (stream,) = hw.status(project_of(view), store=store, data_dir=tmp_path, at=at(41)).streams
    assert (
        stream.archived,
        stream.counts["accepted"],
        stream.counts["superseded"],
        stream.counts["copies"],
    ) == (1, 1, 2, 1)


def test_each_is_explained(store, tmp_path, clock):
    view = view_with()
    flow = Flow([view], store, tmp_path)
    flow.send(
        [
            after(10, 5.0),
            after(10, 1.0, ident="b"),
            after(10, 2.0, ident="c"),
            after(10, 4.0, ident="d"),
        ],
        20,
    )
    flow.send([after(20, 7.0), before(20, ident="b"), after(20, 2.0, key=2, ident="c")], 30)
    flow.send([after(15, 6.0)], 40)
    clock(50)
    found = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path)
    assert (found.online, found.offline) == (11.0, 11.0)
    assert {
        row["amount"]: row["why"].split(":")[0].split(",")[0] for row in found.events.to_dicts()
    } == {
        4.0: "it counts",
        7.0: "it counts",
        5.0: "corrected",
        2.0: "corrected",
        1.0: "deleted",
        6.0: "corrected",
    }
    past = explain_feature(view, "sum_amount_1h", {"key": 1}, store, tmp_path, at=micros(25))
    assert past.offline == 12.0
    assert explain_feature(view, "sum_amount_1h", {"key": 2}, store, tmp_path).online == 2.0


def test_training_on_the_archive_sees_what_was_served(store, tmp_path, clock):
    view = view_with(["1h"], [hw.sum("amount"), hw.last_n("amount", k=2)])
    flow, served = Flow([view], store, tmp_path), []
    steps = [
        [after(10, 5.0), after(10, 1.0, ident="b")],
        [after(30, 9.0), after(20, 7.0)],
        [before(25, ident="b"), after(25, 3.0, ident="b", key=2)],
        [before(40, ident="b"), after(50, 2.0, ident="b", second=90)],
        [after(40, 4.0)],
        [before(60)],
        [],
    ]
    for n, records in enumerate(steps):
        now = 60 + 10 * n
        flow.send(records, now)
        served.append(sums(view, store, now + 5))
    flow.ingestor.roll(least=1)
    archive = hw.parquet(str(tmp_path / "archive" / "events"))
    rules = {
        "known_at_field": "headwater_known_at",
        "id_field": "id",
        "changes": "gone",
        "select": ["key", "amount", "id", "gone"],
    }
    source = hw.Source("trained", history=archive, timestamp_field="at", **rules)
    trained = hw.FeatureView(
        "trained",
        source=source,
        keys=["key"],
        features=[hw.sum("amount")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    asked = pl.DataFrame(
        {
            "key": [1, 2] * len(steps),
            "timestamp": [at(65 + 10 * (n // 2)) for n in range(2 * len(steps))],
        }
    )
    found = hw.get_historical_features(trained, asked)["trained__sum_amount_1h"].to_list()
    assert found == [value for pair in served for value in pair]
    assert served == [[6, 0], [10, 0], [9, 3], [9, 0], [6, 0], [2, 0], [2, 0]]


def test_parity_at_commits_that_lie_between_those_served(store, tmp_path, clock):
    view = view_with()
    flow, served = Flow([view], store, tmp_path), []
    changes = [
        [after(10, 1.0)],
        [after(20, 2.0)],
        [after(30, 4.0), after(30, 8.0, ident="b")],
        [before(40)],
        [after(50, 16.0)],
        [before(60)],
    ]
    for n, records in enumerate(changes):
        sequence = flow.send(records, 60 + n)[0].sequence
        served.append((sequence, sums(view, store, 60 + n, [1])[0]))
    assert [value for _, value in served] == [1, 2, 12, 8, 24, 8]
    for chosen in ([0, 1, 2, 3, 4, 5], [1, 4], [0, 3, 5], [2], [5]):
        place = pl.lit(pl.Series([served[n][0] for n in chosen])).search_sorted(
            pl.col("headwater_sequence"), side="left"
        )
        events = Offline(view, store, tmp_path).committed({None: (served[chosen[-1]][0], place)})
        asked = OfflineRequests(
            pl.DataFrame({"key": [1] * len(chosen)}),
            np.full(len(chosen), micros(100)),
            np.arange(len(chosen)),
        )
        assert answer(view, view.outputs, events, asked).values.to_series().to_list() == [
            served[n][1] for n in chosen
        ]


# ---------------------------------------------------------------- how a view begins


@pytest.mark.parametrize("rolled", [False, True])
def test_a_view_that_comes_later_can_take_back_what_was_there(
    rolled, either, tmp_path, clock, monkeypatch
):
    monkeypatch.setattr(past_events, "_EVENTS", 2)
    old, new = view_with(), view_with(["1h", "1d"], name="new")
    flow = Flow([old], either, tmp_path)
    flow.send([after(n, 2.0**n, ident=f"e{n}", second=n) for n in range(6)], 20)
    flow.send(
        [
            after(10, 100.0, ident="e1"),
            before(10, ident="e2"),
            after(10, 50.0, ident="f", second=60),
        ],
        30,
    )
    if rolled:
        flow.ingestor.roll(least=1)
    clock(70)  # an event is due, and no commit has taken it in yet
    both = Flow([old, new], either, tmp_path)
    both.offset = 1000
    assert sums(new, either, 70) == sums(old, either, 70) == [63 - 2 - 4 + 100, 0]
    both.send([before(20, ident="e1"), after(20, 8.0, ident="e3", key=2)], 80)
    for view in (old, new):
        assert sums(view, either, 81) == [63 - 2 - 4 - 8 + 50, 8]
        assert check_view(view, either, tmp_path, at=micros(81)).mismatches == []
    forget_view(new, either)
    again = Flow([old, new], either, tmp_path)
    again.offset = 2000
    again.send([before(30, ident="e5")], 90)
    for view in (old, new):
        assert sums(view, either, 91) == [63 - 2 - 4 - 8 + 50 - 32, 8]


def history(*records):
    made = frame(
        [(r["key"], r["at"] or 0, r["amount"]) for r in records],
        id=[r["id"] for r in records],
        gone=[r["gone"] for r in records],
    )
    return made.with_columns(
        known=pl.Series([r["known"] for r in records]).str.to_datetime(
            time_zone="UTC", time_unit="us"
        )
    )


def test_a_stream_takes_back_what_its_history_says(either, tmp_path, clock):
    past = [
        after(10, 5.0),
        after(10, 1.0, ident="b"),
        before(20, ident="b"),
        after(10, 2.0, ident="c"),
        after(15, 3.0, ident="c"),
    ]
    past += [after(10, 4.0, ident="d", second=1000), after(10, 8.0, ident="e", second=1000)]
    view = view_with(source={"history": history(*past), "select": ["key", "amount"]})
    clock(100)
    flow = Flow([view], either, tmp_path)
    assert sums(view, either, 100) == [8, 0]
    flow.send(
        [
            *past,
            after(30, 7.0),
            before(30, ident="c"),
            after(12, 1.0, ident="b"),
            before(30, ident="d"),
        ],
        110,
    )
    assert sums(view, either, 111) == [7, 0]
    assert check_view(view, either, tmp_path, at=micros(111)).mismatches == []
    flow.send([], 1001)
    assert sums(view, either, 1002) == [15, 0]
    assert check_view(view, either, tmp_path, at=micros(1002)).mismatches == []
    clock(1003)
    said = explain_feature(view, "sum_amount_1h", {"key": 1}, either, tmp_path).events
    assert {row["amount"] for row in said.filter("counts").to_dicts()} == {7.0, 8.0}


def test_a_replay_shows_what_training_says(store, tmp_path):
    past = [
        after(n, float(n), ident=f"e{n % 40}", second=(n * 37) % max(n, 1), key=n % 2 + 1)
        for n in range(0, 900, 3)
    ]
    past += [before(n, ident=f"e{n % 40}") for n in range(100, 900, 70)]
    past += [
        after(5, 1000.0, ident="x", second=400),
        after(250, 2000.0, ident="y", second=700),
        before(300, ident="y"),
    ]
    # one is told of before it happens
    past += [after(150, 3000.0, ident="z", second=700), after(160, 4000.0, ident="w", second=100)]
    table = history(*past)
    rules = {**RULES, "select": ["key", "amount"]}
    view = view_of(
        table, freshness=hw.streaming("2s"), features=FEATURES, windows=["10m", "1m"], source=rules
    )
    moments, served = [], []
    for step in replay_views(
        [view], store, start=micros(100), end=micros(900), step="50s", folder=tmp_path
    ):
        moments.append(step.timestamp)
        read = OnlineView(view, store).read(pl.DataFrame({"key": [1, 2]}), step.now)
        served.append([series.to_list() for series in read.features])
    asked = pl.DataFrame(
        {"key": [1, 2] * len(moments), "timestamp": [m for m in moments for _ in range(2)]}
    )
    found = hw.get_historical_features(view, asked, level=hw.Level(hw.on_request()))
    for place, name in enumerate(view.feature_names):
        expected = found[name].to_list()
        assert [value for one in served for value in one[place]] == expected, name


def test_images_survive_being_written():
    made = change_codec.EventImages(5, 0, [{"a": 1, "b": None, "c": float("inf"), "d": "é"}])
    assert change_codec.decoded(change_codec.encoded(made)) == made
