"""Each function on events chosen to catch it: ties, nulls, zeros of both signs, late events,
offsets, flags and lifetimes.
"""

from datetime import timedelta

import pytest

import headwater as hw
from headwater.testing.cases import BASE
from tests.laws.planted import compared


@pytest.fixture
def planted():
    return compared


SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
NAN = float("nan")


def a_second_apart(column, values):
    return [{"at": (i - len(values)) * SECOND, column: v} for i, v in enumerate(values)]


VALUES = [
    # aggregation, column, values in order of time, answer
    (hw.first_n("word", k=2), "word", ["b", None, "a", "c"], ["b", "a"]),
    (hw.first_n("word", k=9), "word", ["b", None, "b"], ["b", "b"]),
    (hw.first_n("word", k=2, distinct=True), "word", ["b", "b", "a", "c"], ["b", "a"]),
    (hw.last_n("word", k=2), "word", ["b", "c", "a", None], ["c", "a"]),
    (hw.last_n("word", k=3, distinct=True), "word", ["a", "b", "c", "b", "b"], ["a", "c", "b"]),
    (hw.last_n("word", k=2, distinct=True), "word", ["a", "b", "c", "a"], ["c", "a"]),
    (hw.last_n("real", k=4), "real", [1.5, NAN, None, -2.0], [1.5, -2.0]),
    (hw.last_n("flag", k=2), "flag", [True, None, False], [True, False]),
    (
        hw.last_n("moment", k=1),
        "moment",
        [BASE, BASE + timedelta(seconds=1)],
        [BASE + timedelta(seconds=1)],
    ),
    (hw.last_n("word", k=1), "word", [None, None], []),
    (hw.mode("word"), "word", ["b", "a", "b", "a", "c"], "a"),
    (hw.mode("word"), "word", ["a", "b", "b"], "b"),
    (hw.mode("real"), "real", [NAN, NAN, None, 2.5], 2.5),
    (hw.mode("real"), "real", [-0.0, 0.0, 1.0], 0.0),
    (hw.mode("whole"), "whole", [2**62, -(2**62), 2**62], 2**62),
    (hw.mode("flag"), "flag", [True, False], False),
    (hw.mode("word"), "word", [None], None),
    (hw.top_k("word", k=2), "word", ["c", "b", "a", "b"], ["b", "a"]),
    (hw.top_k("word", k=9), "word", ["c", "b", "a", "b", ""], ["b", "", "a", "c"]),
    (hw.top_k("whole", k=2), "whole", [2**62, -(2**62), -(2**62), 5], [-(2**62), 5]),
    (hw.top_k("flag", k=1), "flag", [None, None, True], [True]),
    (hw.top_k("word", k=1), "word", [None], []),
    (hw.collect_set("word", max_size=9), "word", ["c", "b", "b", None, "a"], ["a", "b", "c"]),
    (hw.collect_set("word", max_size=2), "word", ["c", "b", "a"], ["a", "b"]),
    (hw.collect_set("real", max_size=9), "real", [0.0, -0.0, NAN, -1.5], [-1.5, 0.0]),
    (hw.collect_set("word", max_size=1), "word", [None], []),
    (hw.count_distinct("word"), "word", ["a", "", None, "a"], 2),
    (hw.count_distinct("real"), "real", [0.0, -0.0, NAN, 1.0], 2),
    (hw.count_distinct("whole"), "whole", [2**53, 2**53 + 1, -1], 3),
    (hw.count_distinct("moment"), "moment", [BASE, BASE, None], 1),
    (hw.count_distinct("flag"), "flag", [None], 0),
    (hw.var("real"), "real", [1.0, 3.0], 2.0),
    (hw.var("real", ddof=0), "real", [1.0, 3.0], 1.0),
    (hw.var("real"), "real", [1.0], None),
    (hw.var("real", ddof=0), "real", [1.0], 0.0),
    (hw.var("flag"), "flag", [True, False], 0.5),
    (hw.var("real", ddof=0), "real", [1e9 + 1, 1e9 + 3], 1.0),
    (hw.rate(), "real", [None, 1.0], 2 / 3600),
    (hw.rate("whole"), "whole", [None, 3600, -1800], 0.5),
    # a rate is a float: it does not overflow
    (hw.rate("whole"), "whole", [2**62, 2**62], 2**63 / 3600),
    (hw.rate("real"), "real", [None], 0.0),
    (hw.fraction("flag"), "flag", [True, None, False, True], 0.5),
    (hw.fraction("flag"), "flag", [None], 0.0),
    (hw.approx_percentile("whole", q=0), "whole", [0, 0, 7], 0.0),
    (hw.approx_percentile("real", q=0.5), "real", [None, NAN], None),
    (hw.decayed_sum("real", half_life="1s"), "real", [8.0, None, NAN, 4.0], 8 / 16 + 4 / 2),
    (hw.decayed_sum("flag", half_life="1s"), "flag", [True, False, None], 1 / 8),
    (hw.decayed_sum("real", half_life="1s"), "real", [None], 0.0),
    (hw.decayed_mean("real", half_life="1s"), "real", [8.0, 2.0, None], 4.0),
    (hw.decayed_mean("real", half_life="1us"), "real", [8.0, 2.0], 2.0),
    (hw.decayed_mean("real", half_life="1us"), "real", [8.0, None], 8.0),
    (hw.decayed_mean("real", half_life="1s"), "real", [NAN], None),
]


@pytest.mark.parametrize(
    ("feature", "column", "values", "answer"),
    VALUES,
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_values(planted, feature, column, values, answer):
    (found,) = planted(feature, a_second_apart(column, values))
    assert found == (pytest.approx(answer, rel=1e-12) if isinstance(answer, float) else answer)
    assert type(found) is type(answer)


TWO_COLUMNS = [
    (hw.min_by("word", "real"), [("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 4.0)], "c"),
    (hw.max_by("word", "real"), [("a", 3.0), ("b", 2.0), ("c", 3.0), ("d", -9.0)], "c"),
    (hw.max_by("word", "real"), [("a", 3.0), (None, 4.0), ("c", NAN), ("d", None)], "a"),
    (hw.min_by("word", "real"), [(None, 4.0)], None),
    (hw.min_by("word", "real"), [("a", 0.0), ("b", -0.0)], "b"),
    (hw.min_by("real", "word"), [("b", 1.0), ("a", 2.0)], 2.0),
    (hw.ratio("real", "real"), [("", 3.0), ("", 4.0)], 1.0),
    (hw.ratio("real", "real"), [("", 3.0), ("", -3.0)], None),
    (hw.ratio("real", "real"), [("", None), ("", NAN)], None),
]


@pytest.mark.parametrize(
    ("feature", "pairs", "answer"),
    TWO_COLUMNS,
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_two_columns(planted, feature, pairs, answer):
    events = [
        {"at": (i - len(pairs)) * SECOND, "word": w, "real": r} for i, (w, r) in enumerate(pairs)
    ]
    assert planted(feature, events) == [answer]


@pytest.mark.parametrize(("least", "greatest"), [(-(2**63), 2**63 - 1), (0, 1)])
def test_by_reaches_both_ends_of_int64(planted, least, greatest):
    events = [
        {"at": -1 - i, "whole": v, "word": str(v)} for i, v in enumerate([0, least, greatest, 1])
    ]
    assert planted(hw.min_by("word", "whole"), events) == [str(least)]
    assert planted(hw.max_by("word", "whole"), events) == [str(greatest)]


def test_a_ratio_skips_null_in_each_column(planted):
    events = [
        {"at": -1, "whole": 6, "flag": None},
        {"at": -2, "whole": None, "flag": True},
        {"at": -3, "whole": 0, "flag": True},
    ]
    assert planted(hw.ratio("whole", "flag"), events) == [3.0]
    assert planted(hw.ratio("flag", "whole"), events) == [2 / 6]


TIED = [
    {"at": -1, "word": w, "id": i, "real": r}
    for w, i, r in [("b", 1, 5.0), ("c", 3, 5.0), ("a", 2, 5.0)]
]


@pytest.mark.parametrize(
    ("feature", "by_value", "by_id"),
    [
        (hw.last_n("word", k=2), ["b", "c"], ["a", "c"]),
        (hw.first_n("word", k=2), ["a", "b"], ["b", "a"]),
        (hw.last_n("word", k=3, distinct=True), ["a", "b", "c"], ["b", "a", "c"]),
        (hw.max_by("word", "real"), "c", "c"),
        (hw.min_by("word", "real"), "c", "c"),
    ],
)
def test_events_of_one_time_go_by_id_then_value(planted, feature, by_value, by_id):
    for events in (TIED, TIED[::-1]):
        assert planted(feature, events) == [by_value]
        assert planted(feature, events, id_field="id") == [by_id]


@pytest.mark.parametrize("known", [[-3, -2, -1], [-1, -2, -3], [-2, -1, -3]])
def test_ties_hold_whatever_was_known_first(planted, known):
    """At K = -2 one event of the moment may be known and another not."""
    events = [{"at": -9, "known": k, "word": w} for k, w in zip(known, "bca", strict=True)]
    planted(hw.last_n("word", k=2), events, [0, -1, -2, -3])
    planted(hw.first_n("word", k=1, distinct=True), events, [0, -1, -2, -3])
    planted(hw.last_n("word", k=2, distinct=True), [*events, *events], [0, -1, -2, -3])


LATE = [
    {"at": -50 * MINUTE, "known": -MINUTE, "word": "late", "real": 9.0, "whole": 1, "flag": True},
    {
        "at": -40 * MINUTE,
        "known": -40 * MINUTE,
        "word": "a",
        "real": 1.0,
        "whole": 2,
        "flag": False,
    },
    {
        "at": -30 * MINUTE,
        "known": -30 * MINUTE,
        "word": "late",
        "real": 2.0,
        "whole": 4,
        "flag": True,
    },
    {"at": -20 * MINUTE, "known": -2 * MINUTE, "word": "b", "real": 4.0, "whole": 8, "flag": None},
    {
        "at": -10 * MINUTE,
        "known": MINUTE,
        "word": "unknown",
        "real": 99.0,
        "whole": 16,
        "flag": True,
    },
]


@pytest.mark.parametrize(
    ("feature", "before", "after"),
    [
        (hw.last_n("word", k=2), ["a", "late"], ["late", "b"]),
        (hw.first_n("word", k=2), ["a", "late"], ["late", "a"]),
        (hw.first_n("word", k=9, distinct=True), ["a", "late"], ["late", "a", "b"]),
        (hw.last_n("word", k=9, distinct=True), ["a", "late"], ["a", "late", "b"]),
        (hw.top_k("word", k=2), ["a", "late"], ["late", "a"]),
        (hw.mode("word"), "a", "late"),
        (hw.collect_set("word", max_size=2), ["a", "late"], ["a", "b"]),
        (hw.count_distinct("word"), 2, 3),
        (hw.max_by("word", "real"), "late", "late"),
        (hw.max_by("whole", "real"), 4, 1),
        (hw.fraction("flag"), 0.5, 0.5),
        (hw.ratio("real", "whole"), 0.5, 16 / 15),
        (hw.rate(), 2 / 3600, 4 / 3600),
        (
            hw.decayed_mean("real", half_life="10m"),
            (0.5 + 2) / 1.5,
            (9 / 4 + 1 / 2 + 2 + 8) / (1 / 4 + 1 / 2 + 1 + 2),
        ),
        (hw.decayed_mean("real", half_life="1us"), 2.0, 4.0),
        (hw.min_by("word", "whole"), "a", "late"),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_late_events_count_once_they_are_known(planted, feature, before, after):
    assert planted(feature, LATE, [-3 * MINUTE, 0]) == [before, after]


def test_the_latest_of_equals_may_be_a_late_one(planted):
    events = [
        {"at": at, "known": known, "word": w, "real": 1.0}
        for at, known, w in [(-9, -1, "b"), (-8, -8, "a"), (-7, -7, "c"), (-6, -2, "d")]
    ]
    for feature in (hw.min_by("word", "real"), hw.max_by("word", "real")):
        assert planted(feature, events, [0, -2, -3]) == ["d", "d", "c"]


def test_keys_with_events_of_one_time_do_not_meet(planted):
    """The last event of one key, and the first of the next, at the same moment."""
    events = [
        {"at": at, "key": key, "word": w}
        for at, key, w in [(-9, 1, "a"), (-5, 1, "c"), (-5, 2, "b"), (-4, 2, "b"), (-5, 0, "d")]
    ]
    assert planted(hw.last_n("word", k=2), events, asked=[0, -5]) == [["a", "c"], ["a"]]
    assert planted(hw.max_by("word", "key"), events) == ["c"]
    everyone = [{"key": key, "timestamp": 0} for key in (0, 1, 2)]
    assert planted(hw.last_n("word", k=1), events, asked=everyone) == [["d"], ["c"], ["b"]]
    assert planted(hw.first_n("word", k=1, distinct=True), events, asked=everyone) == [
        ["d"],
        ["a"],
        ["b"],
    ]


@pytest.mark.parametrize(
    "feature",
    [
        hw.mode("real"),
        hw.top_k("real", k=1),
        hw.collect_set("real", max_size=1),
        hw.last_n("real", k=1),
    ],
)
def test_there_is_one_zero(planted, feature):
    """The sign of a zero would show which of two equal events came first."""
    assert repr(planted(feature, [{"at": -1, "real": -0.0}])).count("-") == 0


def test_decay_is_safe_over_any_time(planted):
    """A hundred years in half-lives of a microsecond, and weights that all vanish by T."""
    events = [{"at": -100 * 365 * DAY, "real": 3.0}, {"at": -50 * 365 * DAY, "real": 5.0}]
    assert planted(hw.decayed_mean("real", half_life="1us"), events, window="lifetime") == [5.0]
    assert planted(hw.decayed_sum("real", half_life="1us"), events, window="lifetime") == [0.0]
    (near,) = planted(hw.decayed_sum("real", half_life="36500d"), events, window="lifetime")
    assert near == pytest.approx(3 / 2 + 5 / 2**0.5)


def test_the_rate_is_per_second_of_the_nominal_length(planted):
    """At 30 s past the hop the window holds more than its length; the rate divides by the length
    all the same.
    """
    events = [{"at": -HOUR + i, "real": 1.0} for i in range(4)]
    assert planted(hw.rate(), events, [30 * SECOND]) == [4 / 3600]
