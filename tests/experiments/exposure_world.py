"""Exposures of an experiment, with planted problems."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from headwater.experiments.exposed_units import EXPOSURE_SCHEMA

START = datetime(2026, 3, 1, tzinfo=UTC)


def exposures(
    random: np.random.Generator,
    *,
    units: int = 4_000,
    days: int = 14,
    lost: float = 0.0,
    copied: float = 0.0,
    moved: float = 0.0,
    bots: int = 0,
    fallbacks: float = 0.0,
    stale: float = 0.0,
) -> pl.DataFrame:
    """Exposures of units in two arms; shares of lost, copied and moved ones, and of fallbacks and
    stale answers of the treated arm.
    """
    unit = np.repeat(np.arange(units), 1 + random.poisson(1.5, units))
    treated = random.random(units) < 0.5
    at = random.integers(0, days * 86_400, len(unit))
    arm = treated[unit] ^ (random.random(len(unit)) < moved)
    frame = pl.DataFrame(
        {
            "unit": [f"u{number}" for number in unit],
            "arm": np.where(arm, "streaming", "daily"),
            "at": [START + timedelta(seconds=int(second)) for second in at],
            "request": [f"r{number}" for number in range(len(unit))],
            "propensity": np.full(len(unit), 0.5),
            "age": np.where(arm & (random.random(len(unit)) < stale), 100.0, 1.0),
            "promised_age": np.full(len(unit), 10.0),
            "fallback": random.random(len(unit)) < np.where(arm, 0.02 + fallbacks, 0.02),
            "override": random.random(len(unit)) < 0.001,
            "cluster": ["c"] * len(unit),
            "bucket": np.zeros(len(unit), int),
        },
        schema=EXPOSURE_SCHEMA,
    )
    kept = frame.filter(
        pl.Series((frame["arm"] == "daily").to_numpy() | (random.random(frame.height) >= lost))
    )
    copies = kept.sample(fraction=copied, seed=int(random.integers(1 << 30)))
    crawlers = (
        kept.head(bots)
        .select(pl.all().repeat_by(3_000).explode())
        .with_columns(request=pl.format("b{}", pl.int_range(pl.len())))
    )
    return pl.concat([kept, copies, crawlers]).sample(
        fraction=1.0, shuffle=True, seed=int(random.integers(1 << 30))
    )
