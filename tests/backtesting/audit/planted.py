"""A small shop whose deliveries are late or not, with every kind of leak planted into its
definitions.
"""

import datetime as dt

import numpy as np
import polars as pl

import headwater as hw
from tests.backtesting.world import day, logistic

US = pl.Datetime("us", "UTC")
INSTANT = {"request only": hw.Level(hw.never()), "instant": hw.Level(hw.on_request())}


def moments(minutes):
    return pl.Series(
        [day(0) + dt.timedelta(seconds=round(60 * float(m))) for m in minutes], dtype=US
    )


def shop(n=3000, seed=0):
    """One row an order; delivered 30 to 200 minutes after it was asked for; late ones take
    longer.
    """
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.random(n)) * 40 * 24 * 60
    user = rng.integers(0, 150, n)
    took = 30 + rng.gamma(2, 30, n) + 25 * (user % 3 == 0)
    return pl.DataFrame(
        {
            "user": user,
            "amount": rng.exponential(20, n),
            "took": took,
            "asked_at": moments(asked),
            "delivered_at": moments(asked + took),
            "late": took > 100,
        }
    )


ORDERS = shop()


def labels(
    table=ORDERS,
    select=("user", "amount", "asked_at", "delivered_at", "late"),
    known="delivered_at",
):
    return hw.Labels(
        "late",
        table=table,
        timestamp_field="asked_at",
        label="late",
        select=select,
        known_at_field=known,
    )


def source(history, name="past", at="at", **rules):
    return hw.Source(name, history=history, timestamp_field=at, **rules)


def view(of, features=(), keys=("user",), windows=("7d",)):
    features = list(features) or [hw.mean("took"), hw.count()]
    return hw.FeatureView(
        "view",
        source=of,
        keys=list(keys),
        features=features,
        windows=list(windows),
        freshness=hw.batch("1d"),
    )


def model(members, of_labels=None, task="binary", estimator=None):
    return hw.Model(
        "m",
        task=task,
        features=hw.FeatureService("s", members),
        labels=of_labels or labels(),
        estimator=estimator or logistic(),
    )


def audit(of, levels=None, **evaluation):
    how = hw.Evaluation(split=day(30), resamples=20, **evaluation)
    return hw.backtest(of, levels=levels or INSTANT, evaluation=how).result.audit


def accused(of, check=None, **how):
    """Findings that accuse, of one check or of all."""
    return [
        finding
        for finding in audit(of, **how).findings
        if finding.severity != "question" and check in (None, finding.check)
    ]
