"""The demo's experiment: passengers are warned of late flights by features of several levels, and
the decision page says which to keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from headwater import clock
from headwater.aggregations import moments
from headwater.definitions.connectors import parquet
from headwater.definitions.experiment import Arm, Experiment, ExperimentMetric, ExperimentPlan
from headwater.definitions.labels import outcome
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.source import Source
from headwater.experiments.analyse_experiment import analyse
from headwater.experiments.experiment_analysis import ExperimentAnalysis
from headwater.experiments.experiment_lifecycle import start_experiment
from headwater.experiments.experiment_money import ExperimentEvidence
from headwater.experiments.experiment_planning import ExperimentPlaces
from headwater.pages.evidence_words import of_backtest
from headwater.pages.wording import listed
from headwater.results.backtest_result import BacktestResult

NAME: Final = "freshness"
UNIT: Final = "tailnum"
WARN: Final = 0.4
"""Passengers are warned of a flight with at least this probability to be late."""
_WITHIN = timedelta(days=7)
_LANDED = timedelta(days=2)
_AS_IN_BACKTEST: Final = {"live": "instant"}
"""What a level of the week is called in the backtest."""


def warnings_source(folder: Path) -> Source:
    """What the application logs: each flight that it warned of, and whether it was late; known when
    the flight has landed.
    """
    return Source(
        "warnings",
        history=parquet(folder / "warnings.parquet"),
        timestamp_field="asked_at",
        known_at_field="landed_at",
        select=[UNIT, "late"],
    )


def experiment(model: Model, levels: Mapping[str, Level], folder: Path) -> Experiment:
    """Fresher levels against daily features, by aircraft: of the flights that passengers were
    warned of, how many were late.
    """
    warned = warnings_source(folder)
    late = outcome(warned, moments.sum("late"), keys=[UNIT], within="7d")
    share = ExperimentMetric(
        "warnings_right",
        value=late,
        base=outcome(warned, moments.count(), keys=[UNIT], within="7d"),
    )
    warned_late = ExperimentMetric("late_flights_warned_of", value=late, margin=0.05)
    plan = ExperimentPlan(duration="7d", looks=2, min_lift=0.1)
    return Experiment(
        NAME,
        [Arm(name, model, level) for name, level in levels.items()],
        unit=UNIT,
        metrics=[share],
        guardrails=[warned_late],
        plan=plan,
    )


def start(project: Project, folder: Path, at: datetime) -> None:
    """Freeze the plan and start; without power from history, since the application warned of
    nothing before.
    """
    places = ExperimentPlaces(models=folder / "models", data_dir=folder, history=False)
    start_experiment(
        project, NAME, by="the demo", places=places, at=clock.micros(at), accept_missing=True
    )


@dataclass
class Application:
    """The application that acts on predictions: it warns passengers, and logs what came of it."""

    folder: Path
    rows: list[dict[str, object]] = field(default_factory=list)

    def act(
        self,
        row: Mapping[str, object],
        probability: object,
        late: bool,  # noqa: FBT001
        times: tuple[int, int],
    ) -> None:
        """Warn or not. times: when it was asked and when the flight landed, microseconds."""
        if isinstance(probability, float) and probability >= WARN:
            asked_at, landed = map(clock.timestamp, times)
            self.rows.append(
                {UNIT: row[UNIT], "late": int(late), "asked_at": asked_at, "landed_at": landed}
            )

    def write(self) -> None:
        """Write the application's log."""
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            UNIT: pl.String,
            "late": pl.Int64,
            "asked_at": pl.Datetime("us", "UTC"),
            "landed_at": pl.Datetime("us", "UTC"),
        }
        pl.DataFrame(self.rows, schema=schema).write_parquet(self.folder / "warnings.parquet")


def decide(
    project: Project, folder: Path, end: datetime, backtest: BacktestResult | None
) -> ExperimentAnalysis:
    """Analyse when every outcome is known, and write the decision page."""
    evidence = ExperimentEvidence(backtest, names=_AS_IN_BACKTEST) if backtest is not None else 0.0
    at = end + _WITHIN + _LANDED
    analysis = analyse(
        project, NAME, data_dir=folder, models=folder / "models", at=at, break_even=evidence
    )
    analysis.write_html(folder / "experiment.html")
    analysis.export(folder / "experiment")
    return analysis


def line(analysis: ExperimentAnalysis, folder: Path) -> str:
    """The decision in words, with the page's path."""
    result = analysis.result
    units = math.fsum(arm.units for arm in result.arms)
    against = (
        f"{listed([arm.name for arm in result.arms[1:]])} against {result.arms[0].name} features"
    )
    lines = [
        f"An experiment on {units:,.0f} aircraft, {against}. {result.first_line}",
        *of_backtest(result),
    ]
    return "\n  ".join([*lines, f"decision page: {folder / 'experiment.html'}"])
