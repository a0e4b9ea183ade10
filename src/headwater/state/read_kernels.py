"""Loops that make values of the words of records, where all that a view's features are made of are rows of numbers.

The views of a request are answered in one call, by a plan: int64 words. How many views, and where the section of each begins; a section
is SECTION words (what they are, `state.read_plan.Plan` says), the windows (length, hop, offset; length -1 of a lifetime), the program of
`kernel.merge_program`, the state of no event, and WIDTH words for each feature.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from headwater.aggregations.reads import DEVIATION, FRACTION, KEPT, LATEST, MEAN, RATE, REAL, SINCE, SUM, VARIANCE, WHOLE
from headwater.definitions.durations import SECOND
from headwater.kernel.merge_program import ADD, GREATEST, LEAST, PICK, merged, paired
from headwater.kernel.tile_ladder import ALL
from headwater.state.tile_kernels import FORMAT, HEAD

SECTION, WIDTH = 8, 12
_FAR = 2.0**62
PRESENT, EMPTY, MISSING, EXPIRED, _, OVERFLOW = range(6)


@nb.njit(nogil=True, cache=True)
def answer(words, plan, keys, out):  # type: ignore[no-untyped-def]
    """The features of some views for `keys` keys; how many are null, or -1 where a record is of another format.

    words: T of each view; then the records, view after view, key after key, as many for each as the view's section says. out: the
    values, int64 (features, keys), float64 bit by bit where a feature is one; then a byte each, its status; and one, 1 where it is null.
    """
    p, nulls, size, room, most, windows = plan[0], 0, 0, 0, 0, 0
    for view in range(plan[0]):
        at = plan[1 + view]
        size += plan[at + 3]
        room, most, windows = max(room, plan[at] * plan[at + 1]), max(most, plan[at + 4]), max(windows, plan[at + 1])
    values = out[: size * keys]
    tail = out[size * keys :].view(np.uint8)
    statuses, gone = tail[: size * keys], tail[size * keys : 2 * size * keys]
    reals, floats = words.view(np.float64), values.view(np.float64)
    states, edges, spans, bench = np.empty(room, np.int64), np.empty(2 * windows, np.int64), np.empty(4 * most, np.int64), np.empty(128)
    numbers = states.view(np.float64)
    for view in range(plan[0]):
        at, T = plan[1 + view], words[view]
        columns, records = plan[at], plan[at + 4]
        _edges(plan, at, T, edges)
        for key in range(keys):
            begin, tiles = p, 0
            for _ in range(records):
                if words[p] != FORMAT:
                    return -1
                tiles += words[p + 2]
                p += HEAD + words[p + 2] * (1 + columns)
            if tiles >= len(bench):
                bench = np.empty(2 * (tiles + 1))
            any_event = _windows(words, reals, begin, plan, at, edges, spans, bench, states, numbers)
            nulls += _features(plan, at, states, numbers, T, any_event, key, keys, values, floats, statuses, gone)
    return nulls


@nb.njit(cache=True)
def answer_one(words, plan, out):  # type: ignore[no-untyped-def]
    """As `answer`, for one key, and without letting others have the interpreter: to get it back takes longer than this does."""
    return answer(words, plan, 1, out)


@nb.njit(nogil=True, cache=True)
def _edges(plan, view, T, edges):  # type: ignore[no-untyped-def]
    """Write the begin and end of each window of a view, as of `TileLadder.begin` and `TileLadder.end`, into `edges`."""
    for w in range(plan[view + 1]):
        at = view + SECTION + 3 * w
        length, hop, offset = plan[at], plan[at + 1], plan[at + 2]
        edges[2 * w] = ALL if length < 0 else (T - offset - length) // hop * hop
        edges[2 * w + 1] = T if offset == 0 else (T - offset) // hop * hop


@nb.njit(nogil=True, cache=True)
def _windows(words, reals, begin, plan, view, edges, spans, bench, states, numbers):  # type: ignore[no-untyped-def]
    """The states of a view's windows for one key, into `states`: each of the tiles that begin between its edges.

    view: where its section begins. spans, to be filled: of each record where its columns begin, how many tiles it has, and the first and
    the end of those that count. bench: room for a column of all tiles. Whether there is any event.
    """
    columns, count, steps, records, everything = plan[view], plan[view + 1], plan[view + 2], plan[view + 4], plan[view + 6]
    how = view + SECTION + 3 * count
    neutral, any_event = how + 3 * steps, False
    for w in range(count):
        first, last, p, used = edges[2 * w], edges[2 * w + 1], begin, 1
        for r in range(records):
            n = words[p + 2]
            p += HEAD
            low = 0
            while low < n and words[p + low] < first:
                low += 1
            high = low
            while high < n and words[p + high] < last:
                high += 1
            spans[4 * r], spans[4 * r + 1], spans[4 * r + 2], spans[4 * r + 3] = p + n, n, low, high
            used += high - low
            p += n * (1 + columns)
        i, mine = 0, w * columns
        while i < steps:
            op, c, real = plan[how + 3 * i], plan[how + 3 * i + 1], plan[how + 3 * i + 2]
            if op > GREATEST:
                extra = real if op == PICK else 0
                rows = np.empty((used, columns), np.int64)
                _gathered(words, spans, records, plan[neutral : neutral + columns], rows)
                program = plan[how + 3 * i : how + 3 * (i + 1 + extra)].reshape(1 + extra, 3)
                merged(program, rows, rows.view(np.float64), 0, used)
                for k in range(c, c + (real if op == PICK else 3)):
                    states[mine + k] = rows[0, k]
                i += extra
            elif real:
                states[mine + c] = plan[neutral + c]
                bench[0], k = numbers[mine + c], 1
                for r in range(records):
                    q = spans[4 * r] + c * spans[4 * r + 1]
                    for j in range(q + spans[4 * r + 2], q + spans[4 * r + 3]):
                        bench[k] = reals[j]
                        k += 1
                numbers[mine + c] = paired(op, bench, used)
            else:
                v = plan[neutral + c]
                for r in range(records):
                    q = spans[4 * r] + c * spans[4 * r + 1]
                    for j in range(q + spans[4 * r + 2], q + spans[4 * r + 3]):
                        x = words[j]
                        if op == ADD:
                            v += x
                        elif (op == LEAST and x < v) or (op == GREATEST and x > v):
                            v = x
                states[mine + c] = v
            i += 1
        any_event |= states[mine + everything] > 0
    return any_event


@nb.njit(nogil=True, cache=True)
def _gathered(words, spans, records, neutral, rows):  # type: ignore[no-untyped-def]
    """The state of no event, and those of the tiles that count, as rows."""
    rows[0] = neutral
    columns, k = len(neutral), 1
    for r in range(records):
        for i in range(spans[4 * r + 2], spans[4 * r + 3]):
            for c in range(columns):
                rows[k, c] = words[spans[4 * r] + c * spans[4 * r + 1] + i]
            k += 1


@nb.njit(nogil=True, cache=True)
def _features(plan, view, states, reals, T, any_event, key, keys, values, floats, statuses, gone):  # type: ignore[no-untyped-def]
    """Finish every feature of a view for one key, as its family does; how many are null. view: where its section begins."""
    columns, limit, nulls = plan[view], plan[view + 5], 0
    first = view + SECTION + 3 * plan[view + 1] + 3 * plan[view + 2] + columns
    for f in range(first, first + WIDTH * plan[view + 3], WIDTH):
        kind, at, b, d = plan[f], plan[f + 1] * columns, plan[f + 3], plan[f + 5]
        real, counted, cell, word = plan[f + 6], plan[f + 7], plan[f + 8] * keys + key, plan[f + 9]
        valid, x, v, a, c = True, 0.0, 0, at + plan[f + 2], plan[f + 4]
        if kind == WHOLE:
            v = states[a]
        elif kind == REAL:
            x = reals[a]
        elif kind == SUM:
            v, valid = states[a], abs(reals[at + b] - states[a]) < _FAR
        elif kind == MEAN:
            x, valid = _total(states, reals, at, b, c) / max(states[a], 1), states[a] > 0
        elif kind in (KEPT, LATEST):
            v, x, valid = states[a], reals[a], states[at + b] > 0
            if kind == LATEST:
                valid = valid and states[at + c] > 0
        elif kind in (DEVIATION, VARIANCE):
            freedom = states[a] - c
            x, valid = reals[at + b] / max(freedom, 1), freedom > 0
            if kind == DEVIATION:
                x = math.sqrt(x)
        elif kind == SINCE:
            valid = states[at + b] > 0
            x = (T - states[a] if valid else 0) / SECOND
        elif kind == RATE:
            x = (states[a] if b == -2 else _total(states, reals, at, a - at, b)) / (c / SECOND)
        elif kind == FRACTION:
            x, valid = states[at + b] / max(states[a], 1), states[a] > 0
        else:
            below = _total(states, reals, at, c, d)
            valid = below != 0
            x = _total(states, reals, at, a - at, b) / (below if valid else 1.0)
        status = PRESENT if states[at + counted] > 0 else (EMPTY if any_event else MISSING)
        if word >= 0 and not valid and states[at + counted] > 0:
            status = word
        if real and valid and not math.isfinite(x):
            status, valid = OVERFLOW, False
        if limit >= 0 and states[at + plan[f + 11]] > 0:
            age = (T - states[at + plan[f + 10]]) / SECOND
            if np.rint(age * SECOND) > limit:
                status, valid = EXPIRED, False
        statuses[cell], gone[cell] = status, not valid
        if real:
            floats[cell] = x
        else:
            values[cell] = v
        nulls += not valid
    return nulls


@nb.njit(nogil=True, cache=True)
def _total(states, reals, at, a, rough):  # type: ignore[no-untyped-def]
    """A sum as float64: that of floats, or an integer one, which `rough` holds where it has left int64; `at`: where the state begins."""
    if rough < 0:
        return reals[at + a]
    return np.float64(states[at + a]) if abs(reals[at + rough] - states[at + a]) < _FAR else reals[at + rough]
