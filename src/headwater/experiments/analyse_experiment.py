"""From exposures to a verdict: outcomes by one rule in all arms, lifts, health and the decision
that the frozen plan prescribes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from headwater import clock
from headwater.definitions.checks import parse_timestamp, timestamp_text
from headwater.definitions.experiment import LABEL, Experiment
from headwater.definitions.project import Project
from headwater.errors import UsageError, nearest
from headwater.experiments import experiment_result_rows as rows_of
from headwater.experiments.analysis_kinds import KINDS
from headwater.experiments.backtest_finding import backtest_finding
from headwater.experiments.experiment_analysis import ExperimentAnalysis
from headwater.experiments.experiment_look import ExperimentLooks
from headwater.experiments.experiment_money import ExperimentEvidence
from headwater.experiments.interleaving_result import interleaved
from headwater.experiments.metric_rows import MetricReader
from headwater.experiments.request_labels import LabelsOf
from headwater.models.experiment_store import ExperimentStore, StartedExperiment
from headwater.results.kept_evidence import latest_backtest
from headwater.results.stored_runs import keep_run
from headwater.training.resources import DEFAULT_RESOURCES, Resources


def analyse(
    project: Project,
    name: str,
    *,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    at: str | datetime | None = None,
    break_even: float | ExperimentEvidence = 0.0,
    resources: Resources | None = None,
    exposures: pl.DataFrame | None = None,
) -> ExperimentAnalysis:
    """Analyse an experiment that was started, and decide as its frozen plan says.

    Units count from their first exposure, when the window of their outcome has closed and their
    outcome is known by the rule. Outcomes are made by the project's own engine, so late events,
    corrections and known_at count as in training; covariates are what was known before the first
    exposure, in every arm. Looks come with information, so an analysis may be repeated at any time.

    Args:
        project: whose experiment it is.
        name: of the experiment; its latest started version is analysed.
        data_dir: the folder of exposures, serving log and posted outcomes; None is headwater's
            home.
        models: the folder of fitted models and started experiments; None is `models` in headwater's
            home.
        at: analyse as of this time, tz-aware or ISO 8601 with an offset; None is now.
        break_even: the relative gain at which the fresher arm pays for itself, or the evidence that
            says so; 0 is the frozen plan's. The page also shows what the latest backtest of the
            arms' model recommends: the evidence's, else that of the data directory.
        resources: what reading outcomes may use.
        exposures: another system's, with the columns of `EXPOSURE_SCHEMA`; None reads those that
            were logged.

    Raises:
        UsageError: the project has no such experiment, or it was never started, or it is a shadow,
            which has no lift.
        DataError: exposures lack columns, or outcomes cannot be read.
    """
    experiment = _experiment(project, name)
    started = ExperimentStore(models).one(name)
    if started.plan.kind == "shadow":
        raise UsageError(
            f"experiment {name!r} is a shadow: every request is served by one arm, so it has no "
            f"lift to analyse; see `headwater experiment shadow {name}`"
        )
    now = parse_timestamp(at or clock.now(), "at")
    evidence = break_even if isinstance(break_even, ExperimentEvidence) else ExperimentEvidence()
    least = (
        evidence.least if isinstance(break_even, ExperimentEvidence) else float(break_even)
    ) or started.plan.break_even
    logged = _exposures(exposures, data_dir, started)
    with (resources or DEFAULT_RESOURCES).shown() as used:
        labels = _labels(experiment, data_dir, now, used)
        if started.plan.kind == "interleaving":
            items = _items(exposures, data_dir, started, now)
            return _with_recommendation(
                interleaved(project.name, started, items, labels, now), evidence, None, data_dir
            )
        look = ExperimentLooks(started, experiment, KINDS[started.plan.kind], logged, now)
        look.read(MetricReader(look.units, labels, now, used, look.left_out))
        return _with_recommendation(
            rows_of.analysed(project.name, look, evidence, least, timestamp_text(now)),
            evidence,
            look,
            data_dir,
        )


def _with_recommendation(
    analysis: ExperimentAnalysis,
    evidence: ExperimentEvidence,
    look: ExperimentLooks | None,
    folder: str | Path | None,
) -> ExperimentAnalysis:
    """Add the recommendation of the backtest that was given, else of the latest kept one, and keep
    the analysis as a run.
    """
    result = analysis.result
    backtest = evidence.backtest or latest_backtest({arm.model for arm in result.arms}, folder)
    if backtest is not None:
        result = msgspec.structs.replace(
            result, backtest=backtest_finding(result, backtest, evidence, look)
        )
        analysis = replace(analysis, result=result)
    keep_run("experiment", result.first_line, result, subject=result.experiment, folder=folder)
    return analysis


def _experiment(project: Project, name: str) -> Experiment:
    experiment = next(
        (experiment for experiment in project.experiments if experiment.name == name), None
    )
    if experiment is None:
        names = [experiment.name for experiment in project.experiments]
        raise UsageError(f"the project has no experiment {name!r}; {nearest(name, names)}")
    return experiment


def _exposures(
    exposures: pl.DataFrame | None, data_dir: str | Path | None, started: StartedExperiment
) -> pl.DataFrame:
    if exposures is not None:
        return exposures
    from headwater.journal.exposure_log import read_exposures

    return read_exposures(data_dir, started.plan.experiment, started.plan.version)


def _items(
    items: pl.DataFrame | None, data_dir: str | Path | None, started: StartedExperiment, now: int
) -> pl.DataFrame:
    """The items of interleaved lists by this time."""
    if items is None:
        from headwater.journal.exposure_log import read_interleaved

        items = read_interleaved(data_dir, started.plan.experiment, started.plan.version)
    return items.filter(pl.col("at").dt.epoch("us") <= now)


def _labels(
    experiment: Experiment, data_dir: str | Path | None, now: int, resources: Resources
) -> dict[str, LabelsOf]:
    """Whose labels each arm's requests have, where a metric needs them."""
    metrics = [*experiment.metrics, *experiment.guardrails]
    if not any(
        LABEL in (metric.value, metric.base)
        for metric in metrics
        if isinstance(metric.value, str) or isinstance(metric.base, str)
    ):
        return {}
    by_model = {
        arm.model.name: LabelsOf.with_history(arm.model, experiment.unit, data_dir, now, resources)
        for arm in experiment.arms
    }
    return {arm.name: by_model[arm.model.name] for arm in experiment.arms}
