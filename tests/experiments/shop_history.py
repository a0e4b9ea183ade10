"""A shop with a history: requests of users in regions over 28 days, who spend alike from week to
week, and a project over it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl

import headwater as hw

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 28


def requests(
    users: int = 600, *, planted: Callable[[str], float] | None = None, seed: int = 0
) -> pl.DataFrame:
    """Two or three requests a user and week; `spent` depends on the user, so that CUPED helps.
    planted: the amount added to a user's.
    """
    random = np.random.default_rng(seed)
    user = random.permutation(np.repeat(np.arange(users), DAYS // 3))
    taste = random.gamma(2.0, 5.0, users)[user]
    at = np.sort(random.integers(0, DAYS * 86_400, len(user)))
    extra = np.zeros(len(user)) if planted is None else np.array([planted(str(u)) for u in user])
    return pl.DataFrame(
        {
            "user": user,
            "region": [f"r{u % 12}" for u in user],
            "asked": pl.Series(at * 1_000_000 + int(START.timestamp()) * 1_000_000).cast(
                pl.Datetime("us", "UTC")
            ),
            "spent": taste + random.normal(10, 2, len(user)) + extra,
        }
    )


def project(
    table: pl.DataFrame | None = None, *, outcomes: str | None = "independent", **options: object
) -> hw.Project:
    """A regression model of the amount spent, with a daily and an hourly arm by user."""
    table = requests() if table is None else table
    visits = hw.Source(
        "visits", history=table.select("user", "region", "spent", at="asked"), timestamp_field="at"
    )
    user = hw.FeatureView(
        "user",
        source=visits,
        keys=["user"],
        features=[hw.mean("spent")],
        windows=["7d"],
        freshness=hw.batch("1h"),
    )
    region = hw.FeatureView(
        "region",
        source=visits,
        keys=["region"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    labels = hw.Labels(
        "spending", table=table, timestamp_field="asked", label="spent", known_after="1h"
    )
    service = hw.FeatureService("svc", [user, region])
    model = hw.Model("spend", features=service, labels=labels, task="regression", outcomes=outcomes)
    arms = [hw.experiments.Arm("daily", model, hw.batch("1d")), hw.experiments.Arm("hourly", model)]
    base = {
        "name": "fresher",
        "arms": arms,
        "unit": "user",
        "metrics": [hw.experiments.ExperimentMetric("spend", base="requests")],
    }
    return hw.Project("shop", [model], experiments=[hw.Experiment(**(base | options))])
