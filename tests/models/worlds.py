"""Tables of each task, and models of them."""

import datetime as dt

import numpy as np
import polars as pl
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import headwater as hw

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)
KINDS = ["red", "green", "blue"]


def table(n=1200, seed=0, per_list=6):
    """Requests whose columns say what becomes of them: `x` and `shade` decide, `noise` does not, a
    fifth of `x` is missing.

    kind: a text of three; number: the same as 3, 5, 7; grade: 0, 1 or 2; clicked: 0 or 1; cost: a
    value. request: six to a list.
    """
    rng, of_items = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    x = rng.normal(size=n)
    shade = rng.integers(0, 3, n)
    which = np.clip(np.rint(shade + 0.3 * x), 0, 2).astype(int)
    asked = START + pl.Series(np.arange(n, dtype=np.int64) * 60_000_000).cast(pl.Duration("us"))
    return pl.DataFrame(
        {
            "request": [f"r{i // per_list}" for i in range(n)],
            "item": [
                f"i{v}"
                for _ in range(0, n, per_list)
                for v in of_items.permutation(50 + per_list)[:per_list]
            ][:n],
            "x": pl.Series(x).set(pl.Series(rng.random(n) < 0.2), None),
            "noise": rng.random(n),
            "shade": [("dark", "mid", "light")[s] for s in shade],
            "seen": [
                [("hat", "sock", "shoe")[s] for s in rng.integers(0, 3, rng.integers(0, 4))]
                for _ in range(n)
            ],
            "asked": asked,
            "kind": [KINDS[w] for w in which],
            "number": 3 + 2 * which,
            "grade": which,
            "clicked": (which == 2).astype(int),
            "cost": 10.0 * which + x,
        }
    )


FIELDS = [
    hw.RequestField("x", float),
    hw.RequestField("noise", float),
    hw.RequestField("shade", str),
]


def model(
    task="binary", label=None, *, rows=None, estimator=None, fields=FIELDS, weight=None, **rules
):
    """A model of `table()`; `estimator` None is the default one."""
    usual = {"binary": "clicked", "regression": "cost", "multiclass": "kind"}
    outcome = label or (usual[task] if isinstance(task, str) else "grade")
    table_ = table() if rows is None else rows
    labels = hw.Labels(
        "outcomes",
        table=table_,
        timestamp_field="asked",
        label=outcome,
        known_after="1h",
        weight=weight,
    )
    return hw.Model(
        "shades",
        task=task,
        features=hw.FeatureService("svc", fields),
        labels=labels,
        estimator=estimator,
        **rules,
    )


RANKING = hw.Ranking("request", "item")


def imputed(estimator=None):
    """A pipeline that takes missing values."""
    return make_pipeline(
        SimpleImputer(keep_empty_features=True),
        StandardScaler(),
        LogisticRegression() if estimator is None else estimator,
    )
