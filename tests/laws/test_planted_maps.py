"""Aggregations by a secondary key: which categories a map holds, in what order, and what each of
them maps to.
"""

import pytest

import headwater as hw
from tests.laws.planted import compared


@pytest.fixture
def planted():
    return compared


SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


def spent(*pairs, **more):
    """Events a second apart, the last a second before the request: each a word and an integer."""
    return [
        {"at": (i - len(pairs)) * SECOND, "word": word, "whole": whole, **more}
        for i, (word, whole) in enumerate(pairs)
    ]


# ---------------------------------------------------------------- which keys, and what they map to


@pytest.mark.parametrize(
    ("max_keys", "answer"),
    [
        (1, {"a": 9}),
        (2, {"c": 4, "a": 9}),
        (3, {"b": 2, "c": 4, "a": 9}),
        (4, {"b": 2, "c": 4, "a": 9}),
    ],
)
def test_the_latest_categories_are_kept_with_all_their_events_the_latest_last(
    planted, max_keys, answer
):
    """The oldest event of all is one of `a`, whose latest is the latest."""
    (found,) = planted(
        hw.sum("whole").by("word", max_keys=max_keys), spent(("a", 1), ("b", 2), ("c", 4), ("a", 8))
    )
    assert list(found.items()) == list(answer.items())


def test_an_evicted_category_returns_with_all_it_ever_had(planted):
    events = spent(("a", 1), ("b", 2), ("c", 4), ("a", 8))
    answers = planted(hw.sum("whole").by("word", max_keys=2), events, [-SECOND, 0])
    assert answers == [{"b": 2, "c": 4}, {"c": 4, "a": 9}]


def test_an_event_that_the_function_skips_brings_no_category_and_no_place(planted):
    """`b` is later, but without a number; to count() it is an event like others."""
    events = spent(("a", 1), ("c", 2), ("b", None), ("a", None))
    assert planted(hw.sum("whole").by("word", max_keys=2), events) == [{"a": 1, "c": 2}]
    assert planted(hw.count().by("word", max_keys=2), events) == [{"b": 1, "a": 2}]
    assert planted(hw.max_by("whole", "whole").by("word"), events) == [{"a": 1, "c": 2}]
    flags = [event | {"flag": event["whole"] is not None} for event in events]
    assert planted(hw.count(where="flag").by("word", max_keys=2), flags) == [{"a": 1, "c": 1}]


def test_a_value_may_be_null_where_its_category_counts(planted):
    large = 2**62
    events = spent(("a", large), ("a", large), ("b", 5))
    assert planted(hw.sum("whole").by("word"), events) == [{"a": None, "b": 5}]  # it leaves int64
    # one value has no deviation
    assert planted(hw.std("whole").by("word"), events[1:]) == [{"a": None, "b": None}]
    assert planted(hw.ratio("whole", "flag").by("word"), events[2:]) == [{"b": None}]


TIED = [{"at": -1, "word": w, "id": i, "whole": i} for w, i in [("b", 1), ("c", 3), ("a", 2)]]


@pytest.mark.parametrize(("ident", "order"), [(None, ["a", "b", "c"]), ("id", ["b", "a", "c"])])
@pytest.mark.parametrize("max_keys", [1, 2, 3])
def test_categories_of_one_moment_go_by_id_then_value(planted, ident, order, max_keys):
    kept = order[-max_keys:]
    for events in (TIED, TIED[::-1]):
        (found,) = planted(hw.sum("whole").by("word", max_keys=max_keys), events, id_field=ident)
        assert list(found) == kept


def test_a_category_enters_and_leaves_within_a_microsecond(planted):
    events = [{"at": 0, "word": "a"}, {"at": MINUTE, "word": "b"}]
    asked = [
        0,
        1,
        MINUTE,
        MINUTE + 1,
        HOUR + MINUTE - 1,
        HOUR + MINUTE,
        HOUR + 2 * MINUTE - 1,
        HOUR + 2 * MINUTE,
    ]
    found = planted(hw.count().by("word", max_keys=1), events, asked)
    assert found == [{}, {"a": 1}, {"a": 1}, {"b": 1}, {"b": 1}, {"b": 1}, {"b": 1}, {}]
    found = planted(hw.count().by("word"), events, asked)
    assert found[3:6] == [{"a": 1, "b": 1}, {"a": 1, "b": 1}, {"b": 1}]


def test_late_events_count_once_they_are_known(planted):
    events = [
        {"at": -50 * MINUTE, "known": -MINUTE, "word": "late", "whole": 1},
        {"at": -40 * MINUTE, "known": -40 * MINUTE, "word": "a", "whole": 2},
        {"at": -30 * MINUTE, "known": -2 * MINUTE, "word": "late", "whole": 4},
        {"at": -20 * MINUTE, "known": -20 * MINUTE, "word": "b", "whole": 8},
        {"at": -10 * MINUTE, "known": MINUTE, "word": "unknown", "whole": 16},
    ]
    asked = [-3 * MINUTE, -2 * MINUTE, -MINUTE]
    assert planted(hw.sum("whole").by("word"), events, asked) == [
        {"a": 2, "b": 8},
        {"a": 2, "late": 4, "b": 8},
        {"a": 2, "late": 5, "b": 8},
    ]
    assert planted(hw.sum("whole").by("word", max_keys=2), events, asked) == [
        {"a": 2, "b": 8},
        {"late": 4, "b": 8},
        {"late": 5, "b": 8},
    ]
    assert planted(hw.first("whole").by("word", max_keys=2), events, asked)[2] == {
        "late": 1,
        "b": 8,
    }


def test_a_late_event_alone_is_summed_as_one_in_order_is(planted):
    """To the bit: nothing else is added to it, not even the 0.0 of no event, which takes the sign
    from a zero.
    """
    events = [
        {"at": -9, "known": -1, "word": "b", "real": 1.0},
        {"at": -8, "known": -8, "word": "a", "real": -0.0},
    ]
    assert repr(planted(hw.sum("real").by("word"), events)) == "[{'b': 1.0, 'a': -0.0}]"


def test_keys_of_entities_do_not_meet(planted):
    """The same categories under three entity keys, at the same times."""
    events = [
        {"at": -5, "key": key, "word": w, "whole": 10 * key + i}
        for key in (1, 2, 0)
        for i, w in enumerate("ab")
    ]
    everyone = [{"key": key, "timestamp": 0} for key in (0, 1, 2, 7)]
    found = planted(hw.sum("whole").by("word"), events, everyone)
    assert found == [{"a": 0, "b": 1}, {"a": 10, "b": 11}, {"a": 20, "b": 21}, {}]


@pytest.mark.parametrize(
    "words",
    [["", " ", "\n", "é", "e\u0301", "\x00", '"', "a", "__", "🙂", "null", "None", "a" * 300]],
)
def test_texts_of_any_kind_are_keys(planted, words):
    (found,) = planted(hw.sum("whole").by("word"), spent(*((w, i) for i, w in enumerate(words))))
    assert list(found.items()) == [(w, i) for i, w in enumerate(words)]


def test_ttl_takes_the_map_as_a_whole(planted):
    events = [
        {"at": -20 * MINUTE, "word": "a"},
        {"at": -5 * MINUTE, "word": "b"},
        {"at": -1, "word": None},
    ]
    found = planted(hw.count().by("word"), events, [0, 5 * MINUTE, 5 * MINUTE + 1], ttl="10m")
    assert found == [{"a": 1, "b": 1}, {"a": 1, "b": 1}, None]
