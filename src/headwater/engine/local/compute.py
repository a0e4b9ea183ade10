"""The engine on one machine: read, code the keys, sort once, run the kernel, and put the answers back into row order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl

from headwater import settings
from headwater.aggregations.base import Answers
from headwater.aggregations.run import aggregate
from headwater.definitions.feature_view import Feature
from headwater.engine.local.sorted_events import sort_events, sorted_columns, under_value_names, value_name
from headwater.engine.query import Query, Request, hashed_columns, reach_of, wanted_by
from headwater.events import statuses as value_statuses
from headwater.events.column_encoding import ColumnEncoding, check_accepts, check_secondary, check_values, check_where, decode
from headwater.events.keys import code_keys
from headwater.events.read_events import Notes, called, no_events, read_events
from headwater.events.selection import KNOWN
from headwater.kernel.arrays import I64, Column, RequestTimes
from headwater.kernel.sorting import each, order_of, take

_COLUMNS = 16  # of the source, whose arrays are in memory together


@dataclass(frozen=True)
class _Role:
    """Requests that share keys and times, sorted once: order (rows), where each key begins, and where each row went (rows)."""

    order: I64
    starts: I64
    back: I64


def _role(order: I64, starts: I64) -> _Role:
    back = np.empty_like(order)
    back[order] = np.arange(len(back))
    return _Role(order, starts, back)


def compute(
    query: Query, requests: Sequence[Request], notes: Notes, *, threads: int | None = None, tick: Callable[[int], None] | None = None
) -> list[list[pl.Series]]:
    """The features of `query` for each set of requests, in row order.

    Rows that ask with T = NEVER count no event; where no row asks otherwise, only the schema is read.

    Returns:
        For each set of requests, one series (rows) for each feature; then, where asked for, the status of each, and KNOWN: int64
        microseconds, NEVER where nothing counts.
    """
    return answer(query, _events(query, requests, notes), requests, threads=threads, tick=tick)


def answer(
    query: Query,
    events: pl.DataFrame,
    requests: Sequence[Request],
    *,
    threads: int | None = None,
    tick: Callable[[int], None] | None = None,
) -> list[list[pl.Series]]:
    """The features of `query` for each set of requests, in row order, of the events that count (see `events.read_events`).

    Returns:
        As `compute`.

    Raises:
        DataError: columns or keys of a type that the features cannot be made of.
    """
    cores = threads or settings.threads()
    table = under_value_names(events, query.keys, query.columns)
    del events  # memory that is not needed any more is freed, here and below: this is the largest part of it
    if query.source.history is not None:  # else nothing says of what type its columns are
        _check_columns(query, table)
    key_frames = list({id(r.keys): r.keys for r in requests}.values())
    table, numbers, keys = code_keys(table, query.keys, key_frames, f"source {query.source.name!r}")
    number_of = {id(frame): number for frame, number in zip(key_frames, numbers, strict=True)}
    roles: dict[tuple[int, int], _Role] = {}
    for r in requests:
        at = (id(r.keys), id(r.t))
        if at not in roles:
            roles[at] = _role(*order_of(number_of[id(r.keys)], r.t, keys, cores))
    chosen = [roles[id(r.keys), id(r.t)] for r in requests]
    request_times = [
        RequestTimes(role.starts, take(r.T, role.order, cores), take(r.K, role.order, cores))
        for r, role in zip(requests, chosen, strict=True)
    ]
    ordered, order = sort_events(table, keys, query.source, cores)
    parts: list[list[_FeatureGroup]] = []
    groups = _groups(query.features)
    for number, features in enumerate(groups):
        group_query, last = replace(query, features=features, also=()), number == len(groups) - 1
        columns, codes = sorted_columns(table, group_query.columns, hashed_columns(features), order, cores)
        if last:
            del table
        events_of = replace(ordered, columns=columns)
        wanted, finish = wanted_by(group_query)
        answers = aggregate(
            value_statuses.with_known(events_of) if query.known else events_of,
            request_times,
            wanted,
            [r.back for r in chosen],
            cores,
            tick if last else None,
        )
        parts.append([_part(finish(of, r.K), group_query, codes, cores) for of, r in zip(answers, requests, strict=True)])
    return [_whole([group_query[of] for group_query in parts]) for of in range(len(requests))]


def _events(query: Query, requests: Sequence[Request], notes: Notes) -> pl.DataFrame:
    reach = reach_of(requests, query.windows)
    if reach is None:
        return no_events(query.source, query.keys, query.columns, requests[0].keys.schema)
    return read_events(query.source, query.keys, query.columns, reach, [r.keys for r in requests], notes)


def _check_columns(query: Query, table: pl.DataFrame) -> None:
    subject = f"source {query.source.name!r}"
    for name in query.columns:
        check_values(table[value_name(name)], f"{called(query.source)}: the column {name!r}")
    for feature in query.features:
        for name in feature.columns:
            check_accepts(feature.aggregation.function, table.schema[value_name(name)], f"{subject}: the column {name!r}")
        split = feature.aggregation.secondary
        if split is not None:
            check_secondary(table[value_name(split.column)], f"{subject}: {split.column!r}")
        where = feature.aggregation.where
        if where is not None:
            check_where(feature.aggregation.function, where, table.schema[value_name(where)], subject)


def _groups(features: Sequence[Feature]) -> list[list[Feature]]:
    """Features that are computed together: of so many columns that their arrays do not take much more memory than the table."""
    groups: list[list[Feature]] = [[]]
    columns: set[str] = set()
    for feature in features:
        mine = {*feature.columns, *feature.aggregation.extra_columns}
        if groups[-1] and len(columns | mine) > _COLUMNS:
            groups.append([])
            columns = set()
        columns |= mine
        groups[-1].append(feature)
    return groups


@dataclass(frozen=True)
class _FeatureGroup:
    """Some features of one set of requests; their statuses, and when the last event that counts became known, where asked for."""

    features: list[pl.Series]
    statuses: list[pl.Series]
    known: I64 | None


def _part(columns: Sequence[Answers], query: Query, codes: Mapping[str, ColumnEncoding], threads: int) -> _FeatureGroup:
    def series_of(of: tuple[Feature, Answers]) -> pl.Series:
        feature, column = of
        coded = codes.get(feature.columns[feature.column]) if feature.columns else None
        split = feature.aggregation.secondary
        return decode(column, feature.aggregation.function, coded, feature.name, None if split is None else codes[split.column])

    series = each(series_of, list(zip(query.features, columns, strict=False)), threads)
    detail_columns = [column.values for column in columns[len(series) :] if isinstance(column, Column)]
    coded_statuses = zip(query.features, detail_columns, strict=False) if query.retained else ()
    statuses = [value_statuses.status_series(value_statuses.status_name(f.name), code) for f, code in coded_statuses]
    return _FeatureGroup(series, statuses, cast("I64", detail_columns[-1]) if query.known else None)


def _whole(parts: Sequence[_FeatureGroup]) -> list[pl.Series]:
    known = [part.known for part in parts if part.known is not None]
    latest = [pl.Series(KNOWN, np.maximum.reduce(known))] if known else []
    return [*(s for part in parts for s in part.features), *(s for part in parts for s in part.statuses), *latest]
