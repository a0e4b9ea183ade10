"""Features of requests at one level or several: each source is read once, and its requests share
one sort.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from headwater.definitions.feature_service import Enriched, FeatureService, check_request
from headwater.definitions.feature_view import Feature, FeatureRef, FeatureView
from headwater.definitions.level import Level
from headwater.definitions.list_keys import ListKey
from headwater.definitions.source import Source
from headwater.definitions.windows import Window
from headwater.engine.engines import open_engine
from headwater.engine.query import (
    AsOf,
    EngineRun,
    EngineWithoutErased,
    FeatureValues,
    ListRows,
    Query,
    RequestSet,
)
from headwater.events.columns import status_name, status_series
from headwater.events.key_lists import KeyLists, key_lists
from headwater.events.read_events import KNOWN, Notes
from headwater.kernel.arrays import I64
from headwater.kernel.as_of import NEVER, as_of
from headwater.kernel.request_order import RequestOrder
from headwater.online.request_features import request_feature, request_field, third_party
from headwater.training.enrichment import NOTHING, PlainTables, Tables, first_read
from headwater.training.identity_map import IdentityMap
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources

FeatureFrames = Callable[
    [FeatureService, Requests, Mapping[str, Level], Notes, Resources], dict[str, pl.DataFrame]
]
"""As `feature_frames`."""


def feature_frames(
    service: FeatureService,
    requests: Requests,
    levels: Mapping[str, Level],
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
    *,
    statuses: bool = False,
) -> dict[str, pl.DataFrame]:
    """The features of the service at every level, in the service's order; all levels share one
    reading, sort and sweep.

    Levels at which a view is equally fresh share its values too. `statuses`: followed by the status
    of each.
    """
    tables = tables_for(service, requests, levels, notes, resources, statuses=statuses)
    return frames_of(service, requests, levels, tables, notes, resources, statuses=statuses)


def tables_for(
    service: FeatureService,
    requests: Requests,
    levels: Mapping[str, Level],
    notes: Notes,
    resources: Resources = DEFAULT_RESOURCES,
    *,
    statuses: bool = False,
) -> Tables:
    """The tables of the service's enriched sources, for requests at these levels."""
    last = int(requests.t.max()) if len(requests.t) else 0  # neither T nor K is ever later than t
    made, engine = tables(last, last, notes, resources), open_engine(resources.engine)
    for level, view in itertools.product(levels.values(), service.views_in_history):
        if isinstance(view.source.history, Enriched):
            windows = retained(view) if statuses else [f.window for f in service.needed[view.name]]
            columns = {*view.keys, *(c for f in service.needed[view.name] for c in f.reads)}
            if isinstance(engine, EngineWithoutErased):
                columns |= engine.erased_columns(view.source.name)
            made.read(
                made.at(level, view), columns, first_read(level.freshness(view), requests, windows)
            )
    return made


def frames_of(
    service: FeatureService,
    requests: Requests,
    levels: Mapping[str, Level],
    tables: Tables,
    notes: Notes,
    resources: Resources,
    *,
    statuses: bool = False,
) -> dict[str, pl.DataFrame]:
    """As `feature_frames`, with tables of its own."""
    return _frames(service, requests, levels, _Call(tables, notes, resources, statuses=statuses))


def enriched_events(source: Source) -> Requests:
    """The events of an enriched source as rows that ask, each at its event time, for the features
    that it is enriched with.
    """
    return tables(NOTHING, NOTHING, Notes()).asking(source)


def tables(last: int, known: int, notes: Notes, resources: Resources = DEFAULT_RESOURCES) -> Tables:
    """`Tables` for a call whose rows count no event of `last` or later, nor one known after
    `known`: microseconds UTC.
    """
    return Tables(_event_frames, resources, last, known, notes)


def _event_frames(
    service: FeatureService,
    events: Requests,
    resources: Resources,
    known: bool,  # noqa: FBT001
    tables: Tables | None,
) -> pl.DataFrame:
    """See `CallFrames`."""
    call = _Call(
        PlainTables() if tables is None else tables,
        Notes() if tables is None else tables.notes,
        resources,
        known=known,
    )
    return _frames(service, events, {"": Level()}, call)[""]


@dataclass(frozen=True)
class _Call:
    """What all parts of one call share; whether statuses are wanted, and when the last event that
    counts became known.
    """

    tables: Tables
    notes: Notes
    resources: Resources
    statuses: bool = False
    known: bool = False
    request_order: RequestOrder = field(default_factory=RequestOrder)


def _frames(
    service: FeatureService, requests: Requests, levels: Mapping[str, Level], call: _Call
) -> dict[str, pl.DataFrame]:
    check_request(service, requests.frame.columns)
    values_by_level: dict[str, dict[str, pl.Series]] = {name: {} for name in levels}
    work = _FeatureRun(requests, levels, values_by_level, call)
    pending = list(service.views_in_history)
    while pending:
        first = next(v for v in pending if _ready(v, values_by_level))
        group = [
            v
            for v in pending
            if _alike(v, first, service.needed, statuses=call.statuses)
            and _ready(v, values_by_level)
        ]
        work.compute(group, service.needed[first.name])
        pending = [v for v in pending if v not in group]
    for http, values in itertools.product(service.http_features, values_by_level.values()):
        values |= dict(third_party(http, values))
    plain = {f.name: request_field(f, requests.frame) for f in service.request_fields}
    for values in values_by_level.values():
        for feature in service.request_features:
            if not feature.inputs and feature.name in plain:
                continue
            inputs = {p: values[ref.name] for p, ref in feature.inputs.items()}
            (values if inputs else plain)[feature.name] = request_feature(
                feature, requests.frame, inputs
            )
    frames = {}
    for name, values in values_by_level.items():
        columns = [(plain | values)[f].alias(f) for f in service.feature_names]
        if call.statuses:
            columns += [_status(c, values) for c in columns]
        if call.known:
            known = [
                values[f"{view.name}__{KNOWN}"].to_numpy() for view in service.views_in_history
            ]
            columns.append(
                pl.Series(KNOWN, np.maximum.reduce([np.full(len(requests.t), NEVER), *known]))
            )
        frames[name] = pl.DataFrame(columns)
    return frames


def _status(feature: pl.Series, values: Mapping[str, pl.Series]) -> pl.Series:
    """The status of a feature; of a request-time feature "present", or "empty" where it is null."""
    name = status_name(feature.name)
    return (
        values[name].alias(name)
        if name in values
        else status_series(name, feature.is_null().cast(pl.Int64).to_numpy())
    )


@dataclass(frozen=True)
class _FeatureRun:
    """What every view of one set of rows shares."""

    requests: Requests
    levels: Mapping[str, Level]
    values_by_level: dict[str, dict[str, pl.Series]]
    call: _Call

    def compute(self, views: Sequence[FeatureView], features: Sequence[Feature]) -> None:
        """Compute `features` for views of one source and one set of keys (a view and its aliases),
        at all levels.
        """
        times: dict[str, AsOf] = {}
        by_source: IdentityMap[Source, dict[_KeyColumns, _AskingViews]] = IdentityMap()
        for view, (name, level) in itertools.product(views, self.levels.items()):
            freshness, key_columns = level.freshness(view), self._key_columns(view, name)
            if freshness.fingerprint not in times:
                times[freshness.fingerprint] = AsOf(*as_of(freshness, self.requests.t))
            by_keys = by_source.setdefault(self.call.tables.at(level, view), dict)
            if key_columns not in by_keys:
                by_keys[key_columns] = self._asking(view, name)
            by_keys[key_columns].at.setdefault(freshness.fingerprint, []).append((view.name, name))
        first = views[0]
        windows = retained(first) if self.call.statuses else ()
        for source, by_keys in by_source:
            readable = self.call.tables.readable(source)
            query = Query(
                readable,
                first.keys,
                features,
                first.expires_after,
                retained=windows,
                known=self.call.known,
            )
            self._run(query, list(by_keys.values()), times)

    def _run(self, query: Query, asking: Sequence[_AskingViews], times: Mapping[str, AsOf]) -> None:
        resources = self.call.resources
        requests = [
            views_of_keys.request_set(
                self.requests.t, [times[freshness] for freshness in views_of_keys.at]
            )
            for views_of_keys in asking
        ]
        views = ", ".join(
            dict.fromkeys(
                view
                for views_of_keys in asking
                for to in views_of_keys.at.values()
                for view, _ in to
            )
        )
        on_progress = resources.counter(views, sum(len(r.t) * len(r.as_of) for r in requests))

        def reading(rows: int, total: int) -> None:
            resources.say(f"reading {query.source.name}", rows, total)

        run = EngineRun(
            self.call.notes,
            resources.threads,
            resources.bytes,
            on_progress,
            reading,
            self.call.request_order,
        )
        # the cache holds values only, no statuses
        cache = None if query.retained or query.known else resources.feature_cache
        compute = open_engine(resources.engine).features
        answers = (
            compute(query, requests, run)
            if cache is None
            else cache.answers(query, requests, run, compute)
        )
        for views_of_keys, by_time in zip(asking, answers, strict=True):
            for to, of_keys in zip(views_of_keys.at.values(), by_time, strict=True):
                computed = views_of_keys.of_rows(of_keys)
                for view, level in to:
                    values = self.values_by_level[level]
                    values |= {f"{view}__{s.name}": s for s in computed.values}
                    values |= {status_name(f"{view}__{s.name}"): s for s in computed.statuses}
                    if computed.known_at is not None:
                        values[f"{view}__{KNOWN}"] = pl.Series(computed.known_at)

    def _key_columns(self, view: FeatureView, level: str) -> _KeyColumns:
        """The columns that fill the view's keys; equal at all levels where no key is a feature."""
        filled = [view.request_key(key) for key in view.keys]
        by_level = any(isinstance(f, FeatureRef) for f in filled)
        return (
            tuple(f if isinstance(f, str) else f.name for f in filled),
            level if by_level else None,
            view.list_key,
        )

    def _asking(self, view: FeatureView, level: str) -> _AskingViews:
        """The view's keys of each row, or of each element of a row's list."""
        values, frame = self.values_by_level[level], self.requests.frame
        columns = {
            key: frame[filler]
            if isinstance(filler := view.request_key(key), str)
            else values[filler.name]
            for key in view.keys
        }
        lists: KeyLists | None = None
        if view.list_key is not None:
            key = view.list_key.key
            lists, elements = key_lists(
                columns[key], view.list_key.max_length, f"feature view {view.name!r}"
            )
            rows = lists.rows
            columns = {
                name: elements if name == key else column.gather(rows)
                for name, column in columns.items()
            }
        keys = pl.DataFrame([column.alias(key) for key, column in columns.items()])
        return _AskingViews(
            keys if columns else pl.DataFrame({"": pl.repeat(0, len(self.requests.t), eager=True)}),
            lists,
        )


_KeyColumns = tuple[tuple[str, ...], str | None, ListKey | None]


@dataclass
class _AskingViews:
    """Views and levels that ask with the same keys: by the fingerprint of their freshness, (view,
    level) pairs that get its values.

    lists: of the rows whose elements the keys are; None where each row has one key.
    """

    keys: pl.DataFrame
    lists: KeyLists | None = None
    at: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def request_set(self, t: I64, times: Sequence[AsOf]) -> RequestSet:
        """What the engine computes. `t` and `times` are of the rows; an element has the times of
        its row.
        """
        if self.lists is None:
            return RequestSet(self.keys, t, tuple(times))
        rows = self.lists.rows
        list_rows = ListRows(self.lists, t, tuple(times))
        return RequestSet(
            self.keys, t[rows], tuple(AsOf(time.T[rows], time.K[rows]) for time in times), list_rows
        )

    def of_rows(self, computed: FeatureValues) -> FeatureValues:
        """The values of the rows, from those of the keys."""
        lists = self.lists
        if lists is None:
            return computed
        statuses = [lists.status_words(series) for series in computed.statuses]
        known_at = None if computed.known_at is None else lists.latest(computed.known_at, NEVER)
        return FeatureValues(
            pl.DataFrame([lists.lists(series) for series in computed.values]),
            pl.DataFrame(statuses),
            known_at,
        )


def _ready(view: FeatureView, values_by_level: Mapping[str, Mapping[str, pl.Series]]) -> bool:
    return all(
        f.name in values
        for f in view.request_keys.values()
        if isinstance(f, FeatureRef)
        for values in values_by_level.values()
    )


def _alike(
    view: FeatureView,
    first: FeatureView,
    needed: Mapping[str, tuple[Feature, ...]],
    *,
    statuses: bool,
) -> bool:
    same = view.source is first.source and view.keys == first.keys and view.ttl == first.ttl
    return (
        same
        and needed[view.name] == needed[first.name]
        and (not statuses or retained(view) == retained(first))
    )


def retained(view: FeatureView) -> tuple[Window, ...]:
    """The windows of all of a view's features: where none holds an event, the value of each is
    missing.
    """
    return tuple(dict.fromkeys(feature.window for feature in view.outputs))
