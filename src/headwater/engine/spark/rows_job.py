"""Rows of a table of Spark with their features, written by Spark's workers: rows go from stage to
stage, and never through this process.

rows --ReadRows--> [--DealRows--> union events --by bucket--AnswerRows-->] for each stage
--FinishRows--> table

A stage with lists of keys takes its elements to the events, and then back to the rows: see
`worker_tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from headwater.connectors import scan as scan_table
from headwater.connectors.spark import (
    SparkOutput,
    SparkTable,
    numbered,
    open_session,
    spark_errors,
    spark_schema,
)
from headwater.definitions.connectors import Frame, Table
from headwater.engine.local.compute import answer
from headwater.engine.query import Engine, EngineRun, FeatureValues, Query, RequestSet, reach_of
from headwater.engine.row_work import RowWork, WrittenRows
from headwater.engine.spark.blobs import ROWS, arrow_of, frame_blobs, frame_of
from headwater.engine.spark.spark_job import (
    MEMORY,
    SparkJob,
    SparkRows,
    buckets_of,
    collected,
    mapped,
    uploaded,
)
from headwater.engine.spark.worker_tasks import (
    AnswerElements,
    AnswerRows,
    Deal,
    DealElements,
    DealFinished,
    DealRows,
    FinishRows,
    GatherLists,
    KeepRows,
    ReadRows,
    no_elements,
    plain,
    unpacked,
)
from headwater.errors import DataError
from headwater.events.keys import compared_as
from headwater.events.read_events import Reach, collect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame

_SUBJECT = "rows"


@dataclass(frozen=True)
class RowsJob:
    """Rows with their features.

    given: the session, as the engine has it. rows: those of a table of Spark, the names of whose
    columns are `raw`; or blobs.
    """

    given: object
    rows: DataFrame
    work: RowWork
    engine: Engine
    run: EngineRun
    raw: Sequence[str] | None = None

    @classmethod
    def of_table(
        cls, given: object, table: Table, work: RowWork, engine: Engine, run: EngineRun
    ) -> RowsJob:
        """The job for the rows of a table."""
        if isinstance(table, SparkTable):
            rows, names = numbered(table.spark_frame(given), f"{table} cannot be read")
            return cls(given, rows, work, engine, run, names)
        blobs = frame_blobs(0, ROWS, collect(scan_table(table), _SUBJECT))
        return cls(given, uploaded(open_session(given), blobs, _SUBJECT), work, engine, run)

    def write(
        self, table: Table, output: SparkOutput, before: Callable[[SparkTable], None] | None = None
    ) -> WrittenRows:
        """As `RowEngine.write_rows`."""
        output.check(self.rows.sparkSession)
        ends = self._ends()
        if ends is None:
            raise DataError(
                f"{table}: there are no rows to compute features of; check the table, and the "
                "filter of labels"
            )
        planned, frame = self._answered(ends)
        with spark_errors(f"{_SUBJECT}: Spark cannot compute them"):
            # which is computed for its notes and errors first
            done = self._written(frame, planned).persist()
        try:
            for _ in collected(done.where(f"kind != {ROWS}"), _SUBJECT, self.run):
                pass
            rows = done.where(f"kind = {ROWS}").mapInArrow(
                unpacked, spark_schema(arrow_of(plain(self.work.to_write(planned)[0])).schema)
            )
            if before is not None:
                before(SparkTable(rows, name=_SUBJECT))
            written = output.write(rows)
        except BaseException:
            done.unpersist()
            raise
        if output.table is not None:
            done.unpersist()
        return WrittenRows(written, ends)

    def enriched(self, nothing: pl.DataFrame) -> Table:
        """As `RowEngine.enriched`. nothing: no events."""
        ends = self._ends()
        planned, frame = self._answered(self.work.read(nothing)[0] if ends is None else ends)
        return (
            Frame(planned)
            if ends is None
            else SparkRows(planned.schema, mapped(frame, FinishRows(self.work, as_spark=False)))
        )

    def _answered(self, ends: pl.DataFrame) -> tuple[pl.DataFrame, DataFrame]:
        """The ends with their columns as they will be, and the rows with all answers."""
        stages: list[_Stage] = []

        def on_stage(query: Query, request_set: RequestSet) -> list[FeatureValues]:
            stage = _Stage.from_query(self, len(stages), query, request_set)
            stages.append(stage)
            return stage.none

        planned = self.work.plan(ends, on_stage, self.engine)
        frame = mapped(self.rows, ReadRows(self.work, self.raw))
        for stage in stages:
            frame = stage.answered(frame)
        return planned, frame

    def _written(self, frame: DataFrame, planned: pl.DataFrame) -> DataFrame:
        """The rows that are written, of rows with all answers."""
        types, memory = (
            {name: planned.schema[name] for name in self.work.together},
            self.run.memory or MEMORY,
        )
        if not types:
            return mapped(frame, FinishRows(self.work))
        buckets = buckets_of(frame.sparkSession, _SUBJECT)
        return mapped(
            mapped(frame, DealFinished(self.work, types, buckets)).repartition("bucket"),
            KeepRows(self.work, types, buckets, memory),
        )

    def _ends(self) -> pl.DataFrame | None:
        """The ends of the rows; None where there are none."""
        frames = [
            frame_of(blob)
            for blob in collected(
                mapped(self.rows, ReadRows(self.work, self.raw, ends=True)), _SUBJECT, EngineRun()
            )
        ]
        ends = self.work.ends(pl.concat(frames)) if frames else None
        return None if ends is None or ends.height == 0 else ends


@dataclass(frozen=True)
class _Stage:
    """A stage of rows. none: the answers where no event counts. reads: whether any event can count.
    lists: whether a key is a list.
    """

    rows: RowsJob
    number: int
    query: Query
    job: SparkJob
    types: Mapping[str, pl.DataType]
    none: list[FeatureValues]
    reads: bool
    lists: bool

    @classmethod
    def from_query(
        cls, rows: RowsJob, number: int, query: Query, request_set: RequestSet
    ) -> _Stage:
        """The stage of a query, with the earliest and the latest request of it."""
        # T and K of all rows lie between those of the two ends
        reach = reach_of(
            [request_set if request_set.list_rows is None else request_set.list_rows], query.windows
        )
        job = SparkJob.for_source(
            rows.given,
            query.source,
            query.keys,
            query.columns,
            reach or Reach(0, 0, 0),
            [],
            rows.run,
        )
        light = replace(query, source=job.reading.source)
        ((*none,),) = answer(light, job.nothing, [request_set], EngineRun())
        types = (
            compared_as(job.nothing.schema, query.keys, [request_set.keys], job.subject)
            if query.keys
            else {}
        )
        return cls(
            rows,
            number,
            light,
            job,
            types,
            none,
            reach is not None,
            request_set.list_rows is not None,
        )

    def answered(self, rows: DataFrame) -> DataFrame:
        """The rows with the answers of this stage."""
        work, buckets, nothing, memory = (
            self.rows.work,
            self.job.buckets,
            self.job.nothing,
            self.job.memory,
        )
        dealt = mapped(
            rows, (DealElements if self.lists else DealRows)(work, self.number, self.types, buckets)
        )
        both = dealt.unionAll(self.job.events(Deal(self.types, buckets))) if self.reads else dealt
        if not self.lists:
            return mapped(
                both.repartition("bucket"),
                AnswerRows(work, self.number, self.query, nothing, memory),
            )
        answered = mapped(
            both.repartition("bucket"), AnswerElements(work, self.query, buckets, nothing, memory)
        )
        return mapped(
            answered.repartition("bucket"),
            GatherLists(work, self.number, no_elements(self.none), memory),
        )
