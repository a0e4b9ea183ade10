"""The begin and end of each request's window among the events of its key.

Only for events in known order, and gone in that order too (see `layers`): there, what a request may
see is one range of positions.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.definitions.windows import Window
from headwater.kernel.arrays import I64, Events, RequestTimes

LIFETIME = -1


def seen(events: Events, requests: RequestTimes) -> tuple[I64, I64]:
    """For each request, the range of events of its key that happened before T and are known, and
    not gone, by K: int64 (l) both.
    """
    begin, stop = np.empty(len(requests.T), np.int64), np.empty(len(requests.T), np.int64)
    _seen(
        events.starts,
        events.t,
        events.known,
        events.gone,
        events.delay,
        requests.starts,
        requests.T,
        requests.K,
        begin,
        stop,
    )
    return begin, stop


def within(
    events: Events, requests: RequestTimes, window: Window, begin: I64, stop: I64
) -> tuple[I64, I64]:
    """For each request, the events lo:hi that the window counts of those that are `seen`; hi == lo
    where it counts none: int64 (l) both.
    """
    lo, hi = np.empty(len(requests.T), np.int64), np.empty(len(requests.T), np.int64)
    length = LIFETIME if window.length is None else window.length
    _within(
        events.starts,
        events.t,
        requests.starts,
        requests.T,
        begin,
        stop,
        length,
        window.hop,
        window.offset,
        lo,
        hi,
    )
    return lo, hi


def spans(events: Events, requests: RequestTimes, window: Window) -> tuple[I64, I64]:
    """`within` of what is `seen`: for one window."""
    return within(events, requests, window, *seen(events, requests))


def blocks(events: Events, window: Window) -> I64:
    """For each event, the position of the first one of its key in the same block, int64 (n).

    Blocks are as long as the window and stand on the UTC epoch (lifetime: one block), so a window
    reaches into at most two. Where events are gone one after the other, a block ends with what may
    be seen together with its first event, so that there too a range seldom begins and ends inside
    one block, which folds would have to walk.
    """
    out = np.empty(len(events.t), np.int64)
    length = LIFETIME if window.length is None else window.length
    if len(events.gone):
        _blocks_of_gone(events.starts, events.t, events.known, events.gone, length, window.hop, out)
    else:
        _blocks(events.starts, events.t, length, out)
    return out


@nb.njit(nogil=True, cache=True)
def first_at(x: I64, low: int, high: int, bound: int) -> int:
    """The first position in low:high whose (rising) x is not below bound, by bisection; high where
    there is none.
    """
    while low < high:
        middle = (low + high) >> 1
        if x[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@nb.njit(nogil=True, cache=True)
def seek(x: I64, p: int, first: int, end: int, bound: int) -> int:
    """The first position in first:end whose (rising) x is not below bound, galloping either way
    from p.
    """
    step = 1
    if p < end and x[p] < bound:
        low = p + 1
        while low + step <= end and x[low + step - 1] < bound:
            low += step
            step *= 2
        high = min(low + step, end)
    else:
        high = p
        while high - step >= first and x[high - step] >= bound:
            high -= step
            step *= 2
        low = max(high - step, first)
    return first_at(x, low, high, bound)


@nb.njit(nogil=True, cache=True)
def _seen(starts, t, known, gone, delay, ask_starts, T, K, begin, stop):  # type: ignore[no-untyped-def]
    by_column = len(known) > 0
    for key in range(len(starts) - 1):
        first, end = starts[key], starts[key + 1]
        b, k, g = first, first, first
        for j in range(ask_starts[key], ask_starts[key + 1]):
            if j > ask_starts[key] and T[j] == T[j - 1] and K[j] == K[j - 1]:
                begin[j], stop[j] = begin[j - 1], stop[j - 1]
                continue
            if by_column:
                b = seek(t, b, first, end, T[j])
                k = seek(known, k, first, end, K[j] + 1)
            else:
                b = seek(t, b, first, end, min(T[j], K[j] - delay + 1))
                k = b
            if len(gone) > 0:
                g = seek(gone, g, first, end, K[j] + 1)
            begin[j], stop[j] = g, min(b, k)


@nb.njit(nogil=True, cache=True)
def _within(starts, t, ask_starts, T, begin, stop, length, hop, offset, lo, hi):  # type: ignore[no-untyped-def]
    for key in range(len(starts) - 1):
        first, end = starts[key], starts[key + 1]
        a, b = first, first
        for j in range(ask_starts[key], ask_starts[key + 1]):
            moved = j == ask_starts[key] or T[j] != T[j - 1]
            if moved and length >= 0:
                a = seek(t, a, first, end, (T[j] - offset - length) // hop * hop)
            if moved and offset != 0:
                b = seek(t, b, first, end, (T[j] - offset) // hop * hop)
            lo[j] = max(a, begin[j])
            hi[j] = max(lo[j], stop[j] if offset == 0 else min(b, stop[j]))


@nb.njit(nogil=True, cache=True)
def _blocks(starts, t, length, out):  # type: ignore[no-untyped-def]
    for key in range(len(starts) - 1):
        first, end = starts[key], starts[key + 1]
        begin = first
        if first == end:
            continue
        limit = (t[first] // length + 1) * length if length >= 0 else 0
        for i in range(first, end):
            if length >= 0 and t[i] >= limit:
                begin = i
                limit = (t[i] // length + 1) * length
            out[i] = begin


@nb.njit(nogil=True, cache=True)
def _blocks_of_gone(starts, t, known, gone, length, hop, out):  # type: ignore[no-untyped-def]
    """A block ends where no request can see an event together with the block's first one: too late
    for its window, or it is gone.
    """
    for key in range(len(starts) - 1):
        begin = starts[key]
        for i in range(starts[key], starts[key + 1]):
            if known[i] >= gone[begin] or (
                length >= 0 and t[i] >= t[begin] // hop * hop + hop + length
            ):
                begin = i
            out[i] = begin
