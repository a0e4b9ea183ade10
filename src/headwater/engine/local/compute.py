"""The engine on one machine: read, code the keys, sort once, run the kernel, and put the answers
back into row order.

Events in the order that the kernel takes them in: by key, time, id, known time and values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from headwater import settings
from headwater.aggregations.base import Answers
from headwater.aggregations.run import FeatureSpec, aggregate
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source
from headwater.engine.query import (
    AsOf,
    EngineRun,
    FeaturePlan,
    FeatureValues,
    Query,
    RequestSet,
    hashed_columns,
    reach_of,
)
from headwater.events import columns as value_statuses
from headwater.events.columns import (
    ColumnEncoding,
    check_accepts,
    check_exact,
    check_secondary,
    check_values,
    check_where,
    decode,
    encode,
    hashed,
    to_kernel,
)
from headwater.events.keys import CODE, code_keys
from headwater.events.read_events import (
    IDENT,
    KNOWN,
    REMOVED_AT,
    TIME,
    Notes,
    called,
    no_events,
    read_events,
)
from headwater.kernel.arrays import I64, LASTS, NOTHING, Column, Events, RequestTimes
from headwater.kernel.distinct_requests import DistinctRequests, distinct_requests
from headwater.kernel.load_numba import loading_numba
from headwater.kernel.request_order import RequestOrder
from headwater.kernel.sorting import in_threads, order_and_times, take, taken, tied

_COLUMNS = 16  # of the source, whose arrays are in memory together


def compute(
    query: Query, requests: Sequence[RequestSet], run: EngineRun
) -> list[list[FeatureValues]]:
    """The features of `query` for each request set, at each of its freshnesses.

    Rows that ask with T = NEVER count no event; where no row asks otherwise, only the schema is
    read.

    Raises:
        DataError: the source cannot be read, or has columns or keys of a type that the features
            cannot be made of.
    """
    with loading_numba():
        events = _events(query, requests, run)
    return answer(query, events, requests, run)


def answer(
    query: Query, events: pl.DataFrame, requests: Sequence[RequestSet], run: EngineRun
) -> list[list[FeatureValues]]:
    """As `compute`, of the events that count (see `events.read_events`).

    Raises:
        DataError: columns or keys of a type that the features cannot be made of.
    """
    cores = run.threads or settings.threads()
    table = under_value_names(events, query.keys, query.columns)
    # memory that is not needed any more is freed, here and below: this is the largest part of it
    del events
    if query.source.history is not None:  # else nothing says of what type its columns are
        _check_columns(query, table)
    example = table.select(query.keys).head(1)
    table, codes, keys = code_keys(
        table, query.keys, [r.keys for r in requests], f"source {query.source.name!r}", cores
    )
    sorted_requests = [
        _sorted(r, code, keys, cores, run.request_order)
        for r, code in zip(requests, codes, strict=True)
    ]
    ordered, order = sort_events(table, keys, query.source, cores)
    if query.keys and example.height:
        _note_joined(query, requests, codes, ordered.starts, example, run.notes)
    del codes
    places = [
        (r, time) for r, each_set in enumerate(sorted_requests) for time in range(len(each_set))
    ]
    groups: list[dict[tuple[int, int], FeatureValues]] = []
    feature_groups = _groups(query.features)
    for number, features in enumerate(feature_groups):
        plan, last = (
            FeaturePlan(replace(query, features=features, also=())),
            number == len(feature_groups) - 1,
        )
        columns, encodings = sorted_columns(
            table, plan.query.columns, hashed_columns(features), order, cores
        )
        if last:
            del table, order
        events_of = replace(ordered, columns=columns)
        specs = list(dict.fromkeys(plan.specs))
        answers = aggregate(
            value_statuses.with_known(events_of) if query.known else events_of,
            [sorted_requests[r][time] for r, time in places],
            specs,
            cores,
            run.on_progress if last else None,
        )
        values = [
            _decoded(
                plan,
                dict(zip(specs, columns, strict=True)),
                requests[r].as_of[time].K,
                encodings,
                cores,
            )
            for (r, time), columns in zip(places, answers, strict=True)
        ]
        groups.append(dict(zip(places, values, strict=True)))
    return [
        [_whole([group[r, time] for group in groups]) for time in range(len(each_set.as_of))]
        for r, each_set in enumerate(requests)
    ]


def _note_joined(
    query: Query,
    requests: Sequence[RequestSet],
    codes: Sequence[I64],
    starts: I64,
    example: pl.DataFrame,
    notes: Notes,
) -> None:
    """Note how many rows have a key, and how many an event of it. starts: where the events of each
    code begin.
    """
    subject = f"source {query.source.name!r} by {', '.join(query.keys)}"
    for r, code in zip(requests, codes, strict=True):
        keyed = r.keys.drop_nulls()
        notes.keyed[subject] += keyed.height
        notes.joined[subject] += int(np.count_nonzero(starts[code + 1] > starts[code]))
        if keyed.height and not notes.joined[subject]:
            request_key, event_key = (
                ", ".join(map(repr, side.row(0))) for side in (keyed, example)
            )
            notes.unlike[subject] = (
                f"such as {request_key} in the rows and {event_key} in the source"
            )


def _sorted(
    requests: RequestSet, codes: I64, keys: int, threads: int, shared: RequestOrder
) -> list[DistinctRequests]:
    """The requests at each freshness, all sorted by key and time once."""
    order, starts = shared.order_of(codes, requests.t, keys, threads)

    def at(times: AsOf) -> DistinctRequests:
        T = take(times.T, order, 1)
        return distinct_requests(
            RequestTimes(starts, T, T if times.K is times.T else take(times.K, order, 1)), order
        )

    return in_threads(at, requests.as_of, threads)


def _events(query: Query, requests: Sequence[RequestSet], run: EngineRun) -> pl.DataFrame:
    if query.events is not None:
        return query.events.rechunk()
    reach = reach_of(requests, query.windows)
    if reach is None:
        return no_events(query.source, query.keys, query.columns, requests[0].keys.schema)
    keys = [r.keys for r in requests]
    return query.without_erased(
        read_events(query.source, query.keys, query.read_columns, reach, keys, run.notes)
    )


def _check_columns(query: Query, table: pl.DataFrame) -> None:
    subject = f"source {query.source.name!r}"
    for name in query.columns:
        check_values(table[value_name(name)], f"{called(query.source)}: the column {name!r}")
    for feature in query.features:
        for name in feature.columns:
            check_accepts(
                feature.aggregation.function,
                table.schema[value_name(name)],
                f"{subject}: the column {name!r}",
            )
            check_exact(
                feature.aggregation.function,
                table[value_name(name)],
                f"{subject}: the column {name!r}",
            )
        split = feature.aggregation.secondary
        if split is not None:
            check_secondary(table[value_name(split.column)], f"{subject}: {split.column!r}")
        condition = feature.aggregation.where
        if condition is not None:
            check_where(
                feature.aggregation.function,
                condition,
                table.schema[value_name(condition)],
                subject,
            )


def _groups(features: Sequence[Feature]) -> list[list[Feature]]:
    """Features computed together: so few columns that their arrays do not take much more memory
    than the table.
    """
    groups: list[list[Feature]] = [[]]
    columns: set[str] = set()
    for feature in features:
        needed = {*feature.columns, *feature.aggregation.extra_columns}
        if groups[-1] and len(columns | needed) > _COLUMNS:
            groups.append([])
            columns = set()
        columns |= needed
        groups[-1].append(feature)
    return groups


def _decoded(
    plan: FeaturePlan,
    answers: Mapping[FeatureSpec, Answers],
    K: I64,
    encodings: Mapping[str, ColumnEncoding],
    threads: int,
) -> FeatureValues:
    """The kernel's answers to some rows as users see them."""
    final = plan.finalize(answers, K)

    def series_of(answered: tuple[Feature, Answers]) -> pl.Series:
        feature, column = answered
        coded = encodings.get(feature.columns[feature.column]) if feature.columns else None
        split = feature.aggregation.secondary
        return decode(
            column,
            feature.aggregation.function,
            coded,
            feature.name,
            None if split is None else encodings[split.column],
        )

    features = plan.query.features
    values = in_threads(series_of, list(zip(features, final.values, strict=True)), threads)
    status_of = zip(features, final.statuses, strict=True) if plan.query.retained else ()
    statuses = [
        value_statuses.status_series(feature.name, column.values) for feature, column in status_of
    ]
    return FeatureValues(pl.DataFrame(values), pl.DataFrame(statuses), final.known_at)


def _whole(groups: Sequence[FeatureValues]) -> FeatureValues:
    """The values of all groups of features."""
    known_times = [group.known_at for group in groups if group.known_at is not None]
    return FeatureValues(
        pl.DataFrame([series for group in groups for series in group.values]),
        pl.DataFrame([series for group in groups for series in group.statuses]),
        np.maximum.reduce(known_times) if known_times else None,
    )


_VALUE = "__v_"


def value_name(column: str) -> str:
    """The engine's name of a column of values; it differs from the key's, so that a key may be
    aggregated too.
    """
    return f"{_VALUE}{column}"


def under_value_names(
    events: pl.DataFrame, keys: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """The events with their columns of values under names of their own; nothing is copied."""
    return events.with_columns(pl.col(c).alias(value_name(c)) for c in columns).drop(
        set(columns) - set(keys)
    )


def sort_events(table: pl.DataFrame, keys: int, source: Source, threads: int) -> tuple[Events, I64]:
    """The events, yet without columns, in the order of (key, time, id, known, values); and that
    order, int64 (n).
    """
    order, starts, t = order_and_times(
        table[CODE].to_numpy(), table[TIME].to_numpy(), keys, threads
    )
    ident = _break_ties(table, order, starts, t, threads)
    by_column = KNOWN in table.columns and source.window_on == "timestamp"
    known_at = take(table[KNOWN].to_numpy(), order, threads) if by_column else NOTHING
    delay = source.delay if source.window_on == "timestamp" else 0
    changing = REMOVED_AT in table.columns and (table[REMOVED_AT] < LASTS).any()
    removed_at = take(table[REMOVED_AT].to_numpy(), order, threads) if changing else NOTHING
    return Events(
        starts, t, known_at, delay, ident, {}, ended_after=source.delay, removed_at=removed_at
    ), order


def sorted_columns(
    table: pl.DataFrame,
    names: Sequence[str],
    hashed_columns: Collection[str],
    order: I64,
    threads: int,
) -> tuple[dict[str, Column], dict[str, ColumnEncoding]]:
    """Columns of values in this order, as the kernel takes them; and how to turn them back.
    `hashed_columns`: with a hash of each text.
    """
    columns, codes = {}, {}
    for name in names:
        values, codes[name] = encode(table[value_name(name)])
        columns[name] = taken(to_kernel(values), order, threads)
        if name in hashed_columns:
            columns[name] = hashed(columns[name], codes[name])
    return columns, codes


def _break_ties(table: pl.DataFrame, order: I64, starts: I64, t: I64, threads: int) -> I64:
    """Put events of one key and time in the order of id, known time and values, so that no arrival
    order shows.

    Returns:
        For each event in that order, the rank of its id among those that shared key and time with
        another: nothing else compares ids. Empty where there are no ids, or none that matter.
    """
    places, group = tied(starts, t, threads)
    values = [name for name in table.columns if name.startswith(_VALUE)]
    ties = [*(c for c in (IDENT, KNOWN) if c in table.columns), *values]
    if not ties or not len(places):
        return NOTHING
    rows = table.select(ties)[order[places]]
    rows = rows.with_columns(encode(rows[name])[0].alias(name) for name in values)
    rows = rows.with_columns(pl.Series("__group", group), pl.Series("__row", order[places]))
    rows = rows.sort("__group", *ties, nulls_last=False, maintain_order=True)
    order[places] = rows["__row"].to_numpy()
    if IDENT not in rows.columns:
        return NOTHING
    ident = np.zeros(len(t), np.int64)
    ident[places] = rows[IDENT].rank("dense").to_numpy()
    return ident
