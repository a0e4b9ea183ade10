"""A shop by whose answers two versions of headwater are compared.

Both versions read this file, so it is written with what both have. The environment says where the
tables are (COMPARED_DATA) and where the log of events is written (COMPARED_LOG).
"""

import os
from pathlib import Path

import polars as pl

import headwater as hw

DATA, LOG = Path(os.environ["COMPARED_DATA"]), Path(os.environ["COMPARED_LOG"])
SCHEMA = dict(pl.read_parquet_schema(DATA / "purchases.parquet"))
SELECT = ["user", "shop", "amount", "n", "item", "ok", "until"]

STEADY = [  # do not change as time goes by, while no event leaves a window
    *(hw.count(), hw.count("amount"), hw.count(where="ok"), hw.sum("amount", "n")),
    hw.mean("amount"),
    *(hw.std("amount"), hw.var("n"), hw.min("amount", "item"), hw.max("amount", "item")),
    *(hw.first("item"), hw.last("amount", "item"), hw.latest("item", "amount"), hw.fraction("ok")),
    *(hw.rate(), hw.ratio("amount", "n"), hw.min_by("item", by="amount")),
    *(hw.max_by("n", by="amount"), hw.first_n("item", k=3, distinct=True)),
    *(hw.count_distinct("item"), hw.approx_percentile("amount", q=0.9), hw.mode("item")),
    *(hw.top_k("item", k=2), hw.collect_set("item", max_size=5)),
]
MANY = [  # values that no model takes
    *(hw.last_n("amount", k=3), hw.last_n("n", k=2, distinct=True)),
    *(hw.sum("amount").by("item", max_keys=4), hw.count().by("item", max_keys=4)),
    *(hw.max("n").by("item"), hw.last("amount").by("item"), hw.mean("amount").by("item")),
]
MOVING = [
    *(hw.since_last(), hw.open_count(until="until"), hw.open_age(until="until")),
    *(hw.decayed_sum("amount", half_life="1h"), hw.decayed_mean("amount", half_life="1d")),
]
WINDOWS = ["1h", "1d", "7d"]

purchases = hw.Source(
    "purchases",
    history=hw.parquet(DATA / "purchases.parquet"),
    stream=hw.appended(LOG / "*.ndjson", schema=SCHEMA),
    timestamp_field="at",
    id_field="id",
    select=SELECT,
)
visits = hw.Source(
    "visits",
    history=hw.parquet(DATA / "visits.parquet"),
    stream=hw.push(schema=SCHEMA),
    timestamp_field="at",
    id_field="id",
    select=SELECT,
)


def view(name, source, keys, features, **more):
    streamed = {"freshness": hw.streaming("2s"), "windows": WINDOWS} | more
    return hw.FeatureView(name, source=source, keys=keys, features=features, **streamed)


by_user = view("by_user", purchases, ["user"], STEADY, on_incomplete="value")
by_shop = view("by_shop", purchases, ["shop"], STEADY, on_incomplete="value")
many = view("many", purchases, ["user"], MANY, on_incomplete="value")
moving = view("moving", purchases, ["user"], MOVING, on_incomplete="value")
visited = view("visited", visits, ["user", "shop"], STEADY[:9], ttl="6d", on_incomplete="value")
daily = view(
    *("daily", purchases, ["user"], [hw.count(), hw.sum("amount"), hw.mean("n")]),
    freshness=hw.batch("1d"),
    windows=["7d"],
)


@hw.request_feature
def share(price: float, usual: float | None = by_user["mean_amount_7d"]) -> float | None:
    """The price relative to the mean of a week."""
    return price / usual if usual else None


VIEWS = [by_user, by_shop, many, moving, visited, daily]
LEVELS = {
    "declared": None,
    "daily": hw.batch("1d", delay="2h"),
    "hourly": hw.batch("1h"),
    "lagging": hw.streaming("10m"),
    "instant": hw.on_request(),
}

labels = hw.Labels(
    "bought",
    table=hw.parquet(DATA / "labels.parquet"),
    timestamp_field="asked",
    label="bought",
    known_after="1h",
    select=["user", "shop", "price"],
)
MEMBERS = {"steady": [by_user, by_shop, visited, daily, share], "many": [many], "moving": [moving]}
SERVICES = {name: hw.FeatureService(name, members) for name, members in MEMBERS.items()}
project = hw.Project(
    "shop",
    [
        hw.Model(name, task="binary", features=service, labels=labels)
        for name, service in SERVICES.items()
    ],
)
