"""Health checks: a planted fault must be flagged, and an honest experiment must be left alone over
all its looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

import headwater as hw
from bench.validation.experiment_estimators import buckets
from bench.validation.experiment_exposures import DAY, START, PlantedFault, exposures
from headwater.experiments.analysis_kinds import KINDS
from headwater.experiments.assignment import Assignment
from headwater.experiments.exposed_units import EXPOSURE_SCHEMA, exposed_units
from headwater.experiments.health import CHECKS, FALSE_ALARMS, HealthCheck, unit_checks
from headwater.experiments.history_split import DIFFERS, own_split
from headwater.experiments.look_rows import LookRows
from headwater.experiments.outcome_checks import late_outcomes, seen_outcomes
from headwater.experiments.switchback_lift import SwitchbackBuckets
from headwater.experiments.unit_history import UnitHistory
from headwater.kernel.arrays import F64
from headwater.models.experiment_store import FrozenArm, FrozenPlan

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
    "the arm of the bucket before moves the rate by 8 %": ("carry-over", PlantedFault()),
    "6 clusters, whose least p is 0.1": ("cluster count", PlantedFault()),
    "1 of 40 clusters is served by both arms": ("cluster arms", PlantedFault()),
    "10 % of outcomes come after they should be known": ("late outcomes", PlantedFault()),
    "the treated arm hides 8 % of outcomes": ("outcomes seen", PlantedFault()),
    "units that will be treated spend 30 % more in history": (
        "A/A test on history",
        PlantedFault(),
    ),
}
"""The planted fault, and the check that must flag it."""
LEVEL = FALSE_ALARMS / CHECKS / LOOKS
REGIONS, BUCKETS, CLUSTERS = 20, 48, 40
HISTORY_UNITS, HISTORY_DAYS = 600, 14
HISTORY = "A/A test on history"


def planted(name: str, seed: int) -> dict[str, object]:
    """Whether the check flags the fault at the last look."""
    check, fault = FAULTS[name]
    random = np.random.default_rng(seed)
    if check in _PLANTED:
        found = _PLANTED[check](random)
        return {
            "flagged": any(of.name == check and of.blocks for of in found),
            "blocking": [of.name for of in found if of.blocks],
        }
    table = exposures(random, UNITS, fault=fault)
    more = 0.3 if check == "before exposure" else 0.0
    late = (
        float(
            (random.exponential(LATE / np.log(2), UNITS) < random.uniform(0, LOOKS, UNITS)).mean()
        )
        if check == "matured outcomes"
        else 1.0
    )
    checks = {of.name: of for of in _checks(random, table, matured=late, more=more)}
    return {
        "flagged": checks[check].blocks,
        "blocking": [of.name for of in checks.values() if of.blocks],
    }


def honest(kind: str, seed: int) -> dict[str, object]:
    """The checks that block an honest experiment of a kind, before its start or at any of its
    looks, a day apart.
    """
    random = np.random.default_rng(seed)
    found = [_history_test(random, 0.0), *HONEST[kind](random)]
    return {"blocking": sorted({of.name for of in found if of.blocks})}


def _honest_units(random: np.random.Generator) -> list[HealthCheck]:
    """An A/B test: units one by one, 3 % of outcomes late, 95 % of units with an outcome."""
    table = exposures(random, HONEST_UNITS, LOOKS).sort("at")
    history = {
        name: {unit: float(value) for unit, value in enumerate(values)}
        for name, values in _history(random, HONEST_UNITS).items()
    }
    known, late = random.random(HONEST_UNITS) < 0.95, random.random(HONEST_UNITS) < 0.03
    found: list[HealthCheck] = []
    for look in range(1, LOOKS + 1):
        units = exposed_units(table.filter(pl.col("at").cast(pl.Int64) < START + look * DAY))
        before = {name: _by_arm(units.frame, values) for name, values in history.items()}
        found += unit_checks(units, WEIGHTS, before=before, matured=0.95, looks=LOOKS)
        of_arm = {
            arm: units.frame.filter(pl.col("arm") == arm)["unit"].cast(pl.Int64).to_numpy()
            for arm in WEIGHTS
        }
        found.append(seen_outcomes({arm: known[index] for arm, index in of_arm.items()}, LOOKS))
        everyone = np.concatenate(list(of_arm.values()))
        found.append(late_outcomes(late[everyone], np.ones(len(everyone), np.bool_)))
    return found


def _honest_switchback(random: np.random.Generator) -> list[HealthCheck]:
    """A switchback whose effect of 10 % ends with its bucket."""
    rows = buckets(random, 0.1, REGIONS, BUCKETS)
    found: list[HealthCheck] = []
    for look in range(1, LOOKS + 1):
        seen = max(round(BUCKETS * look / LOOKS), 2)
        part = SwitchbackBuckets(rows.value[:, :seen], rows.base[:, :seen], rows.treated[:, :seen])
        found += _switchback_checks(part)
        cells = np.argwhere(np.ones(part.treated.shape))
        table = _assigned(random, cells[:, 0], cells[:, 1], part.treated.ravel())
        found += _kind_checks("switchback", table)
    return found


def _honest_clusters(random: np.random.Generator) -> list[HealthCheck]:
    """A cluster test: half of the clusters, at random, each with its own history."""
    treated = random.permutation(CLUSTERS) < CLUSTERS // 2
    spent = random.gamma(4.0, 1.0, CLUSTERS)
    before = {"amount": (spent[~treated].tolist(), spent[treated].tolist())}
    found: list[HealthCheck] = []
    for look in range(1, LOOKS + 1):
        cluster = np.repeat(np.arange(CLUSTERS), look)
        table = _assigned(random, cluster, np.zeros(len(cluster), np.int64), treated[cluster])
        found += _kind_checks("cluster", table, before)
        found += _cluster_checks(random, treated)
    return found


HONEST: Mapping[str, Callable[[np.random.Generator], list[HealthCheck]]] = {
    "A/B test": _honest_units,
    "switchback": _honest_switchback,
    "cluster test": _honest_clusters,
}


def _assigned(
    random: np.random.Generator, cluster: np.ndarray, bucket: np.ndarray, treated: np.ndarray
) -> pl.DataFrame:
    """One exposure for each unit in clusters and buckets; 2 % fall back in both arms."""
    count = len(cluster)
    return pl.DataFrame(
        {
            "unit": [f"{c}-{b}-{n}" for n, (c, b) in enumerate(zip(cluster, bucket, strict=True))],
            "arm": np.where(treated, "streaming", "daily"),
            "at": pl.Series(START + bucket * 7 * DAY // 24).cast(pl.Datetime("us", "UTC")),
            "request": pl.Series(np.arange(count)).cast(pl.String),
            "propensity": np.full(count, 0.5),
            "age": np.full(count, 1.0),
            "promised_age": np.full(count, 10.0),
            "fallback": random.random(count) < 0.02,
            "override": np.zeros(count, np.bool_),
            "cluster": pl.Series(cluster).cast(pl.String),
            "bucket": bucket.astype(np.int64),
        },
        schema=EXPOSURE_SCHEMA,
    )


def _kind_checks(
    kind: str,
    table: pl.DataFrame,
    before: Mapping[str, tuple[list[float], list[float]]] | None = None,
) -> list[HealthCheck]:
    """The checks over what the kind assigns at random: clusters, or regions and buckets."""
    units = exposed_units(table)
    frame = units.frame.join(
        table.select("unit", "bucket"), on="unit", how="left", maintain_order="left"
    )
    return unit_checks(
        dataclasses.replace(units, frame=KINDS[kind].assigned(frame)),
        WEIGHTS,
        before=before,
        looks=LOOKS,
    )


def _switchback_checks(rows: SwitchbackBuckets) -> list[HealthCheck]:
    """The kind's own checks, of sums by region and bucket."""
    cells = np.argwhere(np.ones(rows.treated.shape))
    frame = pl.DataFrame(
        {
            "cluster": pl.Series(cells[:, 0]).cast(pl.String).str.zfill(3),
            "bucket": cells[:, 1],
            "arm": np.where(rows.treated.ravel(), "streaming", "daily"),
            "value": rows.value.ravel(),
            "base": rows.base.ravel(),
        }
    )
    settings = {"length": 7 * DAY // 24, "washout": 0, "random_bounds": False}
    return KINDS["switchback"].checks(
        LookRows(frame, ratio=True, covariate=False), _plan("switchback", settings), LEVEL
    )


def _cluster_checks(
    random: np.random.Generator, treated: np.ndarray, *, both: int = 0
) -> list[HealthCheck]:
    """The kind's own checks; `both`: clusters that are served by both arms."""
    cluster = np.repeat(np.arange(len(treated)), 20)
    arm = treated[cluster] ^ ((cluster < both) & (random.random(len(cluster)) < 0.5))
    frame = pl.DataFrame(
        {
            "cluster": pl.Series(cluster).cast(pl.String),
            "arm": np.where(arm, "streaming", "daily"),
            "value": random.exponential(1.0, len(cluster)),
            "base": np.ones(len(cluster)),
        }
    )
    return KINDS["cluster"].checks(
        LookRows(frame, ratio=False, covariate=False), _plan("cluster", {"burn_in": 0}), LEVEL
    )


def _plan(kind: str, settings: Mapping[str, int | bool]) -> FrozenPlan:
    """A frozen plan of two arms; the checks read its kind, arms and settings."""
    arms = tuple(FrozenArm(name, "model", name, weight, 1) for name, weight in WEIGHTS.items())
    columns = {"region" if kind == "switchback" else "cluster": "city"}
    return FrozenPlan(
        "checked", 1, "", arms, "user", kind, columns, settings, ("amount",), (), None, (0.0, 1.0), 0.0, START, LOOKS * DAY, DAY, (1.0,),
        LOOKS, 0.05, 0.8, 0.01,
    )  # fmt: skip


_SOURCE = pl.DataFrame(
    {"user": ["0"], "at": [0], "spent": [1.0]},
    schema={"user": pl.String, "at": pl.Datetime("us", "UTC"), "spent": pl.Float64},
)
_VIEW = hw.FeatureView(
    "user", source=hw.Source("visits", history=_SOURCE, timestamp_field="at"), keys=["user"], features=[hw.mean("spent")], windows=["7d"],
    freshness=hw.batch("1h"),
)  # fmt: skip
_LABELS = hw.Labels(
    "spending", table=_SOURCE, timestamp_field="at", label="spent", known_after="1h"
)
_MODEL = hw.Model(
    "spend",
    features=hw.FeatureService("spend_v1", [_VIEW]),
    labels=_LABELS,
    task="regression",
    outcomes="independent",
)


def _history_test(random: np.random.Generator, more: float) -> HealthCheck:
    """The A/A test on history, before the start. more: what units that will be treated spent more,
    relatively.
    """
    version = int(random.integers(1, 2**31))
    arms = [
        hw.experiments.Arm("daily", _MODEL, hw.batch("1d")),
        hw.experiments.Arm("streaming", _MODEL),
    ]
    metrics = [hw.experiments.ExperimentMetric("spend", base="requests")]
    experiment = hw.Experiment("checked", arms, unit="user", version=version, metrics=metrics)
    unit = np.repeat(np.arange(HISTORY_UNITS), 1 + random.poisson(2.0, HISTORY_UNITS))
    own = Assignment(experiment.salt, WEIGHTS)
    treated = np.array([own.arm(str(name)) == "streaming" for name in range(HISTORY_UNITS)])
    spent = random.gamma(2.0, 5.0, HISTORY_UNITS)[unit] + random.exponential(5.0, len(unit))
    requests = pl.DataFrame(
        {
            "__unit": [str(name) for name in unit],
            "__at": START + random.integers(0, HISTORY_DAYS * DAY, len(unit)),
            "__label": spent * (1 + more * treated[unit]),
        }
    ).sort("__at", "__unit")
    p, _ = own_split(UnitHistory(experiment, "labels", requests, START, START + HISTORY_DAYS * DAY))
    return HealthCheck(HISTORY, "broken" if p < DIFFERS else "ok", f"p {p:.2g}")


def _carried_over(random: np.random.Generator) -> list[HealthCheck]:
    rows = buckets(random, 0.1, REGIONS, BUCKETS)
    before = np.concatenate([rows.treated[:, :1], rows.treated[:, :-1]], axis=1)
    value: F64 = rows.value * (1 + 0.08 * before)
    return _switchback_checks(SwitchbackBuckets(value, rows.base, rows.treated))


def _late(random: np.random.Generator) -> list[HealthCheck]:
    return [late_outcomes(random.random(UNITS) < 0.10, np.ones(UNITS, np.bool_))]


def _hidden(random: np.random.Generator) -> list[HealthCheck]:
    return [
        seen_outcomes(
            {
                "daily": random.random(UNITS // 2) < 0.9,
                "streaming": random.random(UNITS // 2) < 0.9 * 0.92,
            },
            LOOKS,
        )
    ]


_PLANTED: Mapping[str, Callable[[np.random.Generator], list[HealthCheck]]] = {
    "carry-over": _carried_over,
    "cluster count": lambda random: _cluster_checks(random, random.permutation(6) < 3),
    "cluster arms": lambda random: _cluster_checks(
        random, random.permutation(CLUSTERS) < CLUSTERS // 2, both=1
    ),
    "late outcomes": _late,
    "outcomes seen": _hidden,
    HISTORY: lambda random: [_history_test(random, 0.3)],
}


def _checks(
    random: np.random.Generator, table: pl.DataFrame, *, matured: float, more: float
) -> list[HealthCheck]:
    units = exposed_units(table)
    counts = units.counts(list(WEIGHTS))
    control, treated = _history(random, counts[0]), _history(random, counts[1])
    before = {name: (control[name], treated[name] * (1 + more)) for name in control}
    return unit_checks(
        units,
        WEIGHTS,
        before={k: (list(a), list(b)) for k, (a, b) in before.items()},
        matured=matured,
        looks=LOOKS,
    )


def _history(random: np.random.Generator, units: int) -> dict[str, np.ndarray]:
    """Two metrics before the first exposure: amounts, and visits, which most units have none of."""
    return {
        "amount": random.exponential(1.0, units),
        "visits": random.poisson(0.3, units).astype(float),
    }


def _by_arm(frame: pl.DataFrame, values: Mapping[int, float]) -> tuple[list[float], list[float]]:
    of_arm: dict[str, list[float]] = {arm: [] for arm in WEIGHTS}
    for unit, arm in frame.select("unit", "arm").iter_rows():
        of_arm[arm].append(values[int(unit)])
    return of_arm["daily"], of_arm["streaming"]
