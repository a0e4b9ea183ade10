"""Layers of events: the range of a layer that a window counts, and the folds over it.

The begin and end of each request's window among the events of its key.

Only for events in known order that are removed in that order too (see `late_events.layers`): there,
a request sees one range of positions.

Loops that fold a range of values for each request, in time that does not grow with the range.

Van Herk's and Gil and Werman's two-sided running fold (1992, 1993): within blocks as long as the
window, running folds from the left and from the right; a window is the end of one block and the
beginning of the next. Nothing is ever subtracted, so cents added to billions stay right, and a
value depends only on the events that count, not on what else is in the history.

All take values (n) and `Ranges`, and write out (l). Where few events are asked for in all, they
walk the range instead, adding in the very same order: from the left in a block's beginning, from
the right in its end, and from the left inside one block, as if it began there, so that events which
are not read change nothing; but from the right where events are removed, since there most ranges
lie so.

States as rows of numbers: two of them become one, and many become one, in compiled loops.

A row is int64 words; a float64 stands in its word bit by bit. How each column is merged is a
program: int64 (k, 3), rows of (operation, column, whether float64). SOME, LESS and MORE columns of
one state follow a row (PICK, their first column, how many): of two states one is taken whole, the
one that is there and goes before by the columns in turn. DECAY has its half-life in place of the
last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar, cast

import numpy as np

from headwater.definitions.windows import Window
from headwater.kernel.arrays import F64, I64, NOTHING, Bool, Events, RequestTimes, Values
from headwater.kernel.compile_cache import njit

Derived = TypeVar("Derived")


@dataclass(frozen=True)
class Use:
    """The input of an aggregation: columns of the source, on the events where `where` is true."""

    columns: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True)
class Layer:
    """Events in known order; `derive` caches results computed from them, by key."""

    events: Events
    _derived: dict[tuple[object, ...], object] = field(default_factory=dict)

    def derive(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """The result of `make`, computed once for each key."""
        if key not in self._derived:
            self._derived[key] = make()
        return cast("Derived", self._derived[key])

    def valid(self, use: Use) -> Bool:
        """Whether each event counts for `use`: every column not null, `where` true. bool (n), or
        empty where all do.
        """
        return self.derive(("valid", use), lambda: self._valid(use))

    def filled(self, use: Use, fill: float) -> Values:
        """The values of the one column, `fill` where they do not count."""
        return self.derive(("filled", use, fill), lambda: self._filled(use, fill))

    def floats(self, use: Use) -> F64:
        """The values of the one column as float64, NaN where they do not count."""
        return self.derive(("floats", use), lambda: self._floats(use))

    def block(self, window: Window) -> I64:
        """`blocks` of the window."""
        hop = window.hop if len(self.events.removed_at) else 0
        return self.derive(("block", window.length, hop), lambda: blocks(self.events, window))

    def distinct_times(self) -> bool:
        """Whether no two neighbours have the same time, so that neither ids nor values decide
        between two events of a key.
        """
        return self.derive(
            ("distinct times",), lambda: not bool((self.events.t[1:] == self.events.t[:-1]).any())
        )

    def _valid(self, use: Use) -> Bool:
        masks = [
            c.valid
            for c in (self.events.columns[name] for name in use.columns)
            if c.valid is not None
        ]
        if use.where is not None:
            flag = self.events.columns[use.where]
            masks += [flag.values != 0, *([] if flag.valid is None else [flag.valid])]
        return cast("Bool", np.logical_and.reduce(masks)) if masks else np.empty(0, np.bool_)

    def _filled(self, use: Use, fill: float) -> Values:
        values, valid = self.events.columns[use.columns[0]].values, self.valid(use)
        return values if len(valid) == 0 else np.where(valid, values, values.dtype.type(fill))

    def _floats(self, use: Use) -> F64:
        values, valid = (
            self.events.columns[use.columns[0]].values.astype(np.float64),
            self.valid(use),
        )
        return values if len(valid) == 0 else np.where(valid, values, np.nan)


@dataclass(frozen=True)
class Spans:
    """The ranges of one window: for request j, the events lo[j]:hi[j] of `layer`. All int64 (l).

    shares: whether states may have arrays in common, which are then read-only.
    """

    layer: Layer
    requests: RequestTimes
    window: Window
    lo: I64
    hi: I64
    shares: bool = False
    _derived: dict[tuple[object, ...], object] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def derive(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """The result of `make`, computed once for each key."""
        if key not in self._derived:
            self._derived[key] = make()
        return cast("Derived", self._derived[key])

    @property
    def ranges(self) -> Ranges:
        """The ranges as folds take them."""
        return Ranges(
            self.lo, self.hi, self.layer.block(self.window), len(self.layer.events.removed_at) > 0
        )

    def counted(self, use: Use) -> I64:
        """How many events count for `use` in each range: int64 (l)."""
        valid = self.layer.valid(use)
        if len(valid) == 0:
            return self.hi - self.lo
        before = self.layer.derive(
            ("before", use), lambda: np.concatenate([[0], np.cumsum(valid, dtype=np.int64)])
        )
        return cast("I64", before[self.hi] - before[self.lo])

    def rows(self, position: I64) -> I64:
        """Positions in the layer as positions in the events it was taken from; -1 stays."""
        row = self.layer.events.row
        return position if len(row) == 0 else np.where(position < 0, -1, row[position])


@dataclass(frozen=True)
class KnownRanges:
    """The ranges begin:stop of a layer that are visible to sets of requests before a window is
    applied. All int64.

    requests: the sets, for the layer's keys. T, K: of all, one set after the other. at: where each
    set begins; one more at the end.
    """

    layer: Layer
    requests: Sequence[RequestTimes]
    T: I64
    K: I64
    at: I64
    begin: I64
    stop: I64

    def spans(self, window: Window) -> Spans:
        """The ranges of a window."""
        parts = [
            within(self.layer.events, request_set, window, self.begin[a:b], self.stop[a:b])
            for request_set, a, b in zip(self.requests, self.at[:-1], self.at[1:], strict=True)
        ]
        lo, hi = (_joined(arrays) for arrays in zip(*parts, strict=True))
        return Spans(self.layer, RequestTimes(NOTHING, self.T, self.K), window, lo, hi, shares=True)


def seen(layer: Layer, requests: Sequence[RequestTimes]) -> KnownRanges:
    """The ranges of a layer that are known to at least one set of requests."""
    begin, stop = zip(
        *(known_bounds(layer.events, request_set) for request_set in requests), strict=True
    )
    at = np.cumsum([0, *(len(request_set.T) for request_set in requests)])
    return KnownRanges(
        layer,
        requests,
        _joined([a.T for a in requests]),
        _joined([a.K for a in requests]),
        at,
        _joined(begin),
        _joined(stop),
    )


def spans(layer: Layer, requests: RequestTimes, window: Window) -> Spans:
    """The ranges of one window for one set of requests."""
    return seen(layer, [requests]).spans(window)


def _joined(parts: Sequence[I64]) -> I64:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


LIFETIME = -1


def known_bounds(events: Events, requests: RequestTimes) -> tuple[I64, I64]:
    """For each request, the range of events of its key that happened before T and are known, and
    not removed, by K: int64 (l) both.
    """
    begin, stop = np.empty(len(requests.T), np.int64), np.empty(len(requests.T), np.int64)
    _seen(
        events.starts,
        events.t,
        events.known,
        events.removed_at,
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
    """For each request, the events lo:hi among `seen` that the window counts; hi == lo where it
    counts none: int64 (l) both.
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


def window_bounds(events: Events, requests: RequestTimes, window: Window) -> tuple[I64, I64]:
    """`within` of the events `seen`, for one window."""
    return within(events, requests, window, *known_bounds(events, requests))


def blocks(events: Events, window: Window) -> I64:
    """For each event, the position of the first one of its key in the same block, int64 (n).

    Blocks are as long as the window and stand on the UTC epoch (lifetime: one block), so a window
    reaches into at most two. Where events are removed one after the other, a block ends with the
    last event visible together with its first one, so that there too a range seldom begins and ends
    inside one block, which folds would have to walk.
    """
    out = np.empty(len(events.t), np.int64)
    length = LIFETIME if window.length is None else window.length
    if len(events.removed_at):
        _blocks_of_removed(
            events.starts, events.t, events.known, events.removed_at, length, window.hop, out
        )
    else:
        _blocks(events.starts, events.t, length, out)
    return out


@njit()
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


@njit()
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
    found: int = first_at(x, low, high, bound)
    return found


@njit()
def _seen(starts, t, known, removed_at, delay, ask_starts, T, K, begin, stop):  # type: ignore[no-untyped-def]
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
            if len(removed_at) > 0:
                g = seek(removed_at, g, first, end, K[j] + 1)
            begin[j], stop[j] = g, min(b, k)


@njit()
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


@njit()
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


@njit()
def _blocks_of_removed(starts, t, known, removed_at, length, hop, out):  # type: ignore[no-untyped-def]
    """A block ends where no request can see an event together with the block's first one: too late
    for its window, or it is removed.
    """
    for key in range(len(starts) - 1):
        begin = starts[key]
        for i in range(starts[key], starts[key + 1]):
            if known[i] >= removed_at[begin] or (
                length >= 0 and t[i] >= t[begin] // hop * hop + hop + length
            ):
                begin = i
            out[i] = begin


ADD, LEAST, GREATEST = 0, 1, 2

_SCRATCH_WORDS = 1 << 18  # entries of the two arrays that a thread keeps: 4 MB

_LOCAL = threading.local()


class Ranges(NamedTuple):
    """lo, hi: int64 (l), positions of events. block: int64 (n), as `blocks` makes them. removable:
    whether its events are taken back in turn.
    """

    lo: I64
    hi: I64
    block: I64
    removable: bool


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
    _fold_moments(values, *ranges, np.empty((n, 3)), np.empty((n, 3)), count, mean, square)
    return count, mean, square


def _scratch(values: Values) -> tuple[Values, Values]:
    """Two arrays as long as these values, of any content. A thread keeps small ones: new memory
    costs more than a fold.
    """
    if len(values) > _SCRATCH_WORDS:
        return np.empty_like(values), np.empty_like(values)
    if not hasattr(_LOCAL, "words"):
        _LOCAL.words = np.empty((2, _SCRATCH_WORDS), np.int64)
    left, right = _LOCAL.words[:, : len(values)].view(values.dtype)
    return left, right


@njit(inline="always")
def _join(a, b, op):  # type: ignore[no-untyped-def]
    if op == ADD:
        return a + b
    if op == LEAST:
        return min(a, b)
    return max(a, b)


@njit()
def _walk(v, op, lo, hi, block, removable, out):  # type: ignore[no-untyped-def]
    for j in range(len(lo)):
        a, b = lo[j], hi[j]
        if b <= a:
            continue
        middle = block[b - 1]
        if middle == a or (middle < a and not removable):
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


@njit()
def _fold(v, op, lo, hi, block, removable, left, right, out):  # type: ignore[no-untyped-def]
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
        elif not removable:  # a late head: the range lies inside one block
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


@njit()
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


@njit()
def _fold_moments(v, lo, hi, block, removable, left, right, count, mean, square):  # type: ignore[no-untyped-def]
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
        elif not removable:
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


@njit()
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


MOMENTS = 3
"""Three columns: n, mean and sum of squared deviations."""

SOME, LESS, MORE = 4, 5, 6
"""Operations of a state that is taken whole: presence; a column whose lesser, or greater, value
wins.
"""

PICK = 7
"""Goes before the columns of such a state."""

DECAY = 8
"""Four columns: n, the time of the last value, and the sum and the weights as of that time, which
halve with every half-life.
"""


def program(states: Sequence[Sequence[tuple[int, bool, int, int]]]) -> I64:
    """The program for some states: of each its numbers, as an operation, whether it is int64, its
    column, and its parameter.

    Numbers that several states share are merged once.

    >>> program([[(ADD, True, 0, 0), (GREATEST, False, 1, 0)], [(ADD, True, 0, 0)]]).tolist()
    [[0, 0, 0], [2, 1, 1]]
    """
    steps: list[tuple[int, int, int]] = []
    known: set[int] = set()
    for numbers in states:
        op, _, first, parameter = numbers[0]
        if any(number[0] == SOME for number in numbers):
            steps.append((PICK, first, len(numbers)))
        if op == DECAY:
            steps.append((DECAY, first, parameter))
        else:
            fields = numbers[:1] if op == MOMENTS else numbers
            steps += [
                (op, column, int(not whole))
                for op, whole, column, _ in fields
                if column not in known
            ]
        known |= {number[2] for number in numbers}
    return np.array(steps, np.int64).reshape(-1, 3)


@njit()
def merged(program, rows, floats, first, last):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The rows first:last as one, in row `first`; in pairs of neighbours, then in pairs of these,
    and so on.

    program: as `program` makes it. rows: int64 (m, columns); floats: the same words as float64.
    """
    while last - first > 1:
        count = last - first
        for pair in range(count // 2):
            a, b = first + 2 * pair, first + 2 * pair + 1
            joined(program, rows, floats, a, b)
            if pair:
                rows[first + pair] = rows[a]
        if count % 2:
            rows[first + count // 2] = rows[last - 1]
        last = first + (count + 1) // 2


@njit()
def paired(op, numbers, count):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Merge the first `count` numbers, float64, into the first one: to the bit as `merged` merges a
    column of them.
    """
    while count > 1:
        half = count // 2
        for k in range(half):
            x, y = numbers[2 * k], numbers[2 * k + 1]
            if op == ADD:
                x += y
            elif (op == LEAST and y < x) or (op == GREATEST and y > x):
                x = y
            numbers[k] = x
        if count % 2:
            numbers[half] = numbers[count - 1]
        count = half + count % 2
    return numbers[0]


@njit()
def joined(program, rows, floats, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Row b into row a."""
    i = 0
    while i < len(program):
        op, c, real = program[i, 0], program[i, 1], program[i, 2]
        if op == PICK:
            if _goes_before(program, rows, floats, a, b, i + 1, i + 1 + real):
                for k in range(c, c + real):
                    rows[a, k] = rows[b, k]
            i += real
        elif op == MOMENTS:
            _moments(rows, floats, a, b, c)
        elif op == DECAY:
            rows[a, c], rows[a, c + 1], floats[a, c + 2], floats[a, c + 3] = decayed(
                *(rows[a, c], rows[a, c + 1], floats[a, c + 2], floats[a, c + 3]),
                *(rows[b, c], rows[b, c + 1], floats[b, c + 2], floats[b, c + 3]),
                real,
            )
        elif real:
            x, y = floats[a, c], floats[b, c]
            if op == ADD:
                floats[a, c] = x + y
            elif (op == LEAST and y < x) or (op == GREATEST and y > x):
                floats[a, c] = y
        else:
            v, w = rows[a, c], rows[b, c]
            if op == ADD:
                rows[a, c] = v + w
            elif (op == LEAST and w < v) or (op == GREATEST and w > v):
                rows[a, c] = w
        i += 1


@njit()
def _goes_before(program, rows, floats, a, b, first, last):  # type: ignore[no-untyped-def]
    """Whether b is taken and not a."""
    for i in range(first, last):
        if program[i, 0] == SOME:
            if rows[b, program[i, 1]] == 0:
                return False
            if rows[a, program[i, 1]] == 0:
                return True
    for i in range(first, last):
        op, c = program[i, 0], program[i, 1]
        if op == SOME:
            continue
        if program[i, 2]:
            x, y = floats[a, c], floats[b, c]
            if x != y:
                return y > x if op == MORE else y < x
        else:
            v, w = rows[a, c], rows[b, c]
            if v != w:
                return w > v if op == MORE else w < v
    return False


@njit()
def _moments(rows, floats, a, b, c):  # type: ignore[no-untyped-def]
    """As `aggregations.moments` merges, to the bit."""
    n, k = rows[a, c], rows[b, c]
    mean, mean_b = floats[a, c + 1], floats[b, c + 1]
    total = max(n + k, 1)
    apart = mean_b - mean if n > 0 and k > 0 else 0.0
    if n == 0:
        mean = mean_b
    elif k > 0:
        mean = mean + apart * (k / total)
    rows[a, c] = n + k
    floats[a, c + 1] = mean
    floats[a, c + 2] = floats[a, c + 2] + floats[b, c + 2] + apart * apart * (n * k / total)


@njit()
def decayed(n, t, total, weight, k, u, more, heavier, half_life):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Two states of DECAY as one, as of the later of their last values."""
    last = u if n == 0 else t if k == 0 else max(t, u)
    a, b = remaining(t, last, n, half_life), remaining(u, last, k, half_life)
    return n + k, last, total * a + more * b, weight * a + heavier * b


@njit()
def remaining(since, until, n, half_life):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The share of a weight that is left after some time; all of it where there are no values (n is
    0).
    """
    return np.exp2(-(until - since) / half_life) if n > 0 else 1.0
