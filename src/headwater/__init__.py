"""headwater: from batch to real-time machine learning.

Define a feature once; a freshness says how stale it may be; backtest the model at every freshness
before anything is built. Importing this package loads no heavy library: each name is loaded when it
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names
from headwater.version import __version__ as __version__

if TYPE_CHECKING:
    from headwater import client as client
    from headwater import errors as errors
    from headwater import evaluation as evaluation
    from headwater import experiments as experiments
    from headwater import operations as operations
    from headwater.aggregations.approx_percentile import approx_percentile as approx_percentile
    from headwater.aggregations.count_distinct import count_distinct as count_distinct
    from headwater.aggregations.decayed import decayed_mean as decayed_mean
    from headwater.aggregations.decayed import decayed_sum as decayed_sum
    from headwater.aggregations.first_last import first as first
    from headwater.aggregations.first_last import first_n as first_n
    from headwater.aggregations.first_last import last as last
    from headwater.aggregations.first_last import last_n as last_n
    from headwater.aggregations.first_last import latest as latest
    from headwater.aggregations.first_last import since_last as since_last
    from headwater.aggregations.min_max import max as max
    from headwater.aggregations.min_max import max_by as max_by
    from headwater.aggregations.min_max import min as min
    from headwater.aggregations.min_max import min_by as min_by
    from headwater.aggregations.mode_top_k import collect_set as collect_set
    from headwater.aggregations.mode_top_k import mode as mode
    from headwater.aggregations.mode_top_k import top_k as top_k
    from headwater.aggregations.moments import count as count
    from headwater.aggregations.moments import mean as mean
    from headwater.aggregations.moments import std as std
    from headwater.aggregations.moments import sum as sum
    from headwater.aggregations.moments import var as var
    from headwater.aggregations.open_intervals import open_age as open_age
    from headwater.aggregations.open_intervals import open_count as open_count
    from headwater.aggregations.rate_ratio import fraction as fraction
    from headwater.aggregations.rate_ratio import rate as rate
    from headwater.aggregations.rate_ratio import ratio as ratio
    from headwater.backtesting.backtest import backtest as backtest
    from headwater.catalog.plan import apply as apply
    from headwater.catalog.plan import plan as plan
    from headwater.connectors.dbt import dbt as dbt
    from headwater.connectors.delta import delta as delta
    from headwater.connectors.iceberg import iceberg as iceberg
    from headwater.connectors.sql import sql as sql
    from headwater.definitions.connectors import Registry as Registry
    from headwater.definitions.connectors import appended as appended
    from headwater.definitions.connectors import csv as csv
    from headwater.definitions.connectors import env as env
    from headwater.definitions.connectors import json_lines as json_lines
    from headwater.definitions.connectors import kafka as kafka
    from headwater.definitions.connectors import parquet as parquet
    from headwater.definitions.connectors import push as push
    from headwater.definitions.evaluations import DecisionValue as DecisionValue
    from headwater.definitions.evaluations import Evaluation as Evaluation
    from headwater.definitions.experiment import Experiment as Experiment
    from headwater.definitions.feature_service import FeatureService as FeatureService
    from headwater.definitions.feature_service import enrich as enrich
    from headwater.definitions.feature_view import FeatureView as FeatureView
    from headwater.definitions.freshness import batch as batch
    from headwater.definitions.freshness import measured as measured
    from headwater.definitions.freshness import never as never
    from headwater.definitions.freshness import on_request as on_request
    from headwater.definitions.freshness import streaming as streaming
    from headwater.definitions.http_features import HttpFeatures as HttpFeatures
    from headwater.definitions.labels import Labels as Labels
    from headwater.definitions.labels import outcome as outcome
    from headwater.definitions.level import Level as Level
    from headwater.definitions.list_keys import each as each
    from headwater.definitions.model import Model as Model
    from headwater.definitions.model import censored as censored
    from headwater.definitions.model import precomputed as precomputed
    from headwater.definitions.project import Project as Project
    from headwater.definitions.ranking import Ranking as Ranking
    from headwater.definitions.request_feature import RequestField as RequestField
    from headwater.definitions.request_feature import request_feature as request_feature
    from headwater.definitions.source import Expect as Expect
    from headwater.definitions.source import ExpectRows as ExpectRows
    from headwater.definitions.source import Source as Source
    from headwater.definitions.windows import window as window
    from headwater.ingestion.debezium_history import debezium as debezium
    from headwater.jobs.materialize import materialize as materialize
    from headwater.kept_runs.runs import runs as runs
    from headwater.monitoring.parity import parity as parity
    from headwater.monitoring.status import status as status
    from headwater.online.feature_reader import get_online_features as get_online_features
    from headwater.serving.process.ingest_process import ingest as ingest
    from headwater.training.dataset import dataset as dataset
    from headwater.training.historical import get_historical_features as get_historical_features
    from headwater.training.resources import Resources as Resources
    from headwater.training.train import train as train

_HOMES = {
    "headwater.aggregations.approx_percentile": "approx_percentile",
    "headwater.aggregations.count_distinct": "count_distinct",
    "headwater.aggregations.decayed": "decayed_sum decayed_mean",
    "headwater.aggregations.first_last": "first last latest since_last first_n last_n",
    "headwater.aggregations.min_max": "min max min_by max_by",
    "headwater.aggregations.mode_top_k": "mode top_k collect_set",
    "headwater.aggregations.moments": "count sum mean std var",
    "headwater.aggregations.open_intervals": "open_count open_age",
    "headwater.aggregations.rate_ratio": "rate fraction ratio",
    "headwater.backtesting.backtest": "backtest",
    "headwater.catalog.plan": "apply plan",
    "headwater.connectors.dbt": "dbt",
    "headwater.connectors.delta": "delta",
    "headwater.connectors.iceberg": "iceberg",
    "headwater.connectors.sql": "sql",
    "headwater.definitions.connectors": ("csv json_lines parquet Registry appended env kafka push"),
    "headwater.definitions.evaluations": "DecisionValue Evaluation",
    "headwater.definitions.experiment": "Experiment",
    "headwater.definitions.feature_service": "enrich FeatureService",
    "headwater.definitions.feature_view": "FeatureView",
    "headwater.definitions.freshness": "batch measured never on_request streaming",
    "headwater.definitions.http_features": "HttpFeatures",
    "headwater.definitions.labels": "Labels outcome",
    "headwater.definitions.level": "Level",
    "headwater.definitions.list_keys": "each",
    "headwater.definitions.model": "censored Model precomputed",
    "headwater.definitions.project": "Project",
    "headwater.definitions.ranking": "Ranking",
    "headwater.definitions.request_feature": "RequestField request_feature",
    "headwater.definitions.source": "Expect ExpectRows Source",
    "headwater.definitions.windows": "window",
    "headwater.ingestion.debezium_history": "debezium",
    "headwater.jobs.materialize": "materialize",
    "headwater.kept_runs.runs": "runs",
    "headwater.monitoring.parity": "parity",
    "headwater.monitoring.status": "status",
    "headwater.online.feature_reader": "get_online_features",
    "headwater.serving.process.ingest_process": "ingest",
    "headwater.training.dataset": "dataset",
    "headwater.training.historical": "get_historical_features",
    "headwater.training.resources": "Resources",
    "headwater.training.train": "train",
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
    "BatchFeatureView": "FeatureView",
    "StreamFeatureView": "FeatureView",
    "stream": "streaming",
    "realtime": "on_request",
}
"""Names that other libraries use, and what they are called here."""

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    _HOMES,
    modules=("client", "errors", "evaluation", "experiments", "operations"),
    others=_OTHER_NAMES,
)
