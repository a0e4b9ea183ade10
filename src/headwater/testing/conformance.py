"""What every aggregation must obey, as functions to call from your own tests:
`LAWS[law](aggregation, Random(seed))`.

    @pytest.mark.parametrize("seed", range(50))
    @pytest.mark.parametrize("law", conformance.LAWS)
    def test_my_aggregation(law, seed):
        conformance.LAWS[law](my_aggregation("real"), Random(seed))

A law raises AssertionError with the case that breaks it. The columns to aggregate are those of
`cases.SCHEMA`. The naive reference of a function is in its row of `aggregations.table`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import cast

import numpy as np
import polars as pl

from headwater.aggregations.base import (
    AggregateFunction,
    Answers,
    FinalizeContext,
    State,
    SweepingFunction,
    visible_ranges,
)
from headwater.aggregations.reference import Value, as_micros, in_order
from headwater.aggregations.table import TABLE, family
from headwater.definitions.feature_view import Aggregation, Feature
from headwater.engine.query import wanted_of
from headwater.errors import NoEventsWarning, RowsLeftOutWarning
from headwater.events.columns import encode, hashed, to_kernel
from headwater.kernel.arrays import I64, LASTS, NOTHING, Events, ListColumn, RequestTimes
from headwater.kernel.late_events import layers
from headwater.kernel.layers import Layer, spans
from headwater.testing.cases import SCHEMA, Case, case
from headwater.testing.naive import agree, evaluate
from headwater.testing.online import online_is_offline
from headwater.training.historical import get_historical_features
from headwater.training.resources import Resources

Law = Callable[[Aggregation, Random], None]

_TOLERANCE = 1e-9


def agrees_with_naive(aggregation: Aggregation, random: Random) -> None:
    """Every value of a random case is what the naive reference says."""
    compare(case(random, [aggregation]))


def compare(drawn: Case, *, threads: int = 1) -> pl.DataFrame:
    """Assert that every feature of every row, and its status, is what the naive reference says;
    returns the features.

    Raises:
        AssertionError: the first feature and row that differ, with both values and the case.
    """
    view = drawn.readable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RowsLeftOutWarning)  # some events have no time on purpose
        warnings.simplefilter("ignore", NoEventsWarning)  # and some rows ask before any event
        features = get_historical_features(
            view, drawn.asked, statuses=True, resources=Resources(threads=threads, progress=False)
        )
    answers = evaluate(drawn.view, drawn.events, drawn.rows)
    assert features.height == len(drawn.rows), (
        f"{len(drawn.rows)} rows in, {features.height} rows out"
    )
    for feature, name in zip(view.outputs, view.feature_names, strict=True):
        for row, (value, answer) in enumerate(
            zip(features[name].to_list(), (a[name] for a in answers), strict=True)
        ):
            if not agree(answer, value, squared=TABLE[feature.aggregation.function].squared):
                raise AssertionError(
                    f"{name} of row {row} is {value!r}, and should be {answer}; {drawn}"
                )
        for row, (status, answer) in enumerate(
            zip(features[f"{name}__status"].to_list(), (a[name] for a in answers), strict=True)
        ):
            if status != answer.status:
                raise AssertionError(
                    f"{name} of row {row} is {status}, and should be {answer}; {drawn}"
                )
    return features.select(view.feature_names)


def shuffles_change_nothing(aggregation: Aggregation, random: Random) -> None:
    """Events and rows in another order give the same bits, each row its own."""
    drawn = case(random, [aggregation])
    first = compare(drawn)
    order = random.sample(range(len(drawn.rows)), len(drawn.rows))
    shuffled = Case(
        drawn.view, random.sample(drawn.events, len(drawn.events)), [drawn.rows[i] for i in order]
    )
    back = compare(shuffled)[[order.index(i) for i in range(len(order))]]
    assert bits(first) == bits(back), f"another order changes the values: {drawn}"


def merge_is_associative(aggregation: Aggregation, random: Random) -> None:
    """(a + b) + c is a + (b + c)."""
    for feature, whole, request_times, parts in _splits(aggregation, random, 3):
        a, b, c = (_state(feature, split, request_times) for split in parts)
        join = _family(feature).merge
        left, right = (
            join(join(_copy(a), _copy(b)), _copy(c)),
            join(_copy(a), join(_copy(b), _copy(c))),
        )
        _same(
            feature,
            _finish(feature, left, whole, request_times),
            _finish(feature, right, whole, request_times),
            whole,
            "merge is not associative",
        )


def merging_parts_makes_the_whole(aggregation: Aggregation, random: Random) -> None:
    """Events split in two by any mask, each part on its own, then merged: the value of all."""
    for feature, whole, request_times, (a, b) in _splits(aggregation, random, 2):
        merged = _family(feature).merge(
            _state(feature, a, request_times), _state(feature, b, request_times)
        )
        expected = _finish(feature, _state(feature, whole, request_times), whole, request_times)
        _same(
            feature,
            _finish(feature, merged, whole, request_times),
            expected,
            whole,
            "parts do not merge into the whole",
        )


def nothing_is_neutral(aggregation: Aggregation, random: Random) -> None:
    """The state of no event changes nothing, on either side; and its value is the declared empty
    one.
    """
    for feature, whole, request_times, _ in _splits(aggregation, random, 1):
        whole_state, none = (
            _state(feature, whole, request_times),
            _state(feature, _taken(whole, NOTHING), request_times),
        )
        expected = _finish(feature, whole_state, whole, request_times)
        join = _family(feature).merge
        _same(
            feature,
            _finish(feature, join(_copy(whole_state), _copy(none)), whole, request_times),
            expected,
            whole,
            "nothing on the right changes a state",
        )
        _same(
            feature,
            _finish(feature, join(_copy(none), _copy(whole_state)), whole, request_times),
            expected,
            whole,
            "nothing on the left changes a state",
        )
        empty = TABLE[aggregation.function].empty if aggregation.secondary is None else ()
        assert set(_values(_finish(feature, none, whole, request_times))) <= {empty}, (
            f"{aggregation.function}() of nothing is not {empty!r}"
        )


def sweeping_is_merging(aggregation: Aggregation, random: Random) -> None:
    """Of late events in layers, a sweep gives the very bits that the layers' states merge into."""
    drawn = case(random, [aggregation], late=True)
    events, request_times = _late(drawn, random)
    for feature in drawn.view.outputs:
        made_by, use = _family(feature), wanted_of(feature).use
        if not isinstance(made_by, SweepingFunction):
            continue
        parts = [Layer(layer) for layer in layers(events)]
        state = made_by.partial(use, spans(parts[0], request_times, feature.window))
        for layer in parts[1:]:
            state = made_by.merge(
                state, made_by.partial(use, spans(layer, request_times, feature.window))
            )
        context = _context(feature, events, request_times)
        ((_, _, sight),) = visible_ranges(Layer(events), parts, [request_times], feature.window)
        swept, merged = (
            _values(made_by.sweep(use, sight, context)),
            _values(made_by.finalize(state, context)),
        )
        assert repr(swept) == repr(merged), (
            f"{feature.name} swept is {swept}, and merged {merged}; {drawn}"
        )


LAWS: Mapping[str, Law] = {
    "agrees with naive": agrees_with_naive,
    "shuffles change nothing": shuffles_change_nothing,
    "merge is associative": merge_is_associative,
    "merging parts makes the whole": merging_parts_makes_the_whole,
    "nothing is neutral": nothing_is_neutral,
    "sweeping is merging": sweeping_is_merging,
    "online is offline": online_is_offline,
}
"""Every law by name."""


def bits(frame: pl.DataFrame) -> list[list[object]]:
    """The columns as lists in which only equal bits are equal: floats in hexadecimal, with the sign
    of zero.
    """
    return [[_bits(v) for v in column.to_list()] for column in frame]


def _bits(value: object) -> object:
    if isinstance(value, dict):
        return [(key, _bits(v)) for key, v in value.items()]
    return value.hex() if isinstance(value, float) else value


def _splits(
    aggregation: Aggregation, random: Random, parts: int
) -> list[tuple[Feature, Events, RequestTimes, list[Events]]]:
    """Every feature with one key's events in known order, requests, and the events dealt out to so
    many parts.
    """
    drawn = case(random, [aggregation], late=False)
    drawn = replace(
        drawn,
        view=replace(
            drawn.view, source=replace(drawn.view.source, id_field=random.choice([None, "id"]))
        ),
    )
    whole = _events(drawn)
    T = np.sort(np.array([as_micros(cast("object", r["timestamp"])) for r in drawn.rows], np.int64))  # type: ignore[arg-type]
    request_times = RequestTimes(np.array([0, len(T)]), T, T)
    dealt = np.array([random.randrange(parts) for _ in range(len(whole.t))], np.int64)
    return [
        (f, whole, request_times, [_taken(whole, np.flatnonzero(dealt == p)) for p in range(parts)])
        for f in drawn.view.outputs
    ]


def _events(drawn: Case) -> Events:
    """The events of key 1, sorted as the kernel takes them."""
    names = ["real", "whole", "flag", "word", "moment"]
    ident = drawn.view.source.id_field is not None
    key_events = [e for e in drawn.events if e["key"] == 1]
    key_events.sort(
        key=lambda e: (
            in_order(e["at"]),
            in_order(e["id"]) if ident else 0,
            [in_order(e[n]) for n in names],
        )
    )
    frame = pl.DataFrame(key_events, schema=SCHEMA)
    columns = {
        name: hashed(to_kernel(values), coded)
        for name in names
        for values, coded in [encode(frame[name])]
    }
    return Events(
        np.array([0, len(key_events)]),
        frame["at"].to_physical().to_numpy(),
        NOTHING,
        0,
        frame["id"].to_numpy() if ident else NOTHING,
        columns,
    )


def _taken(events: Events, index: I64) -> Events:
    columns = {name: column.take(index) for name, column in events.columns.items()}
    ident = events.ident[index] if len(events.ident) else events.ident
    return Events(np.array([0, len(index)]), events.t[index], NOTHING, 0, ident, columns, row=index)


def _late(drawn: Case, random: Random) -> tuple[Events, RequestTimes]:
    """The events of key 1 with the times they were known and (some) taken back, and requests whose
    K lies anywhere near T.
    """
    events = _events(
        drawn.with_events(
            [e for e in drawn.events if e["known"] is not None and e["at"] is not None]
        )
    )
    known = events.t + np.array(
        [random.choice([-1, 0, 1, 10**7, 10**10]) for _ in events.t], np.int64
    )
    T = np.sort(np.array([as_micros(cast("object", r["timestamp"])) for r in drawn.rows], np.int64))  # type: ignore[arg-type]
    K = T - np.array([random.choice([-(10**7), 0, 1, 10**7]) for _ in T], np.int64)
    removed_at = np.array(
        [
            k + random.choice([1, 10**7, 10**10]) if random.random() < 0.4 else LASTS
            for k in known.tolist()
        ],
        np.int64,
    )
    return replace(
        events, known=known, removed_at=removed_at if random.random() < 0.7 else NOTHING
    ), RequestTimes(np.array([0, len(T)]), T, K)


def _family(feature: Feature) -> AggregateFunction:
    wanted = wanted_of(feature)
    return family(wanted.function, dict(wanted.params), wanted.by)


def _state(feature: Feature, events: Events, request_times: RequestTimes) -> State:
    return _family(feature).partial(
        wanted_of(feature).use, spans(Layer(events), request_times, feature.window)
    )


def _copy(state: State) -> State:
    return tuple(array.copy() for array in state)


def _finish(feature: Feature, state: State, events: Events, request_times: RequestTimes) -> Answers:
    return _family(feature).finalize(state, _context(feature, events, request_times))


def _context(feature: Feature, events: Events, request_times: RequestTimes) -> FinalizeContext:
    wanted = wanted_of(feature)
    return FinalizeContext(
        wanted.function,
        dict(wanted.params),
        request_times.T,
        events,
        wanted.use,
        feature.window,
        feature.column,
    )


def _values(column: Answers) -> list[Value | tuple[Value, ...]]:
    if isinstance(column, ListColumn):
        items = column.items.tolist()
        if column.values is not None:
            items = [
                item for pair in zip(items, _values(column.values), strict=True) for item in pair
            ]
        width = 1 if column.values is None else 2
        return [
            tuple(items[width * column.starts[i] : width * column.starts[i + 1]])
            for i in column.list_index.tolist()
        ]
    valid: Sequence[bool] = (
        [True] * len(column.values) if column.valid is None else column.valid.tolist()
    )
    return [v if ok else None for v, ok in zip(column.values.tolist(), valid, strict=True)]


def _same(feature: Feature, values: Answers, expected: Answers, events: Events, law: str) -> None:
    """Equal, or for floats that are added up within 1e-9 of the column's size."""
    kind = TABLE[feature.aggregation.function].adds
    adds = kind is not None and bool(feature.columns)
    size = (
        float(np.abs(events.columns[feature.columns[0]].values.astype(np.float64)).max(initial=0))
        if adds
        else 0.0
    )
    size **= 2 if kind == "variance" else 1

    def alike(a: object, b: object) -> bool:
        if isinstance(a, tuple) and isinstance(b, tuple):
            return len(a) == len(b) and all(map(alike, a, b))
        close = (
            adds
            and isinstance(a, float)
            and isinstance(b, float)
            and abs(a - b) <= _TOLERANCE * max(size, 1.0) * len(events.t)
        )
        return close or (a == b and type(a) is type(b))

    for row, (a, b) in enumerate(zip(_values(values), _values(expected), strict=True)):
        assert alike(a, b), f"{law}: {feature.name} of request {row} is {a!r} and {b!r}; {events}"
