"""The erased events of the tables that a job reads: its engine leaves them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headwater.definitions.source import Source
from headwater.engine.engines import open_engine
from headwater.engine.query import (
    Engine,
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StateParts,
    StateQuery,
    States,
)
from headwater.ingestion.tombstones import ErasedRows, read_erased
from headwater.stores import OnlineStore
from headwater.stores.keyspace import placed_source
from headwater.training.resources import Resources

if TYPE_CHECKING:
    import polars as pl


def erased_events(store: OnlineStore, sources: Iterable[Source]) -> dict[str, ErasedRows]:
    """By name of a source, its erased rows; only those of sources that have any.

    Raises:
        DataError: a source does not say any more whom its rows are of.
    """
    found = {source.name: read_erased(store, placed_source(store, source)) for source in sources}
    return {name: erased for name, erased in found.items() if erased.tombstones}


def without_erased(resources: Resources, erased: Mapping[str, ErasedRows]) -> Resources:
    """Resources whose engine computes features without the erased rows; from no cache, which may
    have them.
    """
    if not erased:
        return resources
    return replace(resources, engine=_Engine(open_engine(resources.engine), erased), cache=False)


@dataclass(frozen=True)
class _Engine(Engine):
    """An engine that leaves rows out of features."""

    engine: Engine
    erased: Mapping[str, ErasedRows]

    def erased_columns(self, source: str) -> frozenset[str]:
        """As `EngineWithoutErased`."""
        return self.erased.get(source, ErasedRows()).columns

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """As `Engine`."""
        erased = self.erased.get(query.source.name)
        return self.engine.features(replace(query, erased=erased), requests, run)

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`; with the erased ones."""
        return self.engine.events(query, run)

    def states(
        self, query: StateQuery[States], run: EngineRun
    ) -> AbstractContextManager[StateParts[States]]:
        """As `Engine`; with the erased ones."""
        return self.engine.states(query, run)
