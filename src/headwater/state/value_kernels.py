"""The value of a feature from the state of its window, a row of numbers: what `finalize` of its
function does, for one key.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from headwater.aggregations.reads import (
    DECAYED_MEAN,
    DECAYED_SUM,
    DEVIATION,
    FRACTION,
    KEPT,
    LATEST,
    MEAN,
    RATE,
    REAL,
    SINCE,
    SUM,
    VARIANCE,
    WHOLE,
)
from headwater.definitions.durations import SECOND
from headwater.kernel.merge_program import remaining

WIDTH = 12
"""The words of a plan for each feature."""
_FAR = 2.0**62


@nb.njit(nogil=True, cache=True)
def finished(kind, states, reals, T, at, a, b, c, d):  # type: ignore[no-untyped-def]
    """The value as an integer, as a float, and whether it is not null; `kind`, a to d: a read of
    `aggregations.reads`.

    states: rows of numbers; reals: the same words as float64. at: where the row begins.
    """
    valid, x, v = True, 0.0, 0
    if kind == WHOLE:
        v = states[at + a]
    elif kind == REAL:
        x = reals[at + a]
    elif kind == SUM:
        v, valid = states[at + a], abs(reals[at + b] - states[at + a]) < _FAR
    elif kind == MEAN:
        x, valid = _total(states, reals, at, b, c) / max(states[at + a], 1), states[at + a] > 0
    elif kind in (KEPT, LATEST):
        v, x, valid = states[at + a], reals[at + a], states[at + b] > 0
        if kind == LATEST:
            valid = valid and states[at + c] > 0
    elif kind in (DEVIATION, VARIANCE):
        freedom = states[at + a] - c
        x, valid = reals[at + b] / max(freedom, 1), freedom > 0
        if kind == DEVIATION:
            x = math.sqrt(x)
    elif kind == SINCE:
        valid = states[at + b] > 0
        x = (T - states[at + a] if valid else 0) / SECOND
    elif kind == RATE:
        x = (states[at + a] if b == -2 else _total(states, reals, at, a, b)) / (c / SECOND)
    elif kind == FRACTION:
        x, valid = states[at + b] / max(states[at + a], 1), states[at + a] > 0
    elif kind == DECAYED_SUM:
        x = reals[at + c] * remaining(states[at + b], T, states[at + a], d)
    elif kind == DECAYED_MEAN:
        valid = states[at + a] > 0
        x = reals[at + b] / (reals[at + c] if valid else 1.0)
    else:
        below = _total(states, reals, at, c, d)
        valid = below != 0
        x = _total(states, reals, at, a, b) / (below if valid else 1.0)
    return v, x, valid


@nb.njit(nogil=True, cache=True)
def _total(states, reals, at, a, rough):  # type: ignore[no-untyped-def]
    """A sum as float64: that of floats, or an integer one, which `rough` holds where it has left
    int64; `at`: where the state begins.
    """
    if rough < 0:
        return reals[at + a]
    return (
        np.float64(states[at + a])
        if abs(reals[at + rough] - states[at + a]) < _FAR
        else reals[at + rough]
    )
