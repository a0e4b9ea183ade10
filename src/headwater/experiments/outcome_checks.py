"""Checks of an experiment's outcomes: late ones, and whether an arm decides which outcomes are
seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from headwater.experiments.health import CHECKS, FALSE_ALARMS, HealthCheck
from headwater.kernel.arrays import Bool

MOST_LATE = 0.05
"""The share of units whose outcome events that came after the rule closed would change."""
LOOKS = 20
"""How often late outcomes may be looked at with one false alarm in 700 experiments at the accepted
share.
"""
SEEN_GAP = 0.01
"""A difference in the share of units with an outcome that is accepted, as the arms' weights are
never met exactly.
"""


def late_outcomes(late: Bool, final: Bool) -> HealthCheck:
    """Whether outcomes come later than their source or labels say.

    Args:
        late: whether each unit's value would change by what came late.
        final: which units count.
    """
    units, changed = int(final.sum()), int((late & final).sum())
    evidence = (
        f"{changed:,} of {units:,} units would have another value by outcomes that came later "
        "than they should be known"
    )
    if not units:
        return HealthCheck("late outcomes", "not checked", "no unit has a final outcome yet")
    # few units may be late by chance
    shown = float(stats.binom.sf(changed - 1, units, MOST_LATE)) < FALSE_ALARMS / CHECKS / LOOKS
    return HealthCheck("late outcomes", "broken" if shown else "ok", evidence)


def seen_outcomes(known: Mapping[str, Bool], looks: int) -> HealthCheck:
    """Whether all arms see outcomes of an equal share of units: an arm that decides which outcomes
    are seen cannot be compared by them.

    Args:
        known: by arm, the control first, whether each final unit has an outcome.
        looks: how many times this is checked.
    """
    if any(len(values) < 2 for values in known.values()):
        return HealthCheck(
            "outcomes seen", "not checked", "an arm has fewer than 2 units with a final outcome"
        )
    shares = {arm: float(np.mean(values)) for arm, values in known.items()}
    evidence = "units with an outcome: " + ", ".join(
        f"{arm} {share:.1%}" for arm, share in shares.items()
    )
    control, *others = known
    level = FALSE_ALARMS / CHECKS / looks / len(others)
    return HealthCheck(
        "outcomes seen",
        "broken" if any(_apart(known[control], known[arm], level) for arm in others) else "ok",
        evidence,
    )


def _apart(control: Sequence[bool] | Bool, treated: Sequence[bool] | Bool, level: float) -> bool:
    gap = abs(float(np.mean(treated) - np.mean(control)))
    se = float(np.sqrt(np.var(control) / len(control) + np.var(treated) / len(treated)))
    return gap > SEEN_GAP and (se == 0 or 2 * stats.norm.sf((gap - SEEN_GAP) / se) < level)
