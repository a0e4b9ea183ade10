"""Interleaving: one list of two rankings, and which of them its clicks prefer.

A comparison inside each list needs far fewer requests than one between users. It says which ranking
is preferred, never by how much. Source: Radlinski, Kurup, Joachims (2008), team draft.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from headwater.errors import DataError
from headwater.experiments.assignment import bucket
from headwater.kernel.arrays import F64


@dataclass(frozen=True)
class DraftedItem:
    """An item of an interleaved list, and the team (0 or 1) that placed it."""

    item: Hashable
    team: int


def interleaved(
    first: Sequence[Hashable], second: Sequence[Hashable], length: int, salt: str
) -> list[DraftedItem]:
    """A list in which the two rankings take turns as two captains do; who picks first in a round is
    a coin of the salt.

    Args:
        first: items of team 0, best first.
        second: items of team 1.
        length: of the list; shorter where both rankings end.
        salt: of the request, so that a repeated request shows the same list.

    >>> [
    ...     (drafted.item, drafted.team)
    ...     for drafted in interleaved(["a", "b", "c"], ["a", "d", "e"], 4, "request-1")
    ... ]
    [('a', 1), ('b', 0), ('d', 1), ('c', 0)]
    """
    teams: tuple[Sequence[Hashable], Sequence[Hashable]] = (first, second)
    places, chosen, shown = [0, 0], [], set()
    for turn in range(length):
        if turn % 2 == 0:
            leads = bucket(f"{salt}/draft", str(turn // 2)) % 2
        team = leads if turn % 2 == 0 else 1 - leads
        for captain in (team, 1 - team):
            while (
                places[captain] < len(teams[captain]) and teams[captain][places[captain]] in shown
            ):
                places[captain] += 1
            if places[captain] < len(teams[captain]):
                item = teams[captain][places[captain]]
                shown.add(item)
                chosen.append(DraftedItem(item, captain))
                break
        else:
            break
    return chosen


@dataclass(frozen=True)
class Preference:
    """How often team 1 wins a unit's clicks.

    Args:
        share: the mean over units of their share of wins, .5 for no preference.
        se: its standard error.
        units: the number of units with a click.
    """

    share: float
    se: float
    units: int

    @property
    def p_value(self) -> float:
        """Of no preference, two-sided."""
        if self.se == 0:
            return 1.0 if self.share == 0.5 else 0.0
        return float(2 * stats.t.sf(abs(self.share - 0.5) / self.se, self.units - 1))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of the share."""
        margin = float(stats.t.ppf(1 - (1 - confidence) / 2, self.units - 1)) * self.se
        return self.share - margin, self.share + margin


def preference(first_wins: F64, second_wins: F64) -> Preference:
    """The preference over units; a unit's lists count together, so that an active unit counts once.

    Args:
        first_wins: float64, for each unit the lists in which team 0 has more clicks, ties counted
            half.
        second_wins: the same of team 1.

    Raises:
        DataError: fewer than two units have a click.

    >>> preference(np.array([1.0, 2.0, 0.0, 1.0]), np.array([3.0, 2.0, 1.0, 1.0])).share
    0.6875
    """
    lists = first_wins + second_wins
    clicked = lists > 0
    units = int(clicked.sum())
    if units < 2:
        raise DataError(f"{units} units have a click on an interleaved list; at least 2 are needed")
    shares = second_wins[clicked] / lists[clicked]
    return Preference(
        float(np.mean(shares)), float(np.std(shares, ddof=1) / math.sqrt(units)), units
    )
