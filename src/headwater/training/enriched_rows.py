"""The events of an enriched source as rows that ask, each at its event time, and the table that
comes of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import polars as pl

from headwater.definitions.feature_service import FeatureService, known_column
from headwater.definitions.source import Source
from headwater.engine.query import Engine
from headwater.engine.row_work import OnStage
from headwater.events.read_events import KNOWN, timestamp_micros
from headwater.training.replayed_rows import ReplayedRows, ends_of, modules_of, planning
from headwater.training.requests import ASKED_AT, Requests
from headwater.training.resources import Resources

Frames = Callable[[FeatureService, Requests, Resources, bool], pl.DataFrame]
"""(features, events that ask, resources, whether to say when all that counts was known) -> a column
for each, and KNOWN.
"""


def asking(
    base: Source, columns: Sequence[str], events: pl.DataFrame
) -> tuple[Requests, pl.Series | None]:
    """Events of an engine as requests at their event times, and their known times where a column
    has them.
    """
    context, left_out = f"source {base.name!r}", Counter[str]()
    t = events.select(
        timestamp_micros(base.timestamp_field, events.schema, base.timezone, context, days=True)
    ).to_series()
    if t.null_count():  # only where windows go by when events are known
        left_out[f"{context}: no {base.timestamp_field}"] = t.null_count()
        events, t = events.filter(t.is_not_null()), t.drop_nulls()
    known = None if base.known_at_field is None or KNOWN not in events.columns else events[KNOWN]
    return Requests(events.select(columns), t.to_numpy(), left_out=left_out), known


def enriched_frame(
    source: Source, requests: Requests, features: pl.DataFrame | None, known: pl.Series | None
) -> pl.DataFrame:
    """The table of an enriched source: its events with their features, and when each is known.

    An event is known once all that its features count is: known_at >= event time bounds that of
    every event in the windows, so only features of events that were known before they happened say
    it themselves, in KNOWN.
    """
    frames = [requests.frame]
    if features is not None:
        if known is not None and KNOWN in features.columns:
            known = pl.Series(np.maximum(known.to_numpy(), features[KNOWN].to_numpy()))
        frames.append(features.drop(KNOWN, strict=False))
    if known is not None:
        frames.append(
            known.cast(pl.Datetime("us", "UTC")).alias(known_column(source.name)).to_frame()
        )
    return pl.concat(frames, how="horizontal")


@dataclass(frozen=True)
class EnrichedRows(ReplayedRows):
    """As `RowWork`: the events of an enriched source, with its features.

    columns, service: those of the base, and the features, that are read.
    frames: computes the features; it reads no table. planned: the same with the tables of the call;
    it stays in the process that plans.
    """

    source: Source
    base: Source
    columns: Sequence[str]
    service: FeatureService | None
    frames: Frames
    planned: Frames | None = field(compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Without what belongs to a process."""
        return {**vars(self), "planned": None, "base": dataclasses.replace(self.base, history=None)}

    @property
    def modules(self) -> Sequence[ModuleType]:
        """As `RowWork`."""
        return modules_of(self.service)

    def read(self, table: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
        """As `RowWork`."""
        requests, known = asking(self.base, self.columns, table)
        times = [pl.Series(ASKED_AT, requests.t), *([] if known is None else [known.alias(KNOWN)])]
        return requests.frame.with_columns(times), requests.left_out

    def ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """As `RowWork`."""
        return ends_of(
            rows,
            ()
            if self.service is None
            else [view.freshness for view in self.service.views_in_history],
        )

    def plan(self, rows: pl.DataFrame, on_stage: OnStage, engine: Engine) -> pl.DataFrame:  # noqa: ARG002 (the tables have theirs)
        """As `RowWork`."""
        assert self.planned is not None
        return self._computed(rows, self.planned, planning(on_stage))

    def computed(self, rows: pl.DataFrame, resources: Resources) -> pl.DataFrame:
        """As `ReplayedRows`."""
        return self._computed(rows, self.frames, resources)

    def _computed(self, rows: pl.DataFrame, frames: Frames, resources: Resources) -> pl.DataFrame:
        requests = Requests(rows.select(self.columns), rows[ASKED_AT].to_numpy())
        known = rows[KNOWN] if KNOWN in rows.columns else None
        features = (
            None
            if self.service is None
            else frames(self.service, requests, resources, known is not None)
        )
        return enriched_frame(self.source, requests, features, known)
