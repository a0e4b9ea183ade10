"""Values at the limits of int64 and float64: what leaves them is null with the status overflow,
offline and online.
"""

import math
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.testing.naive import agree, evaluate
from tests.flow import Flow, at, micros, project_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HUGE = 1.7e308
MAX = 2**63 - 1
FEATURES = [
    hw.sum("x"),
    hw.mean("x"),
    hw.rate("x"),
    hw.std("x"),
    hw.var("x"),
    hw.ratio("x", "y"),
    hw.decayed_sum("x", half_life="30d"),
    hw.decayed_mean("x", half_life="30d"),
    hw.max("x"),
    hw.sum("x").by("word"),
]
FLOATS = [
    [HUGE, HUGE],
    [HUGE, -HUGE],
    [HUGE],
    [-HUGE, -HUGE, 1.0],
    [1e200, -1e200],
    [1e-300, 1.0],
    [HUGE, HUGE, HUGE, -HUGE],
]
INTEGERS = [[MAX, 1], [MAX, MAX], [-MAX, -MAX, -MAX], [MAX, -MAX], [2**62, 2**62 - 1]]


def rows_of(values):
    return [
        {"k": 1, "at": NOON + timedelta(seconds=n), "x": x, "y": 1.0, "word": "a"}
        for n, x in enumerate(values)
    ]


def view_of(source, features=FEATURES, freshness=None):
    return hw.FeatureView(
        "v",
        source=source,
        keys=["k"],
        features=features,
        windows=["1h"],
        freshness=freshness or hw.on_request(),
    )


ASKED = pl.DataFrame({"k": [1], "timestamp": [NOON + timedelta(minutes=10)]})


@pytest.mark.parametrize("values", [*FLOATS, *INTEGERS])
def test_offline_says_what_the_naive_reference_says(values):
    rows = rows_of(values)
    view = view_of(hw.Source("s", history=pl.DataFrame(rows), timestamp_field="at"))
    found = hw.get_historical_features(view, ASKED, statuses=True).to_dicts()[0]
    (answers,) = evaluate(view, rows, ASKED.to_dicts())
    for feature, (name, answer) in zip(view.outputs, answers.items(), strict=True):
        value = found[name]
        assert agree(answer, value, squared=feature.aggregation.function == "std"), (
            name,
            value,
            answer,
        )
        assert found[f"{name}__status"] == answer.status, (name, value, answer)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            [HUGE, HUGE],
            {
                "sum_x_1h": None,
                "mean_x_1h": None,
                "rate_x_1h": None,
                "var_x_1h": 0.0,
                "decayed_mean_x_half": None,
                "max_x_1h": HUGE,
            },
        ),
        ([MAX, 1], {"sum_x_1h": None, "mean_x_1h": 2.0**62, "rate_x_1h": 2.0**63 / 3600}),
        ([MAX, -MAX], {"sum_x_1h": 0, "mean_x_1h": 0.0, "rate_x_1h": 0.0}),
    ],
)
def test_overflow_is_of_what_is_served(values, expected):
    view = view_of(hw.Source("s", history=pl.DataFrame(rows_of(values)), timestamp_field="at"))
    found = hw.get_historical_features(view, ASKED, statuses=True).to_dicts()[0]
    for name, value in expected.items():
        if f"v__{name}" in found:
            assert found[f"v__{name}"] == value
            assert found[f"v__{name}__status"] == ("overflow" if value is None else "present")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("commits", [1, 2])
def test_online_is_offline(whole, commits, tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.clock.now_micros", lambda: micros(900))
    cases = INTEGERS if whole else FLOATS
    schema = {"key": int, "at": datetime, "x": int if whole else float, "y": float, "word": str}
    source = hw.Source(
        "s",
        stream=hw.push(schema=schema, at_least_once=True),
        timestamp_field="at",
        select=["key", "x", "y", "word"],
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=FEATURES,
        windows=["1h"],
        freshness=hw.streaming("2s"),
    )
    events = [
        {"key": k, "at": n, "x": x, "y": 1.0, "word": "a"}
        for k, values in enumerate(cases)
        for n, x in enumerate(values)
    ]
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as store:
        flow = Flow([view], store, tmp_path)
        for number in range(commits):
            flow.send(events[number::commits], 600)
        certain = [
            k for k, values in enumerate(cases) if whole or max(values) < HUGE or min(values) >= 0
        ]
        (compared,) = hw.parity(project_of(view), store=store, data_dir=tmp_path, at=at(900))
        assert [m for m in compared.mismatches if m.keys["key"] in certain] == []
        keys = [{"key": k} for k in range(len(cases))]
        frames = hw.get_online_features(
            view, keys, store=store, at=NOON.replace(hour=0, minute=15), details=True
        )
        for name in view.feature_names[:-1]:
            for value, status in zip(frames[name], frames[f"{name}__status"], strict=True):
                assert math.isfinite(0 if value is None else value), (name, value, status)


def test_a_denominator_that_cancels_in_floats_is_what_its_float_sum_is():
    """Whether 1e15 - 1e15 + 1e-300 is 0 depends on the order of the additions: the ratio is null,
    or over the remainder.
    """
    for below, expected in (([1e-300, 1e15, -1e15], None), ([1e15, -1e15, 1e-300], 3e300)):
        rows = [
            {"k": 1, "at": NOON + timedelta(seconds=n), "x": 1.0, "y": y}
            for n, y in enumerate(below)
        ]
        view = view_of(
            hw.Source("s", history=pl.DataFrame(rows), timestamp_field="at"), [hw.ratio("x", "y")]
        )
        found = hw.get_historical_features(view, ASKED, statuses=True)
        assert found[view.feature_names[0]].to_list() == (
            [None] if expected is None else [pytest.approx(expected)]
        )
        assert found[f"{view.feature_names[0]}__status"].to_list() == ["present"]


def test_a_decimal_is_no_secondary_key_and_the_error_says_what_to_make_of_it(tmp_path):
    table = pl.DataFrame({"k": [1], "at": [NOON], "price": [Decimal("1.50")]})
    says = r"'price' is a secondary key and Decimal.*make it an integer of its least unit in the source's select, such as \(pl\.col\('price'\) \* 100\)"
    view = view_of(hw.Source("s", history=table, timestamp_field="at"), [hw.count().by("price")])
    with pytest.raises(DataError, match=says):
        hw.get_historical_features(view, ASKED)
    batch = view_of(
        hw.Source("s", history=table, timestamp_field="at"),
        [hw.count().by("price")],
        hw.batch("1h"),
    )
    with (
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=100MB")) as store,
        pytest.raises(DataError, match=says),
    ):
        hw.materialize(project_of(batch), store=store, at=NOON + timedelta(hours=1))
    remedied = hw.Source(
        "s",
        history=table,
        timestamp_field="at",
        select=["k", (pl.col("price") * 100).cast(pl.Int64).alias("price")],
    )
    assert hw.get_historical_features(view_of(remedied, [hw.count().by("price")]), ASKED)[
        "v__count_by_price_1h"
    ].to_list() == [{150: 1}]
