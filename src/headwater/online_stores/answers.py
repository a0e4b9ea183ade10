"""Loops that make values of the words of records, where all that a view's features are made of are rows of numbers.

The views of a request are answered in one call, by a plan: int64 words. How many views, and where the section of each begins; a section
is SECTION words (what they are, `engines.answers.Plan` says), the windows (length, hop, offset; length -1 of a lifetime), the program of
`compute.rows`, the state of no event, and WIDTH words for each feature.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from headwater.compute.rows import merged
from headwater.compute.tiles import ALL
from headwater.definitions.durations import SECOND
from headwater.online_stores.kernels import FORMAT, HEAD

SECTION, WIDTH = 8, 12
WHOLE, REAL, SUM, MEAN, KEPT, LATEST, DEVIATION, VARIANCE, SINCE, RATE, FRACTION, RATIO = range(12)
"""How a value is made of up to four columns of the state of a window."""
_FAR = 2.0**62
PRESENT, EMPTY, MISSING, EXPIRED = range(4)


@nb.njit(nogil=True, cache=True)
def answer(words, plan, keys, out):  # type: ignore[no-untyped-def]
    """The features of some views for `keys` keys; how many are null, or -1 where a record is of another format.

    words: T of each view; then the records, view after view, key after key, as many for each as the view's section says. out: the
    values, int64 (features, keys), float64 bit by bit where a feature is one; then a byte each, its status; and one, 1 where it is null.
    """
    p, nulls, size = plan[0], 0, 0
    for view in range(plan[0]):
        size += plan[plan[1 + view] + 3]
    values = out[: size * keys].reshape(size, keys)
    tail = out[size * keys :].view(np.uint8)
    said, gone = tail[: size * keys].reshape(size, keys), tail[size * keys : 2 * size * keys].reshape(size, keys)
    for view in range(plan[0]):
        at = plan[1 + view]
        columns, count, steps, features = plan[at], plan[at + 1], plan[at + 2], plan[at + 3]
        records, limit, everything = plan[at + 4], plan[at + 5], plan[at + 6]
        at += SECTION
        windows = plan[at : at + 3 * count].reshape(count, 3)
        at += 3 * count
        how = plan[at : at + 3 * steps].reshape(steps, 3)
        at += 3 * steps
        neutral = plan[at : at + columns]
        at += columns
        wanted = plan[at : at + WIDTH * features].reshape(features, WIDTH)
        rows, states = np.empty((128, columns), np.int64), np.empty((count, columns), np.int64)
        for key in range(keys):
            begin, tiles = p, 0
            for _ in range(records):
                if words[p] != FORMAT:
                    return -1
                tiles += words[p + 2]
                p += HEAD + words[p + 2] * (1 + columns)
            if tiles + 1 > len(rows):
                rows = np.empty((2 * (tiles + 1), columns), np.int64)
            some = False
            for w in range(count):
                _window(words, begin, records, windows[w], words[view], how, neutral, rows)
                states[w] = rows[0]
                some |= rows[0, everything] > 0
            nulls += _features(states, states.view(np.float64), wanted, words[view], limit, some, key, values, said, gone)
    return nulls


@nb.njit(nogil=True, cache=True)
def _window(words, begin, records, window, T, how, neutral, rows):  # type: ignore[no-untyped-def]
    """The state of a window, into the first of `rows`: of the tiles that `Ladder.begin` and `Ladder.end` say."""
    columns = len(neutral)
    length, hop, offset = window[0], window[1], window[2]
    first = ALL if length < 0 else (T - offset - length) // hop * hop
    last = T if offset == 0 else (T - offset) // hop * hop
    rows[0] = neutral
    used, p = 1, begin
    for _ in range(records):
        n = words[p + 2]
        p += HEAD
        for i in range(n):
            if first <= words[p + i] < last:
                q = p + n + i
                for c in range(columns):
                    rows[used, c] = words[q]
                    q += n
                used += 1
        p += n * (1 + columns)
    merged(how, rows, rows.view(np.float64), 0, used)


@nb.njit(nogil=True, cache=True)
def _features(states, reals, wanted, T, limit, some, key, values, said, gone):  # type: ignore[no-untyped-def]
    """Finish every feature of a view for one key, as its family does; how many are null."""
    nulls = 0
    floats = values.view(np.float64)
    for f in range(len(wanted)):
        kind, w, a, b, c, d = wanted[f, 0], wanted[f, 1], wanted[f, 2], wanted[f, 3], wanted[f, 4], wanted[f, 5]
        real, counted, place, word = wanted[f, 6], wanted[f, 7], wanted[f, 8], wanted[f, 9]
        state, numbers = states[w], reals[w]
        valid, x, v = True, 0.0, 0
        if kind == WHOLE:
            v = state[a]
        elif kind == REAL:
            x = numbers[a]
        elif kind == SUM:
            v, valid = state[a], abs(numbers[b] - state[a]) < _FAR
        elif kind == MEAN:
            x, valid = _total(state, numbers, b, c) / max(state[a], 1), state[a] > 0
        elif kind in (KEPT, LATEST):
            v, x, valid = state[a], numbers[a], state[b] > 0
            if kind == LATEST:
                valid = valid and state[c] > 0
        elif kind in (DEVIATION, VARIANCE):
            freedom = state[a] - c
            x, valid = numbers[b] / max(freedom, 1), freedom > 0
            if kind == DEVIATION:
                x = math.sqrt(x)
        elif kind == SINCE:
            valid = state[b] > 0
            x = (T - state[a] if valid else 0) / SECOND
        elif kind == RATE:
            x = (state[a] if b == -2 else _total(state, numbers, a, b)) / (c / SECOND)
        elif kind == FRACTION:
            x, valid = state[b] / max(state[a], 1), state[a] > 0
        else:
            below = _total(state, numbers, c, d)
            valid = below != 0
            x = _total(state, numbers, a, b) / (below if valid else 1.0)
        status = PRESENT if state[counted] > 0 else (EMPTY if some else MISSING)
        if word >= 0 and not valid and state[counted] > 0:
            status = word
        if limit >= 0 and state[wanted[f, 11]] > 0:
            age = (T - state[wanted[f, 10]]) / SECOND
            if np.rint(age * SECOND) > limit:
                status, valid = EXPIRED, False
        nulls += not valid
        said[place, key], gone[place, key] = status, not valid
        if real:
            floats[place, key] = x
        else:
            values[place, key] = v
    return nulls


@nb.njit(nogil=True, cache=True)
def _total(state, numbers, at, rough):  # type: ignore[no-untyped-def]
    """A sum as float64: that of floats, or an integer one, which `rough` holds where it has left int64."""
    if rough < 0:
        return numbers[at]
    return np.float64(state[at]) if abs(numbers[rough] - state[at]) < _FAR else numbers[rough]
