"""Expectations: of single values and whole days, of histories, of events that arrive and of served
values; they rebuild nothing.
"""

import warnings

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.serving.metrics.ingest_metrics import IngestMetrics
from tests.flow import SCHEMA, Flow, at, home, store, streaming_view  # noqa: F401 (fixtures)

DAY = 86_400


def history(rows, **more):
    """A source of events (key, second, amount)."""
    frame = pl.DataFrame(
        {
            "key": pl.Series([key for key, *_ in rows], dtype=pl.Int64),
            "amount": pl.Series([amount for *_, amount in rows], dtype=pl.Float64),
            "at": pl.Series([at(second) for _, second, _ in rows], dtype=pl.Datetime("us", "UTC")),
        }
    )
    return hw.Source("events", history=frame, timestamp_field="at", **more)


ROWS = [
    *((n % 3, n * 3600, float(n)) for n in range(24)),
    *((n % 3, DAY + n * 3600, float(n)) for n in range(24)),
    (1, 2 * DAY, -1.0),
    (1, 2 * DAY + 1, float("nan")),
    (None, 2 * DAY + 2, 99.0),
    *((n % 3, 3 * DAY + n * 3600, float(n)) for n in range(24)),
]


def view_of(source):
    return hw.FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.batch("1h"),
    )


def test_dataset_backtest_and_materialize_warn_and_change_nothing(tmp_path, store):
    plain, broken = (
        history(ROWS, **more)
        for more in ({}, {"expectations": [hw.Expect("amount", in_range=(0, 23))]})
    )
    labels = pl.DataFrame(
        {
            "key": [0, 1] * 20,
            "asked": [at(DAY + n * 600) for n in range(40)],
            "left": [n % 3 == 0 for n in range(40)],
        }
    )
    message = r"source events, amount: in_range \(0, 23\): broken by 2 of 75 rows, on 1 of 4 days, the last 2024-05-03"
    written = []
    for source in (plain, broken):
        model = hw.Model(
            "churn",
            task="binary",
            features=hw.FeatureService("f", [view_of(source)]),
            labels=hw.Labels(
                "l", table=labels, timestamp_field="asked", label="left", known_after="1m"
            ),
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", HeadwaterWarning)
            made = hw.dataset(model, tmp_path / "rows.parquet", as_of="2024-05-05T00:00Z")
            hw.backtest(model, {"now": hw.on_request()}, hw.Evaluation(resamples=20))
        own = [str(one.message) for one in caught if "broken by" in str(one.message)]
        assert len(own) == (0 if source is plain else 2)
        written.append(made.manifest["digest"])
        project = hw.Project("p", [model])
    assert written[0] == written[1]
    with pytest.warns(
        HeadwaterWarning, match=message.replace("75 rows, on 1 of 4", "27 rows, on 1 of 2")
    ):
        hw.materialize(project, store=store, at=at(3 * DAY + 60))


# ---------------------------------------------------------------- events that arrive


def flow_of(store, folder, *expectations, **more):
    view = streaming_view(source={"expectations": expectations}, **more)
    return view, Flow([view], store, folder)


def events(*amounts):
    return [{"key": 1, "at": n + 1.0, "amount": amount} for n, amount in enumerate(amounts)]


def test_a_warned_event_counts_and_a_rejected_one_is_a_dead_letter(store, tmp_path):
    view, flow = flow_of(
        store,
        tmp_path,
        hw.Expect("amount", in_range=(0, 10)),
        hw.Expect("amount", not_null=True, on_violation="reject"),
    )
    (committed,) = flow.send(events(1.0, 11.0, None, 3.0), 60)
    assert committed.counts["accepted"] == 3
    assert committed.counts["dead"] == 1
    assert committed.counts["unexpected"] == 2
    assert committed.counts["unexpected: amount: in_range (0, 10)"] == 1
    assert committed.counts["unexpected: amount: not_null"] == 1
    assert committed.dead["reason"].to_list() == ["unexpected amount: not_null"]
    metrics = IngestMetrics()
    metrics.committed(view.source, committed, {})
    assert (
        metrics.registry.get_sample_value("headwater_unexpected_total", {"source": "events"}) == 2
    )
