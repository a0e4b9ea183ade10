"""Tiles: the past of a key in pieces, fine where a window's tail will still cut and coarse behind
it.

A window begins at a multiple of its hop. So events in one hop stay together for that window, and
once the tails of all windows with finer hops have passed, tiles of theirs are merged into a coarser
one: every event is in exactly one tile, and a key has as few of them as its windows allow. Tiles
that no window reaches any more are dropped, unless a lifetime keeps them in one last tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numba as nb
import numpy as np

from headwater.definitions.windows import Window
from headwater.kernel.arrays import I64, Bool

GONE = -(2**62)
"""The start of a tile that no window reaches."""
ALL = -(2**61)
"""The start of the tile that only lifetimes reach."""
_NEVER = 2**61


@dataclass(frozen=True)
class TileLadder:
    """The sizes of tiles for these windows, in microseconds."""

    windows: tuple[Window, ...]

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Tile sizes, rising, each a divisor of the next; empty where there are only lifetimes.

        >>> from headwater.definitions.windows import window
        >>> [
        ...     step // 1_000_000
        ...     for step in TileLadder((window("1d"), window("10m"), window("1h"))).steps
        ... ]
        [10, 60, 600]
        """
        steps: list[int] = []
        for hop in sorted(
            {w.hop for w in self.windows if w.length is not None or w.offset}, reverse=True
        ):
            steps.append(math.gcd(hop, steps[-1]) if steps else hop)
        return tuple(sorted(set(steps)))

    def cuts(self, T: int) -> I64:
        """The latest end of tiles of each step, as of T; then that of the lifetime's tile, then of
        dropped events: int64 (steps + 2).
        """
        tails = [(w.hop, _tail(w, T)) for w in self.windows]
        bounds = [
            min((tail for hop, tail in tails if hop % step), default=_NEVER) for step in self.steps
        ]
        last = min((tail for _, tail in tails), default=_NEVER)
        kept = any(w.length is None for w in self.windows)
        return np.array([*bounds, last if kept else GONE, GONE if kept else last], np.int64)

    def tile_start(self, t: I64, T: int) -> I64:
        """The start of the tile that events (or finer tiles) of these times belong to as of T: a
        time, GONE or ALL; rising with `t`.
        """
        out = np.empty(len(t), np.int64)
        _place(t, np.array(self.steps, np.int64), self.cuts(T), out)
        return out

    def spans(self, t: I64, T: int) -> tuple[I64, I64]:
        """Of the tiles that events of these times belong to as of T, from when and before when
        their events are: int64 (n) each.

        None of the times is GONE.

        >>> from headwater.definitions.windows import window
        >>> first, last = TileLadder((window("10m"), window("1h"))).spans(
        ...     np.array([0, 3_595_000_000]), 3_600_000_000
        ... )
        >>> first // 1_000_000, last // 1_000_000
        (array([   0, 3590]), array([  60, 3600]))
        """
        start, cuts = self.tile_start(t, T), self.cuts(T)
        size = np.full(len(t), self.steps[0] if self.steps else 1)
        for step, cut in zip(self.steps[1:], cuts[1 : len(self.steps)], strict=True):
            size[t // step * step + step <= cut] = step
        whole = start == ALL
        everything = cuts[-2] // self.steps[-1] * self.steps[-1] if self.steps else _NEVER
        return np.where(whole, -_NEVER, start), np.where(whole, everything, start + size)

    def begin(self, window: Window, T: I64) -> I64:
        """The start of the first tile that a window counts."""
        if window.length is None:
            return np.full(len(T), ALL)
        return (T - window.offset - window.length) // window.hop * window.hop

    def end(self, window: Window, T: I64) -> I64:
        """The start of the first tile that it does not count any more."""
        return T if window.offset == 0 else (T - window.offset) // window.hop * window.hop


def among(key: I64, start: I64, some_key: I64, some_start: I64) -> Bool:
    """Whether each tile is one of some, bool (n); both by key and start.

    >>> among(np.array([0, 0, 1]), np.array([5, 6, 5]), np.array([0, 1]), np.array([6, 6])).tolist()
    [False, True, False]
    """
    pairs = np.column_stack([np.concatenate([key, some_key]), np.concatenate([start, some_start])])
    number = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    return np.isin(number[: len(key)], number[len(key) :])


def of_windows(windows: Sequence[Window]) -> TileLadder:
    """The ladder of these windows."""
    return TileLadder(tuple(dict.fromkeys(windows)))


def _tail(window: Window, T: int) -> int:
    """Before which time nothing will cut any more, for this window."""
    if window.length is None:
        return (T - window.offset) // window.hop * window.hop if window.offset else _NEVER
    return (T - window.offset - window.length) // window.hop * window.hop


@nb.njit(nogil=True, cache=True)
def _place(t, steps, cuts, out):  # type: ignore[no-untyped-def]
    for i in range(len(t)):
        out[i] = placed(t[i], steps, cuts)


@nb.njit(nogil=True, cache=True)
def placed(t, steps, cuts):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The start of the tile that something at t belongs to, with the steps and cuts of a ladder."""
    levels = len(steps)
    if t == ALL or levels == 0:
        return ALL
    # else its tile ends later: most events need one division only
    if t < cuts[levels] or t < cuts[levels + 1]:
        end = t // steps[levels - 1] * steps[levels - 1] + steps[levels - 1]
        if end <= cuts[levels + 1]:
            return GONE
        if end <= cuts[levels]:
            return ALL
    for level in range(levels - 1, 0, -1):
        if t < cuts[level]:
            start = t // steps[level] * steps[level]
            if start + steps[level] <= cuts[level]:
                return start
    return t // steps[0] * steps[0]


@nb.njit(nogil=True, cache=True)
def interleaved(key_a: I64, start_a: I64, key_b: I64, start_b: I64) -> I64:
    """The order of a's and b's tiles together by (key, start), as positions in a followed by b;
    both come in that order, a goes first.
    """
    n, m = len(key_a), len(key_b)
    order = np.empty(n + m, np.int64)
    i, j = 0, 0
    for p in range(n + m):
        if j == m or (
            i < n and (key_a[i] < key_b[j] or (key_a[i] == key_b[j] and start_a[i] <= start_b[j]))
        ):
            order[p] = i
            i += 1
        else:
            order[p] = n + j
            j += 1
    return order


@nb.njit(nogil=True, cache=True)
def groups(key: I64, start: I64) -> I64:
    """The place of each of some sorted tiles among those of its key and start, from 0."""
    group_index = np.zeros(len(key), np.int64)
    for i in range(1, len(key)):
        if key[i] == key[i - 1] and start[i] == start[i - 1]:
            group_index[i] = group_index[i - 1] + 1
    return group_index
