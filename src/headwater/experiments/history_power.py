"""Power and duration from history, by the estimator that the experiment will be analysed with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headwater.definitions.checks import DAY, micros
from headwater.definitions.checks import text as duration_text
from headwater.definitions.experiment import (
    REQUESTS,
    ClusterTest,
    ExperimentMetric,
    Interleaving,
    Switchback,
)
from headwater.errors import DataError
from headwater.experiments.arm_moments import ArmMoments, arm_moments, unit_lift
from headwater.experiments.design_noise import DesignNoise, cluster_noise, switchback_noise
from headwater.experiments.experiment_power import SequentialPlan, units_needed
from headwater.experiments.history_sums import (
    bucket_sums,
    cluster_sums,
    listed_clusters,
    unit_split,
)
from headwater.experiments.unit_history import UnitHistory
from headwater.kernel.arrays import I64
from headwater.results.planned_experiment import HistoryPower, PowerAtLength

_CONSTANT = 1e-9  # a variation that is rounding alone
_FAR = 5  # times the history's days that its growth is continued, at most
_LONGEST = 3_650.0  # days, beyond which no duration is named
_LENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # times the planned duration


def history_power(history: UnitHistory, share: float = 1.0) -> HistoryPower:
    """What the experiment will find, if its units vary as in history, by length; the arms' own
    effect on that variation is not known.

    Args:
        history: of its units.
        share: of all units that can be enrolled at all: without the holdout, and within the
            experiment's part of its layer.

    Raises:
        DataError: the deciding metric has no positive mean, or too few units, clusters or buckets.
    """
    experiment, plan = history.experiment, history.experiment.plan
    metric = experiment.metrics[0]
    least = plan.min_lift if metric.higher_is_better else -plan.min_lift
    planned_days = micros(plan.duration, "ExperimentPlan: duration") / DAY
    design = _design(history, metric, share)
    if not design.variation > _CONSTANT:
        raise DataError(
            f"{metric.name} has one value for all units of history, so it does not say how much "
            "they vary: read a longer history"
        )
    test = SequentialPlan(
        plan.looks, plan.alpha / (len(experiment.arms) - 1), plan.power, design.degrees
    )
    days = design.days_until(abs(math.log1p(least)) / test.drift)
    by_unit = isinstance(design, _UnitDesign)
    return HistoryPower(
        metric=metric.name,
        source=history.source,
        days_of_history=round(history.days, 3),
        units=design.units,
        a_day=history.first_requests.height / history.days,
        mean=design.mean,
        variation=design.variation,
        without_cuped=_without_cuped(history, metric) if by_unit else design.variation,
        min_lift=plan.min_lift,
        units_needed=units_needed(least, design.variation, test) if by_unit else None,
        days=days,
        units_planned=int(design.each(planned_days)),
        power_planned=test.power_of(abs(math.log1p(least)) / design.se(planned_days)),
        smallest_lift=math.expm1(min(test.drift * design.se(planned_days), 50.0)),
        design=design.in_words(planned_days),
        by_length=[
            PowerAtLength(
                length,
                design.each(length),
                test.power_of(abs(math.log1p(least)) / se),
                math.expm1(min(test.drift * se, 50.0)),
            )
            for length in (part * planned_days for part in _LENGTHS)
            if math.isfinite(se := design.se(length))
        ],
    )


def _design(
    history: UnitHistory, metric: ExperimentMetric, share: float
) -> _UnitDesign | _ClusterDesign | _SwitchbackDesign:
    kind = history.experiment.kind
    if isinstance(kind, Interleaving):
        raise DataError(
            "an interleaving says which ranking is preferred, never how much: no power is "
            "computed for a lift"
        )
    if isinstance(kind, ClusterTest):
        return _ClusterDesign.from_history(history, metric, kind)
    if isinstance(kind, Switchback):
        return _SwitchbackDesign.from_history(history, metric, kind)
    return _UnitDesign.from_history(history, metric, share)


@dataclass(frozen=True)
class _UnitDesign:
    """An A/B test. totals: units of all arms by the end of each day. harmonic: their share that
    counts for each arm.
    """

    units: int
    mean: float
    variation: float
    totals: Sequence[float]
    harmonic: float
    degrees: float = math.inf

    @classmethod
    def from_history(
        cls, history: UnitHistory, metric: ExperimentMetric, share: float
    ) -> _UnitDesign:
        experiment, plan = history.experiment, history.experiment.plan
        control, treated = _halves(history.first_requests.height)
        lift = unit_split(history, metric)(control, treated)
        weights = [arm.weight or 0.0 for arm in experiment.arms]
        totals = history.enrolled_by_day(micros(plan.stage, "ExperimentPlan: stage"), plan.enrolled)
        return cls(
            history.first_requests.height,
            lift.control,
            lift.se / math.sqrt(1 / len(control) + 1 / len(treated)),
            [total * share for total in totals],
            2 / (1 / weights[0] + 1 / min(weights[1:])),
        )

    def each(self, days: float) -> float:
        """Units of each arm by so many days."""
        return _at(self.totals, days) * self.harmonic

    def se(self, days: float) -> float:
        """The standard error of the log lift; infinite where history does not reach so far."""
        return (
            self.variation * math.sqrt(2 / max(self.each(days), 1e-9))
            if days <= _FAR * len(self.totals)
            else math.inf
        )

    def days_until(self, se: float) -> float | None:
        """The days until the standard error is so small; None where history never shows so many
        units.
        """
        return (
            _day_of(self.totals, 2 * (self.variation / se) ** 2 / self.harmonic) if se > 0 else None
        )

    def in_words(self, days: float) -> str:
        """The comparison, in words."""
        return f"{self.each(days):,.0f} units in each arm"


@dataclass(frozen=True)
class _ClusterDesign:
    """A cluster test: as many clusters as there are, and what time adds. variation: of a cluster
    over the days of history.
    """

    units: int
    mean: float
    noise: DesignNoise
    arms: tuple[int, int]
    variation: float

    @classmethod
    def from_history(
        cls, history: UnitHistory, metric: ExperimentMetric, kind: ClusterTest
    ) -> _ClusterDesign:
        of_arm = list(listed_clusters(history).values())
        counts = [of_arm.count(arm.name) for arm in history.experiment.arms]
        windows = [
            (days, *cluster_sums(part, metric, kind.cluster)) for days, part in _windows(history)
        ]
        _, value, base = windows[0]
        burn_in = micros(kind.burn_in, "ClusterTest: burn_in") / DAY
        arms = counts[0], min(counts[1:])
        noise = cluster_noise(windows, arms, burn_in)
        se_of_one = noise.se(burn_in + history.days) / math.sqrt(sum(1 / count for count in arms))
        return cls(
            len(of_arm), float(value.sum() / max(base.sum(), 1e-300)), noise, arms, se_of_one
        )

    @property
    def degrees(self) -> float:
        """Of freedom."""
        return self.noise.degrees

    def each(self, _days: float) -> float:
        """Clusters of the smaller arm."""
        return min(self.arms)

    def se(self, days: float) -> float:
        """The standard error of the log lift."""
        return self.noise.se(days)

    def days_until(self, se: float) -> float | None:
        """The days until the standard error is so small; None where the clusters differ by too much
        for any number of days.
        """
        return _whole_days(self.noise, se)

    def in_words(self, days: float) -> str:
        """The comparison, in words."""
        read = max(days - self.noise.unread_days, 0)
        return (
            f"{self.arms[0]} clusters in the control and {self.arms[1]} in the arm, {read:g} days "
            "after the burn-in"
        )


@dataclass(frozen=True)
class _SwitchbackDesign:
    """A switchback: the regions that there are, and a bucket more for each length of one."""

    units: int
    mean: float
    noise: DesignNoise
    length: int
    washout: int

    @classmethod
    def from_history(
        cls, history: UnitHistory, metric: ExperimentMetric, kind: Switchback
    ) -> _SwitchbackDesign:
        value, base = (
            bucket_sums(history, measured, kind)
            for measured in (metric.value, REQUESTS if metric.base is None else metric.base)
        )
        weights = [arm.weight or 0.0 for arm in history.experiment.arms]
        length, washout = (
            micros(kind.length, "Switchback: length"),
            micros(kind.washout, "Switchback: washout"),
        )
        noise = switchback_noise(value, base, weights[1] / (weights[0] + weights[1]), length / DAY)
        return cls(len(value), float(value.sum() / max(base.sum(), 1e-300)), noise, length, washout)

    @property
    def degrees(self) -> float:
        """Of freedom."""
        return self.noise.degrees

    @property
    def variation(self) -> float:
        """Of a bucket of a region: standard deviation over mean."""
        return math.sqrt(self.noise.of_a_day / (self.length / DAY) * self.units / 4)

    def each(self, days: float) -> float:
        """Buckets of all regions in each arm."""
        return self._buckets(days) * self.units / 2

    def se(self, days: float) -> float:
        """The standard error of the log lift, by whole buckets."""
        return self.noise.se(self._buckets(days) * self.length / DAY)

    def days_until(self, se: float) -> float | None:
        """The days until the standard error is so small."""
        return _whole_days(self.noise, se)

    def in_words(self, days: float) -> str:
        """The comparison, in words."""
        washout_note = (
            f"; the first {duration_text(self.washout)} of each are left out"
            if self.washout
            else ""
        )
        return (
            f"{self.units} regions x {self._buckets(days)} buckets of "
            f"{duration_text(self.length)}{washout_note}"
        )

    def _buckets(self, days: float) -> int:
        return int(days * DAY // self.length)


def _whole_days(noise: DesignNoise, se: float) -> float | None:
    """The days until the standard error is so small; None where it never is, or only after ten
    years.
    """
    if se <= 0 or se**2 <= noise.lasting:
        return None
    days = noise.unread_days + noise.of_a_day / (se**2 - noise.lasting)
    return None if days > _LONGEST else float(max(math.ceil(days), 1))


def _windows(history: UnitHistory) -> Iterator[tuple[float, UnitHistory]]:
    """The period, its halves and its quarters, each with its days; none shorter than a day."""
    for parts in (1, 2, 4):
        length = (history.end - history.start) // parts
        if parts > 1 and length < DAY:
            return
        for part in range(parts):
            start = history.start + part * length
            yield length / DAY, replace(history, start=start, end=start + length)


def _halves(rows: int) -> tuple[I64, I64]:
    """A random half of the rows, and the other."""
    order = np.random.default_rng(1).permutation(rows)
    return order[: rows // 2], order[rows // 2 :]


def _without_cuped(history: UnitHistory, metric: ExperimentMetric) -> float:
    values = history.values(metric)
    control, treated = _halves(len(values.kept))

    def moments(rows: I64) -> ArmMoments:
        return arm_moments(values.value[rows], None if metric.base is None else values.base[rows])

    return unit_lift(moments(control), moments(treated)).se / math.sqrt(
        1 / len(control) + 1 / len(treated)
    )


def _at(totals: Sequence[float], days: float) -> float:
    """The total by so many days: of the day, or beyond the history by the growth of its last
    fifth.
    """
    if not totals:
        return 0.0
    if days <= len(totals):
        return totals[max(math.ceil(days) - 1, 0)]
    last = max(len(totals) // 5, min(2, len(totals) - 1))
    growth = (totals[-1] - totals[-1 - last]) / last if last else totals[-1]
    return totals[-1] + growth * (days - len(totals))


def _day_of(totals: Sequence[float], units: float) -> float | None:
    """The first day on which so many had been exposed; None where that would be beyond `_FAR` times
    the history.
    """
    for day, total in enumerate(totals, 1):
        if total >= units:
            return float(day)
    if not totals:
        return None
    growth = _at(totals, len(totals) + 1) - totals[-1]
    days = math.inf if growth <= 0 else len(totals) + (units - totals[-1]) / growth
    return None if days > _FAR * len(totals) else float(math.ceil(days))
