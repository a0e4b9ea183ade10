"""What each aggregation makes of each kind of value: nulls, NaN, infinities, overflow, booleans,
timestamps, strings.
"""

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.testing import cases

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
NAN = float("nan")
BIG = 2**62
FUNCTIONS = sorted({each.function for each in cases.aggregations()})
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
HALF = NOON + timedelta(minutes=30)

VALUES = [
    # aggregation, values in order of time, answer
    (hw.count(), [1.5, None, NAN], 3),
    (hw.count("x"), [1.5, None, NAN], 1),
    (hw.count("x"), ["a", None, ""], 2),
    (hw.count("x"), [None, None], 0),
    (hw.sum("x"), [1.5, None, NAN, -0.5], 1.0),
    (hw.sum("x"), [None, NAN], 0.0),
    (hw.sum("x"), [4, None, -6], -2),
    (hw.sum("x"), [True, False, None, True], 2),
    (hw.sum("x"), [0.01, 4e15, -4e15], 0.0),  # within 1e-9 of the sum of sizes
    (hw.sum("x"), [BIG, BIG - 1], 2**63 - 1),
    (hw.sum("x"), [BIG, BIG], None),  # overflow
    (hw.sum("x"), [-BIG, -BIG], -(2**63)),
    (hw.sum("x"), [-BIG, -BIG, -1], None),
    (hw.sum("x"), [BIG, BIG, -1], 2**63 - 1),  # leaves int64 on the way, and comes back
    (hw.sum("x"), [BIG] * 4, None),  # wraps around to 0
    (hw.sum("x"), [BIG] * 5, None),
    (hw.mean("x"), [1.0, None, 2.0, NAN], 1.5),
    (hw.mean("x"), [None], None),
    (hw.mean("x"), [1, 2], 1.5),
    (hw.mean("x"), [True, False, None, False], 1 / 3),
    (hw.mean("x"), [BIG] * 4, float(BIG)),  # a mean is a float: it does not overflow
    (hw.min("x"), [2.5, None, -1.5, NAN], -1.5),
    (hw.max("x"), [-2.5, None, -3.5, NAN], -2.5),
    (hw.min("x"), [None, NAN], None),
    (hw.min("x"), [2**63 - 1, -(2**63)], -(2**63)),
    (hw.max("x"), [2**63 - 2, 2**63 - 1], 2**63 - 1),
    (hw.min("x"), [2**63 - 1], 2**63 - 1),  # the neutral element itself
    (hw.max("x"), [-(2**63)], -(2**63)),
    (hw.min("x"), [True, None, False], False),
    (hw.max("x"), [False, None], False),
    (hw.min("x"), ["b", None, "é", "Z"], "Z"),
    (hw.max("x"), ["b", None, "é", "Z"], "é"),
    (hw.max("x"), ["", None], ""),
    (hw.min("x"), [HALF, None, NOON], NOON),
    (hw.max("x"), [NOON, None], NOON),
    (hw.min("x"), [date(2024, 2, 29), date(2024, 3, 1)], date(2024, 2, 29)),
    (hw.max("x"), [timedelta(seconds=5), timedelta(days=-1)], timedelta(seconds=5)),
    (hw.std("x"), [1.0, None, 3.0, NAN], math.sqrt(2)),
    (hw.std("x"), [1.0, None], None),
    (hw.std("x", ddof=0), [1.0, 3.0], 1.0),
    (hw.std("x", ddof=0), [7], 0.0),
    (hw.std("x", ddof=0), [None], None),
    (hw.std("x"), [True, False], math.sqrt(0.5)),
    (hw.std("x"), [1e9 + 1, 1e9 + 2, 1e9 + 3], 1.0),  # a difference of squares would lose it
    (hw.first("x"), [None, 2.5, 1.5], 2.5),
    (hw.first("x"), [NAN], None),
    (hw.last("x"), [2.5, 1.5, None], 1.5),
    (hw.last("x"), ["a", "b", None], "b"),
    (hw.first("x"), [None, ""], ""),
    (hw.last("x"), [True, False, None], False),
    (hw.last("x"), [NOON, HALF, None], HALF),
    (hw.last("x"), [date(2024, 2, 29)], date(2024, 2, 29)),
    (hw.first("x"), [2**53 + 1, 0], 2**53 + 1),
    (hw.latest("x"), [2.5, 1.5, None], None),  # the row, nulls included
    (hw.latest("x"), [2.5, NAN], None),
    (hw.latest("x"), ["a", "b"], "b"),
    (hw.since_last(), [None, 2.5], 1.0),
    (hw.open_count(until="x"), [None, NOON - timedelta(seconds=1), HALF], 2),
    (hw.open_age(until="x"), [None, NOON - timedelta(seconds=1), HALF], 2.0),
    (hw.var("x"), [1.0, None, 3.0, NAN], 2.0),  # the others: tests/aggregations
    (hw.first_n("x", k=2), [None, "b", "a", "b"], ["b", "a"]),
    (hw.last_n("x", k=2), ["b", "a", "b", None], ["a", "b"]),
    (hw.count_distinct("x"), [1, None, 2, 1], 2),
    (hw.approx_percentile("x", q=0.5), [0.0, None, NAN], 0.0),
    (hw.mode("x"), ["b", "a", None], "a"),
    (hw.top_k("x", k=1), [2, 1, None, 2], [2]),
    (hw.collect_set("x", max_size=2), [3, 2, None, 1], [1, 2]),
    (hw.min_by("x", "x"), [3, None, 2], 2),
    (hw.max_by("x", "x"), ["a", "b", None], "b"),
    (hw.decayed_sum("x", half_life="1s"), [8.0, None], 2.0),
    (hw.decayed_mean("x", half_life="1s"), [8.0, 2.0, None], 4.0),
    (hw.rate("x"), [1800.0, None, 1800], 1.0),
    (hw.fraction("x"), [True, None, False, False], 0.25),
    (hw.ratio("x", "x"), [3, None], 1.0),
]


@pytest.mark.parametrize(
    ("feature", "values", "answer"),
    VALUES,
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_values(planted, feature, values, answer):
    """One event a second, the last one a second before T."""
    n = len(values)
    events = [{"at": (i - n) * SECOND, "x": v} for i, v in enumerate(values)]
    everything_null = all(v is None or v != v for v in values)  # noqa: PLR0124 (NaN)
    timed = pl.Datetime("us", "UTC") if feature.function.startswith("open_") else pl.Float64()
    found = planted(
        feature,
        events,
        [0],
        schema={"x": timed} if everything_null or feature.function.startswith("open_") else None,
    )[0]
    if isinstance(answer, float):
        assert found == pytest.approx(answer, rel=1e-9, abs=1e7 * 1e-9 if 4e15 in values else 0)
    else:
        assert (found, type(found)) == (answer, type(answer))


MADE = {
    "first_n": hw.first_n("x", k=2),
    "last_n": hw.last_n("x", k=2),
    "top_k": hw.top_k("x", k=2),
    "approx_percentile": hw.approx_percentile("x", q=0.5),
    "collect_set": hw.collect_set("x", max_size=2),
    "min_by": hw.min_by("x", "x"),
    "max_by": hw.max_by("x", "x"),
    "decayed_sum": hw.decayed_sum("x", half_life="1s"),
    "decayed_mean": hw.decayed_mean("x", half_life="1s"),
    "fraction": hw.fraction("ok"),
    "ratio": hw.ratio("x", "x"),
}


def _of(function):
    if function in MADE:
        return MADE[function]
    if function.startswith("open_"):
        return getattr(hw, function)(until="until")
    return getattr(hw, function)() if function == "since_last" else getattr(hw, function)("x")


def test_the_table_has_no_function_that_these_tests_forget():
    assert {feature.function for feature, _, _ in VALUES} == set(FUNCTIONS)


@pytest.mark.parametrize(
    "function",
    [f for f in FUNCTIONS if f not in ("fraction", "open_age", "open_count", "since_last")],
)
@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
def test_infinite_values_are_refused_and_counted(planted, function, infinite):
    with pytest.raises(
        DataError, match=r"source 'events'.*the column 'x' has 2 infinite values; filter them out"
    ):
        planted(
            _of(function),
            [{"at": -1, "x": infinite}, {"at": -2, "x": infinite}, {"at": -3, "x": 1.0}],
            [0],
        )


WHERE = [
    {"at": -4, "x": 1.0, "ok": True},
    {"at": -3, "x": 2.0, "ok": False},
    {"at": -2, "x": 4.0, "ok": None},
    {"at": -1, "x": None, "ok": True},
]


@pytest.mark.parametrize(
    ("feature", "answer"),
    [
        (hw.count(where="ok"), 2),
        (hw.count("x", where="ok"), 1),
        (hw.sum("x", where="ok"), 1.0),
        (hw.mean("x", where="ok"), 1.0),
        (hw.max("x", where="ok"), 1.0),
        (hw.last("x", where="ok"), 1.0),
        (hw.latest("x", where="ok"), None),
        (hw.since_last(where="ok"), 1e-6),
        (hw.std("x", where="ok"), None),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_where_counts_the_events_where_it_is_true(planted, feature, answer):
    assert planted(feature, WHERE, [0]) == [answer]


OPEN = [
    # until, known after the end, T, open
    (None, "0s", 0, True),
    (-1, "0s", 0, False),
    (0, "0s", 0, True),
    (-5 * SECOND, "5s", 0, False),  # its end is known at K
    (-5 * SECOND + 1, "5s", 0, True),  # not known yet
    (-30 * MINUTE, "0s", -20 * MINUTE, False),
    (HOUR, "0s", 0, True),
]


@pytest.mark.parametrize(("until", "after", "T", "is_open"), OPEN)
def test_a_queue_ends_at_until_once_that_is_known(planted, until, after, T, is_open):
    event = {"at": -30 * MINUTE, "until": until}
    assert planted(hw.open_count(until="until"), [event], [T], known_after=after) == [int(is_open)]
    age = (T + 30 * MINUTE) / SECOND if is_open else None
    assert planted(hw.open_age(until="until"), [event], [T], known_after=after) == [age]


@pytest.mark.parametrize(
    ("T", "is_open"), [(29 * MINUTE, True), (30 * MINUTE + MINUTE - 1, True), (31 * MINUTE, False)]
)
def test_a_queue_forgets_after_its_window(planted, T, is_open):
    assert planted(hw.open_count(until="until"), [{"at": -30 * MINUTE, "until": None}], [T]) == [
        int(is_open)
    ]


@pytest.mark.parametrize(
    ("known", "T", "is_open"), [(-10 * SECOND, 0, False), (-1, 0, False), (0, 0, False)]
)
def test_an_event_known_after_its_end_is_never_open(planted, known, T, is_open):
    event = {"at": -30 * MINUTE, "until": -20 * MINUTE, "known": known}
    assert planted(hw.open_count(until="until"), [event], [T]) == [int(is_open)]


@pytest.mark.parametrize(("until", "is_open"), [(-10 * MINUTE, False), (-10 * MINUTE + 1, True)])
def test_the_end_of_a_queue_on_known_at_is_known_late_too(planted, until, is_open):
    event = {"at": -30 * MINUTE, "until": until}
    assert planted(
        hw.open_count(until="until"), [event], [0], known_after="10m", window_on="known_at"
    ) == [int(is_open)]


def test_a_null_is_no_counted_event_for_ttl(planted):
    events = [{"at": -20 * MINUTE, "x": 3}, {"at": -1, "x": None}]
    assert planted(hw.sum("x"), events, [0], ttl="10m") == [None]
    assert planted(hw.count(), events, [0], ttl="10m") == [2]
    assert planted(hw.latest("x"), events, [0], ttl="10m", statuses=True) == ["present"]
