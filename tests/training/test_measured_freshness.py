"""Ages that were measured, as a level of a backtest: drawn a request at a time; what was not there
counts nothing.
"""

import numpy as np
import polars as pl

import headwater as hw
from headwater.jobs.materialize import materialize_view
from headwater.journal.serving_log_rows import EntryContext
from headwater.kernel.as_of import NEVER, as_of
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
