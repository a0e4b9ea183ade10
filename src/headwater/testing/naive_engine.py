"""An engine that is right because it is simple: the naive reference behind the Engine protocol, one
row and one event at a time.

It reads tables with polars, as definitions say their selections in it, and works out everything
else in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import polars as pl

from headwater.aggregations.reference import Answer, Event, Row, Value
from headwater.connectors import scan
from headwater.definitions.checks import micros
from headwater.definitions.feature_view import Feature
from headwater.definitions.source import Source, output_name
from headwater.engine.query import (
    EngineRun,
    EventQuery,
    FeatureValues,
    Query,
    RequestSet,
    StatePart,
    StateParts,
    StateQuery,
    States,
)
from headwater.events.columns import (
    STATUSES,
    check_accepts,
    check_exact,
    check_values,
    feature_dtype,
)
from headwater.events.keys import check_types
from headwater.events.read_events import IDENT, KNOWN, REMOVED_AT, TIME, Notes
from headwater.kernel.arrays import I64, LASTS
from headwater.kernel.as_of import NEVER
from headwater.testing.naive import NaiveFeatures, accepted_events


class NaiveEngine:
    """As `Engine`; for tests, on events that are few."""

    def features(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun
    ) -> list[list[FeatureValues]]:
        """As `Engine`."""
        if query.events is None:
            rows = _rows(query.source, [*query.keys, *query.read_columns])
            _refuse(query, rows, requests)
            schema, events = (
                rows.schema,
                _accepted(query.source, {*query.keys, *query.columns}, rows, run.notes),
            )
            if query.erased is not None:
                frame = _frame(query.source, schema, query.keys, query.read_columns, events)
                erased = query.erased.of_events(frame, query.source)
                events = [event for event, left in zip(events, ~erased, strict=True) if left]
            run.notes.events[query.source.name] += len(events)
        else:
            schema, events = (
                query.events.schema,
                [_event_of_frame(query.source, row) for row in query.events.to_dicts()],
            )
        question = NaiveFeatures(
            query.keys, query.features, query.retained, query.expires_after, query.source
        )
        return [
            [
                _values(query, question, schema, events, request_set, a.T, a.K)
                for a in request_set.as_of
            ]
            for request_set in requests
        ]

    def events(self, query: EventQuery, run: EngineRun) -> pl.DataFrame:
        """As `Engine`."""
        rows, reach, source = (
            _rows(query.source, [*query.keys, *query.columns]),
            query.reach,
            query.source,
        )
        # an image that is known later takes nothing back
        if source.changes is not None and reach is not None:
            known_at = pl.col(str(source.known_at_field))
            rows = rows.filter(known_at.is_null() | (known_at.dt.epoch("us") <= reach.known))
        events = (
            []
            if reach is None
            else _accepted(source, {*query.keys, *query.columns}, rows, run.notes)
        )
        first = -math.inf if reach is None or reach.first is None else reach.first
        if query.newest:
            count = [
                e
                for e in events
                if reach is not None and first <= e.time < reach.last and e.known <= reach.known
            ]
            keyed = [e for e in count if None not in [e.row[key] for key in query.keys]]
            return (
                _frame(source, rows.schema, query.keys, [], keyed)
                .group_by(query.keys)
                .agg(pl.col(TIME).max())
            )
        by_column = source.known_at_field is not None
        near = [
            e
            for e in events
            if reach is not None
            and first <= e.time < reach.last
            and (not by_column or e.known <= reach.known)
        ]
        run.notes.events[source.name] += len(near)
        return _frame(source, rows.schema, query.keys, query.columns, near)

    @contextmanager
    def states(self, query: StateQuery[States], run: EngineRun) -> Iterator[StateParts[States]]:
        """As `Engine`, in one part."""
        source, head, before = query.source, query.head, query.before
        rows = _rows(source, [*query.keys, *query.columns])
        events = _accepted(source, {*query.keys, *query.columns}, rows, run.notes)
        count = [
            e
            for e in events
            if e.time < head.T
            and e.known <= head.K < e.removed_at
            and (query.first is None or e.time >= query.first)
        ]
        fresh = [
            e for e in count if before is None or not (e.time < before.T and e.known <= before.K)
        ]
        frame = query.without_erased(_frame(source, rows.schema, query.keys, query.columns, fresh))
        yield StateParts("whole", [lambda: StatePart(frame.height, query.make(frame))])


def _rows(source: Source, read: Sequence[str]) -> pl.DataFrame:
    """The table as the source selects it, with the columns that are read; timestamps in the
    source's zone.
    """
    if source.history is None:
        return pl.DataFrame(schema=dict.fromkeys([*read, source.timestamp_field], pl.Float64()))
    table = scan(source.table).collect()
    if source.filter is not None:
        table = table.filter(source.filter)
    if source.select is not None:
        special_columns = [
            source.timestamp_field,
            source.known_at_field,
            source.id_field,
            source.changes,
            *read,
        ]
        selected = {output_name(item) for item in source.select}
        table = table.select(
            *source.select,
            *dict.fromkeys(
                name for name in special_columns if name is not None and name not in selected
            ),
        )
    naive = [
        name
        for name, dtype in table.schema.items()
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None
    ]
    if source.timezone is None or not naive:
        return table
    return table.with_columns(
        pl.col(naive).dt.replace_time_zone(
            source.timezone, ambiguous="earliest", non_existent="null"
        )
    )


def _refuse(query: Query, rows: pl.DataFrame, requests: Sequence[RequestSet]) -> None:
    """Refuse values, columns and keys that no feature is made of."""
    subject = f"source {query.source.name!r}"
    for request_set in requests:
        for key in query.keys:
            check_types(key, rows.schema[key], request_set.keys.schema[key], subject)
    for name in query.columns:
        check_values(rows[name], f"{subject}: the column {name!r}")
    for feature in query.features:
        for name in feature.columns:
            check_accepts(
                feature.aggregation.function, rows.schema[name], f"{subject}: the column {name!r}"
            )
            check_exact(feature.aggregation.function, rows[name], f"{subject}: the column {name!r}")


def _accepted(source: Source, read: set[str], rows: pl.DataFrame, notes: Notes) -> list[Event]:
    """The events that count, and notes of the rows that do not."""
    table = rows.to_dicts()
    for name, reason in (
        (source.known_at_field, "no {}, so never known"),
        (source.timestamp_field, "no {}"),
    ):
        lacking = [row for row in table if name is not None and row[name] is None]
        if lacking and not (source.changes is not None and name == source.timestamp_field):
            notes.leave_out(f"source {source.name}: {reason.format(name)}", len(lacking))
            table = [row for row in table if row not in lacking]
    accepted = accepted_events(source, read, table)
    if source.id_field is not None and source.changes is None:
        copies = [row for row in table if not any(event.row is row for event in accepted)]
        differ = [
            row
            for row in copies
            if not any(
                _says(source, read, event.row) == _says(source, read, row)
                for event in _first(source, accepted, row)
            )
        ]
        for reason, rows_left in (
            ("duplicate events", copies),
            ("of these, duplicates that differ from the first", differ),
        ):
            if rows_left:
                notes.leave_out(f"source {source.name}: {reason}", len(rows_left))
    return accepted


def _first(source: Source, accepted: Sequence[Event], row: Row) -> list[Event]:
    """The event that a copy is of: the last one of its id that was known by then."""
    ident = row[str(source.id_field)]
    known_at = row[source.known_at_field or source.timestamp_field]
    earlier = [
        e
        for e in accepted
        if e.ident == ident and e.row[source.known_at_field or source.timestamp_field] <= known_at  # type: ignore[operator]
    ]
    return sorted(earlier, key=lambda e: e.known)[-1:]


def _says(source: Source, read: set[str], row: Row) -> list[Value]:
    return [row[name] for name in sorted({*read, source.timestamp_field})]


def _event_of_frame(source: Source, row: Row) -> Event:
    """An event of a frame that `events` gave."""
    time, known_by_column = int(str(row[TIME])), KNOWN in row and source.window_on == "timestamp"
    delay = micros(source.known_after, "known_after") if source.window_on == "timestamp" else 0
    removed_at = row.get(REMOVED_AT)
    known_at = int(str(row[KNOWN])) if known_by_column else time + delay
    return Event(
        time,
        known_at,
        row.get(IDENT),
        row,
        math.inf if removed_at is None or removed_at == LASTS else int(str(removed_at)),
    )


def _frame(
    source: Source,
    schema: pl.Schema,
    keys: Sequence[str],
    columns: Sequence[str],
    events: Sequence[Event],
) -> pl.DataFrame:
    """Events in the shape that `Engine.events` gives them."""
    names = list(dict.fromkeys([*keys, *columns]))
    series_by_name = {
        name: pl.Series(name, [e.row[name] for e in events], schema[name]) for name in names
    }
    series_by_name[TIME] = pl.Series([int(e.time) for e in events], dtype=pl.Int64)
    if source.known_at_field is not None:
        series_by_name[KNOWN] = pl.Series([int(e.known) for e in events], dtype=pl.Int64)
    if source.id_field is not None:
        series_by_name[IDENT] = pl.Series([e.ident for e in events], dtype=schema[source.id_field])
    if source.changes is not None:
        series_by_name[REMOVED_AT] = pl.Series(
            [LASTS if e.removed_at == math.inf else int(e.removed_at) for e in events],
            dtype=pl.Int64,
        )
    return pl.DataFrame(series_by_name)


def _values(
    query: Query,
    question: NaiveFeatures,
    schema: pl.Schema,
    events: Sequence[Event],
    request_set: RequestSet,
    T: I64,
    K: I64,
) -> FeatureValues:
    keys = [[request_set.keys[name][row] for name in query.keys] for row in range(len(T))]
    times = [
        None if end == NEVER else (end, known_by)
        for end, known_by in zip(T.tolist(), K.tolist(), strict=True)
    ]
    answers = [question.answers(events, key, at) for key, at in zip(keys, times, strict=True)]
    by_feature = [[of_row[i] for of_row in answers] for i in range(len(query.features))]
    values = [
        _series(f, of_feature, schema)
        for f, of_feature in zip(query.features, by_feature, strict=True)
    ]
    statuses = [
        pl.Series(f.name, [a.status for a in of_feature], pl.Enum(STATUSES))
        for f, of_feature in zip(query.features, by_feature, strict=True)
    ]
    known_times = (
        [question.known_at(events, key, at) for key, at in zip(keys, times, strict=True)]
        if query.known
        else []
    )
    known_at = (
        np.array([NEVER if at == -math.inf else at for at in known_times], np.int64)
        if query.known
        else None
    )
    return FeatureValues(
        pl.DataFrame(values), pl.DataFrame(statuses if query.retained else []), known_at
    )


def _series(feature: Feature, answers: Sequence[Answer], schema: pl.Schema) -> pl.Series:
    """Answers in the dtype of the feature; a map is a list of its pairs until polars makes one of
    it.
    """
    dtype = feature_dtype(feature, schema)
    values = [answer.value for answer in answers]
    if feature.aggregation.secondary is None:
        return pl.Series(feature.name, values, dtype)
    assert isinstance(dtype, pl.Map)
    maps = [value for value in values if isinstance(value, dict) or value is None]
    pairs = [
        None if m is None else [{"key": key, "value": answer.value} for key, answer in m.items()]
        for m in maps
    ]
    return pl.Series(
        feature.name, pairs, pl.List(pl.Struct({"key": dtype.key, "value": dtype.value}))
    ).cast(dtype)
