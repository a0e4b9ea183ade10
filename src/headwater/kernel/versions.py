"""Images of events that change, as versions that each hold from when they became known until they
are gone.
"""

from __future__ import annotations

import numpy as np

from headwater.kernel.arrays import I64, LASTS, Bool
from headwater.kernel.sorting import order_of, tied


def versions(
    ident: I64, known: I64, before: Bool, tie_order: I64, content: I64, exact: I64
) -> tuple[Bool, I64, int]:
    """Which images begin a version, when each of these is gone, and how many images took back what
    was not there.

    Of the images of one id that became known at one moment, what holds from then on is the one
    after a change, and nothing where there are only images before. Of several after, it is one that
    is not also an image before at that moment (else it was passed through), and of these the last
    by `tie_order`. Where what holds stays the same, so does the version.

    Args:
        ident: int64 (n), a number from 0 for each event that images are of.
        known: int64 (n), microseconds.
        before: bool (n), whether it is the image before a change.
        place: int64 (n), the order of images that were known at the same moment, so that none
            depends on arrival.
        content: int64 (n), a hash of the columns that are read. exact: int64 (n), a hash of all
            columns that decide ties.

    >>> before, zeros, content = (
    ...     np.array([False, True, False, True]),
    ...     np.zeros(4, np.int64),
    ...     np.array([3, 3, 4, 4]),
    ... )
    >>> keep, gone, _ = versions(zeros, np.array([1, 5, 5, 9]), before, zeros, content, content)
    >>> keep, gone[keep]
    (array([ True, False,  True, False]), array([5, 9]))
    """
    order, passed = _in_turn(ident, known, before, tie_order, exact)
    last = np.ones(len(order), np.bool_)  # of its moment: what holds from then on
    last[:-1] = (ident[order][1:] != ident[order][:-1]) | (known[order][1:] != known[order][:-1])
    state = order[last]
    again = np.zeros(len(state), np.bool_)
    again[1:] = ident[state][1:] == ident[state][:-1]
    live = ~before[state]
    held = again & np.roll(live, 1)
    same = held & live & (content[state] == np.roll(content[state], 1))
    changed = np.flatnonzero(np.where(live, ~same, held))
    until = np.full(len(changed), LASTS)
    until[:-1] = np.where(
        ident[state[changed]][1:] == ident[state[changed]][:-1], known[state[changed]][1:], LASTS
    )
    begun = state[changed[live[changed]]]
    keep, gone = np.zeros(len(ident), np.bool_), np.full(len(ident), LASTS)
    keep[begun], gone[begun] = True, until[live[changed]]
    held_before = held[np.concatenate([[0], np.cumsum(last[:-1])])]
    nothing = before[order] & ~passed[order] & ~held_before
    return keep, gone, int(nothing.sum())


def _in_turn(ident: I64, known: I64, before: Bool, tie_order: I64, exact: I64) -> tuple[I64, Bool]:
    """The order of images, int64 (n), event by event, moment by moment, what holds afterwards last;
    which were passed through, bool (n).
    """
    order, starts = order_of(ident, known, int(ident.max()) + 1, threads=1)
    several, moment = tied(starts, known[order])
    images, passed = order[several], np.zeros(len(order), np.bool_)
    by_content = np.lexsort((exact[images], moment))
    fresh = np.ones(len(images), np.bool_)
    fresh[1:] = (np.diff(moment[by_content]) != 0) | (np.diff(exact[images][by_content]) != 0)
    group = np.cumsum(fresh) - 1
    there = np.zeros((2, len(images)), np.bool_)
    there[before[images][by_content].astype(np.int64), group] = True
    passed[images[by_content]] = (there[0] & there[1])[group]
    rank = np.where(before[images], 0, np.where(passed[images], 1, 2))
    order[several] = images[np.lexsort((tie_order[images], rank, moment))]
    return order, passed
