"""The random halves of the training days that refits are trained on, the same for every level.

Between halves a metric varies as much as between training periods of full length, since (n - d) / d
is 1 of a half: the delete-d jackknife. That holds where days have about as many rows. Where one day
has most of them, a half with that day is nearly all of the rows, and one without it is nearly none:
its model has learned nothing, and says nothing of another training period, which would have such a
day too. In a survey such a unit is self-representing: every sample has it, and its variance is read
off its parts. So a day with more than a quarter of the rows, and more than twice its share, is cut
into pieces of time of about an eighth of all rows, and a half is one of days and pieces. What
differs between two such days is then not in the interval.

Source: Shao and Wu, "A general theory for jackknife variance estimation", 1989; Wolter,
"Introduction to variance estimation", 2nd edition, 2007 (self-representing units in half-samples).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headwater.definitions.checks import DAY
from headwater.errors import DataError
from headwater.kernel.arrays import F64, I64, Bool

_DRAWS = 1000  # of a half, until every level can learn from it
_LARGE = 1 / 4  # of all rows: a day with more of them is cut
_PIECE = 1 / 8  # of all rows: about what a piece of it has


def training_units(t: I64) -> I64:
    """The day, or the piece of a large day, that each request is of, numbered in order of time:
    int64 (requests).

    Args:
        t: when each request asks, int64 (requests), microseconds.

    >>> hour = 3_600_000_000
    >>> training_units(np.array([0, 1, 2, 24, 25, 26, 48, 49]) * hour).tolist()
    [0, 0, 0, 1, 1, 1, 2, 2]
    >>> large = np.concatenate(
    ...     [np.arange(24) * hour, np.array([24, 48, 72, 96, 120, 144, 168]) * hour]
    ... )
    >>> np.bincount(training_units(large)).tolist()
    [3, 3, 4, 3, 4, 3, 4, 1, 1, 1, 1, 1, 1, 1]
    """
    order = np.argsort(t, kind="stable")
    days, first, rows = np.unique(t[order] // DAY, return_index=True, return_counts=True)
    begins = np.zeros(len(t), np.bool_)
    begins[first] = True
    for day in np.flatnonzero(rows > len(t) * max(_LARGE, 2 / max(len(days), 1))):
        pieces = int(np.ceil(rows[day] / len(t) / _PIECE))
        cuts = first[day] + rows[day] * np.arange(1, pieces) // pieces
        # requests of one time stay together
        begins[np.searchsorted(t[order], t[order][cuts])] = True
    units = np.empty(len(t), np.int64)
    units[order] = np.cumsum(begins) - 1
    return units


def half_sample(
    t: I64, before: Bool, levels: Sequence[I64], y: F64, kinds: int, seed: Sequence[int]
) -> Bool:
    """A random half of the units before a split: bool (requests), whether each request is in it.

    A half that some level cannot learn from is drawn again for all of them, so that refits of
    levels stay paired.

    Args:
        t: when each request asks, int64 (requests), microseconds.
        before: bool (requests), those before the split.
        levels: the positions of the requests that each level trains on: int64 (rows) each.
        y: the outcomes, float64 (requests).
        kinds: how many different outcomes a level needs in order to learn.
        seed: of the draw.

    Raises:
        DataError: no half has so many outcomes at every level.
    """
    candidates = np.flatnonzero(before)
    unit = training_units(t[candidates])
    units = int(unit.max()) + 1
    draws = np.random.default_rng(list(seed))
    for _ in range(_DRAWS):
        drawn = np.zeros(units, np.bool_)
        drawn[draws.choice(units, max(1, units // 2), replace=False)] = True
        half = before.copy()
        half[candidates] = drawn[unit]
        if all(len(np.unique(y[rows[half[rows]]])) >= kinds for rows in levels):
            return half
    lacks = "two outcomes" if kinds > 1 else "a row to train on"
    raise DataError(
        f"refits: of {_DRAWS} random halves of the {units} training days, none has {lacks} at "
        "every level; train on more days, or set refits=0"
    )
