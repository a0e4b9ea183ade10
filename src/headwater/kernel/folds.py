"""Loops that fold a range of values for each request, in time that does not grow with the range.

Van Herk's and Gil and Werman's two-sided running fold (1992, 1993): within blocks as long as the
window, running folds from the left and from the right; a window is the end of one block and the
beginning of the next. Nothing is ever subtracted, so cents added to billions stay right, and a
value depends only on the events that count, not on what else is in the history.

All take values (n) and `Ranges`, and write out (l). Where few events are asked for in all, they
walk the range instead, adding in the very same order: from the left in a block's beginning, from
the right in its end, and from the left inside one block, as if it began there, so that events which
are not read change nothing; but from the right where events are gone, since there most ranges lie
so.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, cast

import numba as nb
import numpy as np

from headwater.kernel.arrays import F64, I64, Values

ADD, LEAST, GREATEST = 0, 1, 2

_KEPT = 1 << 18  # entries of the two arrays that a thread keeps: 4 MB
_LOCAL = threading.local()


class Ranges(NamedTuple):
    """lo, hi: int64 (l), positions of events. block: int64 (n), as `bounds` makes them. gone:
    whether its events are gone in turn.
    """

    lo: I64
    hi: I64
    block: I64
    gone: bool


def fold(values: Values, op: int, neutral: float, ranges: Ranges) -> Values:
    """The sum, least or greatest of values[lo:hi] for each request, of the dtype of `values`;
    `neutral` where the range is empty.
    """
    out = cast("Values", np.full(len(ranges.lo), neutral, values.dtype))
    if int((ranges.hi - ranges.lo).sum()) <= 2 * len(values):
        _walk(values, op, *ranges, out)
    else:
        _fold(values, op, *ranges, *_scratch(values), out)
    return out


def moments(values: F64, ranges: Ranges) -> tuple[I64, F64, F64]:
    """The count, mean and sum of squared deviations of the values that are not NaN (Welford 1962;
    merged by Chan et al. 1979).
    """
    n, range_count = len(values), len(ranges.lo)
    count, mean, square = (
        np.zeros(range_count, np.int64),
        np.zeros(range_count),
        np.zeros(range_count),
    )
    _moments(values, *ranges, np.empty((n, 3)), np.empty((n, 3)), count, mean, square)
    return count, mean, square


def _scratch(values: Values) -> tuple[Values, Values]:
    """Two arrays as long as these values, of any content. A thread keeps small ones: new memory
    costs more than a fold.
    """
    if len(values) > _KEPT:
        return np.empty_like(values), np.empty_like(values)
    if not hasattr(_LOCAL, "words"):
        _LOCAL.words = np.empty((2, _KEPT), np.int64)
    left, right = _LOCAL.words[:, : len(values)].view(values.dtype)
    return left, right


@nb.njit(nogil=True, cache=True, inline="always")
def _join(a, b, op):  # type: ignore[no-untyped-def]
    if op == ADD:
        return a + b
    if op == LEAST:
        return min(a, b)
    return max(a, b)


@nb.njit(nogil=True, cache=True)
def _walk(v, op, lo, hi, block, gone, out):  # type: ignore[no-untyped-def]
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        if b <= a:
            continue
        middle = block[b - 1]
        if middle == a or (middle < a and not gone):
            x = v[a]
            for i in range(a + 1, b):
                x = _join(x, v[i], op)
            out[j] = x
            continue
        if middle < a:
            x = v[b - 1]
            for i in range(b - 2, a - 1, -1):
                x = _join(v[i], x, op)
            out[j] = x
            continue
        x = v[middle - 1]
        for i in range(middle - 2, a - 1, -1):
            x = _join(v[i], x, op)
        y = v[middle]
        for i in range(middle + 1, b):
            y = _join(y, v[i], op)
        out[j] = _join(x, y, op)


@nb.njit(nogil=True, cache=True)
def _fold(v, op, lo, hi, block, gone, left, right, out):  # type: ignore[no-untyped-def]
    n = len(v)
    if n > 0:
        left[0], right[n - 1] = v[0], v[n - 1]
        x, y = v[0], v[n - 1]
    # left[i]: from the beginning of i's block to i; right[k]: from k to the end of its block
    for i in range(1, n):
        # both ways in one loop, each total in a register and chosen without a branch: four times as
        # fast
        k = n - 1 - i
        more, before = _join(x, v[i], op), _join(v[k], y, op)
        x = v[i] if block[i] == i else more
        y = v[k] if block[k + 1] == k + 1 else before
        left[i], right[k] = x, y
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        if b <= a:
            continue
        middle = block[b - 1]
        if middle == a:
            out[j] = left[b - 1]
        elif middle > a:
            out[j] = _join(right[a], left[b - 1], op)
        elif not gone:  # a late head: the range lies inside one block
            x = v[a]
            for i in range(a + 1, b):
                x = _join(x, v[i], op)
            out[j] = x
        elif b == n or block[b] == b:
            out[j] = right[a]
        else:
            x = v[b - 1]
            for i in range(b - 2, a - 1, -1):
                x = _join(v[i], x, op)
            out[j] = x


@nb.njit(nogil=True, cache=True)
def chan(n, m, s, k, p, q):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Count, mean and squares of two parts together."""
    total = n + k
    if total == 0:
        return 0.0, 0.0, 0.0
    if n == 0:
        return k, p, q
    if k == 0:
        return n, m, s
    d = p - m
    return total, m + d * (k / total), s + q + d * d * (n * k / total)


@nb.njit(nogil=True, cache=True)
def _moments(v, lo, hi, block, gone, left, right, count, mean, square):  # type: ignore[no-untyped-def]
    n = len(v)
    for i in range(n):
        present = 1.0 if v[i] == v[i] else 0.0
        x = v[i] if present else 0.0
        if block[i] == i:
            left[i, 0], left[i, 1], left[i, 2] = present, x, 0.0
        else:
            left[i, 0], left[i, 1], left[i, 2] = chan(
                left[i - 1, 0], left[i - 1, 1], left[i - 1, 2], present, x, 0.0
            )
    for i in range(n - 1, -1, -1):
        present = 1.0 if v[i] == v[i] else 0.0
        x = v[i] if present else 0.0
        if i == n - 1 or block[i + 1] == i + 1:
            right[i, 0], right[i, 1], right[i, 2] = present, x, 0.0
        else:
            right[i, 0], right[i, 1], right[i, 2] = chan(
                present, x, 0.0, right[i + 1, 0], right[i + 1, 1], right[i + 1, 2]
            )
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        if b <= a:
            continue
        middle = block[b - 1]
        if middle == a:
            c, m, s = left[b - 1, 0], left[b - 1, 1], left[b - 1, 2]
        elif middle > a:
            c, m, s = chan(
                right[a, 0],
                right[a, 1],
                right[a, 2],
                left[b - 1, 0],
                left[b - 1, 1],
                left[b - 1, 2],
            )
        elif not gone:
            c, m, s = 0.0, 0.0, 0.0
            for i in range(a, b):
                if v[i] == v[i]:
                    c, m, s = chan(c, m, s, 1.0, v[i], 0.0)
        elif b == n or block[b] == b:
            c, m, s = right[a, 0], right[a, 1], right[a, 2]
        else:
            c, m, s = 0.0, 0.0, 0.0
            for i in range(b - 1, a - 1, -1):
                if v[i] == v[i]:
                    c, m, s = chan(1.0, v[i], 0.0, c, m, s)
        count[j], mean[j], square[j] = int(c), m, s


@nb.njit(nogil=True, cache=True)
def edge(valid, t, ident, rank, lo, hi, newest, out):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The position of the newest (or oldest) valid event of lo:hi by (t, ident, rank), -1 for none,
    into out.

    valid: bool (n), or empty where all are. ident and rank: int64 or float64 (n), or empty.
    """
    n = len(t)
    masked = len(valid) > 0
    # the closest valid position, looking back (or ahead)
    near = np.empty(n if masked else 0, np.int64)
    if masked and newest:
        p = -1
        for i in range(n):
            p = i if valid[i] else p
            near[i] = p
    elif masked:
        p = n
        for i in range(n - 1, -1, -1):
            p = i if valid[i] else p
            near[i] = p
    step = -1 if newest else 1
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        out[j] = -1
        if b <= a:
            continue
        p = b - 1 if newest else a
        p = near[p] if masked else p
        if p < a or p >= b:
            continue
        i = p + step
        while a <= i < b and t[i] == t[p] and (len(ident) == 0 or ident[i] == ident[p]):
            if (
                (not masked or valid[i])
                and len(rank) > 0
                and (rank[i] > rank[p] if newest else rank[i] < rank[p])
            ):
                p = i
            i += step
        out[j] = p
