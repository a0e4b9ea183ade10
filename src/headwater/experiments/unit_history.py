"""What an experiment's units did before it: requests of the labels' table or the serving log, and
each metric's value of each unit.

A period as long as the experiment is read as the experiment will be: each unit from its first
request on. The period before it gives the covariates. Nothing was treated in either, so the
metric's variation and an A/A test follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.backtesting.delivered_rows import ServedAs, delivered_rows
from headwater.definitions.checks import DAY, micros
from headwater.definitions.experiment import LABEL, Experiment, ExperimentMetric
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.level import AS_DEFINED
from headwater.errors import DataError, HeadwaterError, nearest
from headwater.experiments.assignment import unit_text
from headwater.kernel.arrays import F64, I64
from headwater.training.label_rows import observed, read_labels
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources

_AT, _LABEL, _UNIT = "__at", "__label", "__unit"


@dataclass(frozen=True)
class MetricHistory:
    """A metric of each unit, float64: value, denominator (ones of a mean), and the covariate of
    before; None without a history.

    The covariate is the same metric before the period, less what the mean unit has by as large a
    denominator: 0 of a unit without a past.
    kept: the rows of the units that have a value, where a unit without an outcome is unknown.
    """

    value: F64
    base: F64
    before: F64 | None
    kept: I64


@dataclass(frozen=True)
class UnitHistory:
    """The units of a past period.

    Args:
        experiment: whose units.
        source: what was read, in words.
        requests: by time: the request's columns, with its unit as text, time (microseconds) and
            label.
        start, end: the period, microseconds; as much history stands before it where there is any.
        resources: for outcomes that are made of events.
    """

    experiment: Experiment
    source: str
    requests: pl.DataFrame
    start: int
    end: int
    resources: Resources = DEFAULT_RESOURCES

    @property
    def days(self) -> float:
        """The length of the period."""
        return (self.end - self.start) / DAY

    @property
    def period(self) -> pl.DataFrame:
        """The requests of the period."""
        return self.requests.filter(pl.col(_AT).is_between(self.start, self.end, closed="left"))

    @property
    def first_requests(self) -> pl.DataFrame:
        """Each unit's first request of the period, by time and unit; `__unit` is the unit as text,
        `__at` its time in microseconds.
        """
        return self.period.sort(_AT, _UNIT).unique(_UNIT, keep="first", maintain_order=True)

    def units(self) -> list[str]:
        """The units of the period as text, in the order of their first requests."""
        return self.first_requests[_UNIT].to_list()

    def values(self, metric: ExperimentMetric) -> MetricHistory:
        """The metric of each unit, in the order of `units`.

        Raises:
            DataError: an outcome cannot be computed from its source, or the label is not a number.
        """
        first = self.first_requests
        value, before = self._sums(metric.value, first)
        has_value = (
            np.arange(first.height) if metric.never == "zero" else np.flatnonzero(~np.isnan(value))
        )
        base, before_base = (
            (np.ones(first.height), np.ones(first.height))
            if metric.base is None
            else self._sums(metric.base, first)
        )
        value, base, before, before_base = (
            np.nan_to_num(column)[has_value] for column in (value, base, before, before_base)
        )
        if not before.any() or not before_base.any():
            return MetricHistory(value, base, None, has_value)
        return MetricHistory(
            value, base, before - before.sum() / before_base.sum() * before_base, has_value
        )

    def enrolled_by_day(self, stage: int, enrolled: Sequence[float]) -> list[float]:
        """How many units have been exposed by the end of each day of the period, where the
        enrolment rises stage by stage.

        A unit that was not enrolled at first takes part from its first request after the stage that
        enrols it.
        """
        period = self.period
        names, unit_of = np.unique(period[_UNIT].to_numpy(), return_inverse=True)
        stages = np.minimum((period[_AT].to_numpy() - self.start) // stage, len(enrolled) - 1)
        share, days = np.asarray(enrolled)[stages], (period[_AT].to_numpy() - self.start) // DAY
        so_far, totals = np.zeros(len(names)), []
        for day in range(int(np.ceil(self.days))):
            today = days == day
            np.maximum.at(so_far, unit_of[today], share[today])
            totals.append(float(so_far.sum()))
        return totals

    def _sums(self, measured: Outcome | str, first: pl.DataFrame) -> tuple[F64, F64]:
        """Of each unit: the sum from its first request on, and of the period before the first
        one's; NaN where a unit has no outcome.
        """
        if isinstance(measured, Outcome):
            label = Labels("metric", table=first.head(0), timestamp_field=_AT, label=measured)
            times = first[_AT].to_numpy()
            return self._observed(label, first, times), self._observed(
                label, first, times - measured.horizon
            )
        aggregate = pl.col(_LABEL).sum() if measured == LABEL else pl.len().cast(pl.Float64)
        before = self.requests.filter(
            pl.col(_AT).is_between(2 * self.start - self.end, self.start, closed="left")
        )
        sums = []
        for requests in (self.period, before):
            by_unit = requests.group_by(_UNIT).agg(aggregate.alias("sum"))
            sums.append(
                first.select(_UNIT)
                .join(by_unit, on=_UNIT, how="left", maintain_order="left")["sum"]
                .to_numpy()
                .astype(np.float64)
            )
        return sums[0], sums[1]

    def _observed(self, label: Labels, first: pl.DataFrame, times: I64) -> F64:
        values = observed(label, Requests(first, times), self.resources, strings=False)
        return values.to_numpy().astype(np.float64)


def unit_history(
    experiment: Experiment,
    *,
    from_log: str | Path | None = None,
    log: bool = False,
    until: int | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> UnitHistory:
    """The units of the latest period as long as the experiment, or of the later half of a shorter
    history.

    Args:
        experiment: whose units; the requests are those of its control's model.
        from_log: the folder of the serving log, where `log`.
        log: whether the requests are those of the serving log, with their outcomes; else those of
            the labels' table.
        until: requests before this time, microseconds; None takes all.
        resources: for reading.

    Raises:
        DataError: nothing is there to read, or the requests do not carry the unit.
    """
    model = experiment.control.model
    if log:
        served = delivered_rows(
            ServedAs(model, AS_DEFINED, None, clock.now_micros() if until is None else until),
            from_log,
            resources,
        )
        frame, t, label, source = served.frame, served.t, pl.Series(served.y), "the serving log"
    else:
        rows = read_labels(model.labels, resources, strings=model.task_type.classes)
        assert rows.label is not None
        frame, t, label, source = rows.frame, rows.t, rows.label, f"labels {model.labels.name!r}"
    for column, role in experiment.columns:
        if column not in frame.columns:
            raise DataError(
                f"{source} has no column {column!r}, the experiment's {role}; "
                f"{nearest(column, frame.columns)}"
            )
    columns = dict.fromkeys([*(column for column, _ in experiment.columns), *_keys(experiment)])
    numbers = label if label.dtype.is_numeric() or label.dtype == pl.Boolean else None
    chosen = frame.select(name for name in columns if name in frame.columns).with_columns(
        pl.Series(_AT, t, pl.Int64),
        pl.Series(_LABEL, [None] * len(t), pl.Float64)
        if numbers is None
        else numbers.cast(pl.Float64).alias(_LABEL),
    )
    chosen = chosen.filter(
        pl.all_horizontal(pl.col(column).is_not_null() for column, _ in experiment.columns)
    )
    if until is not None:
        chosen = chosen.filter(pl.col(_AT) < until)
    if chosen.height < 2:
        raise DataError(
            f"{source} has {chosen.height} requests with a {experiment.unit!r}; a history needs "
            "more"
        )
    chosen = chosen.with_columns(_texts(chosen[experiment.unit])).sort(_AT, _UNIT)
    first, last = int(chosen[_AT][0]), int(chosen[_AT][-1]) + 1
    horizon = max(
        (
            outcome.horizon
            for metric in _metrics(experiment)
            for outcome in (metric.value, metric.base)
            if isinstance(outcome, Outcome)
        ),
        default=0,
    )
    end = last - horizon if last - horizon > first + DAY else last
    length = min(micros(experiment.plan.duration, "ExperimentPlan: duration"), (end - first) // 2)
    return UnitHistory(experiment, source, chosen, end - max(length, 1), end, resources)


def _metrics(experiment: Experiment) -> list[ExperimentMetric]:
    return [*experiment.metrics, *experiment.guardrails]


def _keys(experiment: Experiment) -> list[str]:
    """The columns that find the outcomes of metrics."""
    return [
        key
        for metric in _metrics(experiment)
        for outcome in (metric.value, metric.base)
        if isinstance(outcome, Outcome)
        for key in outcome.keys
    ]


def _texts(units: pl.Series) -> pl.Series:
    """Units as the strings that are hashed."""
    if units.dtype == pl.String:
        return units.alias(_UNIT)
    try:
        texts = {unit: unit_text(unit) for unit in units.unique().to_list()}
    except HeadwaterError as error:
        raise DataError(str(error)) from error
    return pl.Series(_UNIT, [texts[unit] for unit in units.to_list()], pl.String)
