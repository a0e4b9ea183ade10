"""Features of rows on the machines of an engine: the code of rows in memory runs there, stage by stage.

Each run of it is with an engine that gives back the answers that the rows have brought along, and stops at the stage at hand.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NoReturn

import polars as pl

from headwater.definitions.connectors import Frame
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.source import Source
from headwater.engine.query import Engine, EngineRun, EventQuery, FeatureValues, Query, RequestSet, StateParts, StateQuery, States
from headwater.engine.row_work import OnStage
from headwater.events.read_events import Notes
from headwater.training.enrichment import Tables
from headwater.training.feature_frames import frames_of, tables_for
from headwater.training.historical import check_names
from headwater.training.label_rows import KNOWN_AT, LABEL, label_rows, observed
from headwater.training.requests import ASKED_AT, Requests, joined, read_rows
from headwater.training.resources import Resources

_ANSWER = "__answer"


@dataclass(frozen=True)
class StagedRows:
    """As `RowWork`: features of rows, or of labels.

    labels: whose rows they are; None where they are rows with a `timestamp_field`, in a `timezone` if they are naive.
    """

    service: FeatureService
    level: Level
    labels: Labels | None
    timestamp_field: str
    timezone: str | None
    statuses: bool

    @property
    def modules(self) -> Sequence[ModuleType]:
        """As `RowWork`."""
        names = {feature.function.__module__ for feature in self.service.request_features}
        return [sys.modules[name] for name in sorted(names - {"__main__"}) if name in sys.modules]

    def read(self, table: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        if self.labels is None:
            requests = read_rows(table, self.timestamp_field, self.timezone)
        else:
            requests = label_rows(replace(self.labels, table=Frame(table)), strings=True)
        own = [pl.Series(ASKED_AT, requests.t)]
        own += [] if requests.label is None else [requests.label.alias(LABEL)]
        own += [] if requests.known_at is None else [pl.Series(KNOWN_AT, requests.known_at)]
        return requests.frame.with_columns(own), requests.left_out

    def ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `RowWork`."""
        return rows if rows.height <= 2 else rows[[int(rows[ASKED_AT].arg_min() or 0), int(rows[ASKED_AT].arg_max() or 0)]]

    def plan(self, rows: pl.DataFrame, on_stage: OnStage, engine: Engine) -> pl.DataFrame:
        """As `RowWork`."""
        requests = self.requests(rows)
        levels, planning = {"": self.level}, Resources(progress=False, cache=False, engine=_Planning(on_stage))
        reading = Resources(progress=False, cache=False, engine=engine)
        tables = tables_for(self.service, requests, levels, Notes(), reading, statuses=self.statuses)
        return self._frame(requests, tables, planning)

    def asked(self, rows: pl.DataFrame, stage: int) -> RequestSet:
        """As `RowWork`."""
        try:
            self._run(rows, stage)
        except _Reached as reached:
            return reached.requests
        raise AssertionError(f"there is no stage {stage}")

    def answered(self, rows: pl.DataFrame, stage: int, answers: Sequence[FeatureValues]) -> pl.DataFrame:
        """As `RowWork`."""
        return rows.with_columns(
            series.alias(f"{_ANSWER}.{stage}.{level}.{kind}.{series.name}")
            for level, values in enumerate(answers)
            for kind, frame in (("v", values.values), ("s", values.statuses))
            for series in frame
        )

    def finished(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `RowWork`."""
        return self._run(rows, None)

    def _run(self, rows: pl.DataFrame, stage: int | None) -> pl.DataFrame:
        resources = Resources(progress=False, cache=False, engine=_Replay(rows, stage))
        return self._frame(self.requests(rows), _PlainTables(), resources)

    def _frame(self, requests: Requests, tables: Tables, resources: Resources) -> pl.DataFrame:
        if self.labels is not None and requests.label is None:
            requests = replace(requests, label=observed(self.labels, requests, resources, strings=True).rename(self.labels.label_name))
        check_names(self.service, requests.frame.columns, statuses=self.statuses)
        levels = {"": self.level}
        values = frames_of(self.service, requests, levels, tables, Notes(), resources, statuses=self.statuses)[""]
        return joined(self.service, requests, values)

    def requests(self, rows: pl.DataFrame) -> Requests:
        """The requests of rows."""
        own = [name for name in rows.columns if not name.startswith(_ANSWER) and name not in (ASKED_AT, LABEL, KNOWN_AT)]
        label = rows[LABEL].alias(self.labels.label_name) if self.labels is not None and LABEL in rows.columns else None
        known = rows[KNOWN_AT].to_numpy() if KNOWN_AT in rows.columns else None
        return Requests(rows.select(own), rows[ASKED_AT].to_numpy(), label, known)


class _PlainTables(Tables):
    """Where nothing is read: the engine at hand knows each source."""

    def __init__(self) -> None:
        super().__init__(lambda *_: pl.DataFrame(), _Stageless(), 0, 0, Notes())

    def readable(self, source: Source) -> Source:
        """The source itself."""
        return source


class _Reached(Exception):  # noqa: N818 (no error)
    """The stage at hand is reached."""

    def __init__(self, requests: RequestSet) -> None:
        self.requests = requests


class _Stageless(Engine):
    """An engine that reads no table."""

    def features(self, query: Query, requests: Sequence[RequestSet], run: EngineRun) -> list[list[FeatureValues]]:
        """Never called."""
        raise NotImplementedError

    def events(self, query: EventQuery, run: EngineRun) -> NoReturn:
        """Never called."""
        raise NotImplementedError

    def states(self, query: StateQuery[States], run: EngineRun) -> AbstractContextManager[StateParts[States]]:
        """Never called."""
        raise NotImplementedError


class _Planning(_Stageless):
    """Calls for each stage."""

    def __init__(self, on_stage: OnStage) -> None:
        self._on_stage = on_stage

    def features(self, query: Query, requests: Sequence[RequestSet], run: EngineRun) -> list[list[FeatureValues]]:  # noqa: ARG002
        """As `Engine`."""
        return [self._on_stage(query, asked) for asked in requests]


class _Replay(_Stageless):
    """Gives the answers that rows have, and stops at a stage; None: at none."""

    def __init__(self, rows: pl.DataFrame, stage: int | None) -> None:
        self._rows, self._stage, self._next = rows, stage, 0

    def features(self, query: Query, requests: Sequence[RequestSet], run: EngineRun) -> list[list[FeatureValues]]:  # noqa: ARG002
        """As `Engine`."""
        return [self._answers(asked) for asked in requests]

    def _answers(self, asked: RequestSet) -> list[FeatureValues]:
        number, self._next = self._next, self._next + 1
        if number == self._stage:
            raise _Reached(asked)
        return [FeatureValues(self._kept(number, level, "v"), self._kept(number, level, "s")) for level in range(len(asked.as_of))]

    def _kept(self, stage: int, level: int, kind: str) -> pl.DataFrame:
        prefix = f"{_ANSWER}.{stage}.{level}.{kind}."
        return self._rows.select(pl.col(name).alias(name.removeprefix(prefix)) for name in self._rows.columns if name.startswith(prefix))
