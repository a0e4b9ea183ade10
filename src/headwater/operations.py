"""For operators, in addition to the verbs: online stores, fitted models, dead letters, erasure, and result types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.assessing.doctor import doctor as doctor
    from headwater.catalog.plan import Plan as Plan
    from headwater.erasure.erase import erase as erase
    from headwater.experiments.analyse import analyse as analyse
    from headwater.experiments.experiment_adviser import AdviserAnswers as AdviserAnswers
    from headwater.experiments.experiment_adviser import advise as advise
    from headwater.experiments.experiment_analysis import ExperimentAnalysis as ExperimentAnalysis
    from headwater.experiments.experiment_lifecycle import experiment_status as experiment_status
    from headwater.experiments.experiment_lifecycle import start_experiment as start_experiment
    from headwater.experiments.experiment_lifecycle import stop_experiment as stop_experiment
    from headwater.experiments.experiment_money import ExperimentEvidence as ExperimentEvidence
    from headwater.experiments.experiment_ramp import ramp as ramp
    from headwater.experiments.plan_experiment import ExperimentPlaces as ExperimentPlaces
    from headwater.experiments.plan_experiment import plan_experiment as plan_experiment
    from headwater.ingestion.dead_letters import DeadLetterFilter as DeadLetterFilter
    from headwater.ingestion.dead_letters import dead_letters as dead_letters
    from headwater.ingestion.dead_letters import replay_dead_letters as replay_dead_letters
    from headwater.ingestion.repair_clock import repair_clock as repair_clock
    from headwater.ingestion.repair_loss import repair_loss as repair_loss
    from headwater.ingestion.source_ingestor import IngestLimits as IngestLimits
    from headwater.jobs.drop_view import forget as forget
    from headwater.jobs.materialize import Materialized as Materialized
    from headwater.jobs.materialize_model import materialize_model as materialize_model
    from headwater.jobs.precompute import PrecomputeResult as PrecomputeResult
    from headwater.jobs.sinks import PredictionTable as PredictionTable
    from headwater.kept_runs.mlflow_tracking import log_to_mlflow as log_to_mlflow
    from headwater.kept_runs.runs import Runs as Runs
    from headwater.models.formats import load_model as load_model
    from headwater.models.registry import ModelRegistry as ModelRegistry
    from headwater.monitoring.explain import Explanation as Explanation
    from headwater.monitoring.parity import Parity as Parity
    from headwater.monitoring.served_parity import served_parity as served_parity
    from headwater.monitoring.status import Status as Status
    from headwater.monitoring.view_version_status import ViewVersion as ViewVersion
    from headwater.monitoring.view_version_status import promote_view as promote_view
    from headwater.monitoring.view_version_status import rollback_view as rollback_view
    from headwater.monitoring.view_version_status import view_versions as view_versions
    from headwater.online_stores import CreatedStore as CreatedStore
    from headwater.online_stores import OnlineStore as OnlineStore
    from headwater.online_stores import create_store as create_store
    from headwater.online_stores import open_store as open_store
    from headwater.serving.service import Service as Service

_HOMES = {
    "headwater.assessing.doctor": "doctor",
    "headwater.ingestion.dead_letters": "DeadLetterFilter dead_letters replay_dead_letters",
    "headwater.ingestion.repair_clock": "repair_clock",
    "headwater.ingestion.repair_loss": "repair_loss",
    "headwater.ingestion.source_ingestor": "IngestLimits",
    "headwater.erasure.erase": "erase",
    "headwater.experiments.analyse": "analyse",
    "headwater.experiments.experiment_adviser": "AdviserAnswers advise",
    "headwater.experiments.experiment_analysis": "ExperimentAnalysis",
    "headwater.experiments.experiment_lifecycle": "experiment_status start_experiment stop_experiment",
    "headwater.experiments.experiment_money": "ExperimentEvidence",
    "headwater.experiments.experiment_ramp": "ramp",
    "headwater.experiments.plan_experiment": "ExperimentPlaces plan_experiment",
    "headwater.monitoring.explain": "Explanation",
    "headwater.jobs.drop_view": "forget",
    "headwater.jobs.materialize": "Materialized",
    "headwater.jobs.materialize_model": "materialize_model",
    "headwater.jobs.precompute": "PrecomputeResult",
    "headwater.jobs.sinks": "PredictionTable",
    "headwater.monitoring.parity": "Parity",
    "headwater.monitoring.served_parity": "served_parity",
    "headwater.monitoring.status": "Status",
    "headwater.monitoring.view_version_status": "ViewVersion promote_view rollback_view view_versions",
    "headwater.models.formats": "load_model",
    "headwater.models.registry": "ModelRegistry",
    "headwater.online_stores": "CreatedStore OnlineStore create_store open_store",
    "headwater.catalog.plan": "Plan",
    "headwater.kept_runs.runs": "Runs",
    "headwater.kept_runs.mlflow_tracking": "log_to_mlflow",
    "headwater.serving.service": "Service",
}


__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
