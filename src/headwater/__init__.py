"""headwater: from batch to real-time machine learning.

Define a feature once; a freshness says how stale it may be; backtest the model at every freshness before anything is built.
Importing this package loads no heavy library: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names
from headwater.version import __version__ as __version__

if TYPE_CHECKING:
    from headwater import errors as errors
    from headwater import operations as operations
    from headwater.assessing.assess import assess as assess
    from headwater.assessing.assessment import Assessment as Assessment
    from headwater.assessing.locations import Locations as Locations
    from headwater.assessing.scratch import assess_scratch as assess_scratch
    from headwater.backtesting.attribution import Attribution as Attribution
    from headwater.backtesting.attribution import attribution as attribution
    from headwater.backtesting.backtest import Backtest as Backtest
    from headwater.backtesting.backtest import backtest as backtest
    from headwater.backtesting.delivery import Delivery as Delivery
    from headwater.backtesting.delivery import watch as watch
    from headwater.backtesting.promise import promised as promised
    from headwater.backtesting.sweeps import sweep_known_after as sweep_known_after
    from headwater.backtesting.sweeps import transitions as transitions
    from headwater.catalog.plan import apply as apply
    from headwater.catalog.plan import plan as plan
    from headwater.connectors.dbt import dbt as dbt
    from headwater.connectors.delta import delta as delta
    from headwater.connectors.iceberg import iceberg as iceberg
    from headwater.connectors.spark import spark_table as spark_table
    from headwater.connectors.spark_output import spark_output as spark_output
    from headwater.connectors.sql import sql as sql
    from headwater.definitions.acknowledged import Acknowledgement as Acknowledgement
    from headwater.definitions.aggregate import Aggregation as Aggregation
    from headwater.definitions.aggregation import approx_percentile as approx_percentile
    from headwater.definitions.aggregation import collect_set as collect_set
    from headwater.definitions.aggregation import count as count
    from headwater.definitions.aggregation import count_distinct as count_distinct
    from headwater.definitions.aggregation import decayed_mean as decayed_mean
    from headwater.definitions.aggregation import decayed_sum as decayed_sum
    from headwater.definitions.aggregation import first as first
    from headwater.definitions.aggregation import first_n as first_n
    from headwater.definitions.aggregation import fraction as fraction
    from headwater.definitions.aggregation import last as last
    from headwater.definitions.aggregation import last_n as last_n
    from headwater.definitions.aggregation import latest as latest
    from headwater.definitions.aggregation import max as max
    from headwater.definitions.aggregation import max_by as max_by
    from headwater.definitions.aggregation import mean as mean
    from headwater.definitions.aggregation import min as min
    from headwater.definitions.aggregation import min_by as min_by
    from headwater.definitions.aggregation import mode as mode
    from headwater.definitions.aggregation import open_age as open_age
    from headwater.definitions.aggregation import open_count as open_count
    from headwater.definitions.aggregation import rate as rate
    from headwater.definitions.aggregation import ratio as ratio
    from headwater.definitions.aggregation import since_last as since_last
    from headwater.definitions.aggregation import std as std
    from headwater.definitions.aggregation import sum as sum
    from headwater.definitions.aggregation import top_k as top_k
    from headwater.definitions.aggregation import var as var
    from headwater.definitions.censored import censored as censored
    from headwater.definitions.connectors import csv as csv
    from headwater.definitions.connectors import json_lines as json_lines
    from headwater.definitions.connectors import parquet as parquet
    from headwater.definitions.decision_value import DecisionValue as DecisionValue
    from headwater.definitions.enriched import enrich as enrich
    from headwater.definitions.evaluation import Evaluation as Evaluation
    from headwater.definitions.expectation import Expect as Expect
    from headwater.definitions.expectation import ExpectRows as ExpectRows
    from headwater.definitions.experiment import Arm as Arm
    from headwater.definitions.experiment import Experiment as Experiment
    from headwater.definitions.experiment import ExperimentMetric as ExperimentMetric
    from headwater.definitions.experiment import ExperimentPlan as ExperimentPlan
    from headwater.definitions.experiment_kinds import ABTest as ABTest
    from headwater.definitions.experiment_kinds import ClusterTest as ClusterTest
    from headwater.definitions.experiment_kinds import Interleaving as Interleaving
    from headwater.definitions.experiment_kinds import Probe as Probe
    from headwater.definitions.experiment_kinds import Shadow as Shadow
    from headwater.definitions.experiment_kinds import Switchback as Switchback
    from headwater.definitions.feature_service import FeatureService as FeatureService
    from headwater.definitions.feature_view import FeatureRef as FeatureRef
    from headwater.definitions.feature_view import FeatureView as FeatureView
    from headwater.definitions.fit_options import Refits as Refits
    from headwater.definitions.fit_options import Tuning as Tuning
    from headwater.definitions.freshness import batch as batch
    from headwater.definitions.freshness import measured as measured
    from headwater.definitions.freshness import never as never
    from headwater.definitions.freshness import on_request as on_request
    from headwater.definitions.freshness import streaming as streaming
    from headwater.definitions.http_features import HttpFeatures as HttpFeatures
    from headwater.definitions.kinesis_stream import kinesis as kinesis
    from headwater.definitions.labels import Labels as Labels
    from headwater.definitions.labels import outcome as outcome
    from headwater.definitions.level import Level as Level
    from headwater.definitions.level import ladder as ladder
    from headwater.definitions.list_keys import each as each
    from headwater.definitions.model import Model as Model
    from headwater.definitions.model import precomputed as precomputed
    from headwater.definitions.model_variant import ModelVariant as ModelVariant
    from headwater.definitions.negative_sampling import NegativeSampling as NegativeSampling
    from headwater.definitions.probe import probe as probe
    from headwater.definitions.project import Project as Project
    from headwater.definitions.ranking import Ranking as Ranking
    from headwater.definitions.request_feature import RequestField as RequestField
    from headwater.definitions.request_feature import request_feature as request_feature
    from headwater.definitions.rolling import rolling as rolling
    from headwater.definitions.scores import Scores as Scores
    from headwater.definitions.source import Source as Source
    from headwater.definitions.spark_stream import spark_stream as spark_stream
    from headwater.definitions.streams import Registry as Registry
    from headwater.definitions.streams import appended as appended
    from headwater.definitions.streams import env as env
    from headwater.definitions.streams import kafka as kafka
    from headwater.definitions.streams import push as push
    from headwater.definitions.windows import window as window
    from headwater.engine.spark.spark_engine import spark as spark
    from headwater.experiments.level_lift import level_lift as level_lift
    from headwater.experiments.monitored_rows import LiftOptions as LiftOptions
    from headwater.experiments.replay_day import DayReplay as DayReplay
    from headwater.experiments.replay_day import ReplayOptions as ReplayOptions
    from headwater.experiments.replay_day import replay_day as replay_day
    from headwater.experiments.shadow import ShadowAnalysis as ShadowAnalysis
    from headwater.experiments.shadow import shadow as shadow
    from headwater.ingestion.debezium_history import debezium as debezium
    from headwater.ingestion.replay import replay as replay
    from headwater.jobs.materialize import materialize as materialize
    from headwater.jobs.precompute import ActiveKeys as ActiveKeys
    from headwater.kept_runs.runs import runs as runs
    from headwater.logs.outcome_journal import Outcomes as Outcomes
    from headwater.logs.outcome_journal import outcomes as outcomes
    from headwater.logs.serving_log import ServedLog as ServedLog
    from headwater.logs.serving_log_files import served as served
    from headwater.metrics.card_precision import card_precision as card_precision
    from headwater.metrics.custom import metric as metric
    from headwater.monitoring.drift import Drift as Drift
    from headwater.monitoring.drift import drift as drift
    from headwater.monitoring.explain import explain as explain
    from headwater.monitoring.parity import parity as parity
    from headwater.monitoring.status import status as status
    from headwater.online.feature_reader import OnlineFeatures as OnlineFeatures
    from headwater.online.feature_reader import get_online_features as get_online_features
    from headwater.online.precomputed import PrecomputedReader as PrecomputedReader
    from headwater.serving.client.client import AsyncClient as AsyncClient
    from headwater.serving.client.client import Client as Client
    from headwater.serving.process.commit_batches import commit_batches as commit_batches
    from headwater.serving.process.ingest_process import IngestOptions as IngestOptions
    from headwater.serving.process.ingest_process import ingest as ingest
    from headwater.serving.serve import ServeOptions as ServeOptions
    from headwater.serving.serve import serve as serve
    from headwater.training.arm_log import ArmLog as ArmLog
    from headwater.training.dataset import Dataset as Dataset
    from headwater.training.dataset import SparkDataset as SparkDataset
    from headwater.training.dataset import dataset as dataset
    from headwater.training.dataset import reproduce as reproduce
    from headwater.training.feature_cache import Cache as Cache
    from headwater.training.historical import get_historical_features as get_historical_features
    from headwater.training.measured_freshness import ages as ages
    from headwater.training.measured_freshness import measured_level as measured_level
    from headwater.training.resources import Resources as Resources
    from headwater.training.train import Trained as Trained
    from headwater.training.train import train as train
    from headwater.training.write_historical import write_historical_features as write_historical_features

_HOMES = {
    "headwater.definitions.aggregate": "Aggregation",
    "headwater.definitions.aggregation": "approx_percentile collect_set count count_distinct decayed_mean decayed_sum first first_n fraction "
    "last last_n latest max max_by mean min min_by mode open_age open_count rate ratio since_last std sum "
    "top_k var",
    "headwater.definitions.model_variant": "ModelVariant",
    "headwater.assessing.assess": "assess",
    "headwater.assessing.assessment": "Assessment",
    "headwater.assessing.locations": "Locations",
    "headwater.assessing.scratch": "assess_scratch",
    "headwater.backtesting.attribution": "Attribution attribution",
    "headwater.definitions.fit_options": "Refits Tuning",
    "headwater.metrics.card_precision": "card_precision",
    "headwater.metrics.custom": "metric",
    "headwater.backtesting.backtest": "Backtest backtest",
    "headwater.backtesting.delivery": "Delivery watch",
    "headwater.backtesting.promise": "promised",
    "headwater.backtesting.sweeps": "sweep_known_after transitions",
    "headwater.definitions.censored": "censored",
    "headwater.experiments.replay_day": "DayReplay ReplayOptions replay_day",
    "headwater.experiments.shadow": "ShadowAnalysis shadow",
    "headwater.connectors.dbt": "dbt",
    "headwater.connectors.delta": "delta",
    "headwater.connectors.iceberg": "iceberg",
    "headwater.connectors.spark": "spark_table",
    "headwater.connectors.spark_output": "spark_output",
    "headwater.connectors.sql": "sql",
    "headwater.engine.spark.spark_engine": "spark",
    "headwater.ingestion.debezium_history": "debezium",
    "headwater.definitions.connectors": "csv json_lines parquet",
    "headwater.definitions.windows": "window",
    "headwater.definitions.enriched": "enrich",
    "headwater.definitions.acknowledged": "Acknowledgement",
    "headwater.definitions.decision_value": "DecisionValue",
    "headwater.definitions.evaluation": "Evaluation",
    "headwater.definitions.expectation": "Expect ExpectRows",
    "headwater.definitions.experiment": "Arm Experiment ExperimentMetric ExperimentPlan",
    "headwater.definitions.experiment_kinds": "ABTest ClusterTest Interleaving Probe Shadow Switchback",
    "headwater.definitions.feature_service": "FeatureService",
    "headwater.definitions.feature_view": "FeatureRef FeatureView",
    "headwater.definitions.freshness": "batch measured never on_request streaming",
    "headwater.definitions.http_features": "HttpFeatures",
    "headwater.definitions.kinesis_stream": "kinesis",
    "headwater.definitions.spark_stream": "spark_stream",
    "headwater.definitions.labels": "Labels outcome",
    "headwater.definitions.level": "Level ladder",
    "headwater.definitions.list_keys": "each",
    "headwater.definitions.model": "Model precomputed",
    "headwater.definitions.project": "Project",
    "headwater.definitions.negative_sampling": "NegativeSampling",
    "headwater.definitions.probe": "probe",
    "headwater.definitions.ranking": "Ranking",
    "headwater.definitions.request_feature": "RequestField request_feature",
    "headwater.definitions.rolling": "rolling",
    "headwater.definitions.scores": "Scores",
    "headwater.definitions.source": "Source",
    "headwater.definitions.streams": "Registry appended env kafka push",
    "headwater.logs.outcome_journal": "Outcomes outcomes",
    "headwater.logs.serving_log_files": "served",
    "headwater.logs.serving_log": "ServedLog",
    "headwater.training.arm_log": "ArmLog",
    "headwater.training.feature_cache": "Cache",
    "headwater.training.dataset": "Dataset SparkDataset dataset reproduce",
    "headwater.training.historical": "get_historical_features",
    "headwater.training.write_historical": "write_historical_features",
    "headwater.monitoring.drift": "Drift drift",
    "headwater.monitoring.explain": "explain",
    "headwater.online.precomputed": "PrecomputedReader",
    "headwater.jobs.materialize": "materialize",
    "headwater.training.measured_freshness": "ages measured_level",
    "headwater.jobs.precompute": "ActiveKeys",
    "headwater.online.feature_reader": "OnlineFeatures get_online_features",
    "headwater.monitoring.parity": "parity",
    "headwater.experiments.level_lift": "level_lift",
    "headwater.experiments.monitored_rows": "LiftOptions",
    "headwater.ingestion.replay": "replay",
    "headwater.monitoring.status": "status",
    "headwater.catalog.plan": "apply plan",
    "headwater.training.resources": "Resources",
    "headwater.training.train": "Trained train",
    "headwater.kept_runs.runs": "runs",
    "headwater.serving.client.client": "AsyncClient Client",
    "headwater.serving.process.commit_batches": "commit_batches",
    "headwater.serving.process.ingest_process": "IngestOptions ingest",
    "headwater.serving.serve": "ServeOptions serve",
}
_OTHER_NAMES = {
    "average": "mean",
    "avg": "mean",
    "nunique": "count_distinct",
    "n_unique": "count_distinct",
    "approx_count_distinct": "count_distinct",
    "stddev": "std",
    "variance": "var",
    "median": "approx_percentile",
    "percentile": "approx_percentile",
    "quantile": "approx_percentile",
    "maximum": "max",
    "minimum": "min",
    "sum_": "sum",
    "most_frequent": "mode",
    "read_csv": "csv",
    "read_parquet": "parquet",
    "Entity": "FeatureView",
    "FeatureStore": "Project",
    "Feature": "FeatureRef",
    "BatchFeatureView": "FeatureView",
    "StreamFeatureView": "FeatureView",
    "stream": "streaming",
    "realtime": "on_request",
}
"""Names that other libraries use, and what they are called here."""

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES, modules=("errors", "operations"), others=_OTHER_NAMES)
