"""Exposures of an experiment with two arms, honest or with one thing planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.experiments.exposed_units import EXPOSURE_SCHEMA

START = 1_772_323_200_000_000  # microseconds: 1 March 2026
DAY = 86_400_000_000
CRAWLS = 3_000  # exposures of a bot


@dataclass(frozen=True)
class PlantedFault:
    """The faults.

    Args:
        lost: share of the treated arm's exposures that are lost.
        copied: share of exposures that are logged twice, with the same request.
        moved: share of exposures that are answered by the other arm.
        bots: units that ask 3,000 times.
        fallbacks: share of the treated arm's answers that fall back, besides 2 % in both arms.
        stale: share of the treated arm's answers that are older than promised.
    """

    lost: float = 0.0
    copied: float = 0.0
    moved: float = 0.0
    bots: int = 0
    fallbacks: float = 0.0
    stale: float = 0.0


def exposures(
    random: np.random.Generator, units: int, days: int = 20, fault: PlantedFault | None = None
) -> pl.DataFrame:
    """Exposures with the columns of `EXPOSURE_SCHEMA`, in no order; a unit has 2.5 on average, and
    0.1 % are a tester's.
    """
    fault = fault or PlantedFault()
    unit = np.repeat(np.arange(units), 1 + random.poisson(1.5, units))
    request = np.arange(len(unit))
    treated = (random.random(units) < 0.5)[unit] ^ (random.random(len(unit)) < fault.moved)
    if fault.bots:
        crawled = np.repeat(random.choice(units, fault.bots, replace=False), CRAWLS)
        first = np.searchsorted(unit, crawled)
        unit, treated = np.concatenate([unit, crawled]), np.concatenate([treated, treated[first]])
        request = np.arange(len(unit))
    count = len(unit)
    table = pl.DataFrame(
        {
            "unit": pl.Series(unit).cast(pl.String),
            "arm": pl.Series(np.where(treated, "streaming", "daily")),
            "at": pl.Series(START + random.integers(0, days * DAY, count)).cast(
                pl.Datetime("us", "UTC")
            ),
            "request": pl.Series(request).cast(pl.String),
            "propensity": np.full(count, 0.5),
            "age": np.where(treated & (random.random(count) < fault.stale), 100.0, 1.0),
            "promised_age": np.full(count, 10.0),
            "fallback": random.random(count) < np.where(treated, 0.02 + fault.fallbacks, 0.02),
            "override": random.random(count) < 0.001,
            "cluster": np.full(count, "c"),
            "bucket": np.zeros(count, np.int64),
        },
        schema=EXPOSURE_SCHEMA,
    )
    if fault.lost:
        table = table.filter(pl.Series(~treated | (random.random(count) >= fault.lost)))
    if fault.copied:
        table = pl.concat(
            [table, table.filter(pl.Series(random.random(table.height) < fault.copied))]
        )
    return table
