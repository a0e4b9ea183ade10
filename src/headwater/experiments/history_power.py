"""Power, duration and an A/A test from history, by the estimator that the experiment will be analysed with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.durations import DAY, micros
from headwater.definitions.experiment import LABEL, REQUESTS, Experiment, ExperimentMetric
from headwater.definitions.experiment_kinds import ClusterTest, Interleaving, Switchback
from headwater.definitions.labels import Outcome
from headwater.errors import DataError
from headwater.experiments.arm_moments import ArmMoments, arm_moments, unit_lift
from headwater.experiments.arms_by_cluster import shuffled_clusters
from headwater.experiments.assignment import Assignment
from headwater.experiments.cluster_lift import cluster_lift
from headwater.experiments.experiment_power import SequentialPlan, units_needed
from headwater.experiments.frozen_plan import seed_of
from headwater.experiments.relative_lift import RelativeLift
from headwater.experiments.switchback_lift import SwitchbackBuckets, switchback_lift
from headwater.experiments.unit_history import UnitHistory
from headwater.kernel.arrays import F64, I64
from headwater.results.planned_experiment import HistoryPower, HistorySplit

SPLITS = 200
DIFFERS = 0.01
"""The p of the own split below which an experiment does not start: one in a hundred, and the next version shuffles all units anew."""
_SOUND = 0.05 + 3 * math.sqrt(0.05 * 0.95 / SPLITS)

_FAR = 5  # times the history's days that its growth is continued, at most

Split = Callable[[I64, I64], RelativeLift]
"""The lift of a metric between two sets of rows, control and treated."""


@dataclass(frozen=True)
class _Rows:
    """What is split: units, clusters, or buckets of a switchback. arms: of each, in the experiment's own split. split: by metric."""

    arms: Sequence[str]
    split: Sequence[tuple[str, Split]]


def history_power(history: UnitHistory, share: float = 1.0) -> HistoryPower:
    """What the experiment will find, if its units vary as in history.

    Args:
        history: of its units.
        share: of all units that can be enrolled at all: without the holdout, and within the experiment's part of its layer.

    Raises:
        DataError: the deciding metric has no positive mean, or too few units.
    """
    experiment, plan = history.experiment, history.experiment.plan
    metric = experiment.metrics[0]
    rows = _rows(history, [metric])
    least = plan.min_lift if metric.higher_is_better else -plan.min_lift
    design = SequentialPlan(plan.looks, plan.alpha / (len(experiment.arms) - 1), plan.power)
    control, treated = _halves(len(rows.arms))
    lift = rows.split[0][1](control, treated)
    variation = lift.se / math.sqrt(1 / len(control) + 1 / len(treated))
    weights = [arm.weight or 0.0 for arm in experiment.arms]
    harmonic = 2 / (1 / weights[0] + 1 / min(weights[1:]))
    planned_days = micros(plan.duration, "ExperimentPlan: duration") / DAY
    by_unit = not isinstance(experiment.kind, ClusterTest | Switchback)
    if by_unit:
        totals = [total * share for total in history.enrolled_by_day(micros(plan.stage, "ExperimentPlan: stage"), plan.enrolled)]
        planned = _at(totals, planned_days) * harmonic
    else:
        # a bucket more a bucket's length; clusters stay as many as they are
        planned = len(rows.arms) / 2 * (planned_days / history.days if isinstance(experiment.kind, Switchback) else 1.0)
        totals = []
    needed = units_needed(least, variation, design) if by_unit else None
    se = variation * math.sqrt(2 / max(planned, 1e-9))
    return HistoryPower(
        metric=metric.name,
        source=history.source,
        days_of_history=round(history.days, 3),
        units=history.period[experiment.kind.region].n_unique() if isinstance(experiment.kind, Switchback) else len(rows.arms),
        a_day=history.first_requests.height / history.days,
        mean=lift.control,
        variation=variation,
        without_cuped=_without_cuped(history, metric) if by_unit else variation,
        min_lift=plan.min_lift,
        units_needed=needed,
        days=None if needed is None else _day_of(totals, needed / harmonic),
        units_planned=int(planned),
        power_planned=design.found(abs(math.log1p(least)) / se),
        smallest_lift=math.expm1(min(design.drift * se, 50.0)),
    )


def history_split(history: UnitHistory) -> HistorySplit:
    """Split the units of history as the experiment will, and `SPLITS` times at random; no split may find a difference.

    Raises:
        DataError: too few units, or a metric without a positive mean.
    """
    experiment = history.experiment
    rows = _rows(history, [*experiment.metrics, *experiment.guardrails])
    arms = np.array(rows.arms)
    control = np.flatnonzero(arms == experiment.control.name)
    tests = [(_p(split, control, np.flatnonzero(arms == arm.name)), name) for name, split in rows.split for arm in experiment.arms[1:]]
    lowest, metric = min(tests)
    random = np.random.default_rng(0)
    rejected = 0
    for _ in range(SPLITS):
        treated = random.random(len(rows.arms)) < 0.5
        rejected += _p(rows.split[0][1], np.flatnonzero(~treated), np.flatnonzero(treated)) < 0.05
    p = min(lowest * len(tests), 1.0)
    return HistorySplit(p, metric, SPLITS, rejected / SPLITS, p < DIFFERS, rejected / SPLITS > _SOUND)


def _p(split: Split, control: I64, treated: I64) -> float:
    """The p of a split; 1 where it cannot be computed, since an arm has too few rows or none of the outcome."""
    try:
        return split(control, treated).p_value
    except DataError:
        return 1.0


def _halves(rows: int) -> tuple[I64, I64]:
    """A random half of the rows, and the other."""
    order = np.random.default_rng(1).permutation(rows)
    return order[: rows // 2], order[rows // 2 :]


def _rows(history: UnitHistory, metrics: Sequence[ExperimentMetric]) -> _Rows:
    kind = history.experiment.kind
    if isinstance(kind, Interleaving):
        raise DataError("an interleaving says which ranking is preferred, never how much: no power is computed for a lift")
    if isinstance(kind, ClusterTest):
        return _clusters(history, metrics, kind.cluster)
    if isinstance(kind, Switchback):
        return _buckets(history, metrics, kind)
    own = _assignment(history.experiment, history.experiment.salt)
    return _Rows([own.arm(unit) or "" for unit in history.units()], [(metric.name, _unit_split(history, metric)) for metric in metrics])


def _assignment(experiment: Experiment, salt: str) -> Assignment:
    """Every unit's arm, without enrolment, layer and holdout."""
    return Assignment(salt, {arm.name: arm.weight or 0.0 for arm in experiment.arms})


def listed_clusters(history: UnitHistory) -> dict[str, str]:
    """Of a cluster test, the arm of each cluster of history, by a shuffle stratified by the number of their units; else none."""
    experiment = history.experiment
    if not isinstance(experiment.kind, ClusterTest):
        return {}
    sizes = history.first_requests[experiment.kind.cluster].cast(pl.String).value_counts(name="units")
    weights = {arm.name: arm.weight or 0.0 for arm in experiment.arms}
    return shuffled_clusters({str(name): float(units) for name, units in sizes.iter_rows()}, weights, seed_of(experiment))


def _unit_split(history: UnitHistory, metric: ExperimentMetric) -> Split:
    values = history.values(metric)
    place = np.full(history.first_requests.height, -1)
    place[values.kept] = np.arange(len(values.kept))

    def moments(rows: I64) -> ArmMoments:
        chosen = place[rows]
        chosen = chosen[chosen >= 0]
        before = None if values.before is None else values.before[chosen]
        base = None if metric.base is None else values.base[chosen]
        return arm_moments(values.value[chosen], base, before)

    return lambda control, treated: unit_lift(moments(control), moments(treated))


def _without_cuped(history: UnitHistory, metric: ExperimentMetric) -> float:
    values = history.values(metric)
    control, treated = _halves(len(values.kept))

    def moments(rows: I64) -> ArmMoments:
        return arm_moments(values.value[rows], None if metric.base is None else values.base[rows])

    return unit_lift(moments(control), moments(treated)).se / math.sqrt(1 / len(control) + 1 / len(treated))


def _clusters(history: UnitHistory, metrics: Sequence[ExperimentMetric], column: str) -> _Rows:
    """Sums of each cluster over its units; a mean's denominator is the number of units."""
    clusters = history.first_requests[column].cast(pl.String)
    names = sorted(clusters.unique().to_list())
    place = np.searchsorted(names, clusters.to_numpy())

    def split(metric: ExperimentMetric) -> Split:
        values = history.values(metric)
        sums = [np.bincount(place[values.kept], column, len(names)) for column in (values.value, values.base)]

        def lift(control: I64, treated: I64) -> RelativeLift:
            chosen = np.concatenate([control, treated])
            is_treated = np.arange(len(chosen)) >= len(control)
            return cluster_lift(sums[0][chosen], sums[1][chosen], is_treated)

        return lift

    arms = listed_clusters(history)
    return _Rows([arms[name] for name in names], [(metric.name, split(metric)) for metric in metrics])


def _buckets(history: UnitHistory, metrics: Sequence[ExperimentMetric], kind: Switchback) -> _Rows:
    """Sums of each region and bucket of time: of the labels and requests in it, and of outcomes of the units that begin in it."""
    length = micros(kind.length, "Switchback: length")
    count = max(int((history.end - history.start) // length), 1)
    regions = sorted(history.period[kind.region].cast(pl.String).unique().to_list())
    coins = _assignment(history.experiment, f"{history.experiment.salt}/{seed_of(history.experiment)}")
    own = [coins.arm(f"{number}:{name}") or "" for name in regions for number in range(count)]

    def table(of: Outcome | str) -> F64:
        if isinstance(of, Outcome):
            rows, values = history.first_requests, history.values(ExperimentMetric("outcome", value=of)).value
        else:
            rows = history.period
            values = rows["__label"].fill_null(0.0).to_numpy() if of == LABEL else np.ones(rows.height)
        bucket = (rows["__at"].to_numpy() - history.start) // length
        region = np.searchsorted(regions, rows[kind.region].cast(pl.String).to_numpy())
        inside = bucket < count
        sums = np.bincount(region[inside] * count + bucket[inside], values[inside], len(own))
        return sums.astype(np.float64).reshape(len(regions), count)

    def split(metric: ExperimentMetric) -> Split:
        value, base = table(metric.value), table(REQUESTS if metric.base is None else metric.base)

        def lift(_control: I64, treated: I64) -> RelativeLift:
            arms = np.zeros(len(own), np.bool_)
            arms[treated] = True
            return switchback_lift(SwitchbackBuckets(value, base, arms.reshape(value.shape)))

        return lift

    return _Rows(own, [(metric.name, split(metric)) for metric in metrics])


def _at(totals: Sequence[float], days: float) -> float:
    """The total by so many days: of the day, or beyond the history by the growth of its last fifth."""
    if not totals:
        return 0.0
    if days <= len(totals):
        return totals[max(math.ceil(days) - 1, 0)]
    last = max(len(totals) // 5, min(2, len(totals) - 1))
    growth = (totals[-1] - totals[-1 - last]) / last if last else totals[-1]
    return totals[-1] + growth * (days - len(totals))


def _day_of(totals: Sequence[float], units: float) -> float | None:
    """The first day by which so many were exposed; None where that would be beyond `_FAR` times the history."""
    for day, total in enumerate(totals, 1):
        if total >= units:
            return float(day)
    if not totals:
        return None
    growth = _at(totals, len(totals) + 1) - totals[-1]
    days = math.inf if growth <= 0 else len(totals) + (units - totals[-1]) / growth
    return None if days > _FAR * len(totals) else float(math.ceil(days))
