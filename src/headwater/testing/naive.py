"""One naive reference: what a feature's value is, by the letter of the design, in plain Python and
exact arithmetic.

It shares nothing with the code that it judges but the definitions: for each row and each feature it
looks at every event. Nothing here is fast, and nothing should be made so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import cast

from headwater.aggregations.reference import (
    Answer,
    Counted,
    Event,
    NaiveRequest,
    Reference,
    Row,
    Value,
    as_micros,
    in_order,
)
from headwater.aggregations.table import TABLE
from headwater.definitions.checks import micros
from headwater.definitions.feature_view import Feature, FeatureView, SecondaryKey
from headwater.definitions.freshness import Freshness
from headwater.definitions.source import Source
from headwater.definitions.windows import Window
from headwater.testing.naive_time import as_of, end_of_day

__all__ = ["Answer", "NaiveFeatures", "accepted", "accepted_events", "agree", "evaluate", "visible"]


def evaluate(
    view: FeatureView,
    events: Sequence[Row],
    rows: Sequence[Row],
    *,
    timestamp_field: str = "timestamp",
    freshness: Freshness | None = None,
    source: Source | None = None,
) -> list[dict[str, Answer]]:
    """The value and status of every feature of `view`, for each row.

    Args:
        view: what to compute; of its source, only the rules are used.
        events: the source's rows, in any order; times are tz-aware.
        rows: the requests: the view's keys (by the names that the request uses) and the request
            time.
        timestamp_field: the request time.
        freshness: instead of the view's.
        source: instead of the view's, such as the same events known sooner.

    Returns:
        For each row, an answer for each full feature name.

    Raises:
        ValueError: an infinite value.

    >>> import headwater as hw
    >>> from datetime import UTC
    >>> clicks = hw.Source("clicks", timestamp_field="at")
    >>> view = hw.FeatureView(
    ...     "user",
    ...     source=clicks,
    ...     keys=["user"],
    ...     features=[hw.count()],
    ...     windows=["1h"],
    ...     freshness=hw.on_request(),
    ... )
    >>> noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    >>> evaluate(view, [{"user": 1, "at": noon}], [{"user": 1, "timestamp": noon}])
    [{'user__count_1h': Answer(value=0, status='missing', scale=0.0)}]
    """
    source = view.source if source is None else source
    freshness = view.freshness if freshness is None else freshness
    accepted_rows = accepted(view, source, events)
    question = NaiveFeatures(
        view.keys,
        view.outputs,
        [f.window for f in view.outputs],
        view.expires_after,
        source,
    )
    answers_by_row = []
    for row in rows:
        times = as_of(freshness, as_micros(_timestamp(row[timestamp_field])))
        keys = {key: row[str(view.request_key(key))] for key in view.keys}
        if view.list_key is None:
            answers = question.answers(accepted_rows, list(keys.values()), times)
        else:
            elements = cast("list[Value] | None", keys[view.list_key.key])
            by_element = [
                question.answers(
                    accepted_rows, list({**keys, view.list_key.key: key}.values()), times
                )
                for key in elements or ()
            ]
            answers = [
                _of_list(elements, [answers[n] for answers in by_element])
                for n in range(len(view.outputs))
            ]
        answers_by_row.append(
            {
                f"{view.name}__{f.name}": answer
                for f, answer in zip(view.outputs, answers, strict=True)
            }
        )
    return answers_by_row


def _of_list(keys: object, answers: Sequence[Answer]) -> Answer:
    """The answer for a list of keys, from those of its elements."""
    if not answers:
        return Answer(None if keys is None else [], "missing" if keys is None else "empty")
    statuses = {answer.status for answer in answers}
    status = next(
        s
        for s in ("overflow", "fallback", "present", "expired", "empty", "missing")
        if s in statuses
    )
    return Answer(
        [answer.value for answer in answers],  # type: ignore[misc]
        status,
        max(answer.scale for answer in answers),
    )  # a list of lists


def visible(event: Event, window: Window, T: int, K: int) -> bool:
    """The one rule: floor(T - window, hop) <= event time < T, and known_at <= K, and not yet taken
    back; an offset floors both ends.
    """
    head = T if window.offset == 0 else (T - window.offset) // window.hop * window.hop
    tail = (
        -math.inf
        if window.length is None
        else (T - window.offset - window.length) // window.hop * window.hop
    )
    return tail <= event.time < head and event.known <= K < event.removed_at


def accepted(view: FeatureView, source: Source, events: Sequence[Row]) -> list[Event]:
    """The events with their times, without the copies that `id_horizon` drops; of a source with
    `changes`, every version of each.

    Which of several copies or images known at one time counts is decided by the event time, then by
    every column that the source declares.
    """
    return accepted_events(
        source,
        {
            *view.keys,
            *(c for f in view.outputs for c in (*f.columns, *f.aggregation.extra_columns)),
        },
        events,
    )


def accepted_events(source: Source, read: AbstractSet[str], events: Sequence[Row]) -> list[Event]:
    """As `accepted`, where these columns are read."""
    special_columns = {
        source.timestamp_field,
        source.known_at_field,
        source.id_field,
        source.changes,
    }
    names = sorted(
        ({name for row in events for name in row} if source.columns is None else source.columns)
        - special_columns
    )
    names += sorted(read - {*names})  # such as the `until` of a queue, which need not be selected
    if source.changes is not None:
        idents = dict.fromkeys(row[str(source.id_field)] for row in events)
        return [
            v
            for i in idents
            for v in _versions(
                source, [row for row in events if row[str(source.id_field)] == i], names
            )
        ]
    timed = [_event(source, row) for row in events if row[source.timestamp_field] is not None]
    timed = [event for event in timed if event.known != math.inf]
    if source.id_field is None:
        return timed

    accepted_rows: list[Event] = []
    for event in sorted(
        timed,
        key=lambda e: (e.known, [in_order(e.row[n]) for n in (source.timestamp_field, *names)]),
    ):
        horizon = event.known - micros(source.id_horizon, "id_horizon")
        if not any(copy.ident == event.ident and copy.known > horizon for copy in accepted_rows):
            accepted_rows.append(event)
    return accepted_rows


def _versions(source: Source, images: Sequence[Row], names: Sequence[str]) -> list[Event]:
    """The versions of one event: moment by moment, what its images say from then on."""

    def says(row: Row | None) -> list[tuple[int, Value]] | None:
        return (
            None
            if row is None
            else [in_order(row[name]) for name in (source.timestamp_field, *names)]
        )

    versions: list[Event] = []
    held: Row | None = None
    since = -math.inf
    images_by_time = [
        (_instant(at, source), row)
        for row in images
        if (at := row[str(source.known_at_field)]) is not None
    ]
    for known_at in sorted({at for at, _ in images_by_time}):
        now = [row for at, row in images_by_time if at == known_at]
        before = [says(row) for row in now if row[str(source.changes)]]
        after = [row for row in now if not row[str(source.changes)]]
        fresh = [row for row in after if says(row) not in before]
        holds = max(fresh or after, key=says) if after else None  # type: ignore[arg-type]
        if says(holds) != says(held):
            if held is not None:
                versions.append(_event(source, held)._replace(known=since, removed_at=known_at))
            held, since = holds, known_at
    if held is not None:
        versions.append(_event(source, held)._replace(known=since))
    return [version for version in versions if not math.isnan(version.time)]


def agree(
    answer: Answer, value: Value | list[Value] | dict[Value, Value], *, squared: bool = False
) -> bool:
    """Whether `value` is what the reference says: equal, or for floats within 1e-9 of the answer's
    scale; maps in the same order.

    `squared`: compare squares, as the design states a deviation's tolerance for the variance.
    """
    if isinstance(answer.value, dict) and isinstance(value, dict):
        keys = [[(type(key), key) for key in map_] for map_ in (answer.value, value)]
        return keys[0] == keys[1] and all(
            agree(answer.value[key], item, squared=squared) for key, item in value.items()
        )
    if isinstance(answer.value, list) and isinstance(value, list):
        pairs = zip(answer.value, value, strict=False)
        return len(answer.value) == len(value) and all(
            agree(answer._replace(value=a), b, squared=squared) for a, b in pairs
        )
    if isinstance(value, datetime):
        return isinstance(answer.value, datetime) and as_micros(answer.value) == as_micros(value)
    if isinstance(value, float) and isinstance(answer.value, int | float):
        power = 2 if squared else 1
        return (
            math.isfinite(value)
            and abs(Fraction(value) ** power - Fraction(answer.value) ** power)
            <= Fraction(answer.scale) / 10**9
        )
    return answer.value == value and isinstance(answer.value, bool) == isinstance(value, bool)


@dataclass(frozen=True)
class NaiveFeatures:
    """Features of the events of one key at a time. retained: the windows of the view; if none holds
    an event, all features are missing.
    """

    keys: Sequence[str]
    features: Sequence[Feature]
    retained: Sequence[Window]
    expires_after: int | None
    source: Source

    def answers(
        self, events: Sequence[Event], key: Sequence[Value], times: tuple[int, int] | None
    ) -> list[Answer]:
        """The answer of each feature for one request, which is of a key and has T and K: None where
        nothing counts.
        """
        if times is None:
            return [Answer(_empty(f), "missing") for f in self.features]
        key_events = self._events_of_key(events, key)
        retained = any(visible(e, window, *times) for e in key_events for window in self.retained)
        request = NaiveRequest(*times, self.source, retained=retained)
        return [self._answer(f, counted(f, key_events, *times), request) for f in self.features]

    def known_at(
        self, events: Sequence[Event], key: Sequence[Value], times: tuple[int, int] | None
    ) -> float:
        """When the last event that any feature counts became known, -inf where none counts; for a
        queue it is K.
        """
        latest = [-math.inf]
        for f in self.features if times is not None else []:
            assert times is not None
            known_times = [e.known for e in counted(f, self._events_of_key(events, key), *times)]
            if known_times:
                latest.append(times[1] if f.aggregation.facts.queue else max(known_times))
        return max(latest)

    def _events_of_key(self, events: Sequence[Event], key: Sequence[Value]) -> list[Event]:
        return [
            e
            for e in events
            if None not in key and [e.row[name] for name in self.keys] == list(key)
        ]

    def _answer(self, feature: Feature, events: list[Event], request: NaiveRequest) -> Answer:
        if not events:
            return Answer(_empty(feature), "empty" if request.retained else "missing")
        if self.expires_after is not None and request.T - events[-1].time > self.expires_after:
            return Answer(None, "expired")
        reference = _within(TABLE[feature.aggregation.function].reference)
        if feature.aggregation.secondary is not None:
            return _map(feature, events, request, reference, feature.aggregation.secondary)
        return reference(Counted(feature, events, _values(feature, events), request))


def counted(feature: Feature, events: Sequence[Event], T: int, K: int) -> list[Event]:
    """Those of one key's events that a feature counts, in their order."""
    aggregation, counted_events = (
        feature.aggregation,
        [e for e in events if visible(e, feature.window, T, K)],
    )
    if aggregation.where is not None:
        counted_events = [e for e in counted_events if e.row[aggregation.where] is True]
    if aggregation.skips_null:
        counted_events = [
            e for e in counted_events if None not in [_value(e, c) for c in feature.columns]
        ]
    if aggregation.secondary is not None:
        counted_events = [
            e for e in counted_events if e.row[aggregation.secondary.column] is not None
        ]
    return sorted(
        counted_events,
        key=lambda e: (
            e.time,
            in_order(e.ident),
            [in_order(_value(e, c)) for c in feature.columns],
        ),
    )


def _within(reference: Reference) -> Reference:
    """The reference; a float that has left float64 is null, with the status overflow."""

    def answer(counted: Counted) -> Answer:
        try:
            return reference(counted)
        except OverflowError:
            return Answer(None, "overflow")

    return answer


def _map(
    feature: Feature,
    events: list[Event],
    request: NaiveRequest,
    reference: Reference,
    by: SecondaryKey,
) -> Answer:
    """The reference's answer for each of the categories with the latest events, by (time, id,
    category).
    """
    groups: dict[Value, list[Event]] = {}
    for event in events:
        groups.setdefault(event.row[by.column], []).append(event)
    latest = {
        category: max((e.time, in_order(e.ident)) for e in group)
        for category, group in groups.items()
    }
    categories = sorted(groups, key=lambda category: (*latest[category], in_order(category)))[
        -by.max_keys :
    ]
    return Answer(
        {
            c: reference(Counted(feature, groups[c], _values(feature, groups[c]), request))
            for c in categories
        },
        "present",
    )


def _empty(feature: Feature) -> Value | list[Value] | dict[Value, Answer]:
    if feature.aggregation.secondary is not None:
        return {}
    empty = TABLE[feature.aggregation.function].empty
    return [] if isinstance(empty, tuple) else empty


def _values(feature: Feature, events: list[Event]) -> list[list[Value]]:
    return [[_value(e, c) for e in events] for c in feature.columns]


def _value(event: Event, column: str) -> Value:
    """The value, NaN as null."""
    value = event.row[column]
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"{column} is infinite")
    return None if isinstance(value, float) and math.isnan(value) else value


def _event(source: Source, row: Row) -> Event:
    happened = (
        math.nan
        if row[source.timestamp_field] is None
        else _instant(row[source.timestamp_field], source)
    )
    known_at: float = happened + micros(source.known_after, "known_after")
    if source.known_at_field is not None:
        known_at = (
            math.inf
            if row[source.known_at_field] is None
            else _instant(row[source.known_at_field], source)
        )
    time = happened if source.window_on == "timestamp" else known_at
    return Event(time, known_at, None if source.id_field is None else row[source.id_field], row)


def _instant(value: Value, source: Source) -> int:
    """A time of the source in microseconds; a date is the last microsecond of its day."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return end_of_day(value, str(source.timezone))
    return as_micros(_timestamp(value))


def _timestamp(value: Value) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{value!r} is not a tz-aware moment")
    return value
