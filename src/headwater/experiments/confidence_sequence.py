"""Intervals that hold at every look simultaneously, for guardrails and unplanned looks.

Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2021), asymptotic confidence sequences.
"""

from __future__ import annotations

import math

TUNED_FOR = 5_000  # units of both arms at which the interval is tightest


def sequence_multiplier(units: int, alpha: float = 0.05, tuned_for: int = TUNED_FOR) -> float:
    """The multiplier of the standard error: the interval of this half-width holds at all looks
    together with 1 - alpha.

    Args:
        units: of both arms so far.
        alpha: the error over all looks.
        tuned_for: the number of units at which the interval shall be tightest.

    >>> round(sequence_multiplier(5000), 2)
    3.04
    """
    if units < 1:
        return math.inf
    start = -2 * math.log(alpha)
    rho = (start + math.log(start + 1)) / tuned_for
    scaled = units * rho
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / alpha))
