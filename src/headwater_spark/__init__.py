"""headwater on Spark: the engine, tables, output of training data, and Structured Streaming. It
needs `pip install 'headwater[spark]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.lazy_names import lazy_names

if TYPE_CHECKING:
    from headwater.connectors.spark import spark_output as spark_output
    from headwater.connectors.spark import spark_table as spark_table
    from headwater.definitions.spark_stream import spark_stream as spark_stream
    from headwater.engine.spark.spark_engine import spark as spark
    from headwater.serving.process.commit_batches import commit_batches as commit_batches
    from headwater.training.dataset import SparkDataset as SparkDataset
    from headwater.training.write_historical import (
        write_historical_features as write_historical_features,
    )

_HOMES = {
    "headwater.connectors.spark": "spark_table spark_output",
    "headwater.definitions.spark_stream": "spark_stream",
    "headwater.engine.spark.spark_engine": "spark",
    "headwater.serving.process.commit_batches": "commit_batches",
    "headwater.training.dataset": "SparkDataset",
    "headwater.training.write_historical": "write_historical_features",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _HOMES)
