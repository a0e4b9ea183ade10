"""Tables that contain the label rows, request fields, label times, static tables and questions:
each planted, and honest ones silent.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from tests.backtesting.audit.planted import ORDERS, accused, audit, labels, model, source, view
from tests.backtesting.world import day

RNG = np.random.default_rng(5)
JITTER = ORDERS.with_columns(minutes=pl.Series(RNG.integers(1, 5000, ORDERS.height)))
TRIPS = view(source(ORDERS.select("user", "took", at="delivered_at")))


@pytest.mark.parametrize("part", [1.0, 0.6])
def test_another_table_with_the_label_rows_is_found_by_keys_and_time(part):
    other = JITTER.sample(fraction=part, seed=2).select(
        "user", "took", ordered="asked_at", at=pl.col("asked_at") - pl.duration(minutes="minutes")
    )
    of = source(other, select=["user", "took"])
    (found,) = accused(model([view(of)]), "label rows in another table")
    assert (found.check, found.severity, found.columns) == (
        "label rows in another table",
        "LEAK",
        ["took"],
    )
    assert "'ordered' equal to the request time" in found.evidence
    assert found.share == pytest.approx(part, abs=0.05)


def test_another_table_with_the_label_rows_as_known_in_time_is_silent():
    other = ORDERS.select("user", "took", ordered="asked_at", at="delivered_at")
    assert accused(model([view(source(other, select=["user", "took"]))])) == []


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


def test_a_request_field_that_is_a_span_to_a_later_time_is_found_in_the_data():
    closed = ORDERS.with_columns(
        waited=(pl.col("delivered_at") - pl.col("asked_at")).dt.total_minutes().cast(pl.Float64)
    )
    of = labels(closed, ["user", "asked_at", "delivered_at", "late", "waited"])
    (found,) = accused(model([TRIPS, hw.RequestField("waited", float)], of))
    assert (found.severity, found.subject) == ("LEAK", "waited")
    assert "the time from the request time to 'delivered_at'" in found.evidence


def test_a_request_field_that_predicts_like_an_outcome_is_a_suspicion():
    told = ORDERS.with_columns(
        flag=pl.col("late") ^ pl.Series(np.random.default_rng(1).random(ORDERS.height) < 0.01)
    )
    of = labels(told, ["user", "asked_at", "delivered_at", "late", "flag"])
    (found,) = accused(model([TRIPS, hw.RequestField("flag", bool)], of))
    assert (found.severity, found.subject) == ("SUSPECT", "flag")


def test_honest_request_fields_are_silent():
    assert accused(model([TRIPS, hw.RequestField("amount", float)])) == []


def test_what_happens_after_the_outcome_is_said_to_be_known():
    table = ORDERS.with_columns(
        known=pl.col("asked_at") + pl.duration(minutes=1),
        claimed_at=pl.when("late").then(pl.col("delivered_at") + pl.duration(days=3)),
    )
    of = labels(table, ["user", "amount", "asked_at", "known", "late"], known="known")
    (found, *_) = accused(model([TRIPS], of))
    assert (found.check, found.severity) == ("label times", "SUSPECT")
    columns = [
        f.columns
        for f in audit(model([TRIPS], of)).findings
        if f.check == "label times" and f.columns
    ]
    assert ["claimed_at"] in columns


def test_a_later_time_that_says_nothing_is_a_question():
    table = ORDERS.with_columns(archived_at=pl.col("delivered_at") + pl.duration(days=9))
    of = labels(table, ["user", "amount", "asked_at", "delivered_at", "late"])
    assert [
        (f.check, f.severity)
        for f in audit(model([TRIPS], of)).findings
        if f.columns == ["archived_at"]
    ] == [("label times", "question")]


def test_outcomes_that_change_are_a_suspicion():
    again = ORDERS.head(300).with_columns(
        late=~pl.col("late"), delivered_at=pl.col("delivered_at") + pl.duration(days=2)
    )
    of = labels(pl.concat([ORDERS, again]).sort("asked_at"))
    assert ("label times", "SUSPECT") in [
        (f.check, f.severity) for f in accused(model([TRIPS], of))
    ]


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


def _delays(slow, fast, answer, *, column=True):
    """What the audit asks of label delays: the late ones are known after `slow` hours, the others
    after `fast`, with up to 3 of noise.
    """
    noise = pl.Series(np.random.default_rng(8).random(ORDERS.height) * 3)
    hours = pl.when("late").then(slow).otherwise(fast) + noise
    table = ORDERS.with_columns(
        known=pl.col("asked_at") + pl.duration(minutes=(60 * hours).cast(pl.Int64))
    )
    columns = ["user", "asked_at", "known", "late"] if column else ["user", "asked_at", "late"]
    of = hw.Labels(
        "late", table=table, timestamp_field="asked_at", label="late", select=columns,
        **({"known_at_field": "known"} if column else {"known_after": "3d"}),
    )  # fmt: skip
    found = audit(model([hw.RequestField("user", int)], of), delay_by_outcome=answer).findings
    assert {f.severity for f in found if f.check == "label times"} <= {"question"}
    return [f.evidence for f in found if f.check == "label times"]


@pytest.mark.parametrize(
    ("hours", "answer", "says"),
    [
        ((72, 2), None, "rows before the split lack the slow class"),
        ((72, 2), False, "although the delay was answered to be the same for every outcome"),
        ((72, 2), True, ""),
        ((6, 5), True, ""),  # weak, and there
        ((5, 5), None, ""),
        ((5, 5), False, ""),
        ((5, 5), True, "'known' does not show it (AUC 0.5"),
    ],
)
def test_a_delay_by_outcome_that_was_answered_is_compared_with_the_labels(hours, answer, says):
    found = _delays(*hours, answer)
    assert len(found) == bool(says)
    assert not says or says in found[0]


def test_with_one_delay_for_all_the_answer_asks_nothing():
    assert _delays(5, 5, True, column=False) == []


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


def test_a_dimension_computed_over_the_whole_period_is_a_suspicion():
    means = ORDERS.group_by("user").agg(pl.col("late").mean()).sort("user")["late"]
    (found,) = accused(model([_rated(_users(means, day(99)))]))
    assert (found.check, found.severity, found.subject) == ("static tables", "SUSPECT", "users")
    assert "is the mean outcome of its key over the whole period" in found.evidence


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


def test_a_very_high_auc_is_a_question_and_not_an_accusation():
    found = audit(
        model(
            [hw.RequestField("amount", float)],
            labels(ORDERS.with_columns(late=pl.col("amount") > 20)),
        )
    ).findings
    assert ("results to question", "question") in [(f.check, f.severity) for f in found]


def test_the_last_seconds_before_the_request_are_a_question():
    rng = np.random.default_rng(9)
    late = pl.Series(rng.random(ORDERS.height) < 0.4)
    table = ORDERS.with_columns(late=late)
    noise = pl.Series(rng.random(ORDERS.height))
    tests = table.select(
        "user",
        at=pl.col("asked_at") - pl.duration(milliseconds=(noise * 20_000).cast(pl.Int64)),
        took=late * 1.0 + 2 * noise,
    )
    levels = {
        "request only": hw.Level(hw.never()),
        "minute": hw.Level(hw.streaming("1m")),
        "instant": hw.Level(hw.on_request()),
    }
    found = audit(
        model([view(source(tests), windows=["1h"])], labels(table)), levels=levels
    ).findings
    assert [f.severity for f in found if f.subject == "step to instant"] == ["question"]
