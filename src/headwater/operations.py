"""For operators: services, online stores, fitted models, logs, dead letters, repairs and erasure;
and the classes of results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.assessing.assess import assess as assess
    from headwater.assessing.assessment import Assessment as Assessment
    from headwater.assessing.doctor import doctor as doctor
    from headwater.assessing.locations import Locations as Locations
    from headwater.backtesting.delivery import Delivery as Delivery
    from headwater.backtesting.delivery import watch as watch
    from headwater.catalog.plan import Plan as Plan
    from headwater.definitions.feature_view import Aggregation as Aggregation
    from headwater.definitions.feature_view import FeatureRef as FeatureRef
    from headwater.definitions.level import ModelVariant as ModelVariant
    from headwater.ingestion.dead_letters import DeadLetterFilter as DeadLetterFilter
    from headwater.ingestion.dead_letters import dead_letters as dead_letters
    from headwater.ingestion.dead_letters import replay_dead_letters as replay_dead_letters
    from headwater.ingestion.fill import fill as fill
    from headwater.ingestion.replay import replay as replay
    from headwater.ingestion.rewind import rewind as rewind
    from headwater.ingestion.source_ingestor import IngestLimits as IngestLimits
    from headwater.jobs.drop_view import forget as forget
    from headwater.jobs.erase import erase as erase
    from headwater.jobs.materialize import Materialized as Materialized
    from headwater.jobs.materialize_model import materialize_model as materialize_model
    from headwater.jobs.precompute import ActiveKeys as ActiveKeys
    from headwater.jobs.precompute import PrecomputeResult as PrecomputeResult
    from headwater.jobs.sinks import PredictionTable as PredictionTable
    from headwater.journal.outcome_journal import Outcomes as Outcomes
    from headwater.journal.outcome_journal import outcomes as outcomes
    from headwater.journal.serving_log import ServedLog as ServedLog
    from headwater.journal.serving_log_files import served as served
    from headwater.kept_runs.mlflow_tracking import log_to_mlflow as log_to_mlflow
    from headwater.kept_runs.runs import Runs as Runs
    from headwater.models.formats import load_model as load_model
    from headwater.models.registry import ModelRegistry as ModelRegistry
    from headwater.monitoring.drift import Drift as Drift
    from headwater.monitoring.drift import drift as drift
    from headwater.monitoring.explain import Explanation as Explanation
    from headwater.monitoring.explain import explain as explain
    from headwater.monitoring.parity import Parity as Parity
    from headwater.monitoring.served_parity import served_parity as served_parity
    from headwater.monitoring.status import Status as Status
    from headwater.online.feature_reader import OnlineFeatures as OnlineFeatures
    from headwater.online.precomputed import PrecomputedReader as PrecomputedReader
    from headwater.serving.process.ingest_process import IngestOptions as IngestOptions
    from headwater.serving.serve import ServeOptions as ServeOptions
    from headwater.serving.serve import serve as serve
    from headwater.serving.service import Service as Service
    from headwater.stores import CreatedStore as CreatedStore
    from headwater.stores import OnlineStore as OnlineStore
    from headwater.stores import create_store as create_store
    from headwater.stores import open_store as open_store
    from headwater.training.dataset import Dataset as Dataset
    from headwater.training.dataset import reproduce as reproduce
    from headwater.training.feature_cache import Cache as Cache
    from headwater.training.measured_freshness import ages as ages
    from headwater.training.measured_freshness import measured_level as measured_level
    from headwater.training.train import Trained as Trained

_HOMES = {
    "headwater.assessing.assess": "assess",
    "headwater.assessing.assessment": "Assessment",
    "headwater.assessing.doctor": "doctor",
    "headwater.assessing.locations": "Locations",
    "headwater.backtesting.delivery": "Delivery watch",
    "headwater.catalog.plan": "Plan",
    "headwater.definitions.feature_view": "Aggregation FeatureRef",
    "headwater.definitions.level": "ModelVariant",
    "headwater.ingestion.dead_letters": "DeadLetterFilter dead_letters replay_dead_letters",
    "headwater.ingestion.fill": "fill",
    "headwater.ingestion.replay": "replay",
    "headwater.ingestion.rewind": "rewind",
    "headwater.ingestion.source_ingestor": "IngestLimits",
    "headwater.jobs.drop_view": "forget",
    "headwater.jobs.erase": "erase",
    "headwater.jobs.materialize": "Materialized",
    "headwater.jobs.materialize_model": "materialize_model",
    "headwater.jobs.precompute": "ActiveKeys PrecomputeResult",
    "headwater.jobs.sinks": "PredictionTable",
    "headwater.journal.outcome_journal": "Outcomes outcomes",
    "headwater.journal.serving_log": "ServedLog",
    "headwater.journal.serving_log_files": "served",
    "headwater.kept_runs.mlflow_tracking": "log_to_mlflow",
    "headwater.kept_runs.runs": "Runs",
    "headwater.models.formats": "load_model",
    "headwater.models.registry": "ModelRegistry",
    "headwater.monitoring.drift": "Drift drift",
    "headwater.monitoring.explain": "Explanation explain",
    "headwater.monitoring.parity": "Parity",
    "headwater.monitoring.served_parity": "served_parity",
    "headwater.monitoring.status": "Status",
    "headwater.online.feature_reader": "OnlineFeatures",
    "headwater.online.precomputed": "PrecomputedReader",
    "headwater.serving.process.ingest_process": "IngestOptions",
    "headwater.serving.serve": "ServeOptions serve",
    "headwater.serving.service": "Service",
    "headwater.stores": "CreatedStore OnlineStore create_store open_store",
    "headwater.training.dataset": "Dataset reproduce",
    "headwater.training.feature_cache": "Cache",
    "headwater.training.measured_freshness": "ages measured_level",
    "headwater.training.train": "Trained",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
