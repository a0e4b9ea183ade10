"""Health checks: what is planted must be flagged, and an honest experiment must be left alone over all its looks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from bench.validation.experiment_exposures import DAY, START, PlantedFault, exposures
from headwater.experiments.exposed_units import exposed_units
from headwater.experiments.health import HealthCheck, unit_checks

WEIGHTS = {"daily": 0.5, "streaming": 0.5}
LOOKS, UNITS, HONEST_UNITS = 20, 4_000, 2_000
LATE = 14  # days after which half of the late outcomes have arrived

FAULTS: Mapping[str, tuple[str, PlantedFault]] = {
    "a third of the treated exposures are lost": ("sample ratio", PlantedFault(lost=0.35)),
    "5 % of exposures are logged twice": ("duplicates", PlantedFault(copied=0.05)),
    "60 of 4,000 units are bots": ("bots", PlantedFault(bots=60)),
    "outcomes arrive late": ("matured outcomes", PlantedFault()),
    "8 % of the treated arm's answers fall back": ("fallback", PlantedFault(fallbacks=0.08)),
    "8 % of the treated arm's answers are stale": ("age", PlantedFault(stale=0.08)),
    "5 % of exposures have the other arm": ("assignment", PlantedFault(moved=0.05)),
    "treated units spent 30 % more before": ("before exposure", PlantedFault()),
}
"""What is planted, and the check that must flag it."""


def planted(name: str, seed: int) -> dict[str, object]:
    """Whether the check flags the fault at the last look."""
    check, fault = FAULTS[name]
    random = np.random.default_rng(seed)
    table = exposures(random, UNITS, fault=fault)
    more = 0.3 if check == "before exposure" else 0.0
    late = (
        float((random.exponential(LATE / np.log(2), UNITS) < random.uniform(0, LOOKS, UNITS)).mean())
        if check == "matured outcomes"
        else 1.0
    )
    checks = {of.name: of for of in _checks(random, table, matured=late, more=more)}
    return {"flagged": checks[check].blocks, "blocking": [of.name for of in checks.values() if of.blocks]}


def honest(seed: int) -> dict[str, object]:
    """The checks that block an honest experiment at any of its looks, a day apart."""
    random = np.random.default_rng(seed)
    table = exposures(random, HONEST_UNITS, LOOKS).sort("at")
    history = {name: {unit: float(value) for unit, value in enumerate(values)} for name, values in _history(random, HONEST_UNITS).items()}
    blocking: set[str] = set()
    for look in range(1, LOOKS + 1):
        seen = table.filter(pl.col("at").cast(pl.Int64) < START + look * DAY)
        units = exposed_units(seen)
        before = {name: _by_arm(units.frame, values) for name, values in history.items()}
        blocking |= {of.name for of in unit_checks(units, WEIGHTS, before=before, matured=0.95, looks=LOOKS) if of.blocks}
    return {"blocking": sorted(blocking)}


def _checks(random: np.random.Generator, table: pl.DataFrame, *, matured: float, more: float) -> list[HealthCheck]:
    units = exposed_units(table)
    counts = units.counts(list(WEIGHTS))
    control, treated = _history(random, counts[0]), _history(random, counts[1])
    before = {name: (control[name], treated[name] * (1 + more)) for name in control}
    return unit_checks(units, WEIGHTS, before={k: (list(a), list(b)) for k, (a, b) in before.items()}, matured=matured, looks=LOOKS)


def _history(random: np.random.Generator, units: int) -> dict[str, np.ndarray]:
    """Two metrics before the first exposure: amounts, and visits, which most units have none of."""
    return {"amount": random.exponential(1.0, units), "visits": random.poisson(0.3, units).astype(float)}


def _by_arm(frame: pl.DataFrame, values: Mapping[int, float]) -> tuple[list[float], list[float]]:
    of_arm: dict[str, list[float]] = {arm: [] for arm in WEIGHTS}
    for unit, arm in frame.select("unit", "arm").iter_rows():
        of_arm[arm].append(values[int(unit)])
    return of_arm["daily"], of_arm["streaming"]
