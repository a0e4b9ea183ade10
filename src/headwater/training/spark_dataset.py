"""Training sets that Spark computes and writes, for `dataset`: the rows of a model's labels whose
outcome was known by a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from headwater.connectors.spark import SparkOutput, SparkTable
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.engine.engines import open_engine
from headwater.engine.query import EngineRun
from headwater.engine.row_work import RowEngine
from headwater.errors import UsageError
from headwater.events.read_events import Notes
from headwater.training.leak_checks import refuse_label_columns
from headwater.training.no_events import warn_of_no_events
from headwater.training.precomputed_rows import no_scores
from headwater.training.resources import Resources
from headwater.training.schema_check import check_model
from headwater.training.staged_rows import TrainingRows

_NO_FILE = "write a file, such as dataset(model, 'rows.parquet')"


@dataclass(frozen=True)
class SparkRowsWritten:
    """What was written: the table, what `SparkTable.rows` says of its rows, their columns, and
    counts as in `TrainingSet`.
    """

    table: SparkTable
    rows: Mapping[str, object]
    columns: Mapping[str, str]
    events: Mapping[str, int]
    left_out: Mapping[str, int]


def write_training_rows(
    model: Model,
    output: SparkOutput,
    level: Level,
    until: int,
    resources: Resources,
    check: Callable[[Mapping[str, object]], None],
) -> SparkRowsWritten:
    """Compute the model's training rows on Spark, and write them there.

    check: called with what `SparkTable.rows` says of them before they are written; where it raises,
    nothing is.

    Raises:
        UsageError: the engine is not Spark, or the rows of this model are not computed there.
        DataError, LeakError: as `training_set`; the output exists or cannot be written.
    """
    engine = open_engine(resources.engine)
    if not isinstance(engine, RowEngine):
        raise UsageError(
            f"{output} is written by Spark; give "
            "resources=hw.Resources(engine=headwater_spark.spark('sc://host:15002')), or "
            f"{_NO_FILE}"
        )
    if model.ranking is not None and model.ranking.negatives is not None:
        raise UsageError(
            f"model {model.name!r} draws negatives, which is done in this process and not on "
            f"Spark; {_NO_FILE}"
        )
    service, precomputed = model.features.in_training, level.precomputed(model)
    measured = [
        view.name
        for view in service.views_in_history
        if not (freshness := level.freshness(view)).servable and freshness.reads_events
    ]
    if precomputed is not None and measured:
        raise UsageError(
            f"the level has precomputed predictions, and view {measured[0]!r} is at measured "
            f"ages; rows of both are not computed on Spark: {_NO_FILE}"
        )
    check_model(model)
    refuse_label_columns(model)
    said: dict[str, object] = {}
    columns: dict[str, str] = {}

    def before(rows: SparkTable) -> None:
        said.update(rows.rows())
        if precomputed is not None and not said["rows"]:
            raise no_scores(model, precomputed)
        columns.update({name: repr(dtype) for name, dtype in rows.schema().items()})
        check(said)

    notes = Notes()
    labels = model.labels
    bare = replace(model, estimator=None)
    work = TrainingRows(
        service,
        level,
        labels,
        labels.timestamp_field,
        labels.timezone,
        statuses=False,
        model=bare,
        until=until,
    )
    written = engine.write_rows(
        labels.data, work, output, EngineRun(notes, resources.threads, resources.bytes), before
    )
    warn_of_no_events(work.requests(written.ends), notes)
    return SparkRowsWritten(written.table, said, columns, dict(notes.events), dict(notes.left_out))
