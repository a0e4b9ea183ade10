"""Point-in-time training data: what each feature would have been, had it been asked for then."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from headwater.compute.arrays import I64
from headwater.compute.as_of import NEVER, as_of
from headwater.definitions.base import HeadwaterWarning, NoEventsWarning, RowsLeftOutWarning, stack_level
from headwater.definitions.durations import Window
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import Feature, FeatureRef, FeatureView
from headwater.definitions.labels import Labels
from headwater.definitions.level import Level
from headwater.definitions.moments import moment_text
from headwater.definitions.sizes import Size, in_bytes
from headwater.definitions.source import Enriched, Source
from headwater.engines.asides import status_name, status_series
from headwater.engines.buckets import compute
from headwater.engines.events import Notes
from headwater.engines.local import Query, Request
from headwater.engines.reading import KNOWN
from headwater.errors import DataError, UsageError, listed, nearest
from headwater.pipelines.enrichment import NOTHING, Tables, first_read
from headwater.pipelines.means import USUAL, Means
from headwater.pipelines.request_features import request_feature, request_field, third_party
from headwater.pipelines.requests import Requests, read_labels, read_rows

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike


def get_historical_features(
    features: FeatureService | Member | Sequence[Member],
    rows: TableLike | Labels,
    *,
    timestamp_field: str = "timestamp",
    level: Level | None = None,
    timezone: str | None = None,
    statuses: bool = False,
    threads: int | None = None,
    memory: Size | None = None,
) -> pl.DataFrame:
    """The rows with every feature as of each row's own time: one row out for each row in, in order.

    Args:
        features: a feature service, or features, views and request features.
        rows: a frame with an Arrow interface, a LazyFrame of polars, a path, `parquet(path)`, `csv(path)`, or `Labels` (whose times, filter
            and selection are used, and whose rows without an outcome are left out).
        timestamp_field: the column of `rows` with the time each row asks at; for `Labels` its own is used.
        level: how fresh the features are; as defined where None.
        timezone: the IANA zone of naive timestamps in `rows`.
        statuses: say beside each feature what its value is, in a column `<feature>__status`: present, empty (no event of the window
            counts), missing (no event of the key in any window of the view), expired (older than the view's ttl), fallback, or
            overflow (a sum left int64, or a float float64).
        threads: how many to use; the values do not depend on it.
        memory: what the process may hold, such as "4GB": where the history does not fit beside the rows and their answers, it is worked on
            in buckets of keys on disk, under headwater's home. A run that was stopped goes on where it was. None: all in memory.

    Features of a third party without `history=` are left out, with a warning that names them.

    Returns:
        The columns of `rows`, then one column for each feature: counts int64, sums int64 or float64, means and ages float64, and
        first, last, min, max, latest in their column's dtype. Then the statuses, where asked for. The frame's attribute `left_out` says
        how many rows of sources and labels were left out, by reason.

    Warns:
        RowsLeftOutWarning: rows that cannot be used, such as those without an event time: how many, of which source, and why. Duplicates
            are counted in `left_out` alone.
        NoEventsWarning: no event of a source is known before any of the rows.

    Raises:
        DataError: a column is missing, of a wrong dtype, or named like a feature.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> at = lambda hour: datetime(2024, 5, 1, hour, tzinfo=UTC)
    >>> visits = hw.Source("visits", history=pl.DataFrame({"user": [1, 1], "at": [at(8), at(9)]}), timestamp_field="at")
    >>> view = hw.FeatureView("user", source=visits, keys=["user"], features=[hw.count()], windows=["1d"], freshness=hw.on_request())
    >>> rows = pl.DataFrame({"user": [1, 1, 2], "timestamp": [at(9), at(10), at(10)]})
    >>> hw.get_historical_features(view, rows)["user__count_1d"].to_list()
    [1, 2, 0]
    >>> hw.get_historical_features(view, rows, statuses=True)["user__count_1d__status"].to_list()
    ['present', 'present', 'missing']
    """
    asked = as_service(features)
    service = asked.in_training
    if service is not asked:
        warnings.warn(
            f"not in training, since a third party without history= says them: {', '.join(asked.not_in_training)}",
            HeadwaterWarning,
            stacklevel=2,
        )
    requests = read_labels(rows, memory, texts=True) if isinstance(rows, Labels) else read_rows(rows, timestamp_field, timezone)
    names = {*service.feature_names, *(status_name(name) for name in service.feature_names if statuses)}
    clash = sorted(names & set(requests.frame.columns) - {f.name for f in service.request_fields})
    if clash:
        raise DataError(f"the column {clash[0]!r} of the rows is named like a feature; rename it, so that neither shadows the other")
    notes = Notes(Counter(requests.left_out))
    found = feature_frames(service, requests, {"": level or Level()}, notes, Means(threads, memory), statuses=statuses)[""]
    if notes.unusable:
        said = "; ".join(f"{rows:,} rows of {reason}" for reason, rows in notes.unusable.items())
        warnings.warn(RowsLeftOutWarning(f"left out: {said}. Filter them out, or fill what is missing", notes.left_out), stacklevel=2)
    _warn_empty(requests, notes)
    own = requests.frame.drop([f.name for f in service.request_fields], strict=False)
    if requests.label is not None and requests.label.name not in own.columns:
        own = own.with_columns(requests.label)
    made = pl.concat([own, found], how="horizontal")
    vars(made)["left_out"] = dict(notes.left_out)
    return made


def _warn_empty(requests: Requests, notes: Notes) -> None:
    """Warn of sources that had no event for any of the rows."""
    empty = [name for name, events in notes.events.items() if not events]
    if empty and len(requests.t):
        times = " to ".join(moment_text(int(t)) for t in dict.fromkeys((requests.t.min(), requests.t.max())))
        message = (
            f"no event of source {', '.join(map(repr, empty))} is known before any of the {len(requests.t):,} rows within a window, so its features "
            f"are empty. The rows ask at {times}: compare their times and keys with those of the events"
        )
        warnings.warn(NoEventsWarning(message), stacklevel=stack_level())


def as_service(features: FeatureService | Member | Sequence[Member]) -> FeatureService:
    """A feature service of what a user gave."""
    if isinstance(features, FeatureService):
        return features
    names = [
        one
        for one in ([features] if isinstance(features, str) else features if isinstance(features, Sequence) else [])
        if isinstance(one, str)
    ]
    if names:
        view, _, feature = names[0].replace(":", "__").partition("__")
        raise UsageError(
            f"features are given by the name {names[0]!r}; give the definitions: a view, one of its features, such as "
            f"{view or 'view'}[{feature or 'count_1d'!r}], or a feature service, such as project.model('name').features"
        )
    return FeatureService("features", list(features) if isinstance(features, Sequence) else [features])


def feature_frames(
    service: FeatureService,
    requests: Requests,
    levels: Mapping[str, Level],
    notes: Notes,
    means: Means = USUAL,
    *,
    statuses: bool = False,
) -> dict[str, pl.DataFrame]:
    """The features of the service at every level, in the service's order; all levels share one reading, sort and sweep.

    Levels at which a view is equally fresh share its values too. `statuses`: followed by the status of each.
    """
    last = int(requests.t.max()) if len(requests.t) else 0  # neither T nor K is ever later than t
    call = _Call(tables(last, last, notes, means), notes, means, statuses=statuses)
    for level, view in itertools.product(levels.values(), service.views_in_history):
        if isinstance(view.source.history, Enriched):
            windows = retained(view) if statuses else [f.window for f in service.needed[view.name]]
            columns = {*view.keys, *(c for f in service.needed[view.name] for c in f.reads)}
            call.tables.read(call.tables.at(level, view), columns, first_read(level.freshness(view), requests, windows))
    return _frames(service, requests, levels, call)


def enriched_events(source: Source) -> Requests:
    """The events of an enriched source as rows that ask, each at its event time, for the features that it is enriched with."""
    return tables(NOTHING, NOTHING, Notes()).asking(source)


def tables(last: int, known: int, notes: Notes, means: Means = USUAL) -> Tables:
    """`Tables` for a call whose rows count no event of `last` or later, nor one known after `known`: microseconds UTC."""

    def frames(service: FeatureService, events: Requests, mine: Tables, known: bool) -> pl.DataFrame:  # noqa: FBT001 (as Frames says)
        return _frames(service, events, {"": Level()}, _Call(mine, notes, means, known=known))[""]

    return Tables(frames, last, known, notes)


@dataclass(frozen=True)
class _Call:
    """What all parts of one call share; whether statuses are wanted, and when the last event that counts became known."""

    tables: Tables
    notes: Notes
    means: Means
    statuses: bool = False
    known: bool = False


def _frames(service: FeatureService, requests: Requests, levels: Mapping[str, Level], call: _Call) -> dict[str, pl.DataFrame]:
    check_request(service, requests.frame.columns)
    found: dict[str, dict[str, pl.Series]] = {name: {} for name in levels}
    work = _Work(requests, levels, found, call)
    pending = list(service.views_in_history)
    while pending:
        first = next(v for v in pending if _ready(v, found))
        group = [v for v in pending if _alike(v, first, service.needed, statuses=call.statuses) and _ready(v, found)]
        work.compute(group, service.needed[first.name])
        pending = [v for v in pending if v not in group]
    for http, values in itertools.product(service.http_features, found.values()):
        values |= dict(third_party(http, values))
    plain = {f.name: request_field(f, requests.frame) for f in service.request_fields}
    for values in found.values():
        for feature in service.request_features:
            if not feature.inputs and feature.name in plain:
                continue
            inputs = {p: values[ref.name] for p, ref in feature.inputs.items()}
            (values if inputs else plain)[feature.name] = request_feature(feature, requests.frame, inputs)
    frames = {}
    for name, values in found.items():
        columns = [(plain | values)[f].alias(f) for f in service.feature_names]
        if call.statuses:
            columns += [_status(c, values) for c in columns]
        if call.known:
            known = [values[f"{view.name}__{KNOWN}"].to_numpy() for view in service.views_in_history]
            columns.append(pl.Series(KNOWN, np.maximum.reduce([np.full(len(requests.t), NEVER), *known])))
        frames[name] = pl.DataFrame(columns)
    return frames


def _status(feature: pl.Series, found: Mapping[str, pl.Series]) -> pl.Series:
    """The status beside a feature; of what is made at request time present, or empty where it is null."""
    name = status_name(feature.name)
    return found[name].alias(name) if name in found else status_series(name, feature.is_null().cast(pl.Int64).to_numpy())


def check_request(service: FeatureService, columns: Sequence[str]) -> None:
    """Refuse rows that lack a column, naming who needs it."""
    if not columns and service.needed_by():
        raise DataError(f"the rows are none, and have no columns; features of {service.name!r} need: {listed(service.needed_by())}")
    for column, who in service.needed_by().items():
        if column not in columns:
            raise DataError(f"the rows have no column {column!r}, which {', '.join(who)} needs; {nearest(column, columns)}")


def check_mappings(service: FeatureService, rows: Sequence[Mapping[str, object]]) -> None:
    """Refuse rows with a field that nothing reads, or that others lack, as the service does over HTTP.

    Raises:
        DataError: there is such a row.
    """
    known = {*service.needed_by(), *(name for http in service.http_features for name in http.feature_names)}
    for place, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"row {place} is {type(row).__name__}; give each row as a mapping from names to values, or give a frame")
        for name in row:
            if name not in known:
                raise DataError(f"row {place}: there is a field {name!r}, which {service.name!r} does not read; {nearest(name, known)}")
        for name in rows[0].keys() ^ row.keys():
            raise DataError(
                f"row {place} and row 0 do not have the same fields: {name!r} stands in one alone; give it in all rows, or in none"
            )


@dataclass(frozen=True)
class _Work:
    """What every view of one set of rows shares."""

    requests: Requests
    levels: Mapping[str, Level]
    found: dict[str, dict[str, pl.Series]]
    call: _Call

    def compute(self, views: Sequence[FeatureView], features: Sequence[Feature]) -> None:
        """Compute `features` for views of one source and one set of keys (a view and its aliases), at all levels."""
        frames: dict[object, pl.DataFrame] = {}
        times: dict[str, tuple[I64, I64]] = {}
        by_source: dict[int, tuple[Source, dict[tuple[int, str], tuple[Request, list[tuple[str, str]]]]]] = {}
        for view in views:
            for name, level in self.levels.items():
                keys = self._keys(view, name, frames)
                freshness, source = level.freshness(view), self.call.tables.at(level, view)
                if freshness.fingerprint not in times:
                    times[freshness.fingerprint] = as_of(freshness, self.requests.t)
                _, asked = by_source.setdefault(id(source), (source, {}))
                request = Request(keys, self.requests.t, *times[freshness.fingerprint])
                asked.setdefault((id(keys), freshness.fingerprint), (request, []))[1].append((view.name, name))
        windows = retained(views[0]) if self.call.statuses else ()
        for source, asked in by_source.values():
            readable = self.call.tables.readable(source)
            view = views[0]
            query = Query(readable, view.keys, features, view.expires_after, retained=windows, known=self.call.known)
            self._run(query, list(asked.values()))

    def _run(self, query: Query, asked: Sequence[tuple[Request, list[tuple[str, str]]]]) -> None:
        means = self.call.means
        views = ", ".join(dict.fromkeys(v for _, to in asked for v, _ in to))
        total, done = len(self.requests.t) * len(asked), 0

        def tick(rows: int) -> None:
            nonlocal done
            done += rows
            if means.tick is not None:
                means.tick(views, done, total)

        def reading(rows: int, of: int) -> None:
            if means.tick is not None:
                means.tick(f"reading {query.source.name}", rows, of)

        memory = None if means.memory is None else in_bytes(means.memory, "memory")
        run = partial(compute, memory=memory, threads=means.threads, tick=tick, reading=reading)
        requests = [request for request, _ in asked]
        kept = None if query.retained or query.known else means.cache  # only values are kept, and not what is said beside them
        columns = run(query, requests, self.call.notes) if kept is None else kept.answers(query, requests, self.call.notes, run)
        for (_, to), series in zip(asked, columns, strict=True):
            for view, level in to:
                self.found[level] |= {f"{view}__{s.name}": s for s in series}

    def _keys(self, view: FeatureView, level: str, frames: dict[object, pl.DataFrame]) -> pl.DataFrame:
        """The view's keys of each row; one frame for all levels where no key is a feature."""
        filled = [view.request_key(key) for key in view.keys]
        by_level = any(isinstance(f, FeatureRef) for f in filled)
        place = (tuple(f if isinstance(f, str) else f.name for f in filled), level if by_level else None)
        if place not in frames:
            values = self.found[level]
            columns = [
                (self.requests.frame[f] if isinstance(f, str) else values[f.name]).alias(key)
                for key, f in zip(view.keys, filled, strict=True)
            ]
            frames[place] = pl.DataFrame(columns) if columns else pl.DataFrame({"": pl.repeat(0, len(self.requests.t), eager=True)})
        return frames[place]


def _ready(view: FeatureView, found: Mapping[str, Mapping[str, pl.Series]]) -> bool:
    return all(f.name in values for f in view.request_keys.values() if isinstance(f, FeatureRef) for values in found.values())


def _alike(view: FeatureView, first: FeatureView, needed: Mapping[str, tuple[Feature, ...]], *, statuses: bool) -> bool:
    same = view.source is first.source and view.keys == first.keys and view.ttl == first.ttl
    return same and needed[view.name] == needed[first.name] and (not statuses or retained(view) == retained(first))


def retained(view: FeatureView) -> tuple[Window, ...]:
    """The windows of all of a view's features: where none holds an event, the value of each is missing."""
    return tuple(dict.fromkeys(feature.window for feature in view.outputs))
