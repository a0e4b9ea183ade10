"""Rows and labels whose features an engine computes where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import polars as pl

from headwater.definitions.connectors import Frame
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.engine.query import Engine
from headwater.engine.row_work import OnStage
from headwater.errors import UsageError
from headwater.events.read_events import Notes
from headwater.training.enrichment import PlainTables, Tables
from headwater.training.feature_frames import frames_of, tables, tables_for
from headwater.training.historical import check_names
from headwater.training.label_rows import KNOWN_AT, LABEL, label_rows, observed
from headwater.training.outcome_values import OutcomeTables
from headwater.training.replayed_rows import ReplayedRows, ends_of, modules_of, own_columns, planning
from headwater.training.requests import ASKED_AT, Requests, joined, read_rows, training_frame
from headwater.training.resources import Resources


@dataclass(frozen=True)
class StagedRows(ReplayedRows):
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
        return modules_of(self.service)

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
        return ends_of(rows, [self.level.freshness(view) for view in self.service.views_in_history])

    def plan(self, rows: pl.DataFrame, on_stage: OnStage, engine: Engine) -> pl.DataFrame:
        """As `RowWork`."""
        requests = self.requests(rows)
        reading = Resources(progress=False, cache=False, engine=engine)
        of_views = tables_for(self.service, requests, {"": self.level}, Notes(), reading, statuses=self.statuses)
        return self._frame(requests, of_views, lambda last, known: tables(last, known, Notes(), reading), planning(on_stage))

    def computed(self, rows: pl.DataFrame, resources: Resources) -> pl.DataFrame:
        """As `ReplayedRows`."""
        return self._frame(self.requests(rows), PlainTables(), lambda *_: PlainTables(), resources)

    def _frame(self, requests: Requests, of_views: Tables, of_outcome: OutcomeTables, resources: Resources) -> pl.DataFrame:
        if self.labels is not None and requests.label is None:
            label = observed(self.labels, requests, resources, strings=True, tables_of=of_outcome)
            requests = replace(requests, label=label.rename(self.labels.label_name))
        levels = {"": self.level}
        values = frames_of(self.service, requests, levels, of_views, Notes(), resources, statuses=self.statuses)[""]
        return self._joined(requests, values)

    def _joined(self, requests: Requests, values: pl.DataFrame) -> pl.DataFrame:
        """The rows as they are written."""
        check_names(self.service, requests.frame.columns, statuses=self.statuses)
        return joined(self.service, requests, values)

    def requests(self, rows: pl.DataFrame) -> Requests:
        """The requests of rows."""
        own = [name for name in own_columns(rows) if name not in (ASKED_AT, LABEL, KNOWN_AT)]
        label = rows[LABEL].alias(self.labels.label_name) if self.labels is not None and LABEL in rows.columns else None
        known = rows[KNOWN_AT].to_numpy() if KNOWN_AT in rows.columns else None
        return Requests(rows.select(own), rows[ASKED_AT].to_numpy(), label, known)


@dataclass(frozen=True)
class TrainingRows(StagedRows):
    """As `StagedRows`, with the columns of a training set. until: when outcomes are known that count."""

    until: int = field(kw_only=True)

    def read(self, table: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        rows, left_out = super().read(table)
        known = rows.filter(pl.col(KNOWN_AT) <= self.until)
        if known.height < rows.height:
            left_out["outcome not known by then"] += rows.height - known.height
        return known, left_out

    def _joined(self, requests: Requests, values: pl.DataFrame) -> pl.DataFrame:
        return training_frame(requests, values)


def refuse_lists(service: FeatureService, instead: str) -> None:
    """Refuse features that are looked up by each element of a list: a row has one key in a stage.

    Raises:
        UsageError: there is one; the message ends with what to do instead.
    """
    lists = [view.name for view in service.views_in_history if view.list_key is not None]
    if lists:
        raise UsageError(
            f"the view {lists[0]!r} is looked up by each element of a list, and rows that Spark writes have one key; {instead}"
        )
