"""open_count and open_age: a queue. State: (open events, the sum of T minus their times in microseconds)."""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.aggregations.algebra import Finish, State
from headwater.compute.arrays import Column
from headwater.compute.layer import Spans, Use
from headwater.definitions.durations import SECOND

_OPEN = np.iinfo(np.int64).max


class _Opens:
    def ranges(self, use: Use, spans: Spans) -> State:
        layer, events = spans.layer, spans.layer.events
        until = events.columns[use.columns[0]]
        ends = until.values if until.valid is None else np.where(until.valid, until.values, _OPEN)
        started = layer.valid(Use((), use.where))
        count, age = np.zeros(len(spans.lo), np.int64), np.zeros(len(spans.lo), np.int64)
        late = (events.delay, events.ended_after)
        _open(events.t, ends, events.known, *late, started, spans.asks.T, spans.asks.K, spans.lo, spans.hi, count, age)
        return count, age

    def merge(self, left: State, right: State) -> State:
        return left[0] + right[0], left[1] + right[1]

    def finish(self, state: State, how: Finish) -> Column:
        count, age = state
        if how.function == "open_count":
            return Column(count)
        return Column(age / np.maximum(count, 1) / SECOND, count > 0)


@nb.njit(nogil=True, cache=True)
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


OPENS = _Opens()
