"""A shop that is asked by every road: views of two streams and a table, an alias, request features,
and two models.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

import headwater as hw
from tests.laws.streams import TIME

START = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
SCHEMA = {
    "at": TIME,
    "user": pl.Int64,
    "page": pl.String,
    "spent": pl.Float64,
    "id": pl.String,
    "bought": pl.Boolean,
    "until": TIME,
}
FIELDS = {
    "user": pl.Int64,
    "page": pl.String,
    "peer": pl.Int64,
    "amount": pl.Float64,
    "country": pl.String,
}
NIGHTLY = hw.Level(
    predictions=hw.precomputed(hw.batch("1d"), keys=["user"], otherwise="on_request")
)


class Total:
    """A model that adds up the numbers among its features, fitted or not."""

    version = "total-1"

    def one(self, values):
        return float(sum(value for value in values if isinstance(value, int | float)))

    def score(self, frame):
        return np.array([self.one(row) for row in frame.iter_rows()])

    def fit(self, rows, label):
        return self

    def predict(self, rows):
        return np.nan_to_num(np.asarray(rows, np.float64)).sum(axis=1)


def costs():
    """A table of costs, some of them null, in the days up to now."""
    rows = [
        {
            "at": START - timedelta(hours=7 * n, seconds=n),
            "user": n % 4,
            "cost": None if n % 5 == 2 else n / 4,
        }
        for n in range(40)
    ]
    return pl.DataFrame(rows, schema={"at": TIME, "user": pl.Int64, "cost": pl.Float64})


def views(visits, reads):
    """The views of two sources, as defined over streams, or over what was sent."""
    user = hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        windows=["1h", hw.window("6h", offset="10m")],
        freshness=hw.streaming("2s"),
        features=[
            hw.count(),
            hw.mean("spent"),
            hw.last_n("page", k=3, distinct=True),
            hw.sum("spent", where="bought", name="bought"),
            hw.approx_percentile("spent", q=0.9),
            hw.sum("spent", name="by_page").by("page", max_keys=3),
            hw.first("bought"),
        ],
    )
    page = hw.FeatureView(
        "page",
        source=reads,
        keys=["page"],
        windows=["1d"],
        freshness=hw.streaming("2s"),
        ttl="12h",
        features=[
            hw.open_count(until="until"),
            hw.max("spent"),
            hw.count_distinct("user"),
            hw.since_last(),
            hw.mode("user"),
        ],
    )
    table = hw.Source("costs", history=costs(), timestamp_field="at", select=["user", "cost"])
    cost = hw.FeatureView(
        "cost",
        source=table,
        keys=["user"],
        windows=["2d"],
        features=[hw.sum("cost"), hw.min("cost")],
        freshness=hw.batch("6h", delay="10m"),
    )
    every = hw.FeatureView(
        "every",
        source=visits,
        keys=[],
        windows=["3h"],
        features=[hw.count(), hw.top_k("page", k=2)],
        freshness=hw.streaming("2s"),
    )
    return user, page, cost, every


def members(user, page, cost, every):
    """What a request is answered with."""

    @hw.request_feature
    def above(amount: float, usual: float | None = user["mean_spent_1h"]) -> float | None:
        return None if usual is None else amount - usual

    return [
        user,
        page,
        cost,
        every,
        user.alias("friend", keys={"user": "peer"}),
        above,
        hw.RequestField("country", str),
    ]


def sources(folder):
    visits = hw.Source(
        "visits",
        stream=hw.appended(f"{folder}/visits*.jsonl", schema=SCHEMA),
        timestamp_field="at",
        select=["user", "page", "spent", "bought"],
        id_field="id",
    )
    reads = hw.Source(
        "reads",
        stream=hw.appended(f"{folder}/reads*.jsonl", schema=SCHEMA),
        timestamp_field="at",
        select=["user", "page", "spent", "until"],
        filter=pl.col("spent") < 90,
    )
    return visits, reads


def project(folder):
    """The project over streams of files in a folder."""
    made = views(*sources(folder))
    rows = pl.DataFrame(
        {"at": [START], "label": [1.0], **{name: [None] for name in FIELDS}},
        schema={"at": TIME, "label": pl.Float64, **FIELDS},
    )
    labels = hw.Labels(
        "labels",
        table=rows,
        timestamp_field="at",
        label="label",
        known_after="1h",
        select=list(FIELDS),
    )
    taste = hw.Model(
        "taste",
        task="regression",
        features=hw.FeatureService("taste_v1", members(*made)),
        labels=labels,
    )
    asked = costs().select(pl.col("at") + timedelta(hours=1), "user", label=1.0)
    paid = hw.Labels(
        "paid", table=asked, timestamp_field="at", label="label", known_after="1h", select=["user"]
    )
    lapse = hw.Model(
        "lapse",
        task="regression",
        features=hw.FeatureService("lapse_v1", [made[2]]),
        labels=paid,
        estimator=Total(),
    )
    return hw.Project("shop", [taste, lapse], levels={"nightly": NIGHTLY})


def training(folder, sent):
    """The feature service over all that was sent, each record known at its commit; and the level at
    which it is served.
    """
    frames = {
        name: pl.DataFrame(
            [{**row, "readable": row["readable"]} for row in rows],
            schema=SCHEMA | {"readable": TIME},
        )
        for name, rows in sent.items()
    }
    over = [
        replace(source, stream=None, history=frames[source.name], known_at_field="readable")
        for source in sources(folder)
    ]
    made = views(*over)
    live = {view: hw.on_request() for view in made if view.freshness.streamed}
    return hw.FeatureService("taste_v1", members(*made)), hw.Level(
        {**live, made[2]: made[2].freshness}
    )
