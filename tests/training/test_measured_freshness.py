"""Ages that were measured, as a level of a backtest: drawn a request at a time; what was not there
counts nothing.
"""

import dataclasses
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_rows import EntryContext
from headwater.kernel.as_of import NEVER, as_of
from headwater.testing.examples import churn
from tests.flow import frame, view_of
from tests.journal.conftest import (
    about,
    at,
    home,  # noqa: F401 (fixtures)
    micros,
    one,
    serve,
)
from tests.journal.conftest import as_of as moment

SECOND = 1_000_000
T = np.arange(20_000) * 977 * SECOND


def two_views():
    """A model over two views, and what its log says of requests."""
    visits = pl.DataFrame({"user": [1], "pages": [1.0], "at": [at(-30)]})
    source = hw.Source("visits", history=visits, timestamp_field="at", select=["user", "pages"])
    views = [
        hw.FeatureView(
            name,
            source=source,
            keys=["user"],
            features=[hw.count(name="n")],
            windows=["1d"],
            freshness=hw.on_request(),
        )
        for name in ("fast", "slow")
    ]
    labels = hw.Labels(
        "leaving",
        table=pl.DataFrame({"user": [1], "at": [at(0)], "left": [True]}),
        timestamp_field="at",
        label="left",
        known_after="1d",
    )
    made = hw.Model(
        "churn", features=hw.FeatureService("user_v1", views), labels=labels, task="binary"
    )
    return made, about(["fast__n_1d", "slow__n_1d"], views=("fast", "slow"))


def log_of(folder, of, rows):
    """A log of requests; each is (ages, statuses)."""
    with hw.operations.ServedLog(folder) as log:
        for number, (ages, statuses) in enumerate(rows):
            moments = [moment(number, age=age) for age in ages]
            log.put(
                one(
                    of,
                    number,
                    tuple(None if s == "fallback" else 1 for s in statuses),
                    moments=moments,
                    statuses=statuses,
                )
            )


def drawn(level, model, t=T):
    """The age of each view at each t in seconds; None where nothing counts."""
    found = {}
    for view in model.features.views:
        _, K = as_of(level.freshness(view), t)
        found[view.name] = [
            None if k == NEVER else (x - k) / SECOND
            for x, k in zip(t.tolist(), K.tolist(), strict=True)
        ]
    return found


def test_the_ages_of_a_level_are_those_of_the_log_a_request_at_a_time(tmp_path):
    model, of = two_views()
    rows = [((n + 1, 100 * (n + 1)), ["present", "present"]) for n in range(50)]
    log_of(tmp_path, of, rows)
    found = drawn(hw.operations.measured_level(model, tmp_path), model)
    pairs = set(zip(found["fast"], found["slow"], strict=True))
    assert pairs == {ages for ages, _ in rows}, (
        "every pair of the log, and no pair that was not in it"
    )
    counts = np.unique(found["fast"], return_counts=True)[1]
    assert counts.min() > 250
    assert counts.max() < 550


def test_the_draw_depends_on_t_and_the_seed_alone(tmp_path):
    model, of = two_views()
    log_of(tmp_path, of, [((n + 1, 2 * n), ["present", "present"]) for n in range(20)])
    level = hw.operations.measured_level(model, tmp_path)
    order = np.random.default_rng(0).permutation(len(T))
    mixed = drawn(level, model, T[order])
    assert [mixed["fast"][i] for i in np.argsort(order)] == drawn(level, model)["fast"]
    assert drawn(hw.operations.measured_level(model, tmp_path, seed=1), model) != drawn(
        level, model
    )


def test_levels_are_measured_apart(tmp_path):
    model, of = two_views()
    log_of(tmp_path, of, [((1, 2), ["present", "present"])])
    log_of(tmp_path, dataclasses.replace(of, level="daily"), [((30, 40), ["present", "present"])])
    assert set(drawn(hw.operations.measured_level(model, tmp_path), model)["fast"]) == {1}
    assert set(
        drawn(hw.operations.measured_level(model, tmp_path, level="daily"), model)["fast"]
    ) == {30}


def test_a_value_that_was_not_there_counts_nothing(tmp_path):
    model, of = two_views()
    log_of(
        tmp_path, of, [((1, 10), ["present", "fallback"])] * 3 + [((2, 20), ["missing", "present"])]
    )
    found = drawn(hw.operations.measured_level(model, tmp_path), model)
    assert set(zip(found["fast"], found["slow"], strict=True)) == {(1, None), (2, 20)}
    assert abs(found["slow"].count(None) / len(T) - 0.75) < 0.02
    evicted = hw.operations.measured_level(
        model, hw.operations.ages(tmp_path, absent=["fallback", "missing"])
    )
    assert set(drawn(evicted, model)["fast"]) == {1, None}


def test_a_view_that_was_never_there_is_never(tmp_path):
    model, of = two_views()
    log_of(tmp_path, of, [((1, 10), ["present", "fallback"])] * 3)
    level = hw.operations.measured_level(model, tmp_path)
    assert level.freshness(model.features.view("slow")) == hw.never()
    rows = pl.DataFrame({"user": [1, 1], "timestamp": [at(0), at(10)]})
    frame = hw.get_historical_features(model.features, rows, level=level, statuses=True)
    assert frame["slow__n_1d__status"].to_list() == ["missing", "missing"]
    assert frame["fast__n_1d"].to_list() == [1, 1]


def test_the_ages_of_a_log_are_a_table(tmp_path):
    _, of = two_views()
    log_of(tmp_path, of, [((1.5, 10), ["present", "fallback"])])
    assert hw.operations.ages(tmp_path).rows() == [
        ("r0", 0, at(0), "fast", timedelta(seconds=1.5), timedelta()),
        ("r0", 0, at(0), "slow", None, None),
    ]


@pytest.mark.parametrize(
    "age",
    [
        [2.0, 3.0, None],
        [2, 3, None],
        [timedelta(seconds=2), timedelta(seconds=3), None],
        [2.0, 3.0, float("inf")],
    ],
)
def test_any_table_of_ages(age):
    model, _ = two_views()
    level = hw.operations.measured_level(
        model, pl.DataFrame({"view": ["slow"] * 3, "key": [1, 2, 3], "age": age})
    )
    assert set(drawn(level, model)["slow"]) == {2, 3, None}
    assert level.freshness(model.features.view("fast")) == hw.on_request(), (
        "views that are not in the table stay as defined"
    )


def test_a_table_that_says_which_ages_belong_together():
    model, _ = two_views()
    rows = [
        ("a", "fast", 1.0),
        ("b", "fast", 2.0),
        ("b", "slow", 20.0),
        ("a", "slow", 10.0),
        ("c", "fast", 3.0),
    ]
    table = pl.DataFrame(rows, schema=["request", "view", "age"], orient="row")
    found = drawn(hw.operations.measured_level(model, table), model)
    assert set(zip(found["fast"], found["slow"], strict=True)) == {(1, 10), (2, 20)}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"view": ["fsat"], "age": [1.0]},
            "reads no view 'fsat', which the ages are of; did you mean 'fast'",
        ),
        ({"view": ["fast"], "ago": [1.0]}, "no column 'age'; did you mean 'ago'"),
        (
            {"view": ["fast"], "age": ["1s"]},
            "the column 'age' is String; give durations, or numbers of seconds",
        ),
        (
            {"view": ["fast", "slow"], "age": [1.0, 2.0], "request": ["a", "b"]},
            "no request in the ages has one of every view",
        ),
        ({"view": [], "age": []}, "has no row"),
    ],
)
def test_a_table_that_is_none(table, message):
    with pytest.raises(DataError, match=message):
        hw.operations.measured_level(two_views()[0], pl.DataFrame(table))


def test_a_clock_that_is_ahead_makes_no_age_below_nothing():
    model, _ = two_views()
    level = hw.operations.measured_level(
        model, pl.DataFrame({"view": ["fast"] * 2, "age": [-0.5, 1.0], "cut": [-3.0, 0.0]})
    )
    assert set(drawn(level, model)["fast"]) == {0, 1}


def test_a_long_log_is_thinned_evenly():
    model, _ = two_views()
    table = pl.DataFrame({"view": ["fast"] * 1000, "age": np.arange(1000.0)})
    level = hw.operations.measured_level(model, table, most=10)
    assert level.freshness(model.features.view("fast")).ages == tuple(
        n * 100 * SECOND for n in range(10)
    )


def test_a_batch_view_is_replayed_at_the_cut_that_was_served(tmp_path):
    """The law that makes a measured level worth its name: at the moment of a request, what was
    served then is what a backtest counts.
    """
    hour = 3600
    rows = [(1, s, float(s % 7)) for s in range(0, 6 * hour, 300)]
    view = view_of(frame(rows), freshness=hw.batch("1h", delay="20m"), windows=["2h"])
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "model", task="regression", features=hw.FeatureService("service", [view]), labels=labels
    )
    store = hw.operations.open_store(f"lmdb:{tmp_path}/online?size=100MB")
    of, served, asked = (
        EntryContext.for_service("predict", "project", model.features, model="model"),
        [],
        5 * hour + 600,
    )
    materialize_view(view, store, micros(3 * hour + 1200))  # the job has not run for two hours
    with hw.operations.ServedLog(tmp_path) as log:
        served = serve(
            log, hw.operations.OnlineFeatures(model.features, store), of, 1, {"key": 1}, asked
        ).values
    store.close()
    level = hw.operations.measured_level(model, tmp_path)
    assert level.freshness(view).cuts == ((asked - 3 * hour) * SECOND,)
    again = hw.get_historical_features(
        model.features, pl.DataFrame({"key": [1], "timestamp": [at(asked)]}), level=level
    )
    assert (
        list(again.select(model.features.feature_names).row(0))
        == served
        == [24, sum(float(s % 7) for s in range(hour, 3 * hour, 300))]
    )


def test_a_backtest_at_a_measured_level(tmp_path):
    model = churn()
    reads = pl.DataFrame({"view": ["user"] * 4, "age": [2.0, 3.0, 86_400.0, None]})
    levels = {
        "as measured": hw.operations.measured_level(model, reads),
        "instant": hw.Level(hw.on_request()),
    }
    found = hw.backtest(
        model, levels=levels, evaluation=hw.Evaluation(split="2024-05-12T00:00Z", resamples=50)
    ).result
    ages = {level.name: level.age_seconds for level in found.levels}
    assert 0 < ages["as measured"] < 86_400
    assert "25.0% of them not there" in found.levels[0].describes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hw.measured([None, None]), "is None, so no value was ever available; use never"),
        (lambda: hw.measured(["1s"], cuts=["1s", "2s"]), "as many durations as there are ages, 1"),
        (lambda: hw.measured(["1s"], cuts="1s"), "as many durations as there are ages"),
        (lambda: hw.measured(["1s"], cuts=["x"]), "a measured cut is 'x'"),
    ],
)
def test_ages_that_are_none(make, message):
    with pytest.raises(DefinitionError, match=message):
        make()


def test_what_enriches_events_is_read_from_as_far_back_as_its_cuts_lie():
    day, hour = 86_400, 3600
    seen = pl.DataFrame({"user": [1, 1], "at": [at(10 * day - 1800), at(10 * day - 1200)]})
    paid = pl.DataFrame({"user": [1], "at": [at(11 * day)], "amount": [5.0]})
    clicks = hw.Source("clicks", history=seen, timestamp_field="at", select=["user"])
    clicked = hw.FeatureView(
        "clicked",
        source=clicks,
        keys=["user"],
        features=[hw.count(name="n")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    visits = hw.Source("visits", history=seen, timestamp_field="at", select=["user"])
    visits = hw.enrich(visits, "visits_rated", [clicked["n_1h"]])
    freshness = hw.measured(["1d"], cuts=["1d"])
    view = hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        features=[hw.sum("clicked__n_1h", name="visits")],
        windows=["1h"],
        freshness=freshness,
    )
    payments = hw.Source("payments", history=paid, timestamp_field="at", select=["user", "amount"])
    rated = hw.enrich(payments, "rated", [view["visits_1h"]])
    last = hw.FeatureView(
        "paid",
        source=rated,
        keys=["user"],
        features=[hw.last("user__visits_1h")],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    rows = pl.DataFrame({"user": [1], "timestamp": [at(11 * day + hour / 2)]})
    assert hw.get_historical_features(last, rows)[last.feature_names[0]].to_list() == [1], (
        "the second visit saw the first click"
    )
