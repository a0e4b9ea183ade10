"""What follows an outcome: late request fields, static tables of the whole period, rounded
timestamps, outcomes known too early.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.audit.late_fields import ScreenedOff
from tests.backtesting.audit.planted import (
    ORDERS,
    accused,
    audit,
    labels,
    model,
    moments,
    shop,
    source,
    view,
)

NOISE = np.random.default_rng(8).normal(size=ORDERS.height)
TRIPS = view(source(ORDERS.select("user", "took", at="delivered_at")))


def chain(n, kind, seed=0):
    """A cause, a field and an outcome: the field follows the outcome, leads to it, or shares a
    cause with it.
    """
    rng = np.random.default_rng(seed)
    cause, noise = rng.normal(size=n), rng.normal(size=n)
    if kind == "independent":
        field = noise
        return field, cause + field + rng.normal(size=n), cause
    if kind == "shares the cause":
        field = cause + noise
        return field, 2 * cause + rng.normal(size=n), cause + 0.5 * rng.normal(size=n)
    if kind == "between":
        field = cause + noise
        return field, field + rng.normal(size=n), cause
    outcome = cause + rng.normal(size=n)
    return outcome + noise, outcome, cause


@pytest.mark.parametrize("kind", ["independent", "shares the cause", "between", "follows"])
@pytest.mark.parametrize("cut", [None, 2, 5])
def test_only_what_follows_the_outcome_is_screened_off_by_it(kind, cut):
    field, outcome, cause = chain(5000, kind, seed=1)
    ranks = np.argsort(np.argsort(cause)) / len(cause) - 0.5
    if cut is not None:  # a coarse outcome that the field itself follows
        outcome = np.searchsorted(np.quantile(outcome, np.arange(1, cut) / cut), outcome) * 1.0
        field = (
            outcome + np.random.default_rng(3).normal(size=len(outcome))
            if kind == "follows"
            else field
        )
    assert ScreenedOff(field, outcome, ranks[:, None]).is_consequence == (kind == "follows")


@pytest.mark.parametrize("noise", [30.0, 60.0])
def test_a_field_that_is_filled_in_after_the_outcome_is_a_suspicion(noise):
    rated = ORDERS.with_columns(rating=pl.col("took") + pl.Series(noise * NOISE))
    of = labels(rated, ["user", "amount", "asked_at", "delivered_at", "late", "rating"])
    fields = [hw.RequestField("rating", float), hw.RequestField("amount", float)]
    (found,) = accused(model([TRIPS, *fields], of))
    assert (found.check, found.severity, found.subject) == (
        "late request fields",
        "SUSPECT",
        "rating",
    )


@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
def test_a_field_from_before_the_request_is_silent(noise):
    """A guess that knows the user's rate, as an expert's would."""
    guessed = ORDERS.with_columns(guess=(pl.col("user") % 3 == 0) + pl.Series(noise * NOISE))
    of = labels(guessed, ["user", "amount", "asked_at", "delivered_at", "late", "guess"])
    assert accused(model([TRIPS, hw.RequestField("guess", float)], of)) == []


def dimension(users, **columns):
    of = source(
        users.with_columns(at=moments([-60 * 24])[0]), "users", select=["user", *columns, "score"]
    )
    return hw.FeatureView(
        "users",
        source=of,
        keys=["user"],
        features=[hw.last("score")],
        windows=["lifetime"],
        freshness=hw.batch("1d"),
    )


@pytest.mark.parametrize("key", [pl.Int64, pl.String])
def test_a_static_table_of_the_whole_period_is_found_by_its_halves(key):
    orders, rng = shop(6000), np.random.default_rng(4)
    users = pl.Series("user", rng.integers(0, 700, orders.height))
    orders = orders.with_columns(
        users.cast(key), took=pl.Series(30 + rng.gamma(2, 30, orders.height))
    )
    orders = orders.with_columns(late=pl.col("took") > 90)
    usual = orders.group_by("user").agg(pl.mean("took").alias("score"))
    trips = view(source(orders.select("user", "took", at="delivered_at")))
    (found,) = accused(model([trips, dimension(usual)], labels(orders)))
    assert (found.check, found.severity, found.subject) == ("static tables", "SUSPECT", "users")
    assert "contains outcomes of the period" in found.evidence


def test_a_static_table_from_before_the_period_is_silent():
    rng = np.random.default_rng(5)
    users, rate = rng.integers(0, 400, ORDERS.height), rng.normal(size=400)
    took = 80 + 30 * rate[users] + 30 * NOISE
    orders = ORDERS.with_columns(user=pl.Series(users), took=pl.Series(took)).with_columns(
        late=pl.col("took") > 100
    )
    before = pl.DataFrame({"user": np.arange(400), "score": rate + 0.3 * rng.normal(size=400)})
    assert (
        accused(
            model(
                [view(source(orders.select("user", "took", at="delivered_at"))), dimension(before)],
                labels(orders),
            )
        )
        == []
    )


def test_outcomes_that_count_before_their_end_are_a_suspicion():
    table = ORDERS.with_columns(
        known=pl.col("asked_at") + pl.duration(minutes=1), took=pl.col("took") * 20
    )
    table = table.with_columns(
        late=pl.col("took") > 2000,
        delivered_at=pl.col("asked_at") + pl.duration(seconds=pl.col("took").cast(pl.Int64) * 60),
    )
    of = labels(table, ["user", "amount", "asked_at", "known", "late"], known="known")
    past = hw.Source(
        "past",
        history=table,
        timestamp_field="asked_at",
        known_at_field="known",
        select=["user", "took"],
    )
    found = [f for f in audit(model([view(past)], of)).findings if "count outcomes" in f.evidence]
    assert [(f.check, f.severity) for f in found] == [("label times", "SUSPECT")]
    assert "delivered_at" in found[0].evidence
