"""Point-in-time training data that is too large for one process: computed and written where the
rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from headwater.connectors.snapshots import one_version
from headwater.connectors.spark import SparkOutput, SparkTable, spark_table
from headwater.definitions.connectors import as_table
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.freshness import Freshness
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level, as_level
from headwater.definitions.project import checked_call
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun
from headwater.engine.row_work import RowEngine
from headwater.errors import UsageError
from headwater.events.read_events import Notes
from headwater.training.historical import in_training, warn_of_left_out
from headwater.training.no_events import warn_of_no_events
from headwater.training.resources import DEFAULT_RESOURCES, Resources
from headwater.training.staged_rows import StagedRows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from headwater.definitions.connectors import TableLike


@checked_call
@one_version()
def write_historical_features(
    features: FeatureService | Member | Sequence[Member],
    rows: TableLike | Labels | DataFrame,
    output: SparkOutput,
    *,
    timestamp_field: str = "timestamp",
    level: Level | Freshness | None = None,
    timezone: str | None = None,
    statuses: bool = False,
    resources: Resources | None = None,
) -> SparkTable:
    """Write the rows with every feature as of each row's own time, computed by the workers of
    Spark: as `get_historical_features`, with the same values, and neither rows nor answers go
    through this process.

    Args:
        features, timestamp_field, level, timezone, statuses: as in `get_historical_features`.
        rows: `spark_table(...)` or a DataFrame of Spark; or `Labels` over one. Any other table is
            read by this process and sent.
        output: `spark_output(...)`: a table, a path, or a DataFrame. The rows are in any order.
        resources: an engine of Spark, such as `Resources(engine=spark("sc://host:15002"))`, unless
            the settings have one. `memory` bounds each task.

    Returns:
        The table: history or labels of further calls; `.spark_frame()` is its DataFrame.

    Warns:
        RowsLeftOutWarning, NoEventsWarning: as `get_historical_features`.

    Raises:
        UsageError: the engine is not Spark.
        DataError: as `get_historical_features`; the table exists or cannot be written.
        ConnectError: Spark does not answer, or does not finish.
    """
    service, resources = in_training(features), resources or DEFAULT_RESOURCES
    engine = open_engine(resources.engine)
    if not isinstance(engine, RowEngine):
        raise UsageError(
            "write_historical_features is computed by Spark; give "
            "resources=hw.Resources(engine=headwater_spark.spark('sc://host:15002')), or use "
            "get_historical_features"
        )
    level = Level() if level is None else as_level(level)
    labels = rows if isinstance(rows, Labels) else None
    spark_frame = (
        spark_table(cast("DataFrame", rows), name="rows") if hasattr(rows, "mapInArrow") else None
    )
    table = labels.data if labels is not None else spark_frame or as_table(rows, "rows")
    work = StagedRows(service, level, labels, timestamp_field, timezone, statuses)
    notes = Notes()
    written = engine.write_rows(
        table, work, output, EngineRun(notes, resources.threads, resources.bytes)
    )
    warn_of_left_out(notes)
    warn_of_no_events(work.requests(written.ends), notes)
    return written.table
