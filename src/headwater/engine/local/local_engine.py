"""The engine of this machine: polars reads, numba computes, and what does not fit into memory is
split on disk by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import polars as pl

from headwater.definitions.source import Source
from headwater.engine.local import spill
from headwater.engine.local.states import states_between
from headwater.engine.query import (
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StateParts,
    StateQuery,
    States,
)
from headwater.events.read_events import (
    KNOWN,
    TIME,
    Reach,
    collect,
    no_events,
    read_events,
    scan_events,
)


class LocalEngine:
    """As `Engine`, on this machine."""

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """As `Engine`; within `run.memory`."""
        return spill.compute(query, requests, run)

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`."""
        source, keys, columns = query.source, query.keys, query.columns
        if query.newest:
            return _newest(query)
        if query.reach is None:
            schema = (
                query.request_keys[0].schema
                if query.request_keys
                else pl.Schema(dict.fromkeys(keys, pl.Null()))
            )
            return no_events(source, keys, columns, schema)
        return read_events(source, keys, columns, query.reach, query.request_keys, run.notes)

    def states(
        self, query: StateQuery[States], run: EngineRun
    ) -> AbstractContextManager[StateParts[States]]:
        """As `Engine`; within `run.memory`, and where it is given, a run that was stopped goes on
        from the events that are split.
        """
        return states_between(query, run)


def _newest(query: EventQuery) -> pl.DataFrame:
    """Of each key when its last event was, in one pass that holds the keys alone."""
    scan = scan_events(
        query.source, query.keys, [], query.reach or Reach(None, 0, 0), query.request_keys
    )
    frame = (
        scan.frame.head(0)
        if query.reach is None
        else counted_now(scan.frame, query.source, query.keys, query.reach)
    )
    return collect(frame.group_by(query.keys).agg(pl.col(TIME).max()), scan.subject, streaming=True)


def counted_now(
    events: pl.LazyFrame, source: Source, keys: Sequence[str], reach: Reach
) -> pl.LazyFrame:
    """Those of the events of a scan that count at the end of a reach, and have keys."""
    delay = source.delay if source.window_on == "timestamp" else 0
    known = pl.col(KNOWN) if KNOWN in events.collect_schema() else pl.col(TIME) + delay
    return events.filter(pl.col(TIME) < reach.last, known <= reach.known).drop_nulls(list(keys))
