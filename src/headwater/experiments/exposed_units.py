"""Exposures as they are logged, and what an analysis makes of them: each unit once, from its first
exposure on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from headwater.errors import DataError
from headwater.journal import exposure_rows
from headwater.journal.exposure_rows import (
    AGE,
    CLUSTER,
    FALLBACK,
    OVERRIDE,
    PROMISED,
    REQUEST,
    UNIT,
)

ARM, AT, EXPOSURE_SCHEMA = exposure_rows.ARM, exposure_rows.AT, exposure_rows.EXPOSURE_SCHEMA

BOT_TIMES: Final = 200.0
"""A unit with this many times the median number of exposures is a bot."""
_BOT_LEAST: Final = 1_000


@dataclass(frozen=True)
class ExposedUnits:
    """Units of an experiment, one row each: unit, arm, at (first exposure), exposures, fallbacks,
    stale.

    Args:
        frame: sorted by `at`.
        exposures: how many were read.
        overrides: those that a tester chose, left out.
        copies: those that repeat a request id, left out.
        moved: units that were exposed to more than one arm; they stay with their first.
        bots: units with so many exposures that no person makes them, left out.
        by_bots: the exposures of these.
    """

    frame: pl.DataFrame
    exposures: int
    overrides: int
    copies: int
    moved: int
    bots: int
    by_bots: int

    def counts(self, arms: list[str]) -> list[int]:
        """The units of each arm."""
        by_arm = dict(self.frame.group_by(ARM).len().iter_rows())
        return [int(by_arm.get(arm, 0)) for arm in arms]


def exposed_units(exposures: pl.DataFrame) -> ExposedUnits:
    """The units, by the same rule in every arm.

    Args:
        exposures: with the columns of `EXPOSURE_SCHEMA`, in any order of rows.

    Raises:
        DataError: a column is missing, or a unit, arm or time is null.
    """
    missing = [name for name in EXPOSURE_SCHEMA if name not in exposures.columns]
    if missing:
        raise DataError(
            f"the exposures have no column {missing[0]!r}; they need {', '.join(EXPOSURE_SCHEMA)}"
        )
    nulls = next((name for name in (UNIT, ARM, AT) if exposures[name].null_count()), None)
    if nulls is not None:
        raise DataError(f"{exposures[nulls].null_count()} exposures have no {nulls}")
    chosen = exposures.filter(~pl.col(OVERRIDE).fill_null(False))  # noqa: FBT003 (polars has no keyword)
    ordered = chosen.sort(AT, UNIT, REQUEST, ARM)
    once = ordered.filter(pl.col(REQUEST).is_null() | pl.struct(REQUEST, UNIT).is_first_distinct())
    units = (
        once.group_by(UNIT, maintain_order=True)
        .agg(
            pl.col(ARM).first(),
            pl.col(AT).first(),
            pl.col(CLUSTER).first(),
            pl.len().cast(pl.Int64).alias("exposures"),
            pl.col(ARM).n_unique().alias("arms"),
            pl.col(FALLBACK).fill_null(False).sum().cast(pl.Int64).alias("fallbacks"),  # noqa: FBT003
            (pl.col(AGE) > pl.col(PROMISED)).fill_null(False).sum().cast(pl.Int64).alias("stale"),  # noqa: FBT003
        )
        .sort(AT, UNIT)
    )
    median = units["exposures"].median() if units.height else None
    limit = (
        max(float(median) * BOT_TIMES, _BOT_LEAST)
        if isinstance(median, int | float)
        else float("inf")
    )
    people = units.filter(pl.col("exposures") <= limit)
    return ExposedUnits(
        people.drop("arms"),
        exposures.height,
        exposures.height - chosen.height,
        chosen.height - once.height,
        int((people["arms"] > 1).sum()),
        units.height - people.height,
        int(units["exposures"].sum()) - int(people["exposures"].sum()),
    )
