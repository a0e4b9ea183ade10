"""All jobs of a project in one process: due jobs run, views first; a failed one is tried again and
holds up nothing.
"""

import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from prometheus_client import generate_latest

import headwater as hw
import headwater.jobs.schedule as schedule_module
from headwater.errors import DataError
from headwater.jobs.schedule import schedule
from headwater.retries import Backoff
from headwater.serving.metrics.ingest_metrics import JobMetrics
from headwater.testing.examples import temporary_store
from tests.flow import home  # noqa: F401 (fixtures)

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
AT = [NOW - timedelta(hours=1, minutes=7 * i) for i in range(60)]
VISITS = pl.DataFrame({"user": [i % 5 for i in range(60)], "at": AT})
LABELS = pl.DataFrame(
    {"user": [i % 5 for i in range(60)], "asked_at": AT, "gone": [i % 3 == 0 for i in range(60)]}
)


def project(history):
    source = hw.Source("visits", history=VISITS, timestamp_field="at")
    other = hw.Source("orders", history=history, timestamp_field="at")
    batch = hw.batch("1h")
    user, order = (
        hw.FeatureView(
            name, source=of, keys=["user"], windows=["2d"], freshness=batch, features=[hw.count()]
        )
        for name, of in (("user", source), ("order", other))
    )
    labels = hw.Labels(
        "left", table=LABELS, timestamp_field="asked_at", label="gone", known_after="1m"
    )
    ahead = hw.precomputed(hw.batch("1h"), keys=["user"])
    churn = hw.Model(
        "churn",
        task="binary",
        features=hw.FeatureService("churn_v1", [user]),
        labels=labels,
        predictions=ahead,
    )
    late = hw.Model(
        "late", task="binary", features=hw.FeatureService("late_v1", [order]), labels=labels
    )
    return hw.Project("shop", [churn, late])


def test_views_and_predictions_are_made_and_what_fails_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("headwater.jobs.schedule._BACKOFF", Backoff(0.05, 300))
    place = tmp_path / "orders.parquet"
    shop = project(hw.parquet(str(place)))
    hw.train(shop.model("churn"), as_of=datetime.now(UTC)).register(
        hw.operations.ModelRegistry(tmp_path / "models")
    )
    stop, done = threading.Event(), []
    with temporary_store() as store:
        for one in schedule(shop, store, models=tmp_path / "models", stop=stop):
            done.append(one)
            if one.name == "order" and one.error is not None:
                VISITS.write_parquet(place)
            if one.name == "order" and one.error is None:
                stop.set()
        assert hw.get_online_features(
            shop.model("late").features, pl.DataFrame({"user": [1]}), store=store
        )["order__count_2d"].to_list() == [12]
    names = [one.name for one in done]
    assert (names[0], set(names)) == ("user", {"user", "order", "churn as defined"})
    assert names.index("churn as defined") > names.index("user")
    first = next(one for one in done if one.name == "order")
    assert isinstance(first.error, DataError)
    assert first.again == 0.05
    assert next(one for one in done if one.name.startswith("churn")).outcome.cut.keys == 5
    # the next cut is an hour away
    assert [one.name for one in done if one.name == "user"] == ["user"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        MemoryError(),
        pl.exceptions.ComputeError("of polars"),
    ],
)
def test_no_error_of_a_job_ends_the_others(tmp_path, monkeypatch, error):
    monkeypatch.setattr("headwater.jobs.schedule._BACKOFF", Backoff(0.05, 300))
    real, fails, stop, done = schedule_module.materialize_view, [2], threading.Event(), []

    def materialize_view(view, *args, **more):
        if view.name == "user" and fails[0]:
            fails[0] -= 1
            raise error
        return real(view, *args, **more)

    monkeypatch.setattr(schedule_module, "materialize_view", materialize_view)
    shop = hw.Project(
        "shop",
        [
            project(VISITS).model("late"),
            hw.Model(
                "plain",
                task="binary",
                features=project(VISITS).model("churn").features,
                labels=hw.Labels(
                    "left", table=LABELS, timestamp_field="asked_at", label="gone", known_after="1m"
                ),
            ),
        ],
    )
    metrics = JobMetrics()
    with temporary_store() as store:
        for one in schedule(shop, store, models=tmp_path / "models", stop=stop):
            metrics.done(one)
            done.append((one.name, one.error))
            if {name for name, failed in done if failed is None} == {"user", "order"}:
                stop.set()
    assert [failed for name, failed in done if name == "user"] == [error, error, None]
    text = generate_latest(metrics.registry).decode()
    assert 'headwater_job_failures_total{job="user"} 2.0' in text
    assert 'headwater_job_failures_total{job="order"} 0.0' in text
    assert 'headwater_job_last_success_timestamp_seconds{job="user"}' in text
