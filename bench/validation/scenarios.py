"""Synthetic worlds with known truth, for tests of backtests and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import polars as pl

from headwater.aggregations.first_last import last
from headwater.aggregations.moments import mean
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import batch
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Estimator, Model
from headwater.definitions.request_feature import RequestField
from headwater.definitions.source import Source
from headwater.kernel.arrays import F64

START = datetime(2024, 3, 4, tzinfo=UTC)
_HOUR = 3600.0


def equal_levels(
    seed: int, *, days: int = 40, per_day: int = 60, estimator: Estimator | None = None
) -> tuple[Model, Mapping[str, Level]]:
    """A model of machines that go bad and are mended, and two levels that are equally good: only a
    view of noise is fresher at the other.

    Days differ: some have more bad outcomes than others. A claim of a lift or a harm between the
    levels is wrong.

    >>> model, levels = equal_levels(0, days=2)
    >>> list(levels), [view.name for view in model.features.views]
    (['one', 'other'], ['machine', 'noise'])
    """
    random = np.random.default_rng(seed)
    hours = days * 24
    states = (np.cumsum(random.random((hours, 4)) < 0.1, axis=0) + random.integers(0, 2, 4)) % 2
    events = pl.concat(
        pl.DataFrame(
            {
                "machine": [m] * hours,
                "at": times((np.arange(hours) * _HOUR).astype(np.float64)),
                "state": states[:, m].astype(np.float64),
                "noise": random.normal(size=hours),
            }
        )
        for m in range(4)
    )
    n = days * per_day
    request_times = np.sort(random.random(n)) * hours * _HOUR
    machine, amount, weight = random.integers(0, 4, n), random.normal(size=n), random.normal(size=n)
    of_day = random.normal(0, 0.5, days)[(request_times // (24 * _HOUR)).astype(int)]
    odds = (
        -1.2
        + 1.2 * states[(request_times // _HOUR).astype(int), machine]
        + 0.4 * amount
        - 0.3 * amount * weight
        + of_day
    )
    rows = pl.DataFrame(
        {
            "machine": machine,
            "amount": amount,
            "weight": weight,
            "asked": times(request_times),
            "bad": random.random(n) < 1 / (1 + np.exp(-odds)),
        }
    )
    hourly, daily = batch("1h", delay="5m"), batch("1d", delay="4h")
    readings = Source(
        "readings", history=events, timestamp_field="at", select=["machine", "state", "noise"]
    )
    view = FeatureView(
        "machine",
        source=readings,
        keys=["machine"],
        features=[last("state"), mean("state", windows=["6h"])],
        freshness=hourly,
    )
    noise = FeatureView(
        "noise", source=readings, keys=["machine"], features=[last("noise")], freshness=daily
    )
    fields = [RequestField("amount", float), RequestField("weight", float)]
    labels = Labels("outcomes", table=rows, timestamp_field="asked", label="bad", known_after="30m")
    model = Model(
        "breaks",
        task="binary",
        features=FeatureService("breaks_v1", [view, noise, *fields]),
        labels=labels,
        estimator=estimator,
    )
    return model, {"one": Level({view: hourly, noise: daily}), "other": Level(hourly)}


def times(seconds: F64) -> pl.Series:
    """Timestamps so many seconds after `START`."""
    return pl.Series(np.rint(seconds * 1e6).astype(np.int64)).cast(pl.Duration("us")) + START
