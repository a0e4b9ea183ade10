"""No events, no verdict: empty tables, keys that match nothing, times far apart; in every rendering
and from the command line.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from tests.backtesting.audit.planted import moments
from tests.backtesting.world import logistic

N = 3000
RNG = np.random.default_rng(1)
PAID = pl.DataFrame(
    {
        "card": RNG.integers(0, 60, N),
        "amount": RNG.exponential(40, N).round(2),
        "kind": RNG.choice(["shop", "web"], N),
        "at": moments(np.sort(RNG.random(N)) * 30 * 24 * 60),
        "fraud": RNG.random(N) < 0.2,
    }
)
TEXTS = PAID.with_columns(card=pl.format("c{}", "card"))
LEVELS = {"daily": hw.batch("1d"), "live": hw.streaming("2s")}
NEVER = "No verdict: no event of 'paid' counts for any request."


def moved(days):
    return PAID.with_columns(pl.col("at") + dt.timedelta(days=days))


def by_card(history, name="paid", features=(), windows=("1h",), **rules):
    source = hw.Source(
        name, history=history, timestamp_field="at", select=["card", "amount", "kind"], **rules
    )
    features = list(features) or [hw.count(), hw.mean("amount")]
    return hw.FeatureView(
        f"by_{name}",
        source=source,
        keys=["card"],
        features=features,
        windows=windows and list(windows),
        freshness=hw.batch("1d"),
    )


def model(rows, *members):
    outcome = hw.Labels("frauds", table=rows, timestamp_field="at", label="fraud", known_after="5m")
    service = hw.FeatureService("s", [*members, hw.RequestField("amount", float)])
    return hw.Model("fraud", task="binary", features=service, labels=outcome, estimator=logistic())


@pytest.fixture(autouse=True)
def warned():
    """A warning says so too, as in training."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hw.errors.HeadwaterWarning)
        yield


def judged(of, levels=None):
    return hw.backtest(
        of, levels or LEVELS, hw.Evaluation(baseline="daily", resamples=20, min_lift=0.02)
    )


def severities(found):
    return [
        (f.severity, f.subject)
        for f in found.result.audit.findings
        if f.check == "events of requests"
    ]


NOTHING = {
    "an empty table": (PAID, by_card(PAID.clear())),
    "an empty table with a lifetime": (PAID, by_card(PAID.clear(), windows=None)),
    "labels of other years, later": (moved(900), by_card(PAID)),
    "labels of other years, before": (moved(-900), by_card(PAID, windows=None)),
    "keys that match nothing": (PAID, by_card(PAID.with_columns(pl.col("card") + 1000))),
    "strings that match nothing": (
        TEXTS,
        by_card(TEXTS.with_columns(card=pl.col("card").str.to_uppercase())),
    ),
    "known years later": (PAID, by_card(PAID, known_after="900d", windows=None)),
    "counts alone": (PAID, by_card(PAID.clear(), features=[hw.count()])),
    "lists": (
        PAID,
        by_card(PAID.clear(), features=[hw.last_n("kind", k=3), hw.count_distinct("amount")]),
    ),
    "a filter that keeps nothing": (PAID, by_card(PAID, filter=pl.col("amount") < 0)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_without_events_there_is_no_verdict(case):
    rows, view = NOTHING[case]
    found = judged(model(rows, view))
    assert found.result.verdict == NEVER
    assert found.result.recommendation.withheld
    assert severities(found) == [("EMPTY", "paid")]
    (finding,) = found.result.audit.blocking
    assert "have no value for any of the 3,000 requests" in finding.evidence
    assert ("the source has no events" in finding.evidence) == (
        "empty" in case or case in ("counts alone", "lists", "a filter that keeps nothing")
    )
    assert "Compare the keys and times" in finding.remedy


def test_rare_events_and_a_static_table_are_honest():
    few = PAID.gather_every(300)
    users = pl.DataFrame(
        {"card": range(60), "amount": RNG.random(60), "kind": "shop", "at": moments([-60 * 24])[0]}
    )
    found = judged(
        model(
            PAID,
            by_card(PAID),
            by_card(few, "returned", windows=["30d"]),
            by_card(users, "cards", [hw.last("amount")], None),
        )
    )
    assert severities(found) == []
    assert severities(judged(model(PAID, by_card(users, "cards", [hw.last("amount")], None)))) == []
