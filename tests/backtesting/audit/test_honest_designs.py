"""Honest designs that look like a leak get a verdict, at most with a question below it; a proven
leak is withheld.
"""

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

import headwater as hw
from tests.backtesting.audit.planted import (
    ORDERS,
    accused,
    labels,
    model,
    moments,
    shop,
    source,
    view,
)
from tests.backtesting.world import logistic

LEVELS = {"daily": hw.batch("1d"), "live": hw.streaming("2s")}
AMOUNT = hw.RequestField("amount", float)


def judged(of, levels=None, **how):
    return hw.backtest(
        of, levels or LEVELS, hw.Evaluation(resamples=50, min_lift=0.02, baseline="daily", **how)
    ).result


def has_verdict(result):
    """Whether it names a level, or says what more days would."""
    return (
        result.recommendation.answer != "withheld"
        and not result.verdict.startswith("No verdict")
        and not result.audit.leaks
    )


def asked(result):
    return [(finding.check, finding.subject) for finding in result.audit.conditions]


def table(n, seed=0, days=40):
    """Rows with a user and the time of the request, in minutes."""
    rng = np.random.default_rng(seed)
    return rng, np.sort(rng.random(n)) * days * 24 * 60, rng.integers(0, 150, n)


# ---- honest


def payments(n=4000):
    rng, at, card = table(n, days=30)
    fraud = rng.random(n) < 0.05
    return pl.DataFrame(
        {"card": card, "amount": rng.exponential(40, n), "at": moments(at), "fraud": fraud}
    )


@pytest.mark.parametrize("known", ["3d", pytest.param("5m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fields", [(), (AMOUNT,)], ids=["as it is", "with a request field"])
def test_events_and_labels_in_one_table_of_payments(fields, known):
    """The amount is known at the payment, whether it was fraud days later."""
    rows = payments()
    past = hw.Source("paid", history=rows, timestamp_field="at", select=["card", "amount"])
    by_card = hw.FeatureView(
        "by_card",
        source=past,
        keys=["card"],
        features=[hw.mean("amount")],
        windows=["1d"],
        freshness=hw.batch("1d"),
    )
    outcome = hw.Labels(
        "frauds", table=rows, timestamp_field="at", label="fraud", known_after=known
    )
    of = hw.Model(
        "fraud",
        task="binary",
        features=hw.FeatureService("s", [by_card, *fields]),
        labels=outcome,
        estimator=logistic(),
    )
    result = judged(of)
    assert has_verdict(result)
    assert asked(result) == ([] if fields else [("label rows", "paid")])
    for finding in result.audit.conditions:
        assert finding.brief == "'amount' of source 'paid' is known at 'at'"
        assert "hw.RequestField('amount', float)" in finding.remedy


def departures(n=4000):
    """Asked for at any time in the ten days before a departure is due; it leaves late or not."""
    rng, asked_at, line = table(n)
    due = np.ceil((asked_at + 30 + rng.random(n) * 10 * 24 * 60) / 5) * 5
    wait = rng.exponential(30, n)
    times = {"asked_at": moments(asked_at), "due_at": moments(due), "left_at": moments(due + wait)}
    return pl.DataFrame(
        {"line": line % 20, "platform": rng.integers(1, 9, n), "late": wait > 30, **times}
    )


@pytest.mark.parametrize(
    "promised",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["events alone", "with a field"],
)
@pytest.mark.parametrize("known", [True, False], ids=["selected", "not selected"])
def test_planned_times_of_departures(promised, known):
    """Each departure is announced with its platform a day before it is due."""
    rows = departures()
    plan = source(
        rows.select("line", "platform", at=pl.col("due_at") - pl.duration(days=1)), "announcements"
    )
    ahead = (
        ((pl.col("due_at") - pl.col("asked_at")).dt.total_minutes()).cast(pl.Float64).alias("ahead")
    )
    select = [
        "line",
        "asked_at",
        "left_at",
        "late",
        *(["due_at"] if known else []),
        *([ahead] if promised else []),
    ]
    announced = view(plan, [hw.mean("platform"), hw.count()], keys=["line"], windows=["30d"])
    outcome = labels(rows, select, known="left_at")
    result = judged(
        model([announced, *([hw.RequestField("ahead", float)] if promised else [])], outcome)
    )
    assert has_verdict(result), result.audit.blocking


@pytest.mark.parametrize("jitter", [False, True], ids=["a second before", "within a minute"])
@pytest.mark.parametrize("key", ["user", pytest.param("order", marks=pytest.mark.slow)])
def test_a_score_that_is_logged_just_before_each_request(key, jitter):
    """Another model's score: it says much of the outcome, and is not it."""
    rng = np.random.default_rng(3)
    rows = ORDERS.with_columns(order=pl.Series(rng.permutation(ORDERS.height)))
    before = pl.duration(seconds=pl.Series(rng.integers(1, 60, rows.height)) if jitter else 1)
    score = pl.col("late") * 2.5 + pl.Series(rng.normal(size=rows.height))
    log = rows.select("user", "order", score=score, at=pl.col("asked_at") - before)
    select = ("user", "order", "amount", "asked_at", "delivered_at", "late")
    scored = view(
        source(log, "scores", select=["user", "order", "score"]), [hw.last("score")], keys=[key]
    )
    result = judged(model([scored], labels(rows, select)), LEVELS | {"instant": hw.on_request()})
    assert has_verdict(result)
    assert {subject for _, subject in asked(result)} == {"scores"}


# ---- proven


def dated(rows, **before):
    return rows.select("user", "took", at=pl.col("asked_at") - pl.duration(**before))


def test_an_outcome_that_an_id_finds_at_any_time_is_a_leak():
    rng = np.random.default_rng(3)
    rows = ORDERS.with_columns(order=pl.Series([f"o{n}" for n in rng.permutation(ORDERS.height)]))
    minutes = pl.Series(rng.integers(1, 5000, rows.height))
    early = rows.select(
        "user", "order", "took", at=pl.col("asked_at") - pl.duration(minutes=minutes)
    )
    result = judged(
        model(
            [view(source(early, select=["user", "took"]))],
            labels(rows, ("user", "order", "asked_at", "delivered_at", "late")),
        )
    )
    assert result.verdict == "No verdict: a leak in 'past'."
    (leak,) = result.audit.leaks
    assert (leak.check, leak.columns) == ("label rows in another table", ["took"])
    assert "same 'order'" in leak.evidence


@pytest.mark.parametrize(
    "share", [0.015, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.03, 0.2))]
)
def test_a_leak_counts_from_one_in_a_hundred_requests_on(share):
    """The outcomes of so many requests are dated five hours before they were known, those of the
    others when they were.
    """
    rows = shop(12_000)
    early = pl.Series(np.random.default_rng(2).random(rows.height) < share)
    at = (
        pl.when(early).then(pl.col("delivered_at") - pl.duration(hours=5)).otherwise("delivered_at")
    )
    (leak,) = accused(model([view(source(rows.select("user", "took", at=at)))], labels(rows)))
    assert (leak.check, leak.severity) == ("own outcome", "LEAK")
    assert leak.share == pytest.approx(share, rel=0.25)


@pytest.mark.parametrize(("late", "severity"), [(40, "SUSPECT"), (200, "LEAK")])
def test_a_leak_takes_fifty_requests_of_each_outcome(late, severity):
    rows = ORDERS.filter(~pl.col("late"))
    rows = pl.concat(
        [rows, ORDERS.filter("late").gather_every(max(1, ORDERS["late"].sum() // late)).head(late)]
    ).sort("asked_at")
    found = accused(model([view(source(dated(rows, minutes=65)))], labels(rows)), "own outcome")
    assert [finding.severity for finding in found] == [severity]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("noise", [0, 8])
def test_outcomes_of_several_classes_and_numbers_are_leaks_and_forecasts_of_them_are_not(
    task, noise
):
    rows = ORDERS.with_columns(
        kind=pl.when(pl.col("took") > 120)
        .then(pl.lit("late"))
        .when(pl.col("took") > 70)
        .then(pl.lit("due"))
        .otherwise(pl.lit("fast"))
    )
    label = "kind" if task == "multiclass" else "minutes"
    rows = rows.with_columns(minutes="took")
    told = rows.with_columns(
        took=pl.col("took")
        + pl.Series(
            np.random.default_rng(1).normal(0, noise, rows.height)
            if noise
            else np.zeros(rows.height)
        )
    )
    outcome = hw.Labels(
        "l",
        table=rows,
        timestamp_field="asked_at",
        label=label,
        select=["user", "asked_at", "delivered_at", label],
        known_at_field="delivered_at",
    )
    estimator = (
        make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())
        if task == "regression"
        else None
    )
    of = model([view(source(dated(told, minutes=65)))], outcome, task, estimator)
    found = [f.severity for f in judged(of).audit.findings if f.check == "own outcome"]
    assert found == ["SUSPECT" if noise else "LEAK"]
