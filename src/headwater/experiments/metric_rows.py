"""The metrics of an experiment by unit: outcomes by the same rule in every arm, and covariates from
before the first exposure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY
from headwater.definitions.experiment import LABEL, REQUESTS, ExperimentMetric
from headwater.definitions.labels import Outcome
from headwater.definitions.windows import Window
from headwater.engine.query import AsOf
from headwater.experiments import request_labels
from headwater.experiments.request_labels import LabelsOf
from headwater.experiments.typed_units import outcome_keys, text_of
from headwater.journal.exposure_rows import ARM, AT, REQUEST, UNIT
from headwater.kernel.arrays import F64, I64, Bool
from headwater.training.outcome_values import EVENTS, OutcomeRequests
from headwater.training.requests import Requests
from headwater.training.resources import Resources

HISTORY = 28 * DAY
"""How far before the first exposure a covariate reaches at least, in microseconds."""
OWN_UNIT = "own_unit"
_VALUE = "value"


@dataclass(frozen=True)
class AnalysedUnits:
    """The units of an analysis, one row each, and their requests.

    Args:
        frame: unit (of the analysis), own_unit (of the request), arm, at (first exposure), cluster,
            bucket.
        requests: unit, request, at of each exposure that counts, each once.
        columns: what exposures know of a unit, by the name of the request's column: columns of
            `frame`.
    """

    frame: pl.DataFrame
    requests: pl.DataFrame
    columns: dict[str, str]

    @property
    def first(self) -> I64:
        """The first exposures, int64 microseconds."""
        return self.frame[AT].dt.epoch("us").to_numpy()

    def keys(self) -> dict[str, pl.Series]:
        """What exposures know of each unit, by the name of the request's column."""
        return {name: self.frame[column] for name, column in self.columns.items()}


@dataclass(frozen=True)
class UnitValues:
    """A metric of units at a time; arrays are (units) long.

    value, base: its numerator and denominator, float64. final: whether the window has closed and
    what was known by the rule is known.
    known: whether there is an outcome; where there is none by a metric whose `never` is "unknown",
    the unit is left out. late: whether events came after the rule closed that would change the
    value.
    """

    value: F64
    base: F64
    final: Bool
    known: Bool
    late: Bool


@dataclass(frozen=True)
class MetricRows:
    """A metric of an experiment's units.

    Args:
        metric: which.
        at: the values that are final at a time, microseconds.
        matures: when each unit counts, int64 microseconds.
        before: the metric before the first exposure, as known then: float64, 0 without history;
            None where there is none at all.
        cold: whether a unit has no history before its first exposure, bool.
    """

    metric: ExperimentMetric
    at: Callable[[int], UnitValues]
    matures: I64
    before: F64 | None
    cold: Bool

    @property
    def ratio(self) -> bool:
        """Whether the metric has a denominator of its own."""
        return self.metric.base is not None


@dataclass(frozen=True)
class MetricReader:
    """Reads metrics of units.

    Args:
        units: whose.
        labels: by arm, whose labels its requests have.
        until: events known later do not count, microseconds.
        resources: of the engine.
        left_out: gets counts of requests that cannot be used, by reason.
    """

    units: AnalysedUnits
    labels: dict[str, LabelsOf]
    until: int
    resources: Resources
    left_out: Counter[str]

    def rows(self, metric: ExperimentMetric) -> MetricRows:
        """A metric by unit.

        Raises:
            DataError: an outcome's key is not what exposures carry, or labels do not say how long
                they may take.
        """
        value = self._part(metric, metric.value)
        if metric.base is None:
            base = MetricPart(
                value.matures, lambda _: _constant(len(value.matures)), None, value.cold
            )
        elif metric.base == REQUESTS:
            base = self._requests(metric, value)
        else:
            base = self._part(metric, metric.base)
        matures = np.maximum(value.matures, base.matures)

        def at(time: int) -> UnitValues:
            values, bases, final = value.at(time), base.at(time), matures <= time
            has_outcome = values.known & (bases.known if metric.never == "unknown" else True)
            return UnitValues(
                np.where(has_outcome, values.value, 0.0),
                np.where(has_outcome, bases.value, 0.0),
                final,
                has_outcome & final,
                (values.late | bases.late) & final,
            )

        return MetricRows(metric, at, matures, value.before, value.cold)

    def _part(self, metric: ExperimentMetric, value: Outcome | str | None) -> MetricPart:
        return self._outcome(metric, value) if isinstance(value, Outcome) else self._label(metric)

    def _outcome(self, metric: ExperimentMetric, outcome: Outcome) -> MetricPart:
        context, first = f"metric {metric.name!r}", self.units.first
        keys = outcome_keys(outcome, self.units.keys(), context, self.resources)
        requests, end = Requests(keys, first), first + outcome.horizon
        closes = end + outcome.source.delay

        def read(as_of: AsOf, window: Window) -> tuple[F64, I64]:
            if not len(first):
                return np.empty(0), np.empty(0, np.int64)
            values = OutcomeRequests(outcome, requests, as_of, context).values(
                _VALUE, window, self.resources, counted=True
            )
            return values[_VALUE].cast(pl.Float64).fill_null(np.nan).to_numpy(), values[
                EVENTS
            ].cast(pl.Int64).to_numpy()

        by_rule, events = read(AsOf(end, closes), outcome.window)
        now, _ = read(AsOf(end, np.maximum(closes, self.until)), outcome.window)
        before, history = read(AsOf(first, first), Window.in_micros(max(outcome.horizon, HISTORY)))
        has_outcome = (
            ~np.isnan(by_rule) & (events > 0)
            if metric.never == "unknown"
            else np.ones(len(first), np.bool_)
        )
        late = ~((by_rule == now) | (np.isnan(by_rule) & np.isnan(now)))
        fixed = UnitValues(
            np.nan_to_num(by_rule), np.ones(len(first)), has_outcome, has_outcome, late
        )
        return MetricPart(
            closes, lambda _: fixed, np.nan_to_num(before) if history.any() else None, history == 0
        )

    def _label(self, metric: ExperimentMetric) -> MetricPart:
        rows = self._labelled()
        first, names = self.units.first, self.units.frame.select(UNIT)
        windows = {arm: labels.window for arm, labels in self.labels.items()}
        window = (
            self.units.frame[ARM]
            .replace_strict(windows, default=0, return_dtype=pl.Int64)
            .to_numpy()
        )

        def at(time: int) -> UnitValues:
            is_known = pl.col(request_labels.KNOWN) <= time
            sums = (
                rows.filter(pl.col(request_labels.MATURES) <= time)
                .group_by(UNIT)
                .agg(
                    pl.col(request_labels.LABEL).filter(is_known).sum().alias(_VALUE),
                    is_known.sum().alias("known"),
                    pl.len().alias("rows"),
                    (is_known & (pl.col(request_labels.KNOWN) > pl.col(request_labels.MATURES)))
                    .any()
                    .alias("late"),
                )
            )
            by_unit = names.join(sums, on=UNIT, how="left", maintain_order="left").fill_null(0)
            counted = (
                by_unit["known" if metric.never == "unknown" else "rows"]
                .cast(pl.Float64)
                .to_numpy()
            )
            there = counted > 0
            return UnitValues(
                by_unit[_VALUE].cast(pl.Float64).to_numpy(),
                counted,
                there,
                there,
                by_unit["late"].fill_null(value=False).to_numpy(),
            )

        before, cold = self._labels_before(metric, window)
        return MetricPart(first + window, at, before, cold)

    def _requests(self, metric: ExperimentMetric, value: MetricPart) -> MetricPart:
        """The number of requests with a label, or within the outcome's window."""
        if not isinstance(metric.value, Outcome):

            def at(time: int) -> UnitValues:
                labelled = value.at(time)
                return UnitValues(
                    labelled.base, labelled.base, labelled.final, labelled.known, labelled.late
                )

            return MetricPart(value.matures, at, None, value.cold)
        ends = self.units.frame.select(
            UNIT, (pl.col(AT) + pl.duration(microseconds=metric.value.horizon)).alias("end")
        )
        counts = (
            self.units.requests.join(ends, on=UNIT, how="inner")
            .filter(pl.col(AT) < pl.col("end"))
            .group_by(UNIT)
            .len()
        )
        number = (
            self.units.frame.select(UNIT)
            .join(counts, on=UNIT, how="left", maintain_order="left")["len"]
            .fill_null(0)
        )
        all_there = np.ones(len(number), np.bool_)
        fixed = UnitValues(
            number.cast(pl.Float64).to_numpy(),
            np.ones(len(number)),
            all_there,
            all_there,
            ~all_there,
        )
        return MetricPart(value.matures, lambda _: fixed, None, value.cold)

    def _labelled(self) -> pl.DataFrame:
        """The label rows of every exposed request, by the analysis' units."""
        units = self.units.frame.select(UNIT, OWN_UNIT, ARM)
        requests = self.units.requests.join(units, on=UNIT, how="inner")
        frames = []
        for model in dict.fromkeys(labels.model.name for labels in self.labels.values()):
            arms = [arm for arm, labels in self.labels.items() if labels.model.name == model]
            exposed = requests.filter(pl.col(ARM).is_in(arms))
            label_requests = exposed.select(pl.col(OWN_UNIT).alias(UNIT), REQUEST, AT)
            labelled = request_labels.request_labels(
                self.labels[arms[0]], label_requests, self.left_out
            )
            named = exposed.select(
                pl.col(UNIT).alias("__unit"), pl.col(OWN_UNIT).alias(UNIT), REQUEST
            )
            frames.append(
                labelled.join(named, on=[UNIT, REQUEST], how="inner")
                .drop(UNIT)
                .rename({"__unit": UNIT})
            )
        return pl.concat(frames)

    def _labels_before(self, metric: ExperimentMetric, window: I64) -> tuple[F64 | None, Bool]:
        """The labels of a unit's requests before its first exposure, as known then: their sum, or
        their mean for a ratio.
        """
        units, first = self.units.frame, self.units.first
        history = next(
            (labels.history for labels in self.labels.values() if labels.history is not None), None
        )
        column = next(iter(self.labels.values())).unit if self.labels else ""
        if (
            history is None
            or history.label is None
            or history.known_at is None
            or column not in history.frame.columns
        ):
            return None, np.zeros(len(first), np.bool_)
        history_requests = history.frame.select(
            text_of(column, history.frame.schema[column]).alias(OWN_UNIT)
        ).with_columns(
            pl.Series("t", history.t),
            pl.Series("known", history.known_at),
            history.label.cast(pl.Float64, strict=False).alias(LABEL),
        )
        spans = units.select(UNIT, OWN_UNIT).with_columns(
            pl.Series("first", first), pl.Series("span", np.maximum(window, HISTORY))
        )
        earlier = history_requests.join(spans, on=OWN_UNIT, how="inner").filter(
            pl.col("t").is_between(
                pl.col("first") - pl.col("span"), pl.col("first"), closed="left"
            ),
            pl.col("known") <= pl.col("first"),
        )
        label = pl.col(LABEL).sum() if metric.base is None else pl.col(LABEL).mean()
        labels_before = units.select(UNIT).join(
            earlier.group_by(UNIT).agg(label), on=UNIT, how="left", maintain_order="left"
        )[LABEL]
        cold = labels_before.is_null().to_numpy()
        return (None if cold.all() else labels_before.fill_null(0.0).to_numpy()), cold


@dataclass(frozen=True)
class MetricPart:
    """The numerator or the denominator of a metric."""

    matures: I64
    at: Callable[[int], UnitValues]
    before: F64 | None
    cold: Bool


def _constant(units: int) -> UnitValues:
    there = np.ones(units, np.bool_)
    return UnitValues(np.ones(units), np.ones(units), there, there, ~there)
