"""One experiment at a time: its units, metrics, looks and lifts, from which the result is made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY
from headwater.definitions.experiment import Experiment, ExperimentMetric
from headwater.errors import DataError
from headwater.experiments import unit_analysis
from headwater.experiments.analysis_kinds import AnalysisKind
from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.experiment_verdict import GuardrailLook
from headwater.experiments.experiment_words import awaited
from headwater.experiments.exposed_units import ExposedUnits, exposed_units
from headwater.experiments.health import CHECKS, FALSE_ALARMS, HealthCheck, unit_checks
from headwater.experiments.look_rows import COLD, LookRows, look_rows
from headwater.experiments.metric_rows import OWN_UNIT, AnalysedUnits, MetricReader, MetricRows
from headwater.experiments.outcome_checks import late_outcomes, seen_outcomes
from headwater.experiments.planned_looks import PlannedLooks, planned_looks
from headwater.experiments.relative_lift import RelativeLift
from headwater.journal.exposure_rows import ARM, AT, BUCKET, CLUSTER, FLAG, OVERRIDE, REQUEST, UNIT
from headwater.models.experiment_store import StartedExperiment

LEAST_UNITS = 50
"""Of each arm, below which no asymptotic interval is shown."""
_POINTS = 60


@dataclass(frozen=True)
class ArmLift:
    """A metric of one arm: its lift, or why there is none; `negative` where a relative lift has no
    meaning.
    """

    lift: RelativeLift | None
    units: int
    note: str = ""


class ExperimentLooks:
    """An experiment at a time.

    Args:
        started: the plan and what was done since.
        experiment: its definition, which has the metrics.
        kind: how it is analysed.
        exposures: every exposure.
        reader: makes the reader of metrics of units.
        at: the time, microseconds.
    """

    def __init__(
        self,
        started: StartedExperiment,
        experiment: Experiment,
        kind: AnalysisKind,
        exposures: pl.DataFrame,
        at: int,
    ) -> None:
        self.started, self.plan, self.experiment, self.kind, self.at = (
            started,
            started.plan,
            experiment,
            kind,
            at,
        )
        self.left_out: Counter[str] = Counter()
        self.exposures = self._chosen(exposures)
        self.exposed: ExposedUnits = exposed_units(self.exposures)
        self.arms = [arm.name for arm in self.plan.arms]
        self.control, self.treated = self.arms[0], self.arms[1:]
        for reason, count in (
            ("exposures that a tester chose", self.exposed.overrides),
            ("exposures that repeat a request", self.exposed.copies),
            ("exposures of bots", self.exposed.by_bots),
        ):
            self.left_out[reason] += count

    def _chosen(self, exposures: pl.DataFrame) -> pl.DataFrame:
        """The exposures by this time, without those whose flag says that they are no evidence of
        their arm.
        """
        logged = exposures.filter(pl.col(AT).dt.epoch("us") <= self.at)
        if FLAG in logged.columns:
            for flag, count in (
                logged.filter(pl.col(FLAG).fill_null("") != "")
                .group_by(FLAG)
                .len()
                .sort(FLAG)
                .iter_rows()
            ):
                self.left_out[f"exposures flagged {flag!r}"] += count
            logged = logged.filter(pl.col(FLAG).fill_null("") == "")
        counted = self.kind.exposures(logged, self.plan)
        self.left_out["exposures in a washout or burn-in"] += logged.height - counted.height
        return counted

    @cached_property
    def units(self) -> AnalysedUnits:
        """The units, from their first exposures on."""
        people = self.exposed.frame
        more = self.exposures.group_by(UNIT).agg(pl.col(OWN_UNIT).first(), pl.col(BUCKET).first())
        frame = people.select(UNIT, ARM, AT, CLUSTER).join(
            more, on=UNIT, how="left", maintain_order="left"
        )
        frame = frame.filter(pl.col(ARM).is_in(self.arms))
        counted = self.exposures.filter(~pl.col(OVERRIDE).fill_null(value=False)).join(
            frame.select(UNIT), on=UNIT, how="semi"
        )
        named = counted.with_row_index("__n").with_columns(
            pl.coalesce(REQUEST, pl.format("__{}", "__n")).alias(REQUEST)
        )
        requests = (
            named.sort(AT, UNIT, REQUEST)
            .unique([UNIT, REQUEST], keep="first", maintain_order=True)
            .select(UNIT, REQUEST, AT)
        )
        columns = {self.plan.unit: OWN_UNIT, **dict.fromkeys(self.plan.columns.values(), CLUSTER)}
        return AnalysedUnits(frame, requests, columns)

    def read(self, reader: MetricReader) -> None:
        """Read every metric."""
        self.rows: dict[str, MetricRows] = {
            metric.name: reader.rows(metric)
            for metric in (*self.experiment.metrics, *self.experiment.guardrails)
        }
        self.deciding = self.rows[self.experiment.metrics[0].name]

    @cached_property
    def looks(self) -> PlannedLooks:
        """The looks that have come, by the deciding metric."""
        return planned_looks(
            self.started,
            self.units.first,
            self.deciding.matures,
            self.at,
            by_units=self.kind.accrues == "units",
        )

    @property
    def time(self) -> int:
        """The time that the newest look's data are of; that of the analysis before the first
        look.
        """
        return self.looks.times[-1] if self.looks.times else self.at

    def look(self, name: str, time: int) -> LookRows:
        """A metric's rows at a time."""
        return look_rows(self.units, self.rows[name], self.rows[name].at(time))

    def lift(self, rows: LookRows, arm: str, over: str | None = None) -> ArmLift:
        """An arm's lift over another one by the kind's estimator; None is the control."""
        base = over or self.control
        counts = {name: rows.of_arms(name).height for name in (base, arm)}
        units = sum(counts.values())
        few = next((name for name, count in counts.items() if not count), None)
        if few is not None:
            return ArmLift(None, units, f"arm {few!r} has no unit with a final outcome yet")
        try:
            return ArmLift(self.kind.lift(rows, base, arm, self.plan), units)
        except DataError as error:
            return ArmLift(None, units, str(error))

    def naive(self, rows: LookRows, arm: str) -> RelativeLift | None:
        """An arm's lift over units as if no unit acted on another."""
        try:
            return unit_analysis.naive(rows, self.control, arm)
        except DataError:
            return None

    def guardrail(
        self, metric: ExperimentMetric, arm: str, time: int
    ) -> tuple[ArmLift, GuardrailLook | None]:
        """A guardrail of an arm at a time: its lift, and its look where there are units enough."""
        rows = self.look(metric.name, time)
        lift = self.lift(rows, arm)
        if lift.lift is None or not self._enough(rows, arm):
            note = lift.note or (
                f"fewer than {LEAST_UNITS} units of an arm have a final outcome; no interval "
                "is shown"
            )
            return ArmLift(lift.lift, lift.units, note), None
        assert metric.margin is not None
        return lift, GuardrailLook(
            metric.name, lift.lift, lift.units, metric.margin, metric.higher_is_better
        )

    def over_time(self, name: str, arm: str) -> list[tuple[int, RelativeLift, int, float]]:
        """The lift at the end of each day, and now: time, lift, units, and the multiplier of a
        confidence sequence.
        """
        matures = self.rows[name].matures
        matures = matures[matures <= self.at]
        if not len(matures):
            return []
        first, last = int(matures.min()), int(matures.max())
        step = max(DAY, -(-(last - first) // _POINTS) if last > first else DAY)
        points = []
        for time in dict.fromkeys([*range(first + step, last, step), last]):
            rows = self.look(name, time)
            lift = self.lift(rows, arm)
            if lift.lift is not None and self._enough(rows, arm):
                points.append(
                    (
                        time,
                        lift.lift,
                        lift.units,
                        sequence_multiplier(lift.units, self.plan.alpha / len(self.treated)),
                    )
                )
        return points

    def _enough(self, rows: LookRows, arm: str) -> bool:
        return min(rows.of_arms(self.control).height, rows.of_arms(arm).height) >= LEAST_UNITS

    def checks(self) -> list[HealthCheck]:
        """The health of the experiment now."""
        looks, now = max(self.plan.looks, 20), self.deciding.at(self.at)
        weights = {arm.name: arm.weight for arm in self.plan.arms}
        assigned = self.exposed.frame.join(
            self.exposures.select(UNIT, BUCKET).unique(UNIT), on=UNIT, how="left"
        )
        whole = ExposedUnits(
            self.kind.assigned(assigned),
            self.exposed.exposures,
            self.exposed.overrides,
            self.exposed.copies,
            self.exposed.moved,
            self.exposed.bots,
            self.exposed.by_bots,
        )
        final = now.final
        matured = float((now.known & ~now.late)[final].mean()) if final.any() else 1.0
        checks = unit_checks(whole, weights, before=self._before(), matured=matured, looks=looks)
        checks.append(late_outcomes(now.late, final))
        if self.experiment.metrics[0].never == "unknown" and self.plan.kind == "ab":
            arm = self.units.frame[ARM].to_numpy()
            checks.append(
                seen_outcomes({name: now.known[final & (arm == name)] for name in self.arms}, looks)
            )
        rows = self.look(self.experiment.metrics[0].name, self.at)
        if rows.frame.height:
            checks += self.kind.checks(
                rows, self.plan, FALSE_ALARMS / CHECKS / looks / max(len(self.treated), 1)
            )
        return checks

    def _before(self) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
        """Each metric before the first exposure, of control and of each arm, one value for each
        randomised unit.
        """
        pairs: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
        if self.plan.kind == "switchback":  # the same units are in both arms
            return pairs
        for name, rows in self.rows.items():
            columns = {name: rows.before} if rows.before is not None else {}
            if rows.before is not None and rows.cold.any() and not rows.cold.all():
                columns[f"cold starts of {name}"] = rows.cold.astype(float)
            for called, values in columns.items():
                frame = self.units.frame.with_columns(pl.Series("__before", values, pl.Float64))
                if self.plan.kind == "cluster":
                    frame = frame.group_by(CLUSTER, maintain_order=True).agg(
                        pl.col(ARM).first(), pl.col("__before").mean()
                    )
                by_arm = {
                    arm: frame.filter(pl.col(ARM) == arm)["__before"].to_list() for arm in self.arms
                }
                pairs |= {
                    f"{called}, {arm}" if len(self.treated) > 1 else called: (
                        by_arm[self.control],
                        by_arm[arm],
                    )
                    for arm in self.treated
                }
        return pairs

    def slices(self, arm: str) -> list[tuple[str, RelativeLift, int]]:
        """The lift in parts of the units that were not planned."""
        rows = self.look(self.experiment.metrics[0].name, self.time)
        parts: list[tuple[str, pl.Expr]] = []
        if rows.covariate and self.plan.kind == "ab":
            parts += [("cold starts", pl.col(COLD)), ("units with history", ~pl.col(COLD))]
        half = rows.frame[AT].median() if rows.frame.height else None
        if half is not None:
            parts += [
                ("first half of the units", pl.col(AT) <= half),
                ("second half of the units", pl.col(AT) > half),
            ]
        lifts = []
        for name, condition in parts:
            units = rows.where(condition)
            lift = self.lift(units, arm)
            if lift.lift is not None and self._enough(units, arm) and math.isfinite(lift.lift.se):
                lifts.append((name, lift.lift, lift.units))
        return lifts

    def counts(self, arm: str) -> tuple[int, int]:
        """The exposed and the matured units of an arm."""
        in_arm = (self.units.frame[ARM] == arm).to_numpy()
        return int(in_arm.sum()), int((in_arm & (self.deciding.matures <= self.at)).sum())

    @property
    def awaited(self) -> str:
        """When the outcomes are final that are not yet, in words; "" where all are."""
        return awaited(self.deciding.matures, self.at)

    @property
    def unknown(self) -> int:
        """Matured units without an outcome, of the deciding metric."""
        values = self.deciding.at(self.time)
        return int(np.sum(values.final & ~values.known))
