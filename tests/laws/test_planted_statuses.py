"""The status next to a value: present, empty, missing, expired, overflow."""

import polars as pl
import pytest

import headwater as hw

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
BIG = 2**62

STATUSES = [
    # feature, events, asked, rules, statuses
    ("present", hw.count(), [{"at": -1}], [0], {}, ["present"]),
    (
        "of no one",
        hw.count(),
        [{"at": -1}],
        [{"key": 2, "timestamp": 0}, {"key": None, "timestamp": 0}],
        {},
        ["missing"] * 2,
    ),
    (
        "before and after",
        hw.sum("x"),
        [{"at": 0, "x": 1}],
        [0, 1, 2 * HOUR],
        {},
        ["missing", "present", "missing"],
    ),
    ("not known yet", hw.count(), [{"at": -9, "known": 5}], [4, 5], {}, ["missing", "present"]),
    ("never", hw.count(), [{"at": -1}], [0], {"freshness": hw.never()}, ["missing"]),
    (
        "null values",
        hw.mean("x"),
        [{"at": -1, "x": None}, {"at": -2 * HOUR, "x": 1.0}],
        [0, -HOUR - 1],
        {},
        ["empty", "present"],
    ),
    ("no flag", hw.count(where="x"), [{"at": -1, "x": False}], [0], {}, ["empty"]),
    ("one value has no deviation", hw.std("x"), [{"at": -1, "x": 1.0}], [0], {}, ["present"]),
    (
        "a null row is a row",
        hw.latest("x"),
        [{"at": -1, "x": None}, {"at": -2, "x": 1}],
        [0],
        {},
        ["present"],
    ),
    ("expired", hw.last("x"), [{"at": -5, "x": 1}], [0, 1], {"ttl": "5us"}, ["present", "expired"]),
    (
        "expired, not empty",
        hw.count("x"),
        [{"at": -5, "x": 1}, {"at": 0, "x": None}],
        [1],
        {"ttl": "5us"},
        ["expired"],
    ),
    (
        "overflow",
        hw.sum("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [-1, 0],
        {},
        ["present", "overflow"],
    ),
    (
        "an overflow expires",
        hw.sum("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [9],
        {"ttl": "5us"},
        ["expired"],
    ),
    (
        "a mean does not overflow",
        hw.mean("x"),
        [{"at": -2, "x": BIG}, {"at": -1, "x": BIG}],
        [0],
        {},
        ["present"],
    ),
    (
        "nothing is open",
        hw.open_age(until="until"),
        [{"at": -9, "until": -5}],
        [-6, 0],
        {},
        ["present", "empty"],
    ),
    ("none is open", hw.open_count(until="until"), [{"at": -9, "until": -5}], [0], {}, ["present"]),
    ("a list", hw.last_n("x", k=2), [{"at": -1, "x": None}], [0, -1], {}, ["empty", "missing"]),
]


@pytest.mark.parametrize(
    ("feature", "events", "asked", "rules", "expected"),
    [row[1:] for row in STATUSES],
    ids=[row[0] for row in STATUSES],
)
def test_statuses(planted, feature, events, asked, rules, expected):
    whole = (
        {"x": pl.Float64()}
        if feature.function in ("mean", "std") and "overflow" not in str(events)
        else None
    )
    whole = (
        {"x": pl.Int64()}
        if any(e.get("x") == BIG for e in events) or feature.function == "last_n"
        else whole
    )
    assert planted(feature, events, asked, statuses=True, schema=whole, **rules) == expected
