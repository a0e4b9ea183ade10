"""Copies of an event, by the rule of `id_horizon`."""

from __future__ import annotations

import numba as nb
import numpy as np

from headwater.kernel.arrays import I64, Bool


def accepted(
    ident: I64, known: I64, tie_order: I64, content: I64, horizon: int
) -> tuple[Bool, int]:
    """Which events are accepted, and how many dropped copies differ from the one that was accepted.

    In known order, a copy is dropped iff an accepted copy with its id was known less than `horizon`
    before.

    Args:
        ident: int64 (n), equal for copies. known: int64 (n), microseconds. place: int64 (n), the
            order of copies that were known at the same moment, so that the first of them does not
            depend on arrival. content: int64 (n), a hash of what the event says.
        horizon: microseconds.

    >>> accepted(
    ...     np.array([7, 7, 7]), np.array([0, 9, 10]), np.array([0, 0, 0]), np.array([1, 2, 1]), 10
    ... )
    (array([ True, False,  True]), 1)
    """
    order = np.lexsort((tie_order, known, ident))
    keep = np.ones(len(ident), np.bool_)
    return keep, int(_accept(order, ident, known, content, horizon, keep))


@nb.njit(nogil=True, cache=True)
def _accept(order, ident, known, content, horizon, keep):  # type: ignore[no-untyped-def]
    conflicts = 0
    best = -1
    for i in order:
        if best >= 0 and ident[i] == ident[best] and known[i] - known[best] < horizon:
            keep[i] = False
            conflicts += content[i] != content[best]
        else:
            best = i
    return conflicts
