"""An A/A test on history: units are split as the experiment will, before any arm acts, so no split
may find a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headwater.definitions.experiment import (
    REQUESTS,
    ClusterTest,
    ExperimentMetric,
    Interleaving,
    Switchback,
)
from headwater.errors import DataError
from headwater.experiments.cluster_lift import cluster_lift
from headwater.experiments.frozen_plan import seed_of
from headwater.experiments.health import CHECKS, FALSE_ALARMS
from headwater.experiments.history_sums import (
    Split,
    assignment,
    bucket_count,
    bucket_sums,
    cluster_sums,
    listed_clusters,
    regions_of,
    unit_split,
)
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.switchback_lift import SwitchbackBuckets, switchback_lift
from headwater.experiments.unit_history import UnitHistory
from headwater.kernel.arrays import I64
from headwater.results.planned_experiment import HistorySplit

SPLITS = 200
DIFFERS = FALSE_ALARMS / CHECKS
"""The p of the own split below which an experiment does not start; the next version shuffles all
units again.
"""
_SOUND = 0.05 + 3 * math.sqrt(0.05 * 0.95 / SPLITS)


@dataclass(frozen=True)
class _Rows:
    """The split: units, clusters, or buckets of a switchback. arms: of each, in the experiment's
    own split. split: by metric.
    """

    arms: Sequence[str]
    split: Sequence[tuple[str, Split]]


def history_split(history: UnitHistory) -> HistorySplit:
    """Split the units of history as the experiment will, and `SPLITS` times at random; no split may
    find a difference.

    Raises:
        DataError: too few units, or a metric without a positive mean.
    """
    rows = _rows(history, [*history.experiment.metrics, *history.experiment.guardrails])
    p, metric = _own_split(history, rows)
    random = np.random.default_rng(0)
    rejected = 0
    for _ in range(SPLITS):
        treated = random.random(len(rows.arms)) < 0.5
        rejected += _p(rows.split[0][1], np.flatnonzero(~treated), np.flatnonzero(treated)) < 0.05
    return HistorySplit(
        p, metric, SPLITS, rejected / SPLITS, p < DIFFERS, rejected / SPLITS > _SOUND
    )


def own_split(history: UnitHistory) -> tuple[float, str]:
    """The least p of the metrics in the experiment's own split, corrected for their number, and its
    metric; raises as `history_split`.
    """
    return _own_split(
        history, _rows(history, [*history.experiment.metrics, *history.experiment.guardrails])
    )


def _own_split(history: UnitHistory, rows: _Rows) -> tuple[float, str]:
    arms, experiment = np.array(rows.arms), history.experiment
    control = np.flatnonzero(arms == experiment.control.name)
    tests = [
        (_p(split, control, np.flatnonzero(arms == arm.name)), name)
        for name, split in rows.split
        for arm in experiment.arms[1:]
    ]
    lowest, metric = min(tests)
    return min(lowest * len(tests), 1.0), metric


def _p(split: Split, control: I64, treated: I64) -> float:
    """The p of a split; 1 where it cannot be computed, since an arm has too few rows or none of the
    outcome.
    """
    try:
        return split(control, treated).p_value
    except DataError:
        return 1.0


def _rows(history: UnitHistory, metrics: Sequence[ExperimentMetric]) -> _Rows:
    kind = history.experiment.kind
    if isinstance(kind, Interleaving):
        raise DataError(
            "an interleaving says which ranking is preferred, never how much: no power is "
            "computed for a lift"
        )
    if isinstance(kind, ClusterTest):
        return _clusters(history, metrics, kind.cluster)
    if isinstance(kind, Switchback):
        return _buckets(history, metrics, kind)
    assigner = assignment(history.experiment, history.experiment.salt)
    return _Rows(
        [assigner.arm(unit) or "" for unit in history.units()],
        [(metric.name, unit_split(history, metric)) for metric in metrics],
    )


def _clusters(history: UnitHistory, metrics: Sequence[ExperimentMetric], column: str) -> _Rows:
    """Sums of each cluster over its units; a mean's denominator is the number of units."""

    def split(metric: ExperimentMetric) -> Split:
        value, base = cluster_sums(history, metric, column)

        def lift(control: I64, treated: I64) -> RelativeLift:
            chosen = np.concatenate([control, treated])
            is_treated = np.arange(len(chosen)) >= len(control)
            return cluster_lift(value[chosen], base[chosen], is_treated)

        return lift

    arms = listed_clusters(history)
    return _Rows(
        [arms[name] for name in sorted(arms)], [(metric.name, split(metric)) for metric in metrics]
    )


def _buckets(history: UnitHistory, metrics: Sequence[ExperimentMetric], kind: Switchback) -> _Rows:
    """Sums of each region and bucket of time: of the labels and requests in it, and of outcomes of
    the units that begin in it.
    """
    regions, count = regions_of(history, kind), bucket_count(history, kind)
    coins = assignment(
        history.experiment, f"{history.experiment.salt}/{seed_of(history.experiment)}"
    )
    arm_of_bucket = [
        coins.arm(f"{number}:{name}") or "" for name in regions for number in range(count)
    ]

    def split(metric: ExperimentMetric) -> Split:
        value, base = (
            bucket_sums(history, measured, kind)
            for measured in (metric.value, REQUESTS if metric.base is None else metric.base)
        )

        def lift(_control: I64, treated: I64) -> RelativeLift:
            arms = np.zeros(len(arm_of_bucket), np.bool_)
            arms[treated] = True
            return switchback_lift(SwitchbackBuckets(value, base, arms.reshape(value.shape)))

        return lift

    return _Rows(arm_of_bucket, [(metric.name, split(metric)) for metric in metrics])
