"""Sums over a past period by what an experiment assigns: units, clusters, or regions and buckets of
time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from headwater.definitions.checks import micros
from headwater.definitions.experiment import (
    LABEL,
    ClusterTest,
    Experiment,
    ExperimentMetric,
    Switchback,
)
from headwater.definitions.labels import Outcome
from headwater.experiments.arm_moments import ArmMoments, arm_moments, unit_lift
from headwater.experiments.arms_by_cluster import shuffled_clusters
from headwater.experiments.assignment import Assignment
from headwater.experiments.frozen_plan import seed_of
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.unit_history import UnitHistory
from headwater.kernel.arrays import F64, I64

Split = Callable[[I64, I64], RelativeLift]
"""The lift of a metric between two sets of rows, control and treated."""


def assignment(experiment: Experiment, salt: str) -> Assignment:
    """Every unit's arm, without enrolment, layer and holdout."""
    return Assignment(salt, {arm.name: arm.weight or 0.0 for arm in experiment.arms})


def listed_clusters(history: UnitHistory) -> dict[str, str]:
    """Of a cluster test, the arm of each cluster of history, by a shuffle stratified by the number
    of their units; else none.
    """
    experiment = history.experiment
    if not isinstance(experiment.kind, ClusterTest):
        return {}
    sizes = (
        history.first_requests[experiment.kind.cluster].cast(pl.String).value_counts(name="units")
    )
    weights = {arm.name: arm.weight or 0.0 for arm in experiment.arms}
    return shuffled_clusters(
        {str(name): float(units) for name, units in sizes.iter_rows()}, weights, seed_of(experiment)
    )


def unit_split(history: UnitHistory, metric: ExperimentMetric) -> Split:
    """The lift of a metric between two sets of units, with CUPED."""
    values = history.values(metric)
    position = np.full(history.first_requests.height, -1)
    position[values.kept] = np.arange(len(values.kept))

    def moments(rows: I64) -> ArmMoments:
        chosen = position[rows]
        chosen = chosen[chosen >= 0]
        before = None if values.before is None else values.before[chosen]
        base = None if metric.base is None else values.base[chosen]
        return arm_moments(values.value[chosen], base, before)

    return lambda control, treated: unit_lift(moments(control), moments(treated))


def cluster_sums(history: UnitHistory, metric: ExperimentMetric, column: str) -> tuple[F64, F64]:
    """The metric's numerator and denominator over the units of each cluster with a request in the
    period, by its name.
    """
    clusters, values = history.first_requests[column].cast(pl.String), history.values(metric)
    names = np.sort(clusters.unique().to_numpy())
    index = np.searchsorted(names, clusters.to_numpy())[values.kept]
    value, base = (
        np.bincount(index, column, len(names)).astype(np.float64)
        for column in (values.value, values.base)
    )
    return value, base


def regions_of(history: UnitHistory, kind: Switchback) -> list[str]:
    """The regions with a request in the period, by name."""
    return sorted(history.period[kind.region].cast(pl.String).unique().to_list())


def bucket_count(history: UnitHistory, kind: Switchback) -> int:
    """The whole buckets of time in the period."""
    return max(int((history.end - history.start) // micros(kind.length, "Switchback: length")), 1)


def bucket_sums(history: UnitHistory, measured: Outcome | str, kind: Switchback) -> F64:
    """Sums by region and bucket after the washout, float64 (regions, buckets)."""
    length, washout = (
        micros(kind.length, "Switchback: length"),
        micros(kind.washout, "Switchback: washout"),
    )
    regions, count = regions_of(history, kind), bucket_count(history, kind)
    if isinstance(measured, Outcome):
        rows, values = (
            history.first_requests,
            history.values(ExperimentMetric("outcome", value=measured)).value,
        )
    else:
        rows = history.period
        values = (
            rows["__label"].fill_null(0.0).to_numpy() if measured == LABEL else np.ones(rows.height)
        )
    bucket, since = np.divmod(rows["__at"].to_numpy() - history.start, length)
    region = np.searchsorted(regions, rows[kind.region].cast(pl.String).to_numpy())
    inside = (bucket < count) & (since >= washout)
    sums = np.bincount(
        region[inside] * count + bucket[inside], values[inside], len(regions) * count
    )
    return sums.astype(np.float64).reshape(len(regions), count)
