"""Small worlds whose truth is known, and models of them."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import headwater as hw

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
LEVELS = {
    "request only": hw.Level(hw.never()),
    "daily": hw.Level(hw.batch("1d", delay="4h")),
    "hourly": hw.Level(hw.batch("1h", delay="5m")),
    "instant": hw.Level(hw.on_request()),
}
STALE_AND_FRESH = {name: LEVELS[name] for name in ("daily", "hourly")}


def day(number):
    """The midnight that a day begins with."""
    return START + dt.timedelta(days=number)


@dataclass(frozen=True)
class World:
    """Three machines, each good or bad; the state lasts hours, is read every 10 minutes, and drives
    what becomes of requests.

    events: machine, at, state (0 or 1), mood (the state as text).
    rows: machine, user, amount, asked, bad (bool), cost (float), known (half an hour after asked).
    """

    events: pl.DataFrame
    rows: pl.DataFrame


def world(seed=0, *, days=30, per_day=120, effect=0.6, flip=0.12, users=40):
    """`effect`: how much likelier a bad outcome is on a bad machine; 0 for a world in which nothing
    that is read tells anything.
    """
    rng = np.random.default_rng(seed)
    hours = days * 24
    flips = rng.random((hours, 3)) < flip
    states = (np.cumsum(flips, axis=0) + rng.integers(0, 2, 3)) % 2
    steps = np.arange(hours * 6)
    events = pl.concat(
        pl.DataFrame(
            {
                "machine": [f"m{m}"] * len(steps),
                "at": _times(steps * 600.0),
                "state": states[steps // 6, m].astype(float),
                "mood": np.where(states[steps // 6, m] == 1, "bad", "good"),
            }
        )
        for m in range(3)
    )
    n = days * per_day
    asked = np.sort(rng.random(n)) * hours * 3600
    machine, amount = rng.integers(0, 3, n), rng.normal(size=n)
    state = states[(asked // 3600).astype(int), machine]
    chance = np.clip(0.2 + effect * state + 0.05 * amount, 0.01, 0.99)
    rows = pl.DataFrame(
        {
            "machine": [f"m{m}" for m in machine],
            "user": rng.integers(0, users, n),
            "amount": amount,
            "asked": _times(asked),
            "bad": rng.random(n) < chance,
            "cost": 10 * effect * state + amount + rng.normal(size=n),
            "known": _times(asked + 1800),
        }
    )
    return World(events, rows)


def _times(seconds):
    return (
        pl.Series(np.rint(np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


def readings(history, **rules):
    """The source of a world's events."""
    return hw.Source(
        "readings",
        history=history,
        timestamp_field="at",
        **({"select": ["machine", "state", "mood"]} | rules),
    )


def by_machine(history, **rules):
    """The view that tells a machine's state."""
    features = rules.pop("features", [hw.last("state"), hw.mean("state", windows=["6h"])])
    return hw.FeatureView(
        "machine",
        source=readings(history),
        keys=["machine"],
        features=features,
        freshness=LEVELS["daily"].features,
        **rules,
    )


def labels(rows, label="bad", **rules):
    """The rows as labels."""
    rules = {"known_at_field": "known"} | rules if "known_after" not in rules else rules
    return hw.Labels("outcomes", table=rows, timestamp_field="asked", label=label, **rules)


def model(made, *, estimator="logistic", task="binary", members=None, label=None, **rules):
    """A model of a world; `estimator` None is the default one."""
    members = members or [by_machine(made.events), hw.RequestField("amount", float)]
    outcome = labels(made.rows, label or ("bad" if task == "binary" else "cost"))
    chosen = logistic() if estimator == "logistic" else estimator
    return hw.Model(
        "breaks",
        task=task,
        features=hw.FeatureService("svc", members),
        labels=outcome,
        estimator=chosen,
        **rules,
    )


def logistic():
    """A pipeline that takes missing values."""
    return make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
    )


def step(result, from_, to, metric="auc"):
    """The comparison of two levels in one metric."""
    return next(p for p in result.comparisons if (p.from_, p.to, p.metric) == (from_, to, metric))


def level(result, name):
    """The result of one level."""
    return next(found for found in result.levels if found.name == name)


def judge(of, levels=None, *, threads=None, **how):
    """The result of hw.backtest, with the fields of an Evaluation as keywords."""
    return hw.backtest(
        of, levels, hw.Evaluation(**how), resources=hw.Resources(threads=threads)
    ).result
