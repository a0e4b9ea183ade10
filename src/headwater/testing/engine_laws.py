"""What every engine must obey, as functions to call from your own tests: `LAWS[law](engine,
Random(seed))`.

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("law", engine_laws.LAWS)
    def test_my_engine(law, seed):
        engine_laws.LAWS[law](MyEngine(), Random(seed))

A law raises AssertionError with the case that breaks it. The expected values are those of the naive
reference (`testing.naive`). An engine that works on disk should find a folder of the test's own
there (HEADWATER_HOME).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random

import numpy as np
import polars as pl

from headwater.aggregations import first_last, min_max, moments
from headwater.aggregations.reference import Answer, Event, Row, Value, as_micros
from headwater.aggregations.table import TABLE
from headwater.definitions.feature_view import Aggregation, FeatureView
from headwater.definitions.freshness import Freshness, never, on_request
from headwater.definitions.source import Source
from headwater.definitions.windows import Window, window
from headwater.engine.query import (
    AsOf,
    Engine,
    EngineRun,
    EventQuery,
    FeatureValues,
    Head,
    Query,
    RequestSet,
    StateQuery,
)
from headwater.errors import DataError, HeadwaterWarning
from headwater.events.read_events import IDENT, KNOWN, REMOVED_AT, TIME, Reach
from headwater.kernel.arrays import LASTS
from headwater.kernel.as_of import NEVER
from headwater.state.record import key_bytes
from headwater.state.view_state import ViewTiles
from headwater.testing.cases import BASE, SCHEMA, Case, aggregations, case, freshnesses
from headwater.testing.naive import NaiveFeatures, accepted, agree
from headwater.testing.naive_time import as_of

Law = Callable[[Engine, Random], None]

_FAR = 2**60
_HOUR = 3_600_000_000
_SEVERAL = 8  # cases of a law that draws them
_COLUMNS = ("flag", "moment", "real", "whole", "word")  # of a case, that can be aggregated


def every_aggregation(engine: Engine, random: Random) -> None:
    """Each function of the table over every kind of column, its statuses and known times, at three
    freshnesses.
    """
    for aggregation in aggregations():
        features_are_naive(
            engine, case(random, [aggregation]), random.sample(freshnesses(_HOUR), 2)
        )


def late_events(engine: Engine, random: Random) -> None:
    """A column says when events were known: some late, some before they happened, some never."""
    for _ in range(_SEVERAL):
        features_are_naive(engine, case(random, late=True, changes=False), freshnesses(_HOUR))


def windows_by_known_time(engine: Engine, random: Random) -> None:
    """`window_on="known_at"` places events in windows by when they became known, by a column or a
    delay.
    """
    for late in (True, False) * (_SEVERAL // 2):
        drawn = case(random, late=late, changes=False)
        source = replace(
            drawn.view.source, window_on="known_at", known_after="0s" if late else "10s"
        )
        features_are_naive(engine, _over(drawn, source), freshnesses(_HOUR))


def duplicates(engine: Engine, random: Random) -> None:
    """Of rows that share an id within `id_horizon`, the one known first counts; of those known at
    one time the least by content.
    """
    for _ in range(_SEVERAL):
        drawn = case(random, changes=False)
        events: list[Row] = [
            {**event, "id": random.choice([1, 2, 3, event["id"]])} for event in drawn.events
        ]
        source = replace(
            drawn.view.source, id_field="id", id_horizon=random.choice(["1us", "10s", "1h"])
        )
        features_are_naive(engine, _over(drawn.with_events(events), source), freshnesses(_HOUR))


def change_images(engine: Engine, random: Random) -> None:
    """Events that are corrected, deleted and stated again, in and out of order."""
    for _ in range(_SEVERAL):
        features_are_naive(engine, case(random, changes=True), freshnesses(_HOUR))


def expired_values(engine: Engine, random: Random) -> None:
    """A `ttl` makes values null whose last event is older than it at T: at the limit, and a
    microsecond to either side.
    """
    for ttl in ("1us", "10s", "1h"):
        for _ in range(_SEVERAL // 2):
            drawn = case(random)
            features_are_naive(
                engine, replace(drawn, view=replace(drawn.view, ttl=ttl)), freshnesses(_HOUR)
            )


def secondary_keys(engine: Engine, random: Random) -> None:
    """Maps by a secondary key of every kind of column, of the latest `max_keys` values."""
    for aggregation in [a for a in aggregations() if a.secondary is not None]:
        features_are_naive(engine, case(random, [aggregation]), [on_request()])


def windows_of_every_kind(engine: Engine, random: Random) -> None:
    """Windows with hops of their own, offset windows, a lifetime, and several of these in one
    view.
    """
    kinds = [
        window("1h"),
        window("10m", hop="1m"),
        Window.in_micros(_HOUR, _HOUR // 6, offset=_HOUR // 6),
        Window.in_micros(None),
        Window.in_micros(None, 10, offset=10),
    ]
    sizes = [[kind] for kind in kinds] + [random.sample(kinds, 3)]
    for windows in sizes:
        features = [
            moments.count(),
            moments.sum("real"),
            first_last.last("word"),
            min_max.max("whole"),
        ]
        drawn = case(random, features)
        features_are_naive(
            engine, replace(drawn, view=replace(drawn.view, windows=windows)), freshnesses(_HOUR)
        )


def null_times(engine: Engine, random: Random) -> None:
    """Rows without a time, or without a known time, count nothing, and are counted with duplicates
    and those that differ.
    """
    at = [BASE - timedelta(minutes=minute) for minute in (1, 2, 3, 4, 5, 6)]
    rows = [_event(at[1], 1), _event(at[1], 1, known=at[0]), _event(at[1], 1, real=9.0)]
    rows += [_event(None, 2, known=at[3]), _event(at[4], 3, known=None), _event(at[5], 4)]
    random.shuffle(rows)
    view = _view(
        [moments.count(), moments.sum("real")],
        known_at_field="known",
        id_field="id",
        known_after="0s",
    )
    drawn = Case(view, rows, [{"key": 1, "timestamp": BASE}])
    run = features_are_naive(engine, drawn, [on_request()])
    assert dict(run.notes.left_out) == {
        "source events: no known, so never known": 1,
        "source events: no at": 1,
        "source events: duplicate events": 2,
        "source events: of these, duplicates that differ from the first": 1,
    }, f"{dict(run.notes.left_out)} are the rows that were left out; {drawn}"


def several_levels(engine: Engine, random: Random) -> None:
    """Every freshness in one call, of two request sets with other keys and times, gives what each
    gives alone.
    """
    for _ in range(_SEVERAL // 2):
        drawn = case(random)
        query, ways = query_of(drawn), freshnesses(_HOUR)
        sets = [
            requests_of(drawn.rows, ways),
            requests_of(random.sample(drawn.rows, len(drawn.rows)), ways[:3]),
        ]
        together = engine.features(query, sets, EngineRun())
        for request_set, values_by_time in zip(sets, together, strict=True):
            for time, values in zip(request_set.as_of, values_by_time, strict=True):
                ((alone,),) = engine.features(
                    query, [replace(request_set, as_of=(time,))], EngineRun()
                )
                assert _plain(values) == _plain(alone), (
                    f"{values} together, and {alone} alone; {drawn}"
                )


def keys_of_every_kind(engine: Engine, random: Random) -> None:
    """No key, two keys, keys of strings, categories and times; null keys match nothing."""
    for keys in ([], ["key", "word"], ["word"], ["flag"], ["moment"], ["whole", "key"]):
        drawn = case(random, [moments.count(), moments.sum("real"), first_last.last("word")])
        rows: list[Row] = [
            {**random.choice(drawn.events or [dict.fromkeys(keys)]), "timestamp": row["timestamp"]}
            for row in drawn.rows
        ]
        moved = Case(replace(drawn.view, keys=keys), drawn.events, rows)
        features_are_naive(engine, moved, freshnesses(_HOUR))


def rows_that_count_nothing(engine: Engine, random: Random) -> None:
    """No event, no row, and rows that ask with T = NEVER."""
    drawn = case(random)
    features_are_naive(engine, drawn.with_events([]), [on_request()])
    features_are_naive(engine, drawn, [never()])
    ((values,),) = engine.features(query_of(drawn), [requests_of([], [on_request()])], EngineRun())
    assert (values.values.height, values.statuses.height) == (0, 0), f"{values} for no row"


def given_events(engine: Engine, random: Random) -> None:
    """Features of events that `events` gave are those of the source's table."""
    for _ in range(_SEVERAL):
        drawn = case(random)
        query, request_set = query_of(drawn), requests_of(drawn.rows, [on_request()])
        events = engine.events(
            EventQuery(query.source, query.keys, query.columns, Reach(None, _FAR, _FAR)),
            EngineRun(),
        )
        (from_frame, read) = (
            engine.features(replace(query, events=frame_given), [request_set], EngineRun())[0][0]
            for frame_given in (events, None)
        )
        assert _plain(from_frame) == _plain(read), (
            f"{from_frame} of events that are given, and {read} of the table; {drawn}"
        )


def events_as_read(engine: Engine, random: Random) -> None:
    """The events within reach, each once, with when each was known and taken back; and of each key
    when its last one was.
    """
    for _ in range(2 * _SEVERAL):
        drawn = case(random)
        query, base = query_of(drawn), as_micros(BASE)
        first, last, known_by = (
            base + random.choice([-_HOUR, -10, 0, 10, _HOUR]) for _ in range(3)
        )
        reach = Reach(random.choice([None, first]), last, known_by)
        # the columns that are read tell versions apart
        columns = list(_COLUMNS) if query.source.changes else query.columns
        frame = engine.events(EventQuery(query.source, query.keys, columns, reach), EngineRun())
        expected = [_row(drawn.view.source, columns, event) for event in _reached(drawn, reach)]
        rows = [_comparable(row) for row in frame.to_dicts()]
        assert sorted(rows) == sorted(map(_comparable, expected)), (
            f"{frame} within {reach}; should be {expected}; {drawn}"
        )
        nothing, names = (
            engine.events(EventQuery(query.source, query.keys, columns, None), EngineRun()),
            ("key", *columns),
        )
        assert nothing.height == 0, f"{nothing} of no reach"
        assert [nothing.schema[name] for name in names] == [frame.schema[name] for name in names], (
            f"{nothing} and {frame} differ in dtypes"
        )
        if query.source.id_field is None:
            _newest(engine, drawn, reach)


def little_memory(engine: Engine, random: Random) -> None:
    """Within a memory limit that holds a few events, values and states are the same; a second call
    deals keys into the same parts.
    """
    with warnings.catch_warnings():
        # the limit cannot be held: the process alone is larger
        warnings.simplefilter("ignore", HeadwaterWarning)
        for _ in range(_SEVERAL // 2):
            drawn = case(random, changes=False)
            features_are_naive(engine, drawn, [on_request()], memory=random.choice([2_000, 20_000]))
            head = Head(as_micros(BASE), as_micros(BASE))
            _states_are_naive(engine, drawn, [head], memory=2_000)


def _newest(engine: Engine, drawn: Case, reach: Reach) -> None:
    query = query_of(drawn)
    frame = engine.events(EventQuery(query.source, query.keys, [], reach, newest=True), EngineRun())
    last: dict[Value, int] = {}
    for event in accepted(drawn.view, drawn.view.source, drawn.events):
        within = (
            (reach.first is None or event.time >= reach.first)
            and event.time < reach.last
            and event.known <= reach.known
        )
        if within and event.row["key"] is not None:
            last[event.row["key"]] = max(last.get(event.row["key"], -_FAR), int(event.time))
    assert dict(frame.select("key", TIME).iter_rows()) == last, (
        f"{frame} within {reach}; should be {last}; {drawn}"
    )


def states_of_a_cut(engine: Engine, random: Random) -> None:
    """The states of a cut give the reference's values at its T and K, and so do the states between
    two cuts, added.
    """
    for _ in range(2 * _SEVERAL):
        drawn = case(random, changes=random.random() < 0.3)
        drawn = replace(drawn, view=replace(drawn.view, freshness=on_request()))
        events = accepted(drawn.view, drawn.view.source, drawn.events)
        edges = [
            as_micros(BASE),
            *(
                int(at)
                for e in events
                for at in (e.time, e.known, e.removed_at)
                if at != float("inf")
            ),
        ]
        times = sorted(random.choice(edges) + random.choice([-1, 0, 0, 1, _HOUR]) for _ in range(2))
        heads = [
            Head(T, max(T, random.choice(edges) + random.choice([-1, 0, 0, 1]))) for T in times
        ]
        late = [e for e in events if e.known > e.time + 1]
        if late and random.random() < 0.7:  # the first cut knows an event by its last microsecond
            last = random.choice(late)
            heads = [
                Head(int(last.time) + 1, int(last.known)),
                Head(int(last.time) + 1 + _HOUR, int(last.known) + _HOUR),
            ]
        _states_are_naive(engine, drawn, heads[1:])
        if drawn.view.source.changes is None and heads[0].K <= heads[1].K:
            _states_are_naive(engine, drawn, heads)


def _states_are_naive(
    engine: Engine, drawn: Case, heads: Sequence[Head], memory: int | None = None
) -> None:
    query, view = query_of(drawn), drawn.readable()
    schema = engine.events(
        EventQuery(query.source, query.keys, query.columns, Reach(None, _FAR, _FAR)), EngineRun()
    ).schema
    tiles = ViewTiles(view, dict(schema))
    held: dict[bytes, bytes] = {}
    before = None

    def fetch(keys: list[bytes]) -> list[bytes]:
        return [held.get(key, b"") for key in keys]

    for head in heads:
        make = partial(tiles.states, T=head.T, most=2)
        state_query = StateQuery(
            "law", query.source, query.keys, query.columns, head, before, None, make
        )
        with engine.states(state_query, EngineRun(memory=memory)) as states:
            with engine.states(
                replace(state_query, name="again"), EngineRun(memory=memory)
            ) as again:
                assert (states.layout, len(states.parts)) == (again.layout, len(again.parts)), (
                    f"{states} and {again} differ; {drawn}"
                )
            for part in states.parts:
                for chunk in part().states:
                    held |= tiles.add(chunk, head.T, head.T, fetch)
        before = head
    T, K = heads[-1].T, heads[-1].K
    accepted_events = accepted(drawn.view, drawn.view.source, drawn.events)
    for key in (1, 2, 3):
        record = held.get(key_bytes(pl.DataFrame({"key": [key]}))[0], b"")
        values, statuses = tiles.values([[record] if record else []], np.array([T]), np.array([K]))
        expected = _question(drawn).answers(accepted_events, [key], (T, K))
        for series, status, answer in zip(values, statuses, expected, strict=True):
            _compare(drawn, series.name, key, series.to_list()[0], status[0], answer)


def refusals(engine: Engine, random: Random) -> None:
    """Infinite values, columns that a function does not take, and keys of another type are
    refused.
    """
    drawn = case(random, [moments.count()], changes=False).with_events(
        [_event(BASE, 1, real=float("inf"))]
    )
    requests = requests_of([{"key": 1, "timestamp": BASE + timedelta(minutes=1)}], [on_request()])
    string_keys = replace(requests, keys=pl.DataFrame({"key": ["1"]}))
    for features, request_set in (
        ([moments.sum("real")], requests),
        ([moments.sum("word")], requests),
        ([moments.count()], string_keys),
    ):
        view = replace(drawn.view, features=features, windows=["2h"])
        try:
            engine.features(query_of(replace(drawn, view=view)), [request_set], EngineRun())
        except DataError:
            continue
        raise AssertionError(
            f"{features} with keys {request_set.keys.schema} are not refused with a DataError"
        )


LAWS: Mapping[str, Law] = {
    "every aggregation": every_aggregation,
    "late events": late_events,
    "windows by known time": windows_by_known_time,
    "duplicates": duplicates,
    "change images": change_images,
    "expired values": expired_values,
    "secondary keys": secondary_keys,
    "windows of every kind": windows_of_every_kind,
    "null times": null_times,
    "several levels": several_levels,
    "keys of every kind": keys_of_every_kind,
    "rows that count nothing": rows_that_count_nothing,
    "given events": given_events,
    "events as read": events_as_read,
    "states of a cut": states_of_a_cut,
    "little memory": little_memory,
    "refusals": refusals,
}
"""Every law by name."""


def query_of(drawn: Case) -> Query:
    """The features of a case, with statuses and known times."""
    view = drawn.readable()
    windows = tuple(dict.fromkeys(f.window for f in view.outputs))
    return Query(
        view.source, view.keys, view.outputs, view.expires_after, retained=windows, known=True
    )


def requests_of(
    rows: Sequence[Row], ways: Sequence[Freshness], keys: Sequence[str] = ("key",)
) -> RequestSet:
    """The rows of a case as a request set, at some freshnesses; T and K by the reference."""
    t = [as_micros(row["timestamp"]) for row in rows]  # type: ignore[arg-type]
    times = [[as_of(way, at) or (NEVER, NEVER) for at in t] for way in ways]
    frame = pl.DataFrame([pl.Series(key, [row[key] for row in rows], SCHEMA[key]) for key in keys])
    if not keys:
        frame = pl.DataFrame({"": pl.repeat(0, len(rows), eager=True)})
    pairs = (np.array(times_of_row, np.int64).reshape(-1, 2) for times_of_row in times)
    return RequestSet(
        frame,
        np.array(t, np.int64),
        tuple(AsOf(times_of_row[:, 0].copy(), times_of_row[:, 1].copy()) for times_of_row in pairs),
    )


def features_are_naive(
    engine: Engine, drawn: Case, ways: Sequence[Freshness], memory: int | None = None
) -> EngineRun:
    """Assert that every value, status and known time of a case is what the reference says, at each
    freshness.

    Raises:
        AssertionError: the first that differs, and the case.
    """
    run, query = EngineRun(memory=memory), query_of(drawn)
    request_set = requests_of(drawn.rows, ways, drawn.view.keys)
    (values_by_time,) = engine.features(query, [request_set], run)
    accepted_events, question = (
        accepted(drawn.view, drawn.view.source, drawn.events),
        _question(drawn),
    )
    for way, values in zip(ways, values_by_time, strict=True):
        assert (
            values.values.columns == values.statuses.columns == [f.name for f in query.features]
        ), f"{values} has other columns; {drawn}"
        assert values.known_at is not None, f"no known times are said; {drawn}"
        for number, row in enumerate(drawn.rows):
            times = as_of(way, as_micros(row["timestamp"]))  # type: ignore[arg-type]
            key = [row[name] for name in drawn.view.keys]
            answers = question.answers(accepted_events, key, times)
            for feature, answer in zip(query.features, answers, strict=True):
                value, status = (
                    values.values[feature.name].to_list()[number],
                    values.statuses[feature.name][number],
                )
                _compare(
                    drawn,
                    f"{feature.name} at {way}",
                    number,
                    value,
                    status,
                    answer,
                    feature.aggregation,
                )
            expected = max(question.known_at(accepted_events, key, times), NEVER)
            # the columns that are read tell versions apart
            assert query.source.changes or values.known_at[number] == expected, (
                f"known_at of row {number} at {way} is {values.known_at[number]}, and should be "
                f"{expected}; {drawn}"
            )
    return run


def _compare(
    drawn: Case,
    name: str,
    row: Value,
    value: object,
    status: object,
    answer: Answer,
    aggregation: Aggregation | None = None,
) -> None:
    function = (
        next(f for f in drawn.view.outputs if f.name == name).aggregation
        if aggregation is None
        else aggregation
    )
    if not agree(answer, value, squared=TABLE[function.function].squared):  # type: ignore[arg-type]
        raise AssertionError(f"{name} of row {row} is {value!r}, and should be {answer}; {drawn}")
    if status != answer.status:
        raise AssertionError(f"{name} of row {row} is {status}, and should be {answer}; {drawn}")


def _question(drawn: Case) -> NaiveFeatures:
    view = drawn.view
    return NaiveFeatures(
        view.keys, view.outputs, [f.window for f in view.outputs], view.expires_after, view.source
    )


def _view(features: Sequence[Aggregation], **rules: object) -> FeatureView:
    source = Source("events", timestamp_field="at", **rules)  # type: ignore[arg-type]
    return FeatureView(
        "view",
        source=source,
        keys=["key"],
        features=list(features),
        windows=["1h"],
        freshness=on_request(),
    )


def _event(at: Value, ident: int, **more: Value) -> Row:
    plain: dict[str, Value] = {"real": 1.0, "whole": 1, "flag": True, "word": "a", "moment": None}
    return {"key": 1, "at": at, "known": at, "id": ident, "before": False, **plain, **more}


def _over(drawn: Case, source: Source) -> Case:
    return replace(drawn, view=replace(drawn.view, source=source))


def _reached(drawn: Case, reach: Reach) -> list[Event]:
    """The accepted events that a reach holds."""
    source, rows = drawn.view.source, drawn.events
    if source.changes is not None:
        rows = [
            row
            for row in rows
            if row["known"] is not None and as_micros(row["known"]) <= reach.known  # type: ignore[arg-type]
        ]
    events = [
        e
        for e in accepted(drawn.view, source, rows)
        if (reach.first is None or e.time >= reach.first) and e.time < reach.last
    ]
    return (
        events if source.known_at_field is None else [e for e in events if e.known <= reach.known]
    )


def _row(source: Source, columns: Sequence[str], event: Event) -> Row:
    """An event as `Engine.events` gives it."""
    row: dict[str, Value] = {name: event.row[name] for name in ("key", *columns)}
    row[TIME] = int(event.time)
    if source.known_at_field is not None:
        row[KNOWN] = int(event.known)
    if source.id_field is not None:
        row[IDENT] = event.ident
    if source.changes is not None:
        row[REMOVED_AT] = LASTS if event.removed_at == float("inf") else int(event.removed_at)
    return row


def _comparable(row: Row) -> str:
    return repr(
        sorted((name, as_micros(v) if hasattr(v, "tzinfo") else v) for name, v in row.items())  # type: ignore[arg-type]
    )


def _plain(values: FeatureValues) -> str:
    known_at = None if values.known_at is None else values.known_at.tolist()
    return repr(
        (values.values.to_dict(as_series=False), values.statuses.to_dict(as_series=False), known_at)
    )
