"""Rows and labels whose features an engine computes where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType

import numpy as np
import polars as pl

from headwater.definitions.connectors import Frame
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.engine.query import Engine
from headwater.engine.row_work import OnStage
from headwater.events.read_events import Notes
from headwater.training.enrichment import PlainTables
from headwater.training.feature_frames import FeatureFrames, frames_of, tables, tables_for
from headwater.training.historical import check_names
from headwater.training.label_rows import KNOWN_AT, LABEL, label_rows, observed
from headwater.training.outcome_values import OutcomeTables
from headwater.training.positive_log import each_item_once
from headwater.training.precomputed_rows import rows_of
from headwater.training.replayed_rows import (
    ReplayedRows,
    ends_of,
    modules_of,
    own_columns,
    planning,
)
from headwater.training.requests import ASKED_AT, Requests, joined, read_rows, training_frame
from headwater.training.resources import Resources

_SCORED = "__scored"


@dataclass(frozen=True)
class StagedRows(ReplayedRows):
    """As `RowWork`: features of rows, or of labels.

    labels: whose rows they are; None where they are rows with a `timestamp_field`, in a `timezone`
    if they are naive.
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
        added = [pl.Series(ASKED_AT, requests.t)]
        added += [] if requests.label is None else [requests.label.alias(LABEL)]
        added += [] if requests.known_at is None else [pl.Series(KNOWN_AT, requests.known_at)]
        return requests.frame.with_columns(added), requests.left_out

    def ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `RowWork`."""
        return ends_of(rows, [self.level.freshness(view) for view in self.service.views_in_history])

    def plan(self, rows: pl.DataFrame, on_stage: OnStage, engine: Engine) -> pl.DataFrame:
        """As `RowWork`."""
        reading = Resources(progress=False, cache=False, engine=engine)

        def frames(
            service: FeatureService,
            requests: Requests,
            levels: Mapping[str, Level],
            notes: Notes,
            resources: Resources,
        ) -> dict[str, pl.DataFrame]:
            of_views = tables_for(service, requests, levels, notes, reading, statuses=self.statuses)
            return frames_of(
                service, requests, levels, of_views, notes, resources, statuses=self.statuses
            )

        return self._frame(
            self.requests(rows),
            frames,
            lambda last, known: tables(last, known, Notes(), reading),
            planning(on_stage),
        )

    def computed(self, rows: pl.DataFrame, resources: Resources) -> pl.DataFrame:
        """As `ReplayedRows`."""
        return self._frame(
            self.requests(rows), self._plain_frames, lambda *_: PlainTables(), resources
        )

    def _plain_frames(
        self,
        service: FeatureService,
        requests: Requests,
        levels: Mapping[str, Level],
        notes: Notes,
        resources: Resources,
    ) -> dict[str, pl.DataFrame]:
        return frames_of(
            service, requests, levels, PlainTables(), notes, resources, statuses=self.statuses
        )

    def _frame(
        self,
        requests: Requests,
        frames: FeatureFrames,
        of_outcome: OutcomeTables,
        resources: Resources,
    ) -> pl.DataFrame:
        if self.labels is not None and requests.label is None:
            label = observed(self.labels, requests, resources, strings=True, tables_of=of_outcome)
            requests = replace(requests, label=label.rename(self.labels.label_name))
        return self._with_features(requests, frames, resources)

    def _with_features(
        self, requests: Requests, frames: FeatureFrames, resources: Resources
    ) -> pl.DataFrame:
        """The finished rows."""
        values = frames(self.service, requests, {"": self.level}, Notes(), resources)[""]
        check_names(self.service, requests.frame.columns, statuses=self.statuses)
        return joined(self.service, requests, values)

    def requests(self, rows: pl.DataFrame) -> Requests:
        """The requests of rows."""
        names = [name for name in own_columns(rows) if name not in (ASKED_AT, LABEL, KNOWN_AT)]
        label = (
            rows[LABEL].alias(self.labels.label_name)
            if self.labels is not None and LABEL in rows.columns
            else None
        )
        known = rows[KNOWN_AT].to_numpy() if KNOWN_AT in rows.columns else None
        return Requests(rows.select(names), rows[ASKED_AT].to_numpy(), label, known)


@dataclass(frozen=True)
class TrainingRows(StagedRows):
    """As `StagedRows`, with the columns of a training set.

    model: without its estimator. until: when outcomes are known that count.
    """

    model: Model = field(kw_only=True)
    until: int = field(kw_only=True)

    def read(self, table: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        rows, left_out = super().read(table)
        return (
            (rows, left_out)
            if self.model.ranking
            else (self._with_outcome(rows, left_out), +left_out)
        )

    @property
    def together(self) -> Sequence[str]:
        """As `RowWork`: of a ranking the rows of an item in its group, which counts once."""
        task = self.model.ranking
        return () if task is None else (task.group, task.item)

    def to_write(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        left_out: Counter[str] = Counter()
        if self.model.ranking is not None:
            rows = self._with_outcome(
                self._each_item_once(self.model.ranking, rows, left_out), left_out
            )
        scored = rows.filter(_SCORED)
        left_out["no prediction was precomputed"] += rows.height - scored.height
        return scored.drop(ASKED_AT, KNOWN_AT, _SCORED), +left_out

    def _with_outcome(self, rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
        """The rows with an outcome that is known by `until`."""
        known = rows.filter(pl.col(KNOWN_AT) <= self.until)
        left_out["outcome not known by then"] += rows.height - known.height
        return known

    def _each_item_once(
        self, task: Ranking, rows: pl.DataFrame, left_out: Counter[str]
    ) -> pl.DataFrame:
        """As `positive_log.each_item_once`; of rows of one time any one, the same in each run."""
        ordered = rows[np.lexsort((rows.hash_rows().to_numpy(), rows[ASKED_AT].to_numpy()))]
        label = ordered[self.model.labels.label_name]
        chosen = each_item_once(
            self.model,
            task,
            Requests(ordered, ordered[ASKED_AT].to_numpy(), label, ordered[KNOWN_AT].to_numpy()),
        )
        left_out.update(chosen.left_out)
        return chosen.frame

    def _with_features(
        self, requests: Requests, frames: FeatureFrames, resources: Resources
    ) -> pl.DataFrame:
        precomputed = self.level.precomputed(self.model)
        if precomputed is None:
            values, scored = (
                frames(self.service, requests, {"": self.level}, Notes(), resources)[""],
                np.ones(len(requests.t), np.bool_),
            )
        else:
            rows = rows_of(self.model, requests, self.level, Notes(), resources, frames)
            values, scored = rows.frame, rows.known | precomputed.on_request
        added = pl.DataFrame({ASKED_AT: requests.t, KNOWN_AT: requests.known_at, _SCORED: scored})
        return training_frame(requests, values).hstack(added)
