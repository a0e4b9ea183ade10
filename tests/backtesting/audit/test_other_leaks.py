"""Tables that contain the label rows, request fields, label times, static tables and questions:
each planted, and honest ones silent.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from tests.backtesting.audit.planted import ORDERS, accused, audit, labels, model, source, view
from tests.backtesting.world import day

TRIPS = view(source(ORDERS.select("user", "took", at="delivered_at")))


MADE = {
    "by definition": (
        (pl.col("delivered_at").dt.hour()).alias("field"),
        "LEAK",
        "made of 'delivered_at', known only after it",
    ),
    "of the label's columns": (
        (pl.col("took") + 2 * pl.col("amount")).alias("field"),
        "LEAK",
        "made of 'took', known only after it",
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_a_request_field_made_of_what_comes_later(case):
    field, severity, says = MADE[case]
    late = (pl.col("took") > 100).alias("late")
    of = labels(ORDERS.drop("late"), ["user", "asked_at", "delivered_at", field, late])
    (found,) = accused(model([TRIPS, hw.RequestField("field", float)], of))
    assert (found.check, found.severity, found.subject) == ("request fields", severity, "field")
    assert says in found.evidence


def test_honest_request_fields_are_silent():
    assert accused(model([TRIPS, hw.RequestField("amount", float)])) == []


def test_a_label_delay_that_differs_by_class_is_a_question():
    table = ORDERS.with_columns(
        known=pl.col("asked_at")
        + pl.when("late").then(pl.duration(days=3)).otherwise(pl.duration(hours=2))
    )
    of = labels(table, ["user", "asked_at", "known", "late"], known="known")
    found = [
        f
        for f in audit(model([hw.RequestField("user", int)], of)).findings
        if f.check == "label times"
    ]
    assert [f.severity for f in found if "How long a label takes" in f.evidence] == ["question"]


def _users(score, computed):
    return pl.DataFrame(
        {
            "user": range(150),
            "score": score,
            "computed_at": [computed] * 150,
            "since": [day(-30)] * 150,
        }
    )


def _rated(users):
    of = source(users, "users", at="since", select=["user", "score"])
    return hw.FeatureView(
        "users",
        source=of,
        keys=["user"],
        features=[hw.last("score")],
        windows=["lifetime"],
        freshness=hw.batch("1d"),
    )


def test_a_dimension_that_says_more_before_its_creation_is_a_suspicion():
    rng = np.random.default_rng(0)
    n = 3000
    asked = ORDERS["asked_at"]
    user = np.arange(n) % 150
    bad = rng.random(150) < 0.5
    before = (asked < day(20)).to_numpy()
    # what held in the period of the table ends with it
    late = np.where(before, bad[user] ^ (rng.random(n) < 0.1), rng.random(n) < 0.5)
    table = ORDERS.with_columns(user=pl.Series(user), late=pl.Series(late))
    (found,) = accused(model([_rated(_users(bad.astype(float), day(20)))], labels(table)))
    assert (found.check, found.severity) == ("static tables", "SUSPECT")
    assert "for requests before 'computed_at' of its rows" in found.evidence


def test_an_honest_dimension_is_silent():
    assert accused(model([_rated(_users((np.arange(150) % 3 == 0).astype(float), day(20)))])) == []
    reasons = {check.check: check.reason for check in audit(model([TRIPS])).checks_not_run}
    assert (
        reasons["static tables"]
        == "no source has one row for each key, known before the first requests"
    )
