"""open_count and open_age: a queue. State: (open events, the sum of T minus their times in
microseconds).

That state holds for one T. The stored state, which holds for any later T, is every event with its
end: (sizes, time, end), ragged.
"""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

import numpy as np

from headwater.aggregations import ragged
from headwater.aggregations.base import FinalizeContext, Kinds, State, StateField
from headwater.aggregations.reads import OPEN_AGE, OPEN_COUNT, Read, StoredColumns
from headwater.aggregations.reference import Answer, Counted, Event, as_micros
from headwater.aggregations.table import Entry
from headwater.definitions.checks import SECOND, micros, spelled
from headwater.definitions.feature_view import Aggregation, Windows, made
from headwater.kernel.arrays import Column
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import Spans, Use

_OPEN = np.iinfo(np.int64).max


class _OpenIntervals:
    def partial(self, use: Use, spans: Spans) -> State:
        layer, events = spans.layer, spans.layer.events
        until = events.columns[use.columns[0]]
        ends = until.values if until.valid is None else np.where(until.valid, until.values, _OPEN)
        started = layer.valid(Use((), use.where))
        count, age = np.zeros(len(spans.lo), np.int64), np.zeros(len(spans.lo), np.int64)
        late = (events.delay, events.ended_after)
        _open(
            events.t,
            ends,
            events.known,
            *late,
            started,
            spans.requests.T,
            spans.requests.K,
            spans.lo,
            spans.hi,
            count,
            age,
        )
        return count, age

    def merge(self, left: State, right: State) -> State:
        return left[0] + right[0], left[1] + right[1]

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return StateField(), StateField()

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        count, age = state
        if context.function == "open_count":
            return Column(count)
        return Column(age / np.maximum(count, 1) / SECOND, count > 0)


class _StoredIntervals:
    """The stored state. Every stored event is known."""

    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(Use((), use.where), spans)
        events = spans.layer.events
        until = events.columns[use.columns[0]]
        ends = until.values if until.valid is None else np.where(until.valid, until.values, _OPEN)
        return ragged.sizes_of(rows, len(spans.lo)), events.t[index], ends[index]

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        order = np.argsort(rows, kind="stable")
        t, ends = (np.concatenate([a, b])[order] for a, b in zip(left[1:], right[1:], strict=True))
        return left[0] + right[0], t, ends

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return StateField(), StateField(entry=True), StateField(entry=True)

    def finalize(self, state: State, context: FinalizeContext) -> Column:
        sizes, t, ends = (array.astype(np.int64, copy=False) for array in state)
        T, K = (
            np.repeat(times, sizes)
            for times in (context.T, context.T if context.K is None else context.K)
        )
        # not `ends + ...`: what never ends is as late as int64 can say
        still = (ends >= T) | (ends > K - context.events.ended_after)
        rows = ragged.rows_of(sizes)[still]
        count, age = ragged.sizes_of(rows, len(sizes)), np.zeros(len(sizes), np.int64)
        np.add.at(age, rows, (T - t)[still])
        return OPEN_INTERVALS.finalize((count, age), context)


@njit()
def _open(t, until, known, delay, ended_after, started, T, K, lo, hi, count, age):  # type: ignore[no-untyped-def]
    """Walk each range and leave out what had ended, and was known to have, by (T, K)."""
    by_column = len(known) > 0
    for j in range(len(lo)):
        for i in range(lo[j], hi[j]):
            if len(started) > 0 and not started[i]:
                continue
            began_known = known[i] if by_column else t[i] + delay
            if until[i] < T[j] and max(until[i] + ended_after, began_known) <= K[j]:
                continue
            count[j] += 1
            age[j] += T[j] - t[i]


OPEN_INTERVALS = _OpenIntervals()
STORED_INTERVALS = _StoredIntervals()


@spelled
def open_count(
    *, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """How many events in the window are still open: `until` is null, or not before T, or was not
    known by K. int64, 0 for none.

    A queue: +1 at the event time, -1 at min(until, event time + window). That an event ended is
    known at `until` plus the source's `known_after` (and never before the event itself is known).
    """
    return made("open_count", (until,), windows, where, name)


@spelled
def open_age(
    *, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The mean seconds from the event time to T over the events that `open_count` counts: float64,
    null when none is open.
    """
    return made("open_age", (until,), windows, where, name)


def _read_count(stored: StoredColumns) -> Read:
    """How many events are open, of entries (time, end)."""
    return Read((OPEN_COUNT, stored.columns[0], stored.ended_after), real=False)


def _read_age(stored: StoredColumns) -> Read:
    """The mean age of open events in seconds, of entries (time, end)."""
    return Read((OPEN_AGE, stored.columns[0], stored.ended_after), real=True)


def _naive_open_count(counted: Counted) -> Answer:
    return Answer(len(_still_open(counted)), "present")


def _naive_open_age(counted: Counted) -> Answer:
    ages = [Fraction(counted.request.T - int(e.time), SECOND) for e in _still_open(counted)]
    if not ages:
        return Answer(None, "empty")
    mean = sum(ages, Fraction(0)) / len(ages)
    return Answer(float(mean), "present", float(mean))


def _still_open(counted: Counted) -> list[Event]:
    """The events that have not ended before T, or were not known by K to end: that is known at
    `until` plus the source's delay.
    """
    still, request = [], counted.request
    for event, end in zip(counted.events, counted.values[0], strict=True):
        if isinstance(end, datetime):
            ended = as_micros(end)
            ended_known = max(
                ended + micros(request.source.known_after, "known_after"), event.known
            )
            if ended < request.T and ended_known <= request.K:
                continue
        still.append(event)
    return still


ROWS = (
    Entry(
        "open_count",
        "int",
        accepts="time",
        family=OPEN_INTERVALS,
        stored=STORED_INTERVALS,
        empty=0,
        queue=True,
        read=_read_count,
        reference=_naive_open_count,
        cases=lambda: [open_count(until="moment")],
    ),
    Entry(
        "open_age",
        "float",
        accepts="time",
        family=OPEN_INTERVALS,
        stored=STORED_INTERVALS,
        null="empty",
        queue=True,
        read=_read_age,
        reference=_naive_open_age,
        cases=lambda: [open_age(until="moment")],
    ),
)
