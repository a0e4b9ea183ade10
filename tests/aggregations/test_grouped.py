"""Aggregations by a secondary key: which categories a map holds, in what order, and what each of
them maps to.
"""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

import headwater as hw
from headwater.errors import DataError
from headwater.testing import cases
from headwater.testing.cases import BASE
from headwater.testing.examples import value_of
from tests.effort import tries

SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LIFETIME = hw.window("lifetime")
MAPS = [a for a in cases.aggregations() if a.secondary is not None]


def spent(*pairs, **more):
    """Events a second apart, the last a second before the request: each a word and an integer."""
    return [
        {"at": (i - len(pairs)) * SECOND, "word": word, "whole": whole, **more}
        for i, (word, whole) in enumerate(pairs)
    ]


# ---------------------------------------------------------------- which keys, and what they map to


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_evicted_category_returns_with_all_it_ever_had(planted):
    events = spent(("a", 1), ("b", 2), ("c", 4), ("a", 8))
    answers = planted(hw.sum("whole").by("word", max_keys=2), events, [-SECOND, 0])
    assert answers == [{"b": 2, "c": 4}, {"c": 4, "a": 9}]


@pytest.mark.parametrize("feature", MAPS, ids=lambda a: a.function)
def test_nothing_is_an_empty_map(planted, feature):
    assert planted(feature, []) == [{}]


def test_an_event_without_a_category_does_not_count(planted):
    events = spent((None, 1), ("a", 2), (None, 4))
    assert planted(hw.sum("whole").by("word"), events) == [{"a": 2}]
    assert planted(hw.count().by("word"), events[::2]) == [{}]
    assert planted(hw.since_last().by("word"), events) == [{"a": 2.0}]


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


@pytest.mark.parametrize("known", [[-3, -2, -1], [-1, -2, -3], [-2, -1, -3]])
def test_ties_hold_whatever_was_known_first(planted, known):
    events = [
        {"at": -9, "known": k, "word": w, "whole": 1} for k, w in zip(known, "bca", strict=True)
    ]
    planted(hw.sum("whole").by("word", max_keys=2), [*events, *events], [0, -1, -2, -3])


def test_knowledge_that_goes_back_and_forth(planted):
    events = [{"at": -i * SECOND, "word": "abcab"[i % 5], "real": float(i)} for i in range(1, 60)]
    asked = list(range(-50 * SECOND, 10 * SECOND, SECOND // 2))
    for feature in (hw.sum("real").by("word", max_keys=2), hw.last("real").by("word", max_keys=1)):
        planted(
            feature,
            events,
            asked,
            window=hw.window("20s", hop="1s"),
            freshness=hw.measured(["0s", "1s", "15s"], seed=1),
        )


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


@pytest.mark.parametrize(
    ("window", "answer"),
    [
        ("lifetime", {"a": 1, "b": 1, "c": 1}),
        ("1h", {"b": 1, "c": 1}),
        (hw.window("1h", offset="1h"), {"a": 1}),
        (hw.window("lifetime", offset="1h"), {"a": 1}),
    ],
    ids=str,
)
def test_windows_of_every_kind(planted, window, answer):
    events = [
        {"at": -90 * MINUTE, "word": "a"},
        {"at": -59 * MINUTE, "word": "b"},
        {"at": -1, "word": "c"},
        {"at": 0, "word": "d"},
    ]
    assert planted(hw.count().by("word"), events, window=window) == [answer]


MOMENT = pl.Datetime("us", "UTC")
SOME = {"at": -1, "word": "a", "flag": True, "moment": BASE, "whole": 7, "real": 0.5}


@pytest.mark.parametrize(
    ("feature", "dtype", "answer"),
    [
        (hw.count().by("word"), pl.Map(pl.String, pl.Int64), {"a": 1}),
        (hw.count().by("flag"), pl.Map(pl.Boolean, pl.Int64), {True: 1}),
        (hw.sum("whole").by("whole"), pl.Map(pl.Int64, pl.Int64), {7: 7}),
        (hw.mean("whole").by("moment"), pl.Map(MOMENT, pl.Float64), {BASE: 7.0}),
        (hw.last("word").by("flag"), pl.Map(pl.Boolean, pl.String), {True: "a"}),
        (hw.min("flag").by("word"), pl.Map(pl.String, pl.Boolean), {"a": True}),
        (hw.max("moment").by("word"), pl.Map(pl.String, MOMENT), {"a": BASE}),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_dtypes(planted, feature, dtype, answer):
    assert planted(feature, [SOME]) == [answer]
    for events in ([], [SOME]):
        assert planted(feature, events, dtype=True) == dtype


@pytest.mark.parametrize(
    "values",
    [
        [date(2024, 5, 1), date(2024, 4, 1)],
        [timedelta(days=1), timedelta(0)],
        [2**62, -(2**62)],
        [True, False],
        ["b", "a"],
    ],
)
def test_keys_come_back_as_they_were(values):
    assert value_of(hw.count().by("x"), x=[*values, values[0]]) == {values[1]: 1, values[0]: 2}


def test_a_column_of_nothing_but_nulls_has_no_keys():
    assert value_of(hw.count().by("x"), x=[None, None]) == {}


# ---------------------------------------------------------------- many


def test_ten_thousand_categories_and_a_hundred_kept():
    random, n = np.random.default_rng(0), 40_000
    category, amount = random.integers(0, 10_000, n), random.integers(0, 100, n)
    events = pl.DataFrame(
        {
            "key": 1,
            "at": [NOON + timedelta(seconds=i) for i in range(n)],
            "category": category,
            "amount": amount,
        }
    )
    asked = [0, 1, 99, 150, 20_000, n]
    source = hw.Source(
        "events", history=events, timestamp_field="at", select=["key", "category", "amount"]
    )
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        freshness=hw.on_request(),
        features=[hw.sum("amount").by("category")],
    )
    rows = pl.DataFrame({"key": 1, "timestamp": [NOON + timedelta(seconds=s) for s in asked]})
    found = hw.get_historical_features(view, rows)["view__sum_amount_by_category"].to_list()
    for count, got in zip(asked, found, strict=True):
        total = Counter()
        for c, a in zip(category[:count].tolist(), amount[:count].tolist(), strict=True):
            total[c] += a
        kept = list(dict.fromkeys(category[:count][::-1].tolist()))[:100][::-1]
        assert list(got.items()) == [(c, total[c]) for c in kept]
    assert len(found[-1]) == 100


@settings(max_examples=tries(20))
@given(
    seed=st.integers(0, 2**32),
    kinds=st.sampled_from([1, 5, 60]),
    late=st.booleans(),
    max_keys=st.integers(1, 4),
)
def test_a_few_hundred_events_are_counted_as_plain_python_does(seed, kinds, late, max_keys):
    random = Random(seed)
    rows = [
        {
            "key": random.randrange(2),
            "second": (s := random.randrange(900)),
            "known": s + random.choice([0, 0, 5, 300]),
            "c": c,
            "x": 1 << c,
        }
        for c in (random.randrange(kinds) for _ in range(300))
    ]
    at = {
        n: [NOON + timedelta(seconds=r[s]) for r in rows]
        for n, s in (("at", "second"), ("known", "known"))
    }
    events = pl.DataFrame({n: [r[n] for r in rows] for n in ("key", "c", "x")} | at)
    source = hw.Source(
        "e",
        history=events,
        timestamp_field="at",
        known_at_field="known" if late else None,
        select=["key", "c", "x"],
    )
    features = [
        hw.sum("x").by("c", max_keys=max_keys),
        hw.last_n("c", k=max_keys, distinct=True),
        hw.sum("x", name="everything").by("c", max_keys=1000),
    ]
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=features,
        windows=["5m"],
        hop="1s",
        freshness=hw.on_request(),
    )
    asked = [(random.randrange(3), random.randrange(1300)) for _ in range(40)]
    found = hw.get_historical_features(
        view,
        pl.DataFrame(
            {
                "key": [k for k, _ in asked],
                "timestamp": [NOON + timedelta(seconds=s) for _, s in asked],
            }
        ),
    )
    for place, (key, T) in enumerate(asked):
        total, latest = defaultdict(int), {}
        for r in rows:
            if r["key"] == key and T - 300 <= r["second"] < T and (not late or r["known"] <= T):
                total[r["c"]] += r["x"]
                latest[r["c"]] = max(latest.get(r["c"], -1), r["second"])
        kept = sorted(latest, key=lambda c: (latest[c], c))
        assert found["v__last_n_c_5m"][place].to_list() == kept[-max_keys:]
        assert list(found["v__sum_x_by_c_5m"].to_list()[place].items()) == [
            (c, total[c]) for c in kept[-max_keys:]
        ]
        assert list(found["v__everything_5m"].to_list()[place].items()) == [
            (c, total[c]) for c in kept
        ]


def test_what_depends_on_the_moment_is_not_shared(planted):
    events = spent(("a", 1), ("b", 2))
    assert planted(hw.since_last().by("word"), events, [0, SECOND]) == [
        {"a": 2.0, "b": 1.0},
        {"a": 3.0, "b": 2.0},
    ]


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("feature", "name"),
    [
        (hw.sum("amount").by("category"), "sum_amount_by_category_1h"),
        (hw.count().by("category", max_keys=20), "count_by_category_1h"),
        (hw.count(where="ok").by("category"), "count_by_category_where_ok_1h"),
        (
            hw.decayed_sum("amount", half_life="1h").by("category"),
            "decayed_sum_amount_halflife_1h_by_category_1h",
        ),
        (hw.min_by("item", "price").by("category"), "min_by_item_price_by_category_1h"),
        (hw.sum("amount", name="spend").by("category"), "spend_1h"),
    ],
    ids=lambda v: v.function if hasattr(v, "function") else None,
)
def test_names(feature, name):
    source = hw.Source("events", timestamp_field="at")
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[feature],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    assert view.feature_names == (f"view__{name}",)


def test_the_secondary_key_is_part_of_what_a_definition_says():
    same = [hw.sum("amount").by("category"), hw.sum("amount").by("category", max_keys=100)]
    others = [
        hw.sum("amount"),
        hw.sum("amount").by("shop"),
        hw.sum("amount").by("category", max_keys=99),
    ]
    assert same[0] == same[1]
    assert all(other != same[0] for other in others)


# ---------------------------------------------------------------- who reads a map


def _payments(values, category=("food", "fuel", "food"), **more):
    at = [NOON - timedelta(minutes=3 - i) for i in range(3)]
    history = pl.DataFrame({"card": [1, 1, 2], "category": category, "amount": values, "at": at})
    source = hw.Source(
        "payments", history=history, timestamp_field="at", select=["card", "category", "amount"]
    )
    return hw.FeatureView(
        "card", source=source, keys=["card"], windows=["1h"], freshness=hw.on_request(), **more
    )


def test_a_function_of_the_request_takes_a_value_out_of_a_map():
    """What was spent in the category that is being asked about."""
    card = _payments([1.0, 2.0, 4.0], features=[hw.sum("amount").by("category", max_keys=20)])

    @hw.request_feature
    def spent_here(
        category: str, spent: dict[str, float] = card["sum_amount_by_category_1h"]
    ) -> float:
        return spent.get(category, 0.0)

    rows = pl.DataFrame(
        {
            "card": [1, 1, 2, 2, 9],
            "category": ["food", "fuel", "fuel", "food", "food"],
            "timestamp": [NOON] * 5,
        }
    )
    assert hw.get_historical_features(spent_here, rows)["spent_here"].to_list() == [
        1.0,
        2.0,
        0.0,
        4.0,
        0.0,
    ]


def test_a_model_refuses_a_map_and_says_what_to_do():
    card = _payments([1.0, 2.0, 4.0], features=[hw.sum("amount").by("category")])
    asked = {"card": [1, 2], "asked": [NOON, NOON], "spent": [1.0, 2.0]}
    labels = hw.Labels(
        "spent",
        table=pl.DataFrame(asked),
        timestamp_field="asked",
        label="spent",
        known_after="1m",
    )
    service = hw.FeatureService("s", [card])
    model = hw.Model(
        "m", task="regression", features=service, labels=labels, estimator=LinearRegression()
    )
    with pytest.raises(
        DataError,
        match=r"is Map.* takes numbers, booleans, times, strings and.* through a function .* @hw.request_feature",
    ):
        hw.train(model)


def test_a_float_is_no_secondary_key():
    view = _payments([1.0, 2.0, None], features=[hw.count().by("amount")])
    with pytest.raises(
        DataError,
        match=r"source 'payments': 'amount' is a secondary key and a float; .* cast it to integers or strings",
    ):
        hw.get_historical_features(view, pl.DataFrame({"card": [1], "timestamp": [NOON]}))


def test_a_label_is_no_map():
    view = _payments([1.0, 2.0, 4.0], features=[hw.count()])
    outcome = hw.outcome(view.source, hw.count().by("category"), keys=["card"], within="1h")
    rows = pl.DataFrame({"card": [1], "asked": [NOON]})
    labels = hw.Labels("label", table=rows, timestamp_field="asked", label=outcome)
    with pytest.raises(
        DataError, match=r"the outcome count\(\) is Map.*it must be a number or a boolean"
    ):
        hw.get_historical_features(view, labels)
