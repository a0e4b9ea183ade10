"""Rows of a table of Spark with their features, written by Spark's workers: rows go from stage to stage, and never through this process.

rows --ReadRows--> [--DealRows--> union events --by bucket--AnswerRows-->] for each stage --FinishRows--> table
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from headwater.connectors import scan as scan_table
from headwater.connectors.spark import SparkTable, open_session, spark_errors, spark_schema
from headwater.connectors.spark_output import SparkOutput
from headwater.definitions.connectors import Table
from headwater.engine.local.compute import answer
from headwater.engine.query import Engine, EngineRun, FeatureValues, Query, RequestSet, reach_of
from headwater.engine.row_work import RowWork, WrittenRows
from headwater.engine.spark.blobs import ROWS, Blob, arrow_of, frame_blobs, frame_of
from headwater.engine.spark.row_tasks import AnswerRows, DealRows, FinishRows, ReadRows, plain, unpacked
from headwater.engine.spark.spark_job import SparkJob, collected, mapped, uploaded
from headwater.engine.spark.worker_tasks import Deal
from headwater.errors import DataError
from headwater.events.keys import compared_as
from headwater.events.read_events import Reach
from headwater.events.selection import collect
from headwater.kernel.as_of import NEVER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame

_SUBJECT = "rows"


@dataclass(frozen=True)
class RowsJob:
    """Rows with their features. given: the session, as the engine has it."""

    given: object
    table: Table
    work: RowWork
    engine: Engine
    run: EngineRun

    def write(self, output: SparkOutput) -> WrittenRows:
        """As `RowEngine.write_rows`."""
        own = self.table.spark_frame(self.given).sparkSession if isinstance(self.table, SparkTable) else None
        session = own or open_session(self.given)
        output.check(session)
        raw = isinstance(self.table, SparkTable)
        rows = self.table.spark_frame(self.given) if isinstance(self.table, SparkTable) else uploaded(session, self._blobs(), _SUBJECT)
        ends = self._ends(mapped(rows, ReadRows(self.work, raw, ends=True)))
        stages: list[_Stage] = []

        def on_stage(query: Query, asked: RequestSet) -> list[FeatureValues]:
            stage = _Stage.of(self, len(stages), query, asked)
            stages.append(stage)
            return stage.none

        planned = arrow_of(plain(self.work.plan(ends, on_stage, self.engine))).schema
        frame = mapped(rows, ReadRows(self.work, raw))
        for stage in stages:
            frame = stage.answered(frame)
        with spark_errors(f"{_SUBJECT}: Spark cannot compute them"):
            done = mapped(frame, FinishRows(self.work)).persist()  # which is computed for its notes and errors first
        try:
            for _ in collected(done.where(f"kind != {ROWS}"), _SUBJECT, self.run):
                pass
            table = output.write(done.where(f"kind = {ROWS}").mapInArrow(unpacked, spark_schema(planned)))
        except BaseException:
            done.unpersist()
            raise
        if output.table is not None:
            done.unpersist()
        return WrittenRows(table, ends)

    def _blobs(self) -> Iterator[Blob]:
        return frame_blobs(0, ROWS, collect(scan_table(self.table), _SUBJECT))

    def _ends(self, rows: DataFrame) -> pl.DataFrame:
        found = [frame_of(blob) for blob in collected(rows, _SUBJECT, EngineRun())]
        ends = self.work.ends(pl.concat(found)) if found else None
        if ends is None or ends.height == 0:
            raise DataError(f"{self.table}: there are no rows to compute features of; check the table, and the filter of labels")
        return ends


@dataclass(frozen=True)
class _Stage:
    """A stage of rows. none: the answers where no event counts. reads: whether any event can count."""

    rows: RowsJob
    number: int
    query: Query
    job: SparkJob
    types: Mapping[str, pl.DataType]
    none: list[FeatureValues]
    reads: bool

    @classmethod
    def of(cls, rows: RowsJob, number: int, query: Query, asked: RequestSet) -> _Stage:
        """The stage of a query, with the earliest and the latest request of it."""
        reach = _reach(query, asked)
        job = SparkJob.of(rows.given, query.source, query.keys, query.columns, reach or Reach(0, 0, 0), [], rows.run)
        light = replace(query, source=job.reading.source)
        ((*none,),) = answer(light, job.nothing, [asked], EngineRun())
        types = compared_as(job.nothing.schema, query.keys, [asked.keys], job.subject) if query.keys else {}
        return cls(rows, number, light, job, types, none, reach is not None)

    def answered(self, rows: DataFrame) -> DataFrame:
        """The rows with the answers of this stage."""
        work, deal = self.rows.work, Deal(self.types, self.job.buckets)
        dealt = mapped(rows, DealRows(work, self.number, self.types, deal.buckets))
        both = dealt.unionAll(self.job.events(deal)) if self.reads else dealt
        return mapped(both.repartition("bucket"), AnswerRows(work, self.number, self.query, self.job.nothing, self.job.memory))


def _reach(query: Query, asked: RequestSet) -> Reach | None:
    """Which events any row can count, by the requests of the earliest and the latest, between which T and K do not fall."""
    reach = reach_of([asked], query.windows)
    partial = any(0 < int((a.T > NEVER).sum()) < len(a.T) for a in asked.as_of)
    return replace(reach, first=None) if reach is not None and partial else reach
