"""Cuts as jobs and readers meet them: which one is to be read, which can be computed, and when the
next one can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headwater.definitions.durations import DAY
from headwater.definitions.freshness import Batch
from headwater.kernel.as_of import as_of


def computable(batch: Batch, t: int) -> list[tuple[int, int]]:
    """T and K of the cut that is to be read at `t`, microseconds, and of the one after it where
    that can be computed: its K has passed.
    """
    early = batch.with_fields(delay=batch.wait)
    due, after = _last(batch, t), _last(early, t)
    while (before := _last(early, after[1] - 1)) > due:
        after = before
    return [due, after] if after > due else [due]


def due_after(batch: Batch, t: int) -> int:
    """When the next cut can be computed, after `t`; microseconds."""
    now = computable(batch, t)
    low, high = t, t + _longest(batch)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if computable(batch, middle) == now else (low, middle)
    return high


@dataclass
class CutLookup:
    """The cut to read at a time, T in microseconds; fast for many times that seldom cross a cut.
    Threads may share it: see `lookup`.
    """

    batch: Batch
    # T, and the times in [since, until) at which it is the one
    _known: tuple[int, int, int] = (0, 0, 0)

    def at(self, t: int) -> int:
        """T of the cut that is to be read at t."""
        T, since, until = self._known
        if not since <= t < until:
            T = _last(self.batch, t)[0]
            low, high = t, t + _longest(self.batch)
            while high - low > 1:
                samples = np.unique(np.linspace(low, high, 1000).astype(np.int64))
                later = int(np.argmax(as_of(self.batch, samples)[0] > T))
                low, high = int(samples[later - 1]), int(samples[later])
            self._known = T, T + self.batch.delay, high
        return T


@lru_cache(maxsize=256)
def lookup(batch: Batch) -> CutLookup:
    """The one lookup of a schedule: views of one freshness share it, so that a cut is searched for
    once.
    """
    return CutLookup(batch)


def _longest(batch: Batch) -> int:
    """A time in which a cut surely falls: those by a local clock are up to a day and an hour apart
    from even ones.
    """
    return 2 * batch.every + 2 * DAY


def _last(batch: Batch, t: int) -> tuple[int, int]:
    (T,), (K,) = as_of(batch, np.array([t]))
    return int(T), int(K)
