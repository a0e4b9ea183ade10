"""headwater: from batch to real-time machine learning.

Define a feature once; a freshness says how stale it may be; backtest the model at every freshness before anything is built.
Importing this package loads no heavy library: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import opcode
import sys
from typing import TYPE_CHECKING

from headwater.version import __version__ as __version__

if TYPE_CHECKING:
    from headwater.assessing.assess import assess as assess
    from headwater.assessing.assessment import Assessment as Assessment
    from headwater.backtesting.attribution import Attribution as Attribution
    from headwater.backtesting.attribution import attribution as attribution
    from headwater.backtesting.backtest import Backtest as Backtest
    from headwater.backtesting.backtest import backtest as backtest
    from headwater.backtesting.fit_options import Refits as Refits
    from headwater.backtesting.fit_options import Tuning as Tuning
    from headwater.backtesting.sweeps import sweep_known_after as sweep_known_after
    from headwater.backtesting.sweeps import transitions as transitions
    from headwater.catalog.plan import Plan as Plan
    from headwater.catalog.plan import apply as apply
    from headwater.catalog.plan import plan as plan
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
    from headwater.definitions.arm import Arm as Arm
    from headwater.definitions.connectors import csv as csv
    from headwater.definitions.connectors import parquet as parquet
    from headwater.definitions.durations import window as window
    from headwater.definitions.enriched import enrich as enrich
    from headwater.definitions.feature_service import FeatureService as FeatureService
    from headwater.definitions.feature_view import FeatureRef as FeatureRef
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
    from headwater.definitions.level import ladder as ladder
    from headwater.definitions.model import Model as Model
    from headwater.definitions.model import precomputed as precomputed
    from headwater.definitions.project import Project as Project
    from headwater.definitions.ranking import Ranking as Ranking
    from headwater.definitions.request_feature import RequestField as RequestField
    from headwater.definitions.request_feature import request_feature as request_feature
    from headwater.definitions.rolling import rolling as rolling
    from headwater.definitions.source import Source as Source
    from headwater.definitions.streams import Registry as Registry
    from headwater.definitions.streams import appended as appended
    from headwater.definitions.streams import env as env
    from headwater.definitions.streams import kafka as kafka
    from headwater.definitions.streams import push as push
    from headwater.erasure.erase import erase as erase
    from headwater.ingestion.dead_letters import DeadLetterFilter as DeadLetterFilter
    from headwater.ingestion.dead_letters import dead_letters as dead_letters
    from headwater.ingestion.dead_letters import replay_dead_letters as replay_dead_letters
    from headwater.ingestion.replay import replay as replay
    from headwater.jobs.drop_view import forget as forget
    from headwater.jobs.materialize import Materialized as Materialized
    from headwater.jobs.materialize import materialize as materialize
    from headwater.jobs.materialize_model import materialize_model as materialize_model
    from headwater.jobs.precompute import Scored as Scored
    from headwater.jobs.sinks import ScoreTable as ScoreTable
    from headwater.logs.outcome_journal import Outcomes as Outcomes
    from headwater.logs.outcome_journal import outcomes as outcomes
    from headwater.logs.serving_log import ServedLog as ServedLog
    from headwater.logs.serving_log_files import served as served
    from headwater.metrics.card_precision import card_precision as card_precision
    from headwater.metrics.custom import metric as metric
    from headwater.models.formats import load_model as load_model
    from headwater.models.registry import ModelRegistry as ModelRegistry
    from headwater.monitoring.explain import Explanation as Explanation
    from headwater.monitoring.explain import explain as explain
    from headwater.monitoring.parity import Parity as Parity
    from headwater.monitoring.parity import parity as parity
    from headwater.monitoring.served_parity import served_parity as served_parity
    from headwater.monitoring.status import Status as Status
    from headwater.monitoring.status import status as status
    from headwater.online.feature_reader import OnlineFeatures as OnlineFeatures
    from headwater.online.feature_reader import get_online_features as get_online_features
    from headwater.online.precomputed import MadeAhead as MadeAhead
    from headwater.online_stores import OnlineStore as OnlineStore
    from headwater.online_stores import open_store as open_store
    from headwater.serving.client.client import AsyncClient as AsyncClient
    from headwater.serving.client.client import Client as Client
    from headwater.serving.process.ingest_process import ingest as ingest
    from headwater.serving.serve import serve as serve
    from headwater.serving.service import Service as Service
    from headwater.training.dataset import Dataset as Dataset
    from headwater.training.dataset import dataset as dataset
    from headwater.training.dataset import reproduce as reproduce
    from headwater.training.feature_cache import Cache as Cache
    from headwater.training.historical import get_historical_features as get_historical_features
    from headwater.training.measured_freshness import ages as ages
    from headwater.training.measured_freshness import measured_level as measured_level
    from headwater.training.train import Trained as Trained
    from headwater.training.train import train as train


_HOMES = {
    "headwater.definitions.aggregate": "Aggregation",
    "headwater.definitions.aggregation": "approx_percentile collect_set count count_distinct decayed_mean decayed_sum first first_n fraction "
    "last last_n latest max max_by mean min min_by mode open_age open_count rate ratio since_last std sum top_k var",
    "headwater.definitions.arm": "Arm",
    "headwater.assessing.assess": "assess",
    "headwater.assessing.assessment": "Assessment",
    "headwater.backtesting.attribution": "Attribution attribution",
    "headwater.backtesting.fit_options": "Refits Tuning",
    "headwater.metrics.card_precision": "card_precision",
    "headwater.metrics.custom": "metric",
    "headwater.backtesting.backtest": "Backtest backtest",
    "headwater.backtesting.sweeps": "sweep_known_after transitions",
    "headwater.definitions.connectors": "csv parquet",
    "headwater.definitions.durations": "window",
    "headwater.definitions.enriched": "enrich",
    "headwater.definitions.feature_service": "FeatureService",
    "headwater.definitions.feature_view": "FeatureRef FeatureView",
    "headwater.definitions.freshness": "batch measured never on_request streaming",
    "headwater.definitions.http_features": "HttpFeatures",
    "headwater.definitions.labels": "Labels outcome",
    "headwater.definitions.level": "Level ladder",
    "headwater.definitions.model": "Model precomputed",
    "headwater.definitions.project": "Project",
    "headwater.definitions.ranking": "Ranking",
    "headwater.definitions.request_feature": "RequestField request_feature",
    "headwater.definitions.rolling": "rolling",
    "headwater.definitions.source": "Source",
    "headwater.definitions.streams": "Registry appended env kafka push",
    "headwater.logs.outcome_journal": "Outcomes outcomes",
    "headwater.logs.serving_log_files": "served",
    "headwater.logs.serving_log": "ServedLog",
    "headwater.training.feature_cache": "Cache",
    "headwater.training.dataset": "Dataset dataset reproduce",
    "headwater.training.historical": "get_historical_features",
    "headwater.ingestion.dead_letters": "DeadLetterFilter dead_letters replay_dead_letters",
    "headwater.erasure.erase": "erase",
    "headwater.monitoring.explain": "Explanation explain",
    "headwater.jobs.drop_view": "forget",
    "headwater.online.precomputed": "MadeAhead",
    "headwater.jobs.materialize": "Materialized materialize",
    "headwater.training.measured_freshness": "ages measured_level",
    "headwater.jobs.materialize_model": "materialize_model",
    "headwater.jobs.precompute": "Scored",
    "headwater.jobs.sinks": "ScoreTable",
    "headwater.online.feature_reader": "OnlineFeatures get_online_features",
    "headwater.monitoring.parity": "Parity parity",
    "headwater.ingestion.replay": "replay",
    "headwater.monitoring.served_parity": "served_parity",
    "headwater.monitoring.status": "Status status",
    "headwater.models.formats": "load_model",
    "headwater.models.registry": "ModelRegistry",
    "headwater.online_stores": "OnlineStore open_store",
    "headwater.catalog.plan": "Plan apply plan",
    "headwater.training.train": "Trained train",
    "headwater.serving.client.client": "AsyncClient Client",
    "headwater.serving.process.ingest_process": "ingest",
    "headwater.serving.serve": "serve",
    "headwater.serving.service": "Service",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [  # noqa: PLE0604 (the table above, sorted; a test compares it with the importable names)
    *sorted(_HOME),
]


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


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    message = f"module 'headwater' has no attribute {name!r}"
    if not name.startswith("_"):
        from headwater.errors import nearest

        close = f"did you mean {_OTHER_NAMES[name]!r}?" if name in _OTHER_NAMES else nearest(name, _HOME)
        message += f"; {close if close.startswith('did') else 'dir(headwater) lists all names'}"
        caller = sys._getframe(1)  # noqa: SLF001 (an import would replace the message of an AttributeError by its own)
        if caller.f_code.co_code[caller.f_lasti] == _IMPORT_FROM:
            raise ImportError(message.replace("module 'headwater' has no attribute", "cannot import from 'headwater':"), name=name)
    raise AttributeError(message, name=name)


_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
