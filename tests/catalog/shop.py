"""A small project, with any part replaced. Its tables (see conftest.py) have columns and no
rows.
"""

import polars as pl

import headwater as hw

LARGE = (pl.col("amount") > 10).alias("large")
BATCH = hw.batch("1d", delay="4h")


def source(**more):
    given = {
        "name": "clicks",
        "history": hw.parquet("clicks.parquet"),
        "timestamp_field": "at",
        "select": ["user", "amount", LARGE],
    } | more
    return hw.Source(given.pop("name"), **given)


def view(**more):
    """View `user` over `clicks`: count and mean of the amount, over an hour and a day, daily."""
    given = {
        "name": "user",
        "keys": ["user"],
        "features": [hw.count(), hw.mean("amount")],
        "windows": ["1h", "1d"],
        "freshness": BATCH,
    } | more
    given.setdefault("source", source())
    return hw.FeatureView(given.pop("name"), **given)


def http(**more):
    """Third party `ip`: the score of an address."""
    log = hw.Source("ip_log", history=hw.parquet("ip.parquet"), timestamp_field="fetched_at")
    given = {
        "url": "https://ip.example/risk",
        "request": {"ip_address": str},
        "response": {"score": float},
        "history": log,
    } | more
    return hw.HttpFeatures("ip", **given)


def labels(**more):
    given = {
        "table": hw.parquet("labels.parquet"),
        "timestamp_field": "asked",
        "label": "left",
        "known_after": "1d",
    } | more
    return hw.Labels("leaving", **given)


def model(features=None, *, name="churn", service="churn_v1", **more):
    given = {"labels": labels(), "task": "binary"} | more
    return hw.Model(name, features=hw.FeatureService(service, features or [view()]), **given)


def project(*features, name="shop", models=None, **more):
    """Project `shop`, whose one model `churn` reads `features` (else view `user`)."""
    return hw.Project(name, models or [model(list(features), **more)])
