"""Enriched events: each event of a source asks for features as of itself, like any other row.

Views over an enriched source are answered like all others once its events are a table. `Tables`
makes each such table once a call, with every column that something in the call reads, in two
passes: `read` goes down from the views to all that they reach, `readable` comes back up from the
tables at the bottom.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from headwater.connectors import scan
from headwater.definitions.connectors import Frame, Table
from headwater.definitions.feature_service import (
    Enriched,
    FeatureService,
    Member,
    clashing,
    known_column,
    lacking,
)
from headwater.definitions.feature_view import Feature, FeatureView
from headwater.definitions.freshness import Freshness, on_request
from headwater.definitions.level import Level
from headwater.definitions.source import Source, output_name, root_columns
from headwater.definitions.windows import Window
from headwater.engine.engines import open_engine
from headwater.engine.query import AsOf, EngineRun, EventQuery, RequestSet, reach_of
from headwater.engine.row_work import RowEngine
from headwater.errors import DataError, nearest
from headwater.events.read_events import Notes, Reach, selected
from headwater.kernel.as_of import as_of, earliest
from headwater.training.enriched_rows import EnrichedRows, asking, enriched_frame
from headwater.training.identity_map import IdentityMap
from headwater.training.replayed_rows import Stageless
from headwater.training.requests import Requests
from headwater.training.resources import Resources

CallFrames = Callable[[FeatureService, Requests, Resources, bool, "Tables | None"], pl.DataFrame]
"""As `Frames`, with the tables of the call; without them nothing is read: the engine of the
resources knows each source.
"""

NOTHING = 2**62  # where reading begins if nothing can count


@dataclass
class _Read:
    """What a call reads of a source: these columns, of events from the time `first` on (None:
    all).
    """

    names: set[str] = field(default_factory=set)
    first: int | None = NOTHING


class Tables:
    """The tables that the enriched sources of one call are read from.

    Args:
        frames: a function of a module, which computes features, and gets the tables that it needs
            for them from this object in turn.
        resources: whose engine reads the events, and computes their features where it has them.
        last, known: no row of the call counts an event of this time or a later one, or one known
            later; microseconds UTC.
        notes: where rows that are left out are counted.
    """

    def __init__(
        self, frames: CallFrames, resources: Resources, last: int, known: int, notes: Notes
    ) -> None:
        self._frames, self._resources, self._last, self._known_by, self.notes = (
            frames,
            resources,
            last,
            known,
            notes,
        )
        self._at: IdentityMap[Level, IdentityMap[Source, Source]] = IdentityMap()
        self._same: dict[str, Source] = {}
        self._reads: IdentityMap[Source, _Read] = IdentityMap()
        self._enriched_sources: IdentityMap[Source, Source] = IdentityMap()

    def at(self, level: Level, view: FeatureView) -> Source:
        """The source of a view at a level: one object for all views and levels that have the
        same.
        """
        if not level.known_after:
            return view.source

        def source_at() -> Source:
            source = level.source(view)
            return (
                source
                if source is view.source
                else self._same.setdefault(source.fingerprint, source)
            )

        return self._at.setdefault(level, IdentityMap).setdefault(view.source, source_at)

    def read(self, source: Source, names: Collection[str], first: int | None) -> None:
        """Note that these columns, and the columns that they are derived from, are read of events
        from the time `first` on.
        """
        read = self._reads.setdefault(source, _Read)
        earliest = None if None in (first, read.first) else min(first, read.first)  # type: ignore[type-var]
        if read.names.issuperset(names) and read.first == earliest:
            return
        read.names.update(names)
        read.first = earliest
        if isinstance(source.history, Enriched):
            columns, service, start = _below(source, read)
            self.read(source.history.base, columns, start)
            for view, features in _views(service):
                names = {*view.keys, *(c for f in features for c in f.reads)}
                self.read(
                    view.source, names, _first(view.freshness, start, [f.window for f in features])
                )

    def readable(self, source: Source) -> Source:
        """A source that the engine can read: a plain one is, an enriched one is over its table."""
        history = source.history
        return (
            self._enriched_sources.setdefault(source, lambda: self._enriched(source, history))
            if isinstance(history, Enriched)
            else source
        )

    def asking(self, source: Source) -> Requests:
        """The events of an enriched source as rows that ask for all of its features."""
        enriched = source.history
        assert isinstance(enriched, Enriched)
        self.read(source, enriched.features.feature_names, None)
        columns, _, start = _below(source, _Read(set(enriched.features.feature_names), None))
        return self._events(self._query(self.readable(enriched.base), columns, start))[0]

    def _enriched(self, source: Source, enriched: Enriched) -> Source:
        read, base = self._reads[source], self.readable(enriched.base)
        columns, service, start = _below(source, read)
        if base.history is None and start == NOTHING:
            return dataclasses.replace(source, history=None)
        _check(source, enriched, base, columns, service)
        table = self._table(
            EnrichedRows(
                source, base, columns, service, _Frames(self._frames), _Frames(self._frames, self)
            ),
            start,
        )
        names = list(scan(table).collect_schema())
        select = (
            names
            if source.select is None
            else [i for i in source.select if output_name(i) in _outputs(source, read.names)]
        )
        return dataclasses.replace(source, history=table, select=select)

    def _table(self, rows: EnrichedRows, start: int | None) -> Table:
        """The events with their features: where the engine has them, or in this process."""
        engine, query = (
            open_engine(self._resources.engine),
            self._query(rows.base, rows.columns, start),
        )
        if query.reach is not None and isinstance(engine, RowEngine):
            run = EngineRun(self.notes, self._resources.threads, self._resources.bytes)
            return engine.enriched(query, rows, run)
        requests, known = self._events(query)
        features = None
        if rows.service is not None:
            late = known is not None and bool((known.to_numpy() < requests.t).any())
            features = self._frames(rows.service, requests, self._resources, late, self)
        return Frame(enriched_frame(rows.source, requests, features, known))

    def _query(self, base: Source, columns: Sequence[str], start: int | None) -> EventQuery:
        return EventQuery(
            base,
            columns,
            [],
            None if start == NOTHING else Reach(start, self._last, self._known_by),
        )

    def _events(self, query: EventQuery) -> tuple[Requests, pl.Series | None]:
        """The events in this process, as `asking`."""
        events = open_engine(self._resources.engine).events(query, EngineRun(self.notes))
        requests, known = asking(query.source, query.keys, events)
        for reason, rows in requests.left_out.items():
            self.notes.leave_out(reason, rows)
        return requests, known


class PlainTables(Tables):
    """Where nothing is read: the engine at hand knows each source."""

    def __init__(self) -> None:
        super().__init__(_no_frames, Resources(engine=Stageless()), 0, 0, Notes())

    def readable(self, source: Source) -> Source:
        """The source itself."""
        return source


@dataclass(frozen=True)
class _Frames:
    """As `Frames`, with the tables of a call, or none."""

    frames: CallFrames
    tables: Tables | None = None

    def __call__(
        self,
        service: FeatureService,
        events: Requests,
        resources: Resources,
        known: bool,  # noqa: FBT001
    ) -> pl.DataFrame:
        return self.frames(service, events, resources, known, self.tables)


def _no_frames(*_: object) -> pl.DataFrame:
    raise NotImplementedError


def first_read(freshness: Freshness, requests: Requests, windows: Sequence[Window]) -> int | None:
    """The first event time that a row can count in these windows; None where that is any, NOTHING
    where it is none.
    """
    reach = reach_of(
        [RequestSet(pl.DataFrame(), requests.t, (AsOf(*as_of(freshness, requests.t)),))], windows
    )
    return NOTHING if reach is None else reach.first


def _first(freshness: Freshness, start: int | None, windows: Sequence[Window]) -> int | None:
    """`first_read` of rows that ask at `start` and later."""
    if start == NOTHING or not freshness.reads_events:
        return NOTHING
    return (
        None
        if start is None
        else first_read(
            on_request(), Requests(pl.DataFrame(), np.array([earliest(freshness, start)])), windows
        )
    )


def _below(source: Source, read: _Read) -> tuple[list[str], FeatureService | None, int | None]:
    """Of an enriched source: the columns of its base and the features that are read, and of events
    from which time on.

    Where a column says when events are known, all features are read: the last of what they count
    says when the event is known.
    """
    enriched = source.history
    assert isinstance(enriched, Enriched)
    roots_by_output = {output_name(item): root_columns(item) for item in source.select or ()}
    roots = {
        root for name in _outputs(source, read.names) for root in roots_by_output.get(name, {name})
    }
    roots |= set() if source.filter is None else root_columns(source.filter)
    features = set(enriched.features.feature_names)
    base = enriched.base
    service = (
        enriched.features if base.known_at_field is not None else _only(enriched.features, roots)
    )
    columns = {
        *(roots - features - {known_column(source.name)}),
        *(service.needed_by() if service else ()),
        base.timestamp_field,
    }
    alike = (
        base.window_on == source.window_on == "timestamp"
        and base.timestamp_field == source.timestamp_field
    )
    return sorted(columns), service, read.first if alike or read.first == NOTHING else None


def _outputs(source: Source, names: Collection[str]) -> set[str]:
    """The columns of the source that are read, its own included."""
    return {
        *names,
        *(
            c
            for c in (source.timestamp_field, source.known_at_field, source.id_field)
            if c is not None
        ),
    }


def _views(service: FeatureService | None) -> list[tuple[FeatureView, Sequence[Feature]]]:
    return (
        []
        if service is None
        else [(view, service.needed[view.name]) for view in service.views_in_history]
    )


def _only(service: FeatureService, names: Collection[str]) -> FeatureService | None:
    members: list[Member] = [
        *(r for r in service.refs if r.name in names),
        *(f for f in service.request_features if f.name in names),
    ]
    return FeatureService(service.name, members) if members else None


def _schema(source: Source) -> pl.Schema:
    source_columns = [
        c for c in (source.timestamp_field, source.known_at_field, source.id_field) if c
    ]
    return selected(
        source.table, source.select, source.filter, source_columns, f"source {source.name!r}"
    ).schema


def _check(
    source: Source,
    enriched: Enriched,
    base: Source,
    columns: Sequence[str],
    service: FeatureService | None,
) -> None:
    """Refuse what the base's table shows not to fit."""
    schema = _schema(base)
    for name, who in (service.needed_by() if service else {}).items():
        if name not in schema:
            raise DataError(lacking(source, name, who, frozenset(schema)))
    for column in (*enriched.features.feature_names, known_column(source.name)):
        if column in schema:
            raise DataError(clashing(source, column))
    for name in columns:
        if name not in schema:
            have = {*schema, *enriched.features.feature_names}
            raise DataError(
                f"source {source.name!r}: source {base.name!r}, which it enriches, has no column "
                f"{name!r}; {nearest(name, have)}"
            )
