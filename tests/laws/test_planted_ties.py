"""Events at one time, and copies of one event: what wins never depends on arrival."""

import itertools

import polars as pl
import pytest

import headwater as hw

SECOND, HOUR = 1_000_000, 3_600_000_000

TIES = [
    # function, rules, events at one time, value
    (hw.last("x"), {}, [{"x": 3}, {"x": 7}, {"x": 5}], 7),
    (hw.first("x"), {}, [{"x": 3}, {"x": 7}, {"x": 5}], 3),
    (hw.last("x"), {}, [{"x": "é"}, {"x": "z"}, {"x": "Z"}], "é"),
    (hw.last("x"), {}, [{"x": True}, {"x": False}], True),
    (hw.last("x"), {}, [{"x": None}, {"x": -1.5}], -1.5),
    (hw.first("x"), {}, [{"x": float("nan")}, {"x": 2.5}], 2.5),
    (
        hw.last("x"),
        {"id_field": "id"},
        [{"x": 3, "id": 9}, {"x": 7, "id": 2}, {"x": 5, "id": 4}],
        3,
    ),
    (
        hw.first("x"),
        {"id_field": "id"},
        [{"x": 3, "id": 9}, {"x": 7, "id": 2}, {"x": 5, "id": 4}],
        7,
    ),
    (hw.last("x"), {"id_field": "id"}, [{"x": 3, "id": "b"}, {"x": 7, "id": "B"}], 3),
    (hw.last("x"), {"id_field": "id"}, [{"x": None, "id": 9}, {"x": 7, "id": 2}], 7),
    (
        hw.last("x", where="ok"),
        {},
        [{"x": 3, "ok": True}, {"x": 7, "ok": False}, {"x": 9, "ok": None}],
        3,
    ),
    (hw.latest("x", "y"), {}, [{"x": 3, "y": 9}, {"x": 3, "y": 2}, {"x": 1, "y": 99}], (3, 9)),
    (
        hw.latest("x", "y"),
        {},
        [{"x": 3, "y": None}, {"x": 3, "y": -5}, {"x": None, "y": 99}],
        (3, -5),
    ),
    (
        hw.latest("x", "y"),
        {"id_field": "id"},
        [{"x": 3, "y": 9, "id": 1}, {"x": None, "y": 2, "id": 2}],
        (None, 2),
    ),
    (
        hw.latest("x", "y", where="ok"),
        {},
        [{"x": 3, "y": 9, "ok": False}, {"x": 1, "y": 2, "ok": True}],
        (1, 2),
    ),
]


@pytest.mark.parametrize(("feature", "rules", "events", "value"), TIES)
def test_ties_are_broken_by_id_then_value(planted, feature, rules, events, value):
    for order in itertools.permutations(events):
        assert planted(feature, [{"at": -HOUR, **e} for e in order], [0], **rules) == [value]


@pytest.mark.parametrize(
    ("copies", "values"),
    [
        # (known after the first copy, x): a copy is dropped iff an accepted one was known less than
        # 10 s before
        ([(0, 1), (0, 1)], [1]),
        ([(0, 2), (0, 1)], [1]),  # known at one moment: the lesser value
        ([(0, 1), (10 * SECOND - 1, 2)], [1]),
        ([(0, 1), (10 * SECOND, 2)], [1, 2]),
        ([(0, 1), (10 * SECOND + 1, 2)], [1, 2]),
        ([(0, 5), (1, 3)], [5]),  # the first content wins
        # the dropped one starts no new horizon
        ([(0, 1), (6 * SECOND, 2), (12 * SECOND, 3)], [1, 3]),
        (
            [(0, 1), (6 * SECOND, 2), (12 * SECOND, 3), (18 * SECOND, 4), (22 * SECOND, 5)],
            [1, 3, 5],
        ),
        ([(0, None), (1, 2)], []),
    ],
)
def test_copies_within_the_horizon_are_dropped(planted, copies, values):
    events = [{"at": -HOUR, "known": -HOUR + known, "x": x, "id": 7} for known, x in copies]
    for order in (events, events[::-1]):
        found = planted(
            hw.sum("x"),
            order,
            [0],
            window="2h",
            id_field="id",
            id_horizon="10s",
            schema={"x": pl.Int64()},
        )
        assert found == [sum(values)]


def test_copies_are_dropped_by_id_whatever_else_they_say(planted):
    """Another key, another event time: the copy that was known first is the event."""
    events = [
        {"key": 1, "at": -HOUR, "known": -HOUR, "id": "a"},
        {"key": 2, "at": -SECOND, "known": -SECOND, "id": "a"},
        {"key": 2, "at": -SECOND, "known": -1, "id": "b"},
    ]
    asked = [{"key": 1, "timestamp": 0}, {"key": 2, "timestamp": 0}]
    assert planted(hw.count(), events, asked, window="2h", id_field="id") == [1, 1]


def test_a_copy_known_after_k_does_not_replace_what_was_known(planted):
    events = [
        {"at": -HOUR, "known": -2 * SECOND, "x": 1, "id": 7},
        {"at": -HOUR, "known": 10 * SECOND, "x": 2, "id": 7},
    ]
    feature = hw.latest("x")
    assert planted(
        feature, events, [0, 20 * SECOND], window="2h", id_field="id", id_horizon="1s"
    ) == [1, 2]
    assert planted(
        feature, events, [0, 20 * SECOND], window="2h", id_field="id", id_horizon="1h"
    ) == [1, 1]


def test_a_copy_outside_the_window_still_drops_one_inside(planted):
    """Reads are bounded by the windows; the search for duplicates is not."""
    events = [
        {"at": -5 * HOUR, "known": -5 * HOUR, "x": 1, "id": 7},
        {"at": -SECOND, "known": -SECOND, "x": 2, "id": 7},
    ]
    assert planted(hw.count(), events, [0], id_field="id", id_horizon="1d") == [0]
    assert planted(hw.count(), events, [0], id_field="id", id_horizon="4h") == [1]
