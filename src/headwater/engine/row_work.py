"""Features of rows outside of this process's memory: the input and output of an engine.

A *stage* is one set of requests of a query: the features of one source and one set of keys. Rows go
from stage to stage, each time dealt by the keys of that stage, and take the answers with them in
columns of their own. So no row needs a number, and nothing is joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol, runtime_checkable

import polars as pl

from headwater.connectors.spark import SparkOutput, SparkTable
from headwater.definitions.connectors import Table
from headwater.engine.query import Engine, EngineRun, EventQuery, FeatureValues, Query, RequestSet

OnStage = Callable[[Query, RequestSet], list[FeatureValues]]
"""A query and a set of its requests -> the answers for each of its freshnesses."""


class RowWork(Protocol):
    """Work on rows; it can be pickled, and runs where the rows are."""

    @property
    def modules(self) -> Sequence[ModuleType]:
        """The user's modules with functions that it calls."""
        ...

    def read(self, table: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """Rows of the table as rows that travel, and the number of those left out, by reason.

        Raises:
            DataError: the table does not fit.
        """
        ...

    def ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The earliest and the latest row; all where they are two or fewer."""
        ...

    def plan(self, rows: pl.DataFrame, on_stage: OnStage, engine: Engine) -> pl.DataFrame:
        """Call `on_stage` for each stage in order, with requests of these rows; gives the rows as
        they will be in the end.

        engine: reads the events of enriched sources.
        """
        ...

    def stage_requests(self, rows: pl.DataFrame, stage: int) -> RequestSet:
        """The requests of rows, which have the answers of all stages before, in their order."""
        ...

    def answered(
        self,
        rows: pl.DataFrame,
        stage: int,
        request_set: RequestSet,
        answers: Sequence[FeatureValues],
    ) -> pl.DataFrame:
        """The rows with the answers of a stage, to its `stage_requests`."""
        ...

    def finished(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Finished rows, of rows with all answers; `to_write` makes the rows to write of them."""
        ...

    @property
    def together(self) -> Sequence[str]:
        """Columns of finished rows; rows with the same values in them are written in one call.
        Empty: each row by itself.
        """
        ...

    def to_write(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """The rows to write, made of finished rows, and the number of rows left out, by reason."""
        ...


@dataclass(frozen=True)
class WrittenRows:
    """The result of an engine's write: the table to read, and the ends of the rows, as
    `RowWork.ends`.
    """

    table: SparkTable
    ends: pl.DataFrame


@runtime_checkable
class RowEngine(Protocol):
    """An engine that computes features of rows where they are, and writes them there."""

    def write_rows(
        self,
        table: Table,
        work: RowWork,
        output: SparkOutput,
        run: EngineRun,
        before: Callable[[SparkTable], None] | None = None,
    ) -> WrittenRows:
        """Write the work's results for the rows of a table, in any order.

        before: called with the computed rows, before they are written; where it raises, nothing is.

        Raises:
            DataError: the rows or a source cannot be read, the output cannot be written or exists.
        """
        ...

    def enriched(self, query: EventQuery, work: RowWork, run: EngineRun) -> Table:
        """The work's results for the events of a query, in any order: a table that this engine
        reads, for the time of a call.

        Raises:
            DataError: a source cannot be read.
        """
        ...


def answer_columns(answers: Sequence[FeatureValues], prefix: str = "") -> list[pl.Series]:
    """The answers at each freshness as columns."""
    return [
        series.alias(f"{prefix}{level}.{kind}.{series.name}")
        for level, values in enumerate(answers)
        for kind, frame in (
            ("v", values.values),
            ("s", values.statuses),
            ("k", _known_frame(values)),
        )
        for series in frame
    ]


def answers_of(rows: pl.DataFrame, levels: int, prefix: str = "") -> list[FeatureValues]:
    """The answers of `answer_columns`, at so many freshnesses."""

    def columns(level: int, kind: str) -> pl.DataFrame:
        start = f"{prefix}{level}.{kind}."
        return rows.select(
            pl.col(name).alias(name.removeprefix(start))
            for name in rows.columns
            if name.startswith(start)
        )

    def answer(level: int) -> FeatureValues:
        known_frame = columns(level, "k")
        return FeatureValues(
            columns(level, "v"),
            columns(level, "s"),
            known_frame["known"].to_numpy() if known_frame.width else None,
        )

    return [answer(level) for level in range(levels)]


def _known_frame(values: FeatureValues) -> pl.DataFrame:
    return pl.DataFrame() if values.known_at is None else pl.DataFrame({"known": values.known_at})
