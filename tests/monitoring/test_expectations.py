"""Expectations: of single values and whole days, of histories, of events that arrive and of served
values; they rebuild nothing.
"""

import dataclasses
import warnings
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterWarning
from headwater.ingestion.validate import Acceptance, rules_of
from headwater.serving.metrics.ingest_metrics import IngestMetrics
from headwater.training.history_expectations import check_history
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


@pytest.mark.parametrize(
    ("expected", "broken", "days"),
    [
        (hw.Expect("amount", in_range=(0, 23)), 2, ["2024-05-03"]),
        (hw.Expect("amount", in_range=(None, 98)), 1, ["2024-05-03"]),
        (hw.Expect("amount", in_range=(-1, 99)), 0, []),
        (hw.Expect("amount", not_null=True), 1, ["2024-05-03"]),  # NaN counts as null
        (hw.Expect("key", not_null=True), 1, ["2024-05-03"]),
        (hw.Expect("key", accepted_values=[0, 1]), 24, ["2024-05-01", "2024-05-02", "2024-05-04"]),
        (hw.Expect("amount", max_null_share=0.3), 0, ["2024-05-03"]),
        (hw.Expect("amount", max_null_share=0.34), 0, []),
        (hw.Expect("key", distinct=(2, None)), 0, ["2024-05-03"]),
        (hw.Expect("key", distinct=(None, 2)), 0, ["2024-05-01", "2024-05-02", "2024-05-04"]),
        (hw.ExpectRows(at_least=10), 0, ["2024-05-03"]),
        # the first and the last day may be parts of days
        (hw.ExpectRows(at_most=10), 0, ["2024-05-02"]),
    ],
    ids=lambda value: value.describe() if hasattr(value, "describe") else None,
)
def test_a_history_is_checked_by_day(expected, broken, days):
    (check,) = check_history(history(ROWS, expectations=[expected]))
    assert (check.broken, list(check.broken_days)) == (broken, days)
    assert check.rows == len(ROWS)
    assert check.holds == (not days)


def test_a_history_of_dates_strings_and_no_rows():
    frame = pl.DataFrame({"day": [datetime(2024, 5, 1, tzinfo=UTC).date()], "country": ["no"]})
    source = hw.Source(
        "daily",
        history=frame,
        timestamp_field="day",
        timezone="UTC",
        expectations=[hw.Expect("country", accepted_values=["se"])],
    )
    assert check_history(source)[0].broken == 1
    empty = dataclasses.replace(source, history=frame.clear())
    assert check_history(empty)[0].holds
    assert (
        check_history(
            hw.Source(
                "s",
                timestamp_field="at",
                stream=hw.push(schema=SCHEMA),
                expectations=[hw.ExpectRows(at_least=1)],
            )
        )
        == []
    )


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


def test_expectations_are_in_no_fingerprint():
    expected = [hw.Expect("amount", in_range=(0, 1)), hw.ExpectRows(at_least=1)]
    plain = streaming_view()
    more = dataclasses.replace(
        plain,
        source=dataclasses.replace(
            plain.source,
            expectations=[*expected, hw.Expect("amount", not_null=True, on_violation="reject")],
        ),
        expectations=[hw.Expect("count_1h", in_range=(0, 9))],
        slo=0.99,
    )
    for name in ("fingerprint", "tiles_fingerprint", "record_group"):
        assert getattr(more, name) == getattr(plain, name)
    assert more.source.fingerprint == plain.source.fingerprint
    assert rules_of(Acceptance(plain.source, (plain,), 0)) == rules_of(
        Acceptance(more.source, (more,), 0)
    )


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


def test_an_event_that_is_refused_anyway_breaks_nothing(store, tmp_path):
    _, flow = flow_of(store, tmp_path, hw.Expect("amount", in_range=(0, 10), on_violation="reject"))
    (committed,) = flow.send(
        [{"key": None, "at": 1.0, "amount": 50.0}, {"key": 1, "at": 2.0, "amount": 5.0}], 60
    )
    assert "unexpected" not in committed.counts
    assert committed.dead["reason"].to_list() == ["no key of any view"]


def test_without_expectations_nothing_is_looked_at(store, tmp_path, monkeypatch):
    _, flow = flow_of(store, tmp_path)
    monkeypatch.setattr(Acceptance, "_expected_values", None)
    assert flow.send(events(1.0, 2.0), 60)[0].counts["accepted"] == 2


def test_a_column_that_no_view_reads_may_be_expected_of(store, tmp_path):
    schema = SCHEMA | {"country": str}
    _, flow = flow_of(
        store,
        tmp_path,
        hw.Expect("country", accepted_values=["no", "se"], on_violation="reject"),
        schema=schema,
    )
    rows = [
        {**event, "country": country}
        for event, country in zip(events(1.0, 2.0, 3.0), ["no", "xx", None], strict=True)
    ]
    (committed,) = flow.send(rows, 60)
    assert (committed.counts["accepted"], committed.counts["dead"]) == (2, 1)


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hw.Expect("amount"), "expects nothing; give in_range="),
        (lambda: hw.Expect(""), "give the name of a column"),
        (lambda: hw.Expect("a", in_range=(3, 1)), "give two numbers, the lower bound first"),
        (lambda: hw.Expect("a", in_range=5), "give two numbers"),
        (lambda: hw.Expect("a", in_range=("x", None)), "give two numbers"),
        (lambda: hw.Expect("a", accepted_values="no"), r"give a list, such as \['no'\]"),
        (lambda: hw.Expect("a", max_null_share=2), "give a share from 0"),
        (lambda: hw.Expect("a", not_null=True, on_violation="drop"), "give 'warn' or 'reject'"),
        (lambda: hw.Expect("a", max_null_share=0.1, on_violation="reject"), "is of a whole day"),
        (hw.ExpectRows, "give at_least= or at_most="),
        (lambda: hw.ExpectRows(at_least=5, at_most=1), "give two numbers, the lower bound first"),
        (lambda: streaming_view(source={"expectations": ["amount > 0"]}), r"give a list of hw.Expect"),
        (lambda: history([], select=["key", "amount"], expectations=[hw.Expect("amuont", not_null=True)]), ((("did you mean "  # noqa: UP034
            "'amount'")))),
        (lambda: streaming_view(expectations=[hw.Expect("count_2h", not_null=True)]), ((("which it does not "  # noqa: UP034
            "have")))),
        (lambda: streaming_view(slo=99), "give a share of reads above 0 and below 1"),
        (lambda: streaming_view(slo=True), "give a share of reads"),
        (lambda: streaming_view(slo=0.9, freshness=hw.on_request()), "is of stored values"),
        (
            lambda: hw.Source(
                "s", history="x.parquet", timestamp_field="at", id_field="id", known_at_field="k", changes="b",
                expectations=[hw.Expect("a", not_null=True, on_violation="reject")],
            ),
            "leave on_violation='reject' out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_expected_is_refused(make, message):
    with pytest.raises(DefinitionError, match=message):
        make()


def test_a_column_that_a_table_does_not_have_is_named():
    with pytest.raises(hw.errors.DataError, match="no column 'amuont'"):
        check_history(history(ROWS, expectations=[hw.Expect("amuont", not_null=True)]))
