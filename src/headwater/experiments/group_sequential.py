"""Decisions at several looks: O'Brien-Fleming bounds by Lan and DeMets' spending function, for
looks at any times.

A test that is looked at twenty times and stopped at the first p below .05 is wrong in a quarter of
A/A tests. Bounds that spend the 5 % over the looks are not. Information is the share of the planned
units that have matured. Source: Lan, DeMets (1983); the bounds are found by integrating the density
of a Brownian motion between them (Armitage, McPherson, Rowe 1969). Where the final number of units
is not known, the error is spent by the share of the planned time, and the units so far say how
looks depend on each other (Lan, Reboussin, DeMets 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy import optimize, stats

from headwater.errors import UsageError
from headwater.kernel.arrays import F64

_WIDEST = 8.0  # standard deviations; beyond it a bound spends less than 1e-15
_POINTS = 401


def spent(information: float, alpha: float = 0.05) -> float:
    """The error spent by a share of the information, O'Brien-Fleming type: alpha / 2 a side, 2 - 2
    * Phi(z / sqrt(t)) with z of alpha / 4.

    >>> round(spent(1.0), 3), spent(0.1) < 1e-6
    (0.05, True)
    """
    return (
        float(4 * stats.norm.sf(stats.norm.isf(alpha / 4) / np.sqrt(information)))
        if information > 0
        else 0.0
    )


def bounds(
    information: Sequence[float], alpha: float = 0.05, units: Sequence[float] | None = None
) -> list[float]:
    """The bound of |z| at each look: reject at the first look at which |z| is above it.

    Args:
        information: the share of the planned information, or of the planned time, at each look so
            far, rising, above 0: the error that is spent follows it. Above 1 counts as 1 where it
            is first reached, and later looks have nothing left to spend.
        alpha: the two-sided error of the whole experiment.
        units: how many have matured at each look, rising, above 0: looks depend on each other by
            their shares. None is `information`.

    Raises:
        UsageError: shares or units that do not rise or are not positive.

    >>> [round(bound, 2) for bound in bounds([0.2, 0.4, 0.6, 0.8, 1.0])]
    [4.88, 3.36, 2.68, 2.29, 2.03]
    >>> [
    ...     round(bound, 2)
    ...     for bound in bounds([0.2, 0.4, 0.6, 0.8, 1.0], units=[10, 50, 250, 1000, 2000])
    ... ]  # a ramp
    [4.88, 3.36, 2.7, 2.37, 2.13]
    """
    counted = tuple(min(share, 1.0) for share in information) if units is None else tuple(units)
    return list(_bounds(tuple(information), counted, alpha))


@lru_cache(maxsize=1024)
def _bounds(
    information: tuple[float, ...], units: tuple[float, ...], alpha: float
) -> tuple[float, ...]:
    if any(share <= 0 for share in information) or any(
        late <= early for early, late in pairwise(information)
    ):
        raise UsageError(
            f"the looks have the information {list(information)}; shares must be positive and "
            "rise from look to look"
        )
    bounds_found: list[float] = []
    grid = density = np.empty(0)
    units_before, spent_before = 0.0, 0.0
    for share, count in zip((min(share, 1.0) for share in information), units, strict=True):
        if spent(share, alpha) <= spent_before > 0 and share >= 1:  # the plan's error is used up
            bounds_found.append(float("inf"))
            continue
        if count <= units_before:
            raise UsageError(
                f"the looks have {list(units)} units; their number must be positive and rise from "
                "look to look"
            )
        step = np.sqrt(count - units_before)
        bound = _bound(
            grid, density, float(step), spent(share, alpha) - spent_before, float(np.sqrt(count))
        )
        bounds_found.append(bound / float(np.sqrt(count)))
        grid, density = _continued(grid, density, float(step), bound)
        units_before, spent_before = count, spent(share, alpha)
    return tuple(bounds_found)


def crossing(information: Sequence[float], at: Sequence[float], drift: float) -> list[float]:
    """The probability that |z| has been above its bound by each look.

    Args:
        information: the share of the planned information at each look, rising.
        at: the bound at each look, as `bounds` gives it.
        drift: the expected z when all information is there; 0 without an effect.

    >>> round(crossing([0.5, 1.0], bounds([0.5, 1.0]), 0.0)[-1], 3)
    0.05
    """
    probabilities: list[float] = []
    grid = density = np.empty(0)
    before, total = 0.0, 0.0
    for time, bound in zip(information, at, strict=True):
        step, moved = float(np.sqrt(time - before)), drift * (time - before)
        edge = min(bound, _WIDEST + abs(drift)) * float(np.sqrt(time))
        if len(grid):
            outside = stats.norm.sf((edge - grid - moved) / step) + stats.norm.sf(
                (edge + grid + moved) / step
            )
            total += float(np.trapezoid(density * outside, grid))
        else:
            total += float(
                stats.norm.sf((edge - moved) / step) + stats.norm.sf((edge + moved) / step)
            )
        probabilities.append(total)
        grid, density = _continued(grid, density, step, edge, moved)
        before = time
    return probabilities


def _bound(grid: F64, density: F64, step: float, probability: float, root: float) -> float:
    """The bound of the Brownian motion itself, at which the probability to cross it now for the
    first time is `left`.
    """

    def crossing(bound: float) -> float:
        if not len(grid):
            return float(2 * stats.norm.sf(bound / step))
        outside = stats.norm.sf((bound - grid) / step) + stats.norm.sf((bound + grid) / step)
        return float(np.trapezoid(density * outside, grid))

    widest = _WIDEST * root
    if probability <= 0 or crossing(widest) >= probability:
        return widest
    return float(
        optimize.brentq(lambda bound: crossing(bound) - probability, 0.0, widest, xtol=1e-10)
    )


def _continued(
    grid: F64, density: F64, step: float, bound: float, moved: float = 0.0
) -> tuple[F64, F64]:
    """The density of the Brownian motion within the bound, of paths that never crossed one."""
    reach = bound
    points = max(_POINTS, int(16 * reach / step) | 1)
    inside = np.linspace(-reach, reach, points)
    if not len(grid):
        return inside, stats.norm.pdf((inside - moved) / step) / step
    moves = stats.norm.pdf((inside[:, None] - grid[None, :] - moved) / step) / step
    return inside, np.trapezoid(moves * density[None, :], grid, axis=1)
