"""What stands beside a feature of an online read: its status, age and flags."""

from __future__ import annotations

import numpy as np
import polars as pl

from headwater.engines import asides

Said = tuple[pl.Series, int, bool, bool]
"""Beside a feature: its statuses, its age in microseconds, whether it is stale, and whether it is incomplete."""


def details_of(series: pl.Series, said: Said | None) -> list[pl.Series]:
    """The columns of details of one feature."""
    name = series.name
    nothing = asides.status_series("", series.is_null().cast(pl.Int64).to_numpy()), 0, False, False
    status, age, stale, incomplete = said or nothing
    return [
        status.alias(asides.status_name(name)),
        pl.Series(f"{name}__age", np.full(len(series), age / 1e6)),
        pl.Series(f"{name}__stale", np.full(len(series), stale)),
        pl.Series(f"{name}__incomplete", np.full(len(series), incomplete)),
    ]
